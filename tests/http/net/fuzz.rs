//! Requests that nobody would write: those of the table, changed by chance.

use super::table::{TABLE, long_rows};
use crate::util::fuzz::{self, Bytes, Chance, FEW};
use clinvk::http::net::BodyError;
use clinvk::http::net::body::{Body, Reader};
use clinvk::http::net::head::{self, Halt, MOST_FIELDS, Request};
use std::io::{self, Read};

/// What has a meaning somewhere in a request.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"*",
    b"/",
    b"?",
    b"#",
    b"http://x",
    b"\xff",
    b"\x7f",
    b"0",
    b"5",
    b"-1",
    b"+5",
    b"ffffffff",
    b"18446744073709551615",
    b"18446744073709551616",
    b"GET ",
    b"HEAD ",
    b"POST / HTTP/1.1\r\nHost: x\r\n",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT ",
    b" HTTP/1.0",
    b" HTTP/1.1",
    b" HTTP/2.0",
    b"Host: x\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"chunked",
    b"Transfer-Encoding: identity\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"1;a=b\r\nx\r\n",
    b"0\r\nA: b\r\n\r\n",
];

fn changed(chance: &mut Chance, from: &[u8]) -> Vec<u8> {
    let row = TABLE[chance.below(TABLE.len())].1;
    let mut bytes = fuzz::bytes(chance, from, WORDS, &[row]);
    if chance.one_in(200) {
        let part = chance.of_these(&[&b"a"[..], b"A: b\r\n", b"1\r\nx\r\n", b"\r\n", b"0", b"\r"]);
        let to = chance.below(bytes.len() + 1);
        drop(bytes.splice(to..to, part.repeat(chance.below(40_000))));
    }
    bytes
}

/// Bytes that come in pieces.
struct Pieces<'a, F> {
    left: &'a [u8],
    next: F,
}

impl<F: FnMut() -> usize> Read for Pieces<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = (self.next)().min(buffer.len());
        let read = (&self.left[..size.min(self.left.len())]).read(buffer)?;
        self.left = &self.left[read..];
        Ok(read)
    }
}

/// One request as it was read, and where it ended.
#[derive(Debug, Clone, PartialEq)]
struct Read1 {
    request: Request,
    body: Result<Vec<u8>, BodyError>,
    end: usize,
}

/// Reads requests as a connection does, up to the first that has no end.
fn read(bytes: &[u8], most: usize, next: impl FnMut() -> usize) -> (Vec<Read1>, Option<Halt>) {
    let mut reader = Reader::new(Pieces { left: bytes, next });
    let mut all = Vec::new();
    loop {
        let request = match head::read(&mut reader) {
            Ok(request) => request,
            Err(halt) => return (all, Some(halt)),
        };
        let body = Body::new(request.length).read(&mut reader, most, |_| true);
        let end = bytes.len() - reader.source().left.len() - reader.held().len();
        let broken = body.is_err();
        all.push(Read1 { request, body, end });
        if broken {
            return (all, None);
        }
    }
}

/// What must be true of whatever is let in.
fn check(bytes: &[u8], start: usize, read: &Read1, most: usize) -> Result<(), &'static str> {
    let Read1 { request: Request { head, length, .. }, body, .. } = read;
    let must = |is: bool, what| if is { Ok(()) } else { Err(what) };
    let raw = &bytes[start..];
    let raw = &raw[..raw.windows(4).position(|part| part == b"\r\n\r\n").ok_or("no end of the head")?];
    let whole_line_ends = raw.iter().enumerate().all(|(at, byte)| match byte {
        b'\n' => at > 0 && raw[at - 1] == b'\r',
        b'\r' => raw.get(at + 1) == Some(&b'\n'),
        0..=8 | 11..=31 | 127 => false,
        _ => true,
    });
    must(whole_line_ends, "a head with control characters was let in")?;
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    must(word(&head.method), "the method")?;
    must(head.path.starts_with('/') || head.path == "*", "the path")?;
    let target = || head.path.bytes().chain(head.query.bytes());
    must(target().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "the target")?;
    must(!head.path.contains('?'), "a query in the path")?;
    must(head.headers.len() <= MOST_FIELDS, "the count of fields")?;
    must(head.headers.iter().all(|(name, _)| word(name) && name.to_lowercase() == *name), "a name")?;
    must(head.headers.iter().all(|(_, value)| value.trim_ascii() == value), "space around a value")?;
    must(head.all("host").count() == 1 || !head.http11 && head.get("host").is_none(), "Host")?;
    let (coded, lengths) =
        (head.get("transfer-encoding").is_some(), head.all("content-length").collect::<Vec<_>>());
    must(coded == length.is_none() && (!coded || lengths.is_empty()), "two framings")?;
    let said = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    must(lengths.iter().all(|text| said(text) == *length && !text.starts_with(b"+")), "the length")?;
    if let Ok(body) = body {
        must(body.len() <= most, "more body than is wanted")?;
        must(length.is_none_or(|length| length == body.len() as u64), "another length than was said")?;
        must(body.capacity() <= 2 * body.len() + (1 << 10), "more memory than came")?;
    }
    Ok(())
}

fn drawn(chance: &mut Chance, long: &[Vec<u8>]) -> Vec<u8> {
    let from = match chance.below(100) {
        0 => long[chance.below(long.len())].as_slice(),
        _ => TABLE[chance.below(TABLE.len())].1,
    };
    changed(chance, from)
}

fn try_case(bytes: &[u8], chance: &mut Chance) -> Result<(), String> {
    let most = chance.of_these(&[0, 4, 5, 100, 1 << 20]);
    let seen = read(bytes, most, || usize::MAX);
    let show = |what: &str| format!("{what}: at most {most} of {:?}", String::from_utf8_lossy(bytes));
    // However the bytes come.
    let largest = chance.of_these(if bytes.len() < 2000 { &[1, 2, 7, 100] } else { &[100, 1000, 5000] });
    let in_pieces = read(bytes, most, || 1 + chance.below(largest));
    if in_pieces != seen {
        return Err(show(&format!("in pieces of up to {largest}: {in_pieces:?}, at once: {seen:?}")));
    }
    let mut start = 0;
    for (number, one) in seen.0.iter().enumerate() {
        check(bytes, start, one, most).map_err(show)?;
        start = one.end;
        if one.body.is_ok() {
            // All of what it needs, and nothing of what follows.
            let (alone, _) = read(&bytes[..one.end], most, || usize::MAX);
            if alone != seen.0[..=number] {
                return Err(show("what follows makes a difference"));
            }
            let (short, halt) = read(&bytes[..one.end - 1], most, || usize::MAX);
            let is_open = match short.get(number) {
                Some(short) => short.body == Err(BodyError::Gone),
                None => halt == Some(Halt::Gone),
            };
            if !is_open {
                return Err(show("its last byte makes no difference"));
            }
        }
    }
    Ok(())
}

#[test]
fn whatever_comes_is_read_in_one_way_only() {
    let long: Vec<Vec<u8>> =
        long_rows().into_iter().map(|row| row.1).filter(|bytes| bytes.len() <= 100_000).collect();
    fuzz::target(
        "requests",
        FEW,
        |chance| Bytes(drawn(chance, &long)),
        |bytes, chance| try_case(&bytes.0, chance),
    );
}

/// A fuzzer that never gets anything in, or everything, finds nothing.
#[test]
fn the_changed_requests_are_a_good_mixture() {
    let (mut let_in, mut refused, mut open) = (0, 0, 0);
    for case in 0..1000 {
        let mut chance = Chance::of(0, case);
        let from = TABLE[chance.below(TABLE.len())].1;
        let (requests, halt) = read(&changed(&mut chance, from), 1 << 20, || usize::MAX);
        let_in += usize::from(requests.iter().any(|one| one.body.is_ok()));
        refused += usize::from(matches!(halt, Some(Halt::Refused(_))));
        open += usize::from(halt == Some(Halt::Gone));
    }
    assert!(let_in > 150 && refused > 150 && open > 150, "{let_in}, {refused}, {open}");
}
