//! An answer that is being read. Its head, chunks, lines and silences have bounds, and one that ends too soon is an error.

use super::address::{Address, Socket};
use super::{is_thrown, wait};
use crate::base::sys::Watch;
use crate::exec::Cancel;
use crate::model::error::Error;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

/// How many bytes a second it has to send beyond that.
const SLOWEST: u64 = 1 << 10;
/// How much is read at once.
const READ: usize = 64 << 10;
/// Most bytes of a head, and of what may stand behind the last chunk.
const MOST_HEAD: usize = 64 << 10;
/// Most bytes of the line that says how long a chunk is.
const MOST_SIZE: usize = 1 << 10;
/// Most bytes of an answer that comes whole, and of a line of a stream: an answer of 64 MiB with most of it escaped.
const MOST_BODY: usize = 256 << 20;

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rest {
    Nothing,
    Bytes(u64),
    UntilClose,
    /// The line with the length of the next chunk.
    Size,
    /// So much of a chunk.
    Chunk(u64),
    /// The end of the line behind a chunk.
    ChunkEnd,
    /// What stands behind the last chunk, of which so many bytes were read.
    Trailer(usize),
}

/// An answer that is being read.
pub struct Reply {
    address: Address,
    socket: Socket,
    /// What was read and not understood yet.
    raw: Vec<u8>,
    /// What was understood of the body and not handed out yet.
    body: Vec<u8>,
    /// So much of the body was looked through for the end of a line.
    seen: usize,
    rest: Rest,
    /// The server has closed the connection.
    is_over: bool,
    pace: Pace,
    pub(crate) status: u16,
    /// The body is one JSON value.
    pub(crate) is_json: bool,
}

/// What there is of a stream.
#[derive(Debug, PartialEq)]
pub enum Next {
    Line(String),
    /// A moment has passed, the switch was thrown, or the server says that it is alive.
    Nothing,
    End,
}

impl Reply {
    /// One of which nothing has come. `silence`: how long the server may be silent while it owes us something.
    pub(super) fn begin(address: Address, socket: Socket, silence: Duration) -> Reply {
        Reply {
            address,
            socket,
            raw: Vec::new(),
            body: Vec::new(),
            seen: 0,
            rest: Rest::Nothing,
            is_over: false,
            pace: Pace { silence, since: Instant::now(), bytes: 0 },
            status: 0,
            is_json: false,
        }
    }

    /// The next line that is not empty. Waits a moment for it, or until the switch is thrown. `is_patient`: the server may
    /// be silent for as long as it likes.
    pub fn line(&mut self, cancel: &Cancel, is_patient: bool) -> Result<Next, Error> {
        loop {
            if let Some(end) = self.body[self.seen..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.body.drain(..=self.seen + end).collect();
                self.seen = 0;
                (self.pace.since, self.pace.bytes) = (Instant::now(), 0);
                let line = String::from_utf8(line)
                    .map_err(|_| self.address.failed("it sent a line that is not valid UTF-8"))?;
                // An empty one is a sign of life, of which many may come.
                return Ok(if line.trim().is_empty() { Next::Nothing } else { Next::Line(line) });
            }
            self.seen = self.body.len();
            if self.rest == Rest::Nothing {
                return match self.body.iter().all(u8::is_ascii_whitespace) {
                    true => Ok(Next::End),
                    false => Err(self.cut()),
                };
            }
            if !self.more(Some(cancel), is_patient)? {
                return Ok(Next::Nothing);
            }
        }
    }

    /// The whole body.
    pub fn whole(mut self) -> Result<Vec<u8>, Error> {
        while self.rest != Rest::Nothing {
            self.more(None, false)?;
        }
        Ok(self.body)
    }

    /// Nothing came of it at all, and nothing will.
    pub(super) fn is_silent(&self) -> bool {
        self.pace.bytes == 0 && !self.pace.is_too_slow()
    }

    fn cut(&self) -> Error {
        self.address.failed("its answer broke off")
    }

    /// Reads some more of the body; says no where nothing came for a moment.
    fn more(&mut self, cancel: Option<&Cancel>, is_patient: bool) -> Result<bool, Error> {
        if !self.read(cancel, is_patient)? {
            return Ok(false);
        }
        self.understand().map_err(|what| self.address.failed(format!("its answer is no HTTP: {what}")))?;
        if self.body.len() > MOST_BODY {
            return Err(self.address.failed(format!("its answer has more than {} MiB", MOST_BODY >> 20)));
        }
        if self.is_over && !matches!(self.rest, Rest::Nothing) {
            return Err(self.cut());
        }
        Ok(true)
    }

    /// Reads what has come, and waits a moment for it.
    fn read(&mut self, cancel: Option<&Cancel>, is_patient: bool) -> Result<bool, Error> {
        let broke = |error: io::Error| self.address.failed(format!("the connection to it broke: {error}"));
        if !is_patient && self.pace.is_too_slow() {
            return Err(self.address.failed(self.pace.problem()));
        }
        if !wait(Watch::readable(self.socket.fd()), cancel).map_err(broke)? {
            return Ok(false);
        }
        let before = self.raw.len();
        self.raw.resize(before + READ, 0);
        let read = (&self.socket).read(&mut self.raw[before..]);
        self.raw.truncate(before + read.as_ref().map_or(0, |read| *read));
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(broke(error)),
            Ok(read) => {
                self.is_over = read == 0;
                self.pace.bytes += read as u64;
            }
        }
        Ok(true)
    }

    /// Takes out of the raw bytes what is of the body.
    fn understand(&mut self) -> Result<(), &'static str> {
        loop {
            let before = (self.raw.len(), self.rest);
            match self.rest {
                Rest::Nothing => self.raw.clear(),
                Rest::UntilClose => {
                    self.body.append(&mut self.raw);
                    if self.is_over {
                        self.rest = Rest::Nothing;
                    }
                }
                Rest::Bytes(left) => {
                    let left = self.take(left);
                    self.rest = if left == 0 { Rest::Nothing } else { Rest::Bytes(left) };
                }
                Rest::Chunk(left) => {
                    let left = self.take(left);
                    self.rest = if left == 0 { Rest::ChunkEnd } else { Rest::Chunk(left) };
                }
                Rest::Size => {
                    let Some(line) = self.raw_line(MOST_SIZE)? else { return Ok(()) };
                    let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                    self.rest = match hex(size).ok_or("a chunk has no length")? {
                        0 => Rest::Trailer(0),
                        size => Rest::Chunk(size),
                    };
                }
                Rest::ChunkEnd => match self.raw_line(MOST_SIZE)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => self.rest = Rest::Size,
                    Some(_) => return Err("a chunk is longer than it says"),
                },
                Rest::Trailer(read) => match self.raw_line(MOST_HEAD)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => self.rest = Rest::Nothing,
                    Some(line) if read + line.len() > MOST_HEAD => return Err("it does not end"),
                    Some(line) => self.rest = Rest::Trailer(read + line.len()),
                },
            }
            if before == (self.raw.len(), self.rest) {
                return Ok(());
            }
        }
    }

    /// Moves as much to the body, as far as it is there; returns what is left.
    fn take(&mut self, left: u64) -> u64 {
        let there = usize::try_from(left).unwrap_or(usize::MAX).min(self.raw.len());
        self.body.extend(self.raw.drain(..there));
        left - there as u64
    }

    /// A line of the raw bytes without its end, where it is there as a whole.
    fn raw_line(&mut self, most: usize) -> Result<Option<Vec<u8>>, &'static str> {
        let Some(end) = self.raw.iter().position(|byte| *byte == b'\n') else {
            return if self.raw.len() > most { Err("a line does not end") } else { Ok(None) };
        };
        let mut line: Vec<u8> = self.raw.drain(..=end).take(end).collect();
        if line.ends_with(b"\r") {
            line.pop();
        }
        Ok(Some(line))
    }

    pub(super) fn read_head(&mut self, cancel: Option<&Cancel>) -> Result<(), Error> {
        let no_http = |what: &str| format!("its answer is no HTTP: {what}");
        loop {
            let mut lines = Vec::new();
            let mut length = 0;
            loop {
                match self.raw_line(MOST_HEAD).map_err(|what| self.address.failed(no_http(what)))? {
                    Some(line) if line.is_empty() && !lines.is_empty() => break,
                    Some(line) if line.is_empty() => {
                        return Err(self.address.failed(no_http("it has no status")));
                    }
                    Some(line) => {
                        length += line.len();
                        lines.push(String::from_utf8_lossy(&line).into_owned());
                    }
                    None if self.is_over => return Err(self.cut()),
                    None if is_thrown(cancel) => return Err(Error::Cancelled),
                    None => _ = self.read(cancel, false)?,
                }
                if length > MOST_HEAD {
                    return Err(self.address.failed(no_http("its head does not end")));
                }
            }
            self.understand_head(&lines).map_err(|what| self.address.failed(no_http(what)))?;
            // What is said in between is no answer yet.
            if self.status >= 200 {
                break;
            }
        }
        self.understand().map_err(|what| self.address.failed(no_http(what)))
    }

    fn understand_head(&mut self, lines: &[String]) -> Result<(), &'static str> {
        let mut words = lines[0].split(' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
        self.status = status.filter(|_| version.starts_with("HTTP/1.")).ok_or("it has no status")?;
        let (mut length, mut is_chunked) = (None, false);
        for line in &lines[1..] {
            let (name, value) = line.split_once(':').ok_or("a header has no name")?;
            let value = value.trim();
            match &*name.to_ascii_lowercase() {
                "content-length" => {
                    let number: u64 = value.parse().map_err(|_| "its length is no number")?;
                    if length.replace(number).is_some_and(|before| before != number) {
                        return Err("it has two lengths");
                    }
                }
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => is_chunked = true,
                "transfer-encoding" => return Err("its transfer encoding is unknown"),
                "content-type" => {
                    let kind = value.split(';').next().unwrap_or_default().trim();
                    self.is_json = kind.eq_ignore_ascii_case("application/json");
                }
                _ => {}
            }
        }
        self.rest = match (is_chunked, length) {
            _ if matches!(self.status, 100..200 | 204 | 304) => Rest::Nothing,
            (true, _) => Rest::Size,
            (false, Some(0)) => Rest::Nothing,
            (false, Some(length)) => Rest::Bytes(length),
            (false, None) => Rest::UntilClose,
        };
        Ok(())
    }
}

/// A number of hexadecimal digits, and nothing else.
fn hex(digits: &[u8]) -> Option<u64> {
    let text =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(text, 16).ok()
}

/// Whether a server says what it owes us fast enough: a byte now and then is no sign of life.
struct Pace {
    silence: Duration,
    /// The last line ended, or the request was sent.
    since: Instant,
    /// So much came since then.
    bytes: u64,
}

impl Pace {
    fn is_too_slow(&self) -> bool {
        self.since.elapsed() > self.silence + Duration::from_secs(self.bytes / SLOWEST)
    }

    fn problem(&self) -> String {
        let seconds = self.since.elapsed().as_secs();
        match self.bytes {
            0 => format!("it has said nothing for {seconds} s"),
            bytes => format!("it is too slow: {bytes} bytes in {seconds} s"),
        }
    }
}
