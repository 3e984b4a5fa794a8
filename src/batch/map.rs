//! One prompt for each item of a list. The list is read as it is worked on, and nothing of it is kept.

use super::once::Job;
use super::prompt_file::{INPUT, PromptFile};
use super::template::{Part, Template};
use super::{Batch, Course, Halt, Label, Report, Workers, beginning, work};
use crate::base::sha256;
use crate::engine::request::Request;
use crate::exec::Cancel;
use crate::model::error::Error;
use std::fmt;

/// What a prompt file says of an item besides its input.
pub(crate) const VARIABLES: [&str; 3] = ["item", "n", "base"];

/// A prompt with places for an item.
#[derive(Debug)]
pub(crate) struct Pattern(Template);

impl Pattern {
    /// Reads a prompt: `place` stands for the item, `{n}` for its number from 1, `{base}` for its file name without
    /// directory and extension. Other braces are only braces.
    pub(crate) fn read(text: &str, place: &str) -> Result<Pattern, Error> {
        if place.is_empty() {
            return Err(Error::Invalid("what stands for the item (`-I`) is empty".to_owned()));
        }
        let marks = [(place, "item"), ("{n}", "n"), ("{base}", "base")];
        let (mut parts, mut rest) = (Vec::new(), text);
        let first = |rest: &str| {
            let found = marks.iter().filter_map(|(mark, name)| Some((rest.find(mark)?, mark.len(), *name)));
            // Of two that begin in the same place, the first of the list.
            found.min_by_key(|(at, ..)| *at)
        };
        while let Some((at, length, name)) = first(rest) {
            parts.extend([Part::Text(rest[..at].to_owned()), Part::Variable(name.to_owned())]);
            rest = &rest[at + length..];
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Pattern(Template(parts)))
    }

    /// That of a prompt file whose input this is; none is the item itself, unless the file has that already. `files`: what
    /// goes with every input.
    pub(crate) fn within(input: Option<Pattern>, file: &PromptFile, files: &str) -> Pattern {
        let is_whole = !file.has(INPUT) && VARIABLES.iter().any(|variable| file.has(variable));
        let input = match input {
            Some(Pattern(input)) => input,
            None if is_whole => Template::literal(""),
            None => Template::variable("item"),
        };
        let input = if files.is_empty() { input } else { input.and(Template::literal(files)) };
        Pattern(file.around(input))
    }

    /// It is not the same for every item. `place`: what would stand for the item.
    pub(crate) fn checked(self, place: &str) -> Result<Pattern, Error> {
        if self.0.variables().next().is_some() {
            return Ok(self);
        }
        let sentence = format!("the prompt has no `{place}`: it would be the same for every item");
        Err(Error::Invalid(sentence))
    }

    /// The prompt for an item. What is put in is not looked at again.
    pub(crate) fn fill(&self, item: &str, number: usize) -> String {
        let number = number.to_string();
        self.0.expand(|name| match name {
            "n" => Some(&*number),
            "base" => Some(base(item)),
            _ => Some(item),
        })
    }
}

/// A file's name without directory and extension.
fn base(item: &str) -> &str {
    let name = item.trim_end_matches('/').rsplit('/').next().unwrap_or(item);
    match name.rsplit_once('.') {
        Some((base, _)) if !base.is_empty() => base,
        _ => name,
    }
}

/// A part of a list: the Ith of N, from 1. An item falls to the same part wherever in the list it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shard {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Shard {
    /// Reads `2/4`.
    pub(crate) fn read(word: &str) -> Option<Shard> {
        let (number, of) = word.split_once('/')?;
        let shard = Shard { number: number.parse().ok()?, of: of.parse().ok()? };
        (1..=shard.of).contains(&shard.number).then_some(shard)
    }

    /// The item falls to this part.
    pub(crate) fn has(self, item: &[u8]) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = sha256::digest(item);
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) % self.of == self.number - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.number, self.of)
    }
}

/// An item of a list.
pub(crate) struct Item {
    /// Its place in the list, from 0.
    pub(crate) index: usize,
    /// How many before it fall to other shards.
    pub(crate) left_out: usize,
    /// What it is, or what is wrong with it.
    pub(crate) text: Result<String, String>,
}

/// The next item; none at the end of the list. Asked by one worker after the other; an error ends the batch. It waits no
/// longer than until the switch is thrown.
pub(crate) type Items<'a> = dyn Fn(&Cancel) -> Result<Option<Item>, Error> + Sync + 'a;

impl Batch<'_> {
    /// Runs a prompt for each item, so many at once. `fail_fast`: the first failure stops everything. What goes wrong with
    /// an item is its result.
    pub(crate) fn map(
        &self,
        pattern: &Pattern,
        items: &Items<'_>,
        workers: Workers,
        fail_fast: bool,
    ) -> Result<Report, Error> {
        let course = Course { fail_fast, ..Course::begin(self, None)? };
        work(workers.0, &|| {
            let next = items(&course.branch).map_err(|error| course.stop(Halt::Broken(error))).ok()?;
            let Item { index, left_out, text } = next.filter(|_| !course.branch.is_thrown())?;
            let (item, problem) = match text {
                Ok(item) => (item, None),
                Err(problem) => (String::new(), Some(problem)),
            };
            let prompt = pattern.fill(&item, index + 1);
            let label = Label {
                index,
                left_out,
                item: Some(item),
                backend: self.backend_of(&Request::default()),
                model: self.given.model.clone(),
                prompt: beginning(&prompt),
                ..Label::default()
            };
            let request = Request { prompt: Some(prompt.into()), ..Request::default() };
            let job =
                problem.map_or(Ok(Job { request, ..Job::default() }), |problem| Err(Error::Invalid(problem)));
            course.conclude(course.run(label, || job));
            Some(())
        });
        Ok(course.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_filled_in_one_pass() {
        for (text, place, filled) in [
            ("Summarise {}", "{}", "Summarise a/b.tar.gz"),
            ("{n}: {base} <{}{}>", "{}", "3: b.tar <a/b.tar.gza/b.tar.gz>"),
            ("{\"x\": {}} @@ {}", "@@", "{\"x\": {}} a/b.tar.gz {}"),
            ("fn main() { {base} }", "{}", "fn main() { b.tar }"),
        ] {
            let pattern = Pattern::read(text, place).unwrap();
            assert_eq!(pattern.fill("a/b.tar.gz", 3), filled, "{text}");
        }
        let pattern = Pattern::read("<{}>", "{}").unwrap();
        assert_eq!(pattern.fill("{} {n}", 1), "<{} {n}>");
    }

    #[test]
    fn a_prompt_file_is_filled_with_the_item_or_with_what_is_made_of_it() {
        for (text, typed, files, filled) in [
            ("<{{input}}> {}", None, "", "<a/b.c> {}"),
            ("Review.", None, "", "Review.\n\na/b.c"),
            ("<{{input}}>", Some("{n}: {base}"), "", "<3: b>"),
            ("<{{item}}|{{n}}|{{base}}>", None, "", "<a/b.c|3|b>"),
            ("<{{item}}>", Some("be {strict}"), "", "<a/b.c>\n\nbe {strict}"),
            ("<{{input}}>", None, "{}", "<a/b.c\n\n{}>"),
            ("<{{item}}>", None, "F", "<a/b.c>\n\nF"),
            ("", None, "", "a/b.c"),
        ] {
            let file = PromptFile::read(text, "p.md".to_owned()).unwrap();
            let typed = typed.map(|typed| Pattern::read(typed, "{}").unwrap());
            let pattern = Pattern::within(typed, &file, files).checked("{}").unwrap();
            assert_eq!(pattern.fill("a/b.c", 3), filled, "{text} {files}");
        }
    }

    #[test]
    fn an_item_falls_to_one_shard_whatever_else_there_is() {
        for (word, read) in
            [("1/1", true), ("4/4", true), ("0/4", false), ("5/4", false), ("1/0", false), ("1", false)]
        {
            assert_eq!(
                Shard::read(word).map(|shard| shard.to_string()),
                read.then(|| word.to_owned()),
                "{word}"
            );
        }
        let falls = |item: &str| -> Vec<u64> {
            (1..=4).filter(|number| Shard { number: *number, of: 4 }.has(item.as_bytes())).collect()
        };
        // Another clinvk, of another version, has to come to the same.
        assert_eq!(["a", "b", "c", "d", "e"].map(falls), [[3], [3], [3], [2], [3]].map(|one| one.to_vec()));
        let shares: Vec<usize> = (1..=4)
            .map(|number| {
                (0..1000).filter(|item| Shard { number, of: 4 }.has(item.to_string().as_bytes())).count()
            })
            .collect();
        assert!(
            shares.iter().sum::<usize>() == 1000 && shares.iter().all(|share| (200..300).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn a_prompt_that_is_the_same_for_all_is_an_error() {
        let checked = |pattern: Pattern| pattern.checked("{}").unwrap_err().to_string();
        let wanted = "the prompt has no `{}`: it would be the same for every item";
        assert_eq!(checked(Pattern::read("Summarise", "{}").unwrap()), wanted);
        let file = PromptFile::read("Review.", "p.md".to_owned()).unwrap();
        assert_eq!(checked(Pattern::within(Pattern::read("x", "{}").ok(), &file, "")), wanted);
        assert!(Pattern::read("Summarise", "").is_err());
    }

    #[test]
    fn a_base_is_a_name_without_its_extension() {
        for (item, expected) in
            [("a/b.c", "b"), ("b", "b"), (".hidden", ".hidden"), ("a/b.c/", "b"), ("", ""), ("/", "")]
        {
            assert_eq!(base(item), expected, "{item}");
        }
    }
}
