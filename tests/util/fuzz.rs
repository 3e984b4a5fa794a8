//! Inputs by chance, the same ones each time, for what has to stand whatever comes. `make check` tries 20,000 for each target, and
//! fewer of those that take too long; `make fuzz N=1000000 SEED=7` goes on where it ends.

use serde_json::{Map, Number, Value, json};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How many cases of a target `make check` tries.
pub const FEW: u64 = 20_000;

/// After this a case is one that never ends.
const ENDLESS: Duration = Duration::from_secs(120);

/// Tries the cases of a target: `make` draws an input, `hold` says what does not hold of it. A failure names what makes it happen
/// again. `few`: as many are tried where no number is asked for, fewer than `FEW` where a debug build takes too long: all targets
/// together are to take a minute of processor time.
#[track_caller]
#[allow(clippy::print_stdout, clippy::print_stderr)] // its speed is its output, and a hang has no other way to be told
pub fn target<I: Debug>(
    name: &str,
    few: u64,
    make: impl Fn(&mut Chance) -> I,
    hold: impl Fn(&I, &mut Chance) -> Result<(), String>,
) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = number("CLINVK_FUZZ_SEED").unwrap_or(0);
    let cases = match number("CLINVK_FUZZ_CASE") {
        Some(case) => case..case + 1,
        None => 0..number("CLINVK_FUZZ").unwrap_or(few),
    };
    let (count, since, done) = (cases.end - cases.start, Instant::now(), AtomicU64::new(cases.start));
    let again = |case: u64| format!("`{name}`, seed {seed}, case {case}");
    let (done, again) = (&done, &again);
    let (all_done, watched) = mpsc::channel::<()>();
    thread::scope(|threads| {
        let all_done = all_done;
        threads.spawn(move || {
            let mut last = u64::MAX;
            while watched.recv_timeout(ENDLESS) == Err(RecvTimeoutError::Timeout) {
                let now = done.load(Ordering::Relaxed);
                if now == last {
                    eprintln!("{}: it does not end", again(now));
                    std::process::abort();
                }
                last = now;
            }
        });
        for case in cases {
            done.store(case, Ordering::Relaxed);
            let mut chance = Chance::of(seed, case);
            let input = make(&mut chance);
            let held = catch_unwind(AssertUnwindSafe(|| hold(&input, &mut chance)));
            if let Err(what) = held.unwrap_or_else(|_| Err("a panic, see above".to_owned())) {
                drop(all_done);
                panic!(
                    "{}: {what}\ninput: {input:?}\nagain: make fuzz SEED={seed} CASE={case} TEST={test}",
                    again(case)
                );
            }
        }
        drop(all_done);
    });
    let seconds = since.elapsed().as_secs_f64();
    println!("fuzz: {name}: {count} cases in {seconds:.1} s, {:.0} a second", count as f64 / seconds);
}

/// Bytes that are shown as a literal of Rust.
pub struct Bytes(pub Vec<u8>);

impl Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Numbers by chance, always the same ones (splitmix64 for the start, then xorshift).
pub struct Chance(u64);

impl Chance {
    /// Those of one case.
    pub fn of(seed: u64, case: u64) -> Chance {
        let mut mixed = seed.wrapping_mul(0xd134_2543_de82_ef95)
            ^ case.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Chance((mixed ^ mixed >> 31).max(1))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }

    /// Once in so many times.
    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn of_these<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// A part of something that is so long.
    pub fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(40) + 1)
    }
}

/// Changes bytes in up to three places. `words` have a meaning where they are read; `others` are further inputs of the kind.
pub fn bytes(chance: &mut Chance, from: &[u8], words: &[&[u8]], others: &[&[u8]]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..chance.below(4) {
        let range = chance.range(bytes.len());
        let at = range.start;
        match chance.below(7) {
            0 => drop(bytes.splice(range, chance.of_these(words).iter().copied())),
            1 => drop(bytes.splice(at..at, chance.of_these(words).iter().copied())),
            2 => drop(bytes.drain(range)),
            3 => {
                let part = bytes[range].to_vec();
                let to = chance.below(bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            5 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            _ => bytes.extend_from_slice(chance.of_these(others)),
        }
    }
    // Now and then something is very long.
    if chance.one_in(50) {
        let part = chance.of_these(words);
        let to = chance.below(bytes.len() + 1);
        drop(bytes.splice(to..to, part.repeat(chance.below(4_000))));
    }
    bytes
}

/// The same of a text.
pub fn text(chance: &mut Chance, from: &str, words: &[&[u8]], others: &[&[u8]]) -> String {
    String::from_utf8_lossy(&bytes(chance, from.as_bytes(), words, others)).into_owned()
}

/// Changes a list, of lines mostly: one is dropped, doubled, moved, changed, the rest is cut off, or another list goes on.
pub fn list<T: Clone>(
    chance: &mut Chance,
    from: &[T],
    other: &[T],
    mut change: impl FnMut(&mut Chance, &mut T),
) -> Vec<T> {
    let mut items = from.to_vec();
    for _ in 0..1 + chance.below(4) {
        if items.is_empty() {
            return other.to_vec();
        }
        let (at, to) = (chance.below(items.len()), chance.below(items.len()));
        match chance.below(16) {
            0 => drop(items.remove(at)),
            1 => items.insert(to, items[at].clone()),
            2 => items.swap(at, to),
            3 => items.truncate(at),
            4 => {
                items.truncate(at);
                items.extend_from_slice(&other[chance.below(other.len() + 1)..]);
            }
            5 => drop(items.splice(at..at, other[chance.range(other.len())].iter().cloned())),
            6 => drop(items.drain(at..at + chance.below(items.len() - at).min(8))),
            _ => change(chance, &mut items[at]),
        }
    }
    items
}

/// Numbers that something may be computed from.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "16",
    "17",
    "-0.0",
    "0.5",
    "1.5",
    "255",
    "256",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "-9223372036854775808",
    "18446744073709551616",
    "1e18",
    "1e19",
    "1e300",
    "-1e300",
    "1e-300",
];

/// Texts that something may be made of.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\n",
    "a",
    "é",
    "😀",
    "\0",
    "\u{1b}[2J",
    "\u{9b}2J",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "..",
    "/",
    "/etc/passwd",
    "~",
    "{",
    "{{",
    "{{prompt}}",
    "[1]",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "9999-12-31T23:59:60Z",
    "0000-00-00T00:00:00Z",
    "1h",
    "99999999999999999999s",
    "data:image/png;base64,iVBORw0KGgo=",
    "data:,",
    "file:///etc/passwd",
    "http://127.0.0.1:1/",
    "$ref",
    "text",
    "user",
    "assistant",
    "system",
    "tool",
    "object",
    "array",
    "image",
    "echo",
    "fast",
    "\u{fffd}",
    "\u{feff}",
    MARK_SURROGATE,
    MARK_NUMBER,
    MARK_NESTED,
    MARK_DOUBLE,
];

/// Stand for what no `Value` can be: `json` puts it in their place.
const MARK_SURROGATE: &str = "\u{e000}";
const MARK_NUMBER: &str = "\u{e001}";
const MARK_NESTED: &str = "\u{e002}";
const MARK_DOUBLE: &str = "\u{e003}";

/// Changes a value somewhere inside. `others` are further values of the kind.
pub fn value(chance: &mut Chance, value: &mut Value, others: &[Value]) {
    let node = node(chance, value);
    let odd = |chance: &mut Chance| match chance.below(8) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(chance.one_in(2)),
        4 | 5 => Value::Number(chance.of_these(NUMBERS).parse::<Number>().expect("a number")),
        _ => json!(chance.of_these(TEXTS)),
    };
    match (chance.below(8), &mut *node) {
        (0, _) => *node = odd(chance),
        (1, _) => *node = json!([node.take()]),
        (2, _) => *node = json!({(chance.of_these(TEXTS)): node.take()}),
        (3, _) if !others.is_empty() => {
            let mut other = others[chance.below(others.len())].clone();
            *node = self::node(chance, &mut other).take();
        }
        (_, Value::Bool(truth)) => *truth = !*truth,
        (_, Value::Number(number)) => *number = chance.of_these(NUMBERS).parse().expect("a number"),
        (4, Value::String(text)) => *text = text.repeat(1 + chance.below(300)),
        (5, Value::String(text)) => *text = text.chars().take(chance.below(text.len() + 1)).collect(),
        (_, Value::String(text)) => *text = chance.of_these(TEXTS).to_owned(),
        (4, Value::Array(items)) if !items.is_empty() => drop(items.remove(chance.below(items.len()))),
        (5, Value::Array(items)) if !items.is_empty() => {
            let item = items[chance.below(items.len())].clone();
            items.resize(items.len() + chance.below(40), item);
        }
        (_, Value::Array(items)) => items.insert(chance.below(items.len() + 1), odd(chance)),
        (4 | 5, Value::Object(members)) if !members.is_empty() => drop(members.remove(&key(chance, members))),
        (6, Value::Object(members)) if !members.is_empty() => {
            let (from, to) = (key(chance, members), key(chance, members));
            members[&to] = members[&from].clone();
        }
        (_, Value::Object(members)) if !members.is_empty() => {
            let name = key(chance, members);
            members[&name] = odd(chance);
        }
        _ => *node = odd(chance),
    }
}

/// One of the values inside of a value, or itself.
fn node<'v>(chance: &mut Chance, value: &'v mut Value) -> &'v mut Value {
    let length = value.as_array().map(Vec::len).or(value.as_object().map(Map::len)).unwrap_or(0);
    if length == 0 || chance.one_in(6) {
        return value;
    }
    let at = chance.below(length);
    let inner = match value {
        Value::Array(items) => items.get_mut(at),
        Value::Object(members) => members.values_mut().nth(at),
        _ => None,
    };
    node(chance, inner.expect("it has as many"))
}

fn key(chance: &mut Chance, members: &Map<String, Value>) -> String {
    members.keys().nth(chance.below(members.len())).expect("it has members").clone()
}

/// A value as a text, with what no value can be in the place of its marks.
pub fn json(value: &Value) -> String {
    let mut text = value.to_string();
    if text.contains(['\u{e000}', '\u{e001}', '\u{e002}', '\u{e003}']) {
        let nested = ["[".repeat(3000), "]".repeat(3000)].concat();
        let whole = |mark: &str| format!("\"{mark}\"");
        text = text.replace(&whole(MARK_NUMBER), "1e999").replace(&whole(MARK_NESTED), &nested);
        text = text.replace(&whole(MARK_DOUBLE), r#"{"a":1,"a":2,"id":1,"id":"x","type":"a","type":"b"}"#);
        text = text.replace(MARK_SURROGATE, r"\ud83d");
    }
    text
}

/// What has a meaning in a text of JSON.
pub const JSON_WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b"null",
    b"true",
    b"1e999",
    b"-",
    b"\\ud83d",
    b"\\u0000",
    b"\\u",
    b"\xff",
    b"\0",
    b"\n",
    b"\r",
    b"\x1b[2J",
    b"\xef\xbb\xbf",
    b" ",
    b"\xe2\x80\xa8",
];

/// Changes a text of JSON: its value in up to three places, or else its bytes.
pub fn json_text(chance: &mut Chance, from: &str, others: &[Value]) -> String {
    // Not `from_str`, which a debug build would compile once more, into this crate.
    match from.parse::<Value>() {
        Ok(mut changed) if !chance.one_in(5) => {
            (0..1 + chance.below(3)).for_each(|_| value(chance, &mut changed, others));
            json(&changed)
        }
        _ => text(chance, from, JSON_WORDS, JSON_WORDS),
    }
}

#[test]
fn the_same_seed_draws_the_same_inputs_and_another_one_others() {
    let from = json!({"a": [1, "text", {"b": null}], "c": true}).to_string();
    let drawn = |seed| -> Vec<String> {
        (0..500).map(|case| json_text(&mut Chance::of(seed, case), &from, &[json!({"d": 2})])).collect()
    };
    let (one, again, other) = (drawn(1), drawn(1), drawn(2));
    let different = one.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(one == again && one != other && different > 250, "{different} of 500: {one:#?}");
}
