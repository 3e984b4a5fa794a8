//! A prompt that is kept in a file: a text with variables, and in front of it, where the file begins with a line `---`, the
//! options of its run as one JSON object, the same as a task's. Finds no file and reads none.

use super::plan::wrong;
use super::template::Template;
use crate::base::json;
use crate::engine::request::Request;
use crate::model::error::Error;
use crate::model::fields::Object;

/// The line before the front part, and the one behind it.
const FENCE: &str = "---";
/// The variable that stands for what would be the prompt without the file.
pub(crate) const INPUT: &str = "input";

/// A prompt from a file.
#[derive(Debug, Clone)]
pub(crate) struct PromptFile {
    /// What the file is called in messages.
    pub(crate) name: String,
    /// What its front part says.
    pub(crate) options: Request,
    /// The first line of its text.
    pub(crate) first_line: String,
    template: Template,
}

impl PromptFile {
    /// Reads the text of a file. `name`: what the file is called in messages.
    pub(crate) fn read(text: &str, name: String) -> Result<PromptFile, Error> {
        let (options, text) = parts(text, &name)?;
        // An editor ends the last line; the prompt does not end with it.
        let text = text.trim_end();
        let first_line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let knows = |variable: &str| match variable {
            "" => Err("a variable needs a name: a literal `{{` is `{{{{`".to_owned()),
            _ => Ok(()),
        };
        let template = Template::read(text, knows).map_err(|why| Error::Invalid(format!("{name}: {why}")))?;
        Ok(PromptFile { options, first_line: first_line.to_owned(), template, name })
    }

    /// Its variables, each once, in the order in which they stand there.
    pub(crate) fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.template.variables() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The same with a value in place of a variable.
    pub(crate) fn with(self, variable: &str, value: &str) -> PromptFile {
        PromptFile { template: self.template.put(variable, &Template::literal(value)), ..self }
    }

    /// It is no prompt without an input.
    pub(crate) fn needs_input(&self) -> bool {
        self.template.is_empty() || self.has(INPUT)
    }

    /// The variable is in it.
    pub(super) fn has(&self, variable: &str) -> bool {
        self.template.variables().any(|name| name == variable)
    }

    /// Its text with the input where that belongs: in place of its variable, or behind the text.
    pub(super) fn around(&self, input: Template) -> Template {
        let text = self.template.clone();
        match () {
            () if self.has(INPUT) => text.put(INPUT, &input),
            () if input.is_empty() => text,
            () => text.and(input),
        }
    }

    /// The prompt with this input, which may be empty.
    pub(crate) fn fill(&self, input: &str) -> String {
        self.around(Template::literal(input)).expand(|_| None)
    }
}

/// The options in the front part, and the text.
pub(super) fn parts<'t>(text: &'t str, name: &str) -> Result<(Request, &'t str), Error> {
    Ok(match front(text, name)? {
        None => (Request::default(), text),
        Some((front, body)) => (options(front, name)?, body.trim_start_matches(['\r', '\n'])),
    })
}

/// The front part and the text behind it, where there is a front part. It begins right behind the first fence, so that its
/// lines have the numbers that they have in the file.
fn front<'t>(text: &'t str, name: &str) -> Result<Option<(&'t str, &'t str)>, Error> {
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == FENCE) else { return Ok(None) };
    let mut end = first.len();
    for line in lines {
        if line.trim_end() == FENCE {
            return Ok(Some((&text[FENCE.len()..end], &text[end + line.len()..])));
        }
        end += line.len();
    }
    let why =
        "the front part that begins here has no line `---` behind it (an empty line before it makes it text)";
    Err(Error::Invalid(format!("{name}:1: {why}")))
}

fn options(front: &str, name: &str) -> Result<Request, Error> {
    let start = front.len() - front.trim_start().len();
    if !front[start..].starts_with('{') {
        let line = 1 + front[..start].matches('\n').count();
        let sentence = "the front part is one JSON object with the fields of a task: {\"model\": \"fast\"}";
        return Err(Error::Invalid(format!("{name}:{line}: {sentence}")));
    }
    let Object(options) = json::from_str::<Object<Request>>(front).map_err(|error| wrong(name, &error))?;
    match options.prompt {
        Some(_) => Err(Error::Invalid(format!(
            "{name}: a front part has no field `prompt`: the prompt is the text below it"
        ))),
        None => Ok(options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PromptFile, String> {
        PromptFile::read(text, "p.md".to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_a_text_and_the_options_in_front_of_it() {
        for (text, model, filled) in [
            ("Review this.\n", None, "Review this.\n\nI"),
            ("Review:\n{{input}}\nBriefly.\n", None, "Review:\nI\nBriefly."),
            ("<{{ input }}{{input}}> {{{{input}}", None, "<II> {{input}}"),
            ("---\n{\"model\": \"m\"}\n---\n\nReview.\n\nAll.\n", Some("m"), "Review.\n\nAll.\n\nI"),
            ("--- \r\n{\"model\":\r\n\"m\"}\r\n---\r\n\r\n{{input}}!\r\n", Some("m"), "I!"),
            ("---\n{}\n---", None, "I"),
            ("---\n{\"model\": \"m\"}\n---\n", Some("m"), "I"),
            ("", None, "I"),
            // Only a first line begins a front part.
            ("\n---\n{}\n---\n", None, "\n---\n{}\n---\n\nI"),
            ("----\na\n---\n", None, "----\na\n---\n\nI"),
        ] {
            let file = read(text).unwrap();
            assert_eq!((file.options.model.as_deref(), file.fill("I").as_str()), (model, filled), "{text:?}");
        }
        assert_eq!(read("Review.").unwrap().fill(""), "Review.");
        assert_eq!(read("<{{input}}>").unwrap().fill("{{input}} {{{{ {{x}}"), "<{{input}} {{{{ {{x}}>");
    }

    #[test]
    fn variables_are_listed_once_and_filled_in_one_pass() {
        let file = read("{{lang}} {{input}} {{lang}} {{ style }}").unwrap();
        assert_eq!(file.variables(), ["lang", "input", "style"]);
        let file = file.with("lang", "{{style}}").with("style", "{{{{");
        assert_eq!(
            (file.fill("I"), file.variables()),
            ("{{style}} I {{style}} {{{{".to_owned(), vec!["input"])
        );
        assert!(file.needs_input() && read("---\n{}\n---\n").unwrap().needs_input());
        assert!(!read("Review.").unwrap().needs_input());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_place() {
        for (text, error) in [
            ("---\n{\"modle\": 1}\n---\nx", "p.md:2:8: unknown field `modle`: did you mean `model`?"),
            (
                "---\n{\n  \"approval\": \"nome\"\n}\n---\nx",
                "p.md:4:1: `approval`: unknown word `nome`: did you mean `none`?",
            ),
            ("---\n\n{\"model\": }\n---\nx", "p.md:3:11: `model`: expected value"),
            ("---\n{\"model\": \"a\"\n---\nx", "p.md:3:0: EOF while parsing an object"),
            (
                "---\n\nmodel: fast\n---\nx",
                "p.md:3: the front part is one JSON object with the fields of a task: {\"model\": \"fast\"}",
            ),
            (
                "---\ntext",
                "p.md:1: the front part that begins here has no line `---` behind it (an empty line before it makes it text)",
            ),
            (
                "---\n{\"prompt\": \"x\"}\n---\nx",
                "p.md: a front part has no field `prompt`: the prompt is the text below it",
            ),
            ("a {{b", "p.md: `{{b` has no `}}` behind it: a literal `{{` is `{{{{`"),
            ("a {{ }}", "p.md: `{{}}`: a variable needs a name: a literal `{{` is `{{{{`"),
        ] {
            assert_eq!(read(text).map(drop), Err(error.to_owned()), "{text:?}");
        }
    }
}
