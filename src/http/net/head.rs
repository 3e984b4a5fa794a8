//! What comes before the body of a request, checked byte by byte: what two programs on the way can read in two ways is a
//! way past one of them, so it is refused. Never repairs anything.

use crate::http::net::body::Reader;
use std::io::{self, Read};

/// The longest head, its empty line included.
pub(crate) const LONGEST_HEAD: usize = 32 << 10;
/// Most header fields, and most trailer fields.
pub const MOST_FIELDS: usize = 100;
pub(crate) const LONGEST_TARGET: usize = 8 << 10;

/// What came before the body, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// As sent: `GET`, `get` and `FOO` are three methods.
    pub method: String,
    /// The target's path as sent, still percent-encoded; `*` for the whole server.
    pub path: String,
    /// What stands behind the `?`, as sent.
    pub query: String,
    /// HTTP/1.1, not 1.0.
    pub http11: bool,
    /// Names in lower case, values as bytes.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first value of that name, which is given in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The same, only when it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_slice())
    }
}

/// A head, and what it means for the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What came before the body.
    pub head: Head,
    /// How long the body is; `None` for one in chunks.
    pub length: Option<u64>,
    /// The client wants to say more on this connection.
    pub(crate) keep_alive: bool,
    /// The client waits for a word before it sends the body.
    pub(crate) expects_continue: bool,
    /// The target names another server than Host does.
    pub(crate) misdirected: bool,
}

/// Why a request is not let in: the connection has no future, because it is not known where the next request begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub(crate) status: u16,
    /// What is wrong.
    pub(crate) message: &'static str,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The client left.
    Gone,
    /// It took too long.
    TimedOut,
    /// It is not let in.
    Refused(Refusal),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refused(refusal)
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        if error.kind() == io::ErrorKind::TimedOut { Halt::TimedOut } else { Halt::Gone }
    }
}

const fn bad(message: &'static str) -> Refusal {
    Refusal { status: 400, message }
}

/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

/// Whether a head has come to its end.
pub(crate) fn is_whole(held: &[u8]) -> bool {
    held.windows(END.len()).any(|part| part == END)
}

/// Reads one head. What follows it stays with the reader.
pub fn read<S: Read>(reader: &mut Reader<S>) -> Result<Request, Halt> {
    let mut searched = 0;
    loop {
        // The limit first: which reads brought the bytes makes no difference then.
        let held = &reader.held()[..reader.held().len().min(LONGEST_HEAD)];
        if let Some(at) = held[searched..].windows(END.len()).position(|part| part == END) {
            let end = searched + at + END.len();
            let request = parse(&held[..end - b"\r\n".len()])?;
            reader.take(end);
            return Ok(request);
        }
        if held.len() == LONGEST_HEAD {
            return Err(Refusal { status: 431, message: "the head is longer than 32 KiB" }.into());
        }
        searched = held.len().saturating_sub(END.len() - 1);
        if reader.fill(Reader::<S>::FOR_A_HEAD)? == 0 {
            return Err(Halt::Gone);
        }
    }
}

/// Reads the lines of a head, the empty one left out.
fn parse(bytes: &[u8]) -> Result<Request, Refusal> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map(whole_line);
    let (method, target, http11) =
        request_line(lines.next().unwrap_or(Err(bad("there is no request line")))?)?;
    let mut headers = Vec::with_capacity(16);
    for line in lines {
        if headers.len() == MOST_FIELDS {
            return Err(Refusal { status: 431, message: "there are more than 100 header fields" });
        }
        headers.push(field(line?).map_err(bad)?);
    }
    let head = Head { method, path: target.path, query: target.query, http11, headers };
    let host = host(&head)?;
    let misdirected = target
        .authority
        .is_some_and(|authority| !host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes())));
    let length = framing(&head)?;
    let expects_continue = match head.get("expect") {
        // A client of 1.0 cannot mean it.
        None => false,
        Some(_) if !http11 => false,
        Some(word) if word.eq_ignore_ascii_case(b"100-continue") => length != Some(0),
        Some(_) => return Err(Refusal { status: 417, message: "Expect may only be `100-continue`" }),
    };
    let says = |word: &str| options(&head).any(|option| option.eq_ignore_ascii_case(word.as_bytes()));
    let keep_alive = !says("close") && (http11 || says("keep-alive"));
    Ok(Request { head, length, keep_alive, expects_continue, misdirected })
}

/// A line without its end, which must be a whole one.
fn whole_line(line: &[u8]) -> Result<&[u8], Refusal> {
    line.strip_suffix(b"\r\n").ok_or(bad("a line ends with LF alone"))
}

struct Target {
    path: String,
    query: String,
    authority: Option<String>,
}

fn request_line(line: &[u8]) -> Result<(String, Target, bool), Refusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(given), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the request line is not `METHOD TARGET VERSION`"));
    };
    if !is_token(method) {
        return Err(bad("the method is no word"));
    }
    let http11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Refusal { status: 505, message: "only HTTP/1.1 and HTTP/1.0 are spoken here" });
        }
        _ => return Err(bad("the request line does not end with a version of HTTP")),
    };
    if given.len() > LONGEST_TARGET {
        return Err(Refusal { status: 414, message: "the target is longer than 8 KiB" });
    }
    Ok((text(method), target(method, given)?, http11))
}

fn target(method: &[u8], given: &[u8]) -> Result<Target, Refusal> {
    if !given.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(bad("the target has bytes that need percent-encoding, or a fragment"));
    }
    let given = text(given);
    if method == b"CONNECT" {
        return Err(bad("CONNECT is not possible here"));
    }
    if given == "*" && method == b"OPTIONS" {
        return Ok(Target { path: given, query: String::new(), authority: None });
    }
    let (authority, rest) = match given.split_once("://") {
        _ if given.starts_with('/') => (None, given.as_str()),
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(rest[..end].to_owned()), &rest[end..])
        }
        _ => return Err(bad("the target is neither a path nor an http URL")),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = if path.is_empty() { "/" } else { path };
    Ok(Target { path: path.to_owned(), query: query.to_owned(), authority })
}

/// One header or trailer field: name in lower case, value.
pub(crate) fn field(line: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a header field has no colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err("the name of a header field is no word");
    }
    if !value.iter().all(|byte| is_value(*byte)) {
        return Err("the value of a header field has control characters");
    }
    Ok((text(name).to_ascii_lowercase(), value.trim_ascii().to_vec()))
}

/// The one Host that a request has; a client of 1.0 may have none.
fn host(head: &Head) -> Result<Option<&[u8]>, Refusal> {
    let mut all = head.all("host");
    match (all.next(), all.next()) {
        (None, _) if head.http11 => Err(bad("there is no Host")),
        (Some(_), Some(_)) => Err(bad("there is more than one Host")),
        (Some(host), None) if !host.iter().all(|byte| is_host(*byte)) => Err(bad("Host is no host")),
        (host, _) => Ok(host),
    }
}

/// How long the body is; `None` for one in chunks.
fn framing(head: &Head) -> Result<Option<u64>, Refusal> {
    let mut lengths = head.all("content-length");
    let length = lengths.next().map(digits).transpose()?;
    for other in lengths {
        if Some(digits(other)?) != length {
            return Err(bad("there are two Content-Lengths"));
        }
    }
    let mut codings = head.all("transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(Some(length.unwrap_or(0))),
        (Some(_), _) if length.is_some() => Err(bad("there are Content-Length and Transfer-Encoding")),
        (Some(_), _) if !head.http11 => Err(bad("Transfer-Encoding does not exist in HTTP/1.0")),
        (Some(b""), _) => Err(bad("Transfer-Encoding is empty")),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(None),
        _ => Err(Refusal { status: 501, message: "Transfer-Encoding may only be `chunked`" }),
    }
}

/// A number without sign, list or doubt.
fn digits(value: &[u8]) -> Result<u64, Refusal> {
    let all = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    all.then(|| text(value).parse().ok()).flatten().ok_or(bad("Content-Length is no number"))
}

/// The words of Connection.
fn options(head: &Head) -> impl Iterator<Item = &[u8]> {
    head.all("connection").flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// A word, as names of headers and methods are.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_of_word)
}

/// May stand in the value of a header. Bytes from 0x80 on are text of some kind.
pub(crate) fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Bytes that have been checked to be ASCII, as text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
