//! Texts by chance: whatever they are, reading them is no panic, what is read is what was written, and no terminal obeys what was
//! made safe.

use crate::util::fuzz::{self, Bytes, Chance, FEW};
use clinvk::base::escapes::{Cleaner, Colours};
use clinvk::base::{encoding, json, printable, schema, time};
use clinvk::model::{mcp, retry_after};
use serde_json::{Value, json};

fn holds(is_so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}

const TIMES: &[&str] = &[
    "90s",
    "1h30m",
    "1.5d",
    "2 hours, 5 minutes and 3s",
    "2026-11-22T12:34:56.789Z",
    "1996-02-29t00:00:00+00:00",
    "try again in 1m20.5s.",
    "resets at 2026-11-22T14:00:00Z",
    "Retry-After: 7",
    "9999-12-31T23:59:60Z",
    "0001-01-01T00:00:00Z",
    "99999999999999999999w",
];
const TIME_WORDS: &[&[u8]] = &[
    b"1",
    b"9",
    b"0",
    b".",
    b"..",
    b"-",
    b":",
    b"T",
    b"Z",
    b"h",
    b"ms",
    b"w",
    b" and ",
    b", ",
    b"99999999999999999999",
    b"1e9",
    b"try again in ",
    b"reset at ",
    "é".as_bytes(),
    "İ".as_bytes(),
    b"\xff",
];

#[test]
fn times_are_read_or_they_are_not() {
    let draw = |chance: &mut Chance| {
        let from = chance.of_these(TIMES);
        let other = chance.of_these(TIMES).as_bytes();
        (
            fuzz::text(chance, from, TIME_WORDS, &[other]),
            chance.below(usize::MAX) as u64,
            chance.below(1_000_000_000) as u32,
        )
    };
    fuzz::target("times", FEW, draw, |(text, seconds, nanos), _| {
        if let Some((_, rest)) = time::leading(text) {
            holds(text.ends_with(rest), || format!("`{rest}` is not behind"))?;
        }
        if let Some((moment, rest)) = time::moment(text) {
            let written = time::timestamp((moment, 0));
            holds(
                text.ends_with(rest) && (written.len() > 24 || time::moment(&written) == Some((moment, ""))),
                || format!("{moment} is {written}"),
            )?;
        }
        let _ = (time::duration(text), retry_after::wait_in(text, *seconds));
        let written = time::timestamp((*seconds, *nanos));
        // Years of more than four digits are none in RFC 3339.
        let read = time::moment(&written).map(|(moment, _)| moment);
        holds(written.len() > 24 || read == Some(*seconds), || {
            format!("{seconds} is {written}, which is {read:?}")
        })
    });
}

const SEQUENCES: &[&[u8]] = &[
    b"\x1b",
    b"\x1b[31m",
    b"\x1b[2J",
    b"\x1b[",
    b"\x1b]0;title\x07",
    b"\x1b]52;c;",
    b"\x1b\\",
    b"\x1bP",
    b"\x1b(0",
    b"\x1bc",
    b"\r",
    b"\r\n",
    b"\n",
    b"\t",
    b"\x08",
    b"\x7f",
    b"\x00",
    b"\x07",
    b"\x0e",
    b";",
    b"38:2:1:2:3",
    b"m",
    b"H",
    b"\xc2\x9b",
    b"\xc2\x9d",
    b"\xc2\x85",
    b"\xc2\x90",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\xf3\xa0\x81\x81",
    b"\xff",
    "日😀".as_bytes(),
];

#[test]
fn no_terminal_obeys_what_was_made_safe() {
    let draw = |chance: &mut Chance| {
        let words: Vec<&[u8]> = (0..chance.below(12)).map(|_| chance.of_these(SEQUENCES)).collect();
        let text = fuzz::text(chance, &String::from_utf8_lossy(&words.concat()), SEQUENCES, &[b"plain text"]);
        let cuts: Vec<usize> = (0..chance.below(4)).map(|_| chance.below(text.len() + 1)).collect();
        (text, cuts)
    };
    fuzz::target("escapes", FEW, draw, |(text, cuts), chance| {
        let line = printable::safe(text);
        holds(!line.contains(char::is_control), || format!("a line: {line:?}"))?;
        let lines = printable::safe_lines(text);
        holds(!lines.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)), || {
            format!("lines: {lines:?}")
        })?;
        let quoted = serde_json::to_string(text).expect("a text");
        let quoted = printable::safe_json(quoted);
        holds(!quoted.contains(char::is_control), || format!("JSON: {quoted:?}"))?;
        holds(serde_json::from_str::<String>(&quoted).is_ok_and(|read| read == *text), || {
            format!("JSON: {quoted:?}")
        })?;
        let width = chance.below(40);
        let fit = printable::fit(text, width);
        holds(text.starts_with(fit) && printable::columns(fit) <= width, || {
            format!("{fit:?} in {width} columns")
        })?;
        for has_colours in [true, false] {
            let cleaner = || Cleaner::new(if has_colours { Colours::LeftIn } else { Colours::LeftOut });
            let mut whole = cleaner();
            let cleaned = whole.piece(text) + &whole.end();
            let (mut pieces, mut in_pieces, mut from) = (cleaner(), String::new(), 0);
            let mut ends: Vec<usize> =
                cuts.iter().copied().filter(|cut| text.is_char_boundary(*cut)).collect();
            ends.sort_unstable();
            for end in ends.into_iter().chain([text.len()]) {
                in_pieces += &pieces.piece(&text[from..end]);
                from = end;
            }
            in_pieces += &pieces.end();
            holds(in_pieces == cleaned, || format!("in pieces {in_pieces:?}, else {cleaned:?}"))?;
            let plain = without_colours(&cleaned);
            holds(!plain.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)), || {
                format!("{cleaned:?}")
            })?;
            holds(has_colours || plain == cleaned, || format!("it has colours: {cleaned:?}"))?;
            holds(plain == cleaned || cleaned.contains("\x1b[0m") || cleaned.contains("\x1b[m"), || {
                format!("it stays coloured: {cleaned:?}")
            })?;
        }
        Ok(())
    });
}

/// A text without its sequences for colours: digits, colons and semicolons between `ESC [` and `m`.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| match part.split_once('m') {
        Some((figures, rest))
            if figures.bytes().all(|byte| byte.is_ascii_digit() || b":;".contains(&byte)) =>
        {
            plain + rest
        }
        _ => plain + "\x1b[" + part,
    })
}

#[test]
fn bytes_that_are_written_as_text_come_back() {
    let draw = |chance: &mut Chance| {
        let words: &[&[u8]] = &[
            b"=", b"==", b"A", b"/", b"+", b"%", b"%4", b"%41", b"%zz", b"%C3%A9", b"\n", b" ", b"\xff",
            b"\0",
        ];
        Bytes(fuzz::bytes(chance, b"aGVsbG8gd29ybGQ=", words, &[b"QUJD", b"%e2%82%ac"]))
    };
    fuzz::target("base64 and percent escapes", FEW, draw, |Bytes(bytes), _| {
        let written = encoding::base64(bytes);
        holds(encoding::from_base64(&written).as_ref() == Some(bytes), || {
            format!("{written} does not come back")
        })?;
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
        if let Some(read) = encoding::from_base64(text) {
            holds(encoding::base64(&read) == text, || format!("{read:?} is written otherwise"))?;
        }
        let _ = encoding::percent_decoded(text);
        let escaped = encoding::percent_encoded(text);
        holds(encoding::percent_decoded(&escaped) == text, || format!("{escaped} does not come back"))
    });
}

const JSONS: &[&str] = &[
    r#"{"a":[1,"text",{"b":null}],"c":true,"d":"\ud83d\ude00 \ud83d"}"#,
    r#"{"mcpServers":{"docs":{"command":"x","args":["a"],"env":{"A":"b"}},"web":{"type":"http","url":"https://h/mcp","headers":{"A":"b"}}}}"#,
    "an answer\n```json\n{\"n\": 1}\n```\nwith {\"more\": [1]} of it",
];

#[test]
fn json_is_read_as_it_is_written() {
    let draw = |chance: &mut Chance| {
        let from = chance.of_these(JSONS);
        fuzz::json_text(chance, from, &[json!({"command": "y"}), json!([1, 2])])
    };
    fuzz::target("json", FEW, draw, |text, _| {
        let mended = json::mended(text.as_bytes());
        holds(mended.len() == text.len(), || "what is mended has another length".to_owned())?;
        if let Ok(value) = json::from_str::<Value>(text) {
            let again = json::from_str::<Value>(&value.to_string());
            holds(again.is_ok_and(|again| again == value), || format!("{value} is read otherwise"))?;
        }
        let _ = (json::object_of::<Value>(text), mcp::read(text));
        match schema::json_of(text) {
            Some((part, _)) => holds(text.contains(part), || format!("`{part}` is no part of it")),
            None => Ok(()),
        }
    });
}

const SCHEMAS: &[&str] = &[
    r##"{"type":"object","properties":{"n":{"type":"integer","minimum":0},"t":{"$ref":"#/$defs/tree"}},"required":["n"],"additionalProperties":false,
        "$defs":{"tree":{"type":"object","properties":{"left":{"$ref":"#/$defs/tree"},"right":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]}}}}}"##,
    r##"{"oneOf":[{"const":1},{"enum":["a",null]},{"type":["string","null"],"minLength":1,"maxLength":3,"pattern":"^a"}],"not":{"type":"boolean"}}"##,
    r##"{"type":"array","items":{"allOf":[{"type":"number","multipleOf":0.5},{"exclusiveMaximum":10}]},"minItems":1,"maxItems":3,"uniqueItems":true,
        "prefixItems":[{"type":"integer"}],"contains":{"const":2},"if":{"minItems":2},"then":{"maxItems":2},"else":true}"##,
];

#[test]
fn whatever_a_schema_says_an_answer_follows_it_or_not() {
    let schemas: Vec<Value> = SCHEMAS.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let answers = [json!({"n": 1, "t": {"left": {"left": {}}}}), json!([1, 2.5]), json!("abc"), json!(null)];
    let draw = |chance: &mut Chance| {
        let (mut asked, mut answer) =
            (schemas[chance.below(schemas.len())].clone(), answers[chance.below(answers.len())].clone());
        (0..chance.below(4)).for_each(|_| fuzz::value(chance, &mut asked, &schemas));
        (0..chance.below(3)).for_each(|_| fuzz::value(chance, &mut answer, &answers));
        (asked, answer)
    };
    fuzz::target("schemas", FEW, draw, |(asked, answer), _| match schema::check(asked, answer) {
        Err(why) if why.is_empty() => Err("it does not say why".to_owned()),
        _ => Ok(()),
    });
}
