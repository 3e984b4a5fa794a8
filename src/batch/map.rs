//! One prompt for each item of a list. The list is read as it is worked on, and nothing of it is kept.

use super::once::Job;
use super::{Batch, Course, Folder, Halt, Label, Report, State, Workers, beginning, work};
use crate::engine::request::Request;
use crate::exec::Cancel;
use crate::model::error::Error;

/// A prompt with places for an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern(Vec<Placeholder>);

#[derive(Debug, Clone, PartialEq)]
enum Placeholder {
    Text(String),
    Item,
    Number,
    Base,
}

impl Pattern {
    /// Reads a prompt: `place` stands for the item, `{n}` for its number from 1, `{base}` for its file name without
    /// directory and extension. Other braces are only braces.
    pub fn read(text: &str, place: &str) -> Result<Pattern, Error> {
        if place.is_empty() {
            return Err(Error::Invalid("what stands for the item (`-I`) is empty".to_owned()));
        }
        let marks = [(place, Placeholder::Item), ("{n}", Placeholder::Number), ("{base}", Placeholder::Base)];
        let (mut parts, mut rest) = (Vec::new(), text);
        let first = |rest: &str| {
            let found = marks.iter().filter_map(|(mark, part)| Some((rest.find(mark)?, *mark, part.clone())));
            // Of two that begin in the same place, the first of the list.
            found.min_by_key(|(at, ..)| *at)
        };
        while let Some((at, mark, part)) = first(rest) {
            parts.extend([Placeholder::Text(rest[..at].to_owned()), part]);
            rest = &rest[at + mark.len()..];
        }
        if parts.is_empty() {
            let sentence = format!("the prompt has no `{place}`: it would be the same for every item");
            return Err(Error::Invalid(sentence));
        }
        parts.push(Placeholder::Text(rest.to_owned()));
        Ok(Pattern(parts))
    }

    /// The prompt for an item. What is put in is not looked at again.
    pub fn fill(&self, item: &str, number: usize) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Placeholder::Text(literal) => text.push_str(literal),
                Placeholder::Item => text.push_str(item),
                Placeholder::Number => text.push_str(&number.to_string()),
                Placeholder::Base => text.push_str(base(item)),
            }
        }
        text
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

/// The next item and its place from 0, or what is wrong with it; none at the end of the list. Asked by one worker after
/// the other; an error ends the batch. It waits no longer than until the switch is thrown.
pub type Items<'a> = dyn Fn(&Cancel) -> Result<Option<(usize, Result<String, String>)>, Error> + Sync + 'a;

impl Batch<'_> {
    /// Runs a prompt for each item, so many at once.
    ///
    /// # Errors
    /// When the folder cannot be written before anything runs. What goes wrong with an item is its result.
    pub fn map(
        &self,
        pattern: &Pattern,
        items: &Items<'_>,
        workers: Workers,
        fail_fast: bool,
        folder: Option<&Folder>,
    ) -> Result<Report, Error> {
        let course = Course::begin(self, folder, None)?;
        work(workers.0, &|| {
            let (index, item) = match items(&course.branch) {
                Ok(Some(next)) if !course.branch.is_thrown() => next,
                Ok(_) => return false,
                Err(error) => {
                    course.stop(Halt::Broken(error));
                    return false;
                }
            };
            let (item, problem) = match item {
                Ok(item) => (item, None),
                Err(problem) => (String::new(), Some(problem)),
            };
            let prompt = pattern.fill(&item, index + 1);
            let label = Label {
                index,
                item: Some(item),
                backend: self.backend_of(&Request::default()),
                model: self.given.model.clone(),
                prompt: beginning(&prompt),
                ..Label::default()
            };
            let finished = course.run(label, || match problem {
                Some(problem) => Err(Error::Invalid(problem)),
                None => {
                    let request = Request { prompt: Some(prompt.into()), ..Request::default() };
                    Ok(Job { request, ..Job::default() })
                }
            });
            if fail_fast && finished.state == State::Failed {
                course.stop(Halt::Failed(finished.label.title().to_owned()));
            }
            course.conclude(finished);
            true
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
    fn a_prompt_that_is_the_same_for_all_is_an_error() {
        let error = Pattern::read("Summarise", "{}").unwrap_err().to_string();
        assert_eq!(error, "the prompt has no `{}`: it would be the same for every item");
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
