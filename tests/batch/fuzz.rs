//! Templates by chance: what has no variables stays as it is, and what is put in is not looked at.

use crate::util::fuzz::{self, Chance, FEW};
use clinvk::batch::template::Template;

const WORDS: &[&[u8]] = &[
    b"{",
    b"{{",
    b"{{{{",
    b"}",
    b"}}",
    b"{{a}}",
    b"{{ a }}",
    b"{{b.output}}",
    b"{{",
    b"a",
    b" ",
    b"\n",
    "é".as_bytes(),
    b"\xff",
];

#[test]
fn a_template_is_expanded_in_one_pass() {
    let draw = |chance: &mut Chance| {
        fuzz::text(chance, "x {{a}} y {{{{ z {{b.output}}", WORDS, &[b"{{c}}", b"plain"])
    };
    fuzz::target("templates", FEW, draw, |text, _| {
        let Ok(template) = Template::read(text, |_| Ok(())) else { return Ok(()) };
        let unchanged = template.expand(|_| None);
        if !text.contains("{{") && unchanged != *text {
            return Err(format!("{unchanged:?}, without a variable"));
        }
        // What is put in is not looked at again.
        let (short, long) = (template.expand(|_| Some("")), template.expand(|_| Some("{{a}}")));
        match long.len() - short.len() == 5 * template.variables().count() {
            true => Ok(()),
            false => Err(format!("{short:?}, {long:?}")),
        }
    });
}
