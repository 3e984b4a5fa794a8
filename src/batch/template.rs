//! Texts with variables: `{{name}}`. Expanded in one pass, so that what is put in is never looked at again; `{{{{` is a
//! literal `{{`.

use crate::model::error::Error;
use crate::session::shorten;

/// A text with variables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template(pub(super) Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads a text with variables. `knows` says whether there is a variable of that name, and if not, why.
    pub fn read(text: &str, knows: impl Fn(&str) -> Result<(), String>) -> Result<Template, Error> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(start) = rest.find("{{") {
            literal.push_str(&rest[..start]);
            let behind = &rest[start + 2..];
            if let Some(behind) = behind.strip_prefix("{{") {
                literal.push_str("{{");
                rest = behind;
                continue;
            }
            let Some(end) = behind.find("}}") else {
                let sentence = format!(
                    "`{{{{{}` has no `}}}}` behind it: a literal `{{{{` is `{{{{{{{{`",
                    shorten(behind, 40)
                );
                return Err(Error::Invalid(sentence));
            };
            let name = behind[..end].trim();
            knows(name).map_err(|why| Error::Invalid(format!("`{{{{{}}}}}`: {why}", shorten(name, 60))))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = &behind[end + 2..];
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Ok(Template(parts))
    }

    /// A text in which nothing is a variable.
    pub(crate) fn literal(text: impl Into<String>) -> Template {
        Template(vec![Part::Text(text.into())])
    }

    /// A variable alone.
    pub(crate) fn variable(name: &str) -> Template {
        Template(vec![Part::Variable(name.to_owned())])
    }

    /// The same with another text in place of one of its variables. What is put in is not looked at again.
    pub(crate) fn put(self, name: &str, other: &Template) -> Template {
        let parts = self.0.into_iter().flat_map(|part| match part {
            Part::Variable(variable) if variable == name => other.0.clone(),
            part => vec![part],
        });
        Template(parts.collect())
    }

    /// The same with another text behind it, after a blank line.
    pub(crate) fn and(mut self, other: Template) -> Template {
        if !self.is_empty() {
            self.0.push(Part::Text("\n\n".to_owned()));
        }
        self.0.extend(other.0);
        self
    }

    /// There is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(text) if text.is_empty()))
    }

    /// The variables in it, as often as they stand there.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with the values of its variables. One that has no value stays as it was written.
    pub fn expand<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(name) => match value(name) {
                    Some(value) => text.push_str(value),
                    None => text.extend(["{{", name, "}}"]),
                },
            }
        }
        text
    }
}

/// The name in `{{name.output}}`.
pub(crate) fn output_of(variable: &str) -> Option<&str> {
    variable.strip_suffix(".output").map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let known = |name: &str| match name {
            "a" | "a.output" => Ok(()),
            _ => Err("unknown".to_owned()),
        };
        let value = |name: &str| (name == "a").then_some("{{a}} {{{{");
        Template::read(text, known).map(|template| template.expand(value)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_is_expanded_in_one_pass() {
        for (text, expanded) in [
            ("", ""),
            ("plain { } }}", "plain { } }}"),
            ("{{a}}", "{{a}} {{{{"),
            ("<{{ a }}{{a}}>", "<{{a}} {{{{{{a}} {{{{>"),
            ("{{{{a}}", "{{a}}"),
            ("{{{{{{a}}", "{{{{a}} {{{{"),
            ("{{{{{{{{", "{{{{"),
            ("é{{a}}日", "é{{a}} {{{{日"),
            ("{{a.output}}", "{{a.output}}"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_an_error() {
        for (text, error) in [
            ("{{b}}", "`{{b}}`: unknown"),
            ("{{}}", "`{{}}`: unknown"),
            ("x {{a", "`{{a` has no `}}` behind it: a literal `{{` is `{{{{`"),
            ("{{{a}}}", "`{{{a}}`: unknown"),
        ] {
            assert_eq!(expand(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn texts_are_put_into_each_other_and_never_looked_at_again() {
        let read = |text: &str| Template::read(text, |_| Ok(())).unwrap();
        let all = |template: Template| template.expand(|name| (name == "item").then_some("{{a}} I"));
        for (outer, inner, whole) in [
            ("<{{a}}>", Template::literal("{{a}} {{{{"), "<{{a}} {{{{>"),
            ("{{a}}{{ a }} {{{{a}}", Template::literal("x"), "xx {{a}}"),
            ("{{a}} {{item}}", Template::variable("item"), "{{a}} I {{a}} I"),
            ("plain", Template::literal("x"), "plain"),
        ] {
            assert_eq!(all(read(outer).put("a", &inner)), whole, "{outer}");
        }
        assert_eq!(all(read("x").and(Template::variable("item"))), "x\n\n{{a}} I");
        assert_eq!(all(read("").and(Template::literal("y"))), "y");
    }

    #[test]
    fn a_large_value_is_put_in_once() {
        let template = Template::read("<{{a}}>", |_| Ok(())).unwrap();
        let large = "{{a}}".repeat(1 << 20);
        assert_eq!(template.expand(|_| Some(&large)).len(), large.len() + 2);
    }
}
