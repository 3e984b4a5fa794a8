//! The bytes of a request: what has been read and not yet used, and the framing of a body. Never holds what was only
//! declared, and never uses a byte of the next request.

use crate::http::net::head::{LONGEST_HEAD, MOST_FIELDS, field, is_value};
use std::io::{self, Read};
use std::ops::Range;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than is wanted.
    TooLarge,
    /// There is no memory for it now (`server.max_memory_bytes`).
    NoRoom,
    /// It did not come in time.
    TimedOut,
    /// Its framing is broken, in this way.
    Malformed(&'static str),
    /// The client left.
    Gone,
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> BodyError {
        if error.kind() == io::ErrorKind::TimedOut { BodyError::TimedOut } else { BodyError::Gone }
    }
}

/// A source of bytes, and those that came and were not used yet.
pub struct Reader<S> {
    source: S,
    buffer: Vec<u8>,
    /// Where in the buffer they are.
    held: Range<usize>,
}

impl<S: Read> Reader<S> {
    /// How much is read at once where a head is expected, and kept for the next one.
    pub(crate) const FOR_A_HEAD: usize = 4 << 10;
    /// How much is read at once of a body.
    const FOR_A_BODY: usize = 16 << 10;

    /// Nothing is held yet.
    pub fn new(source: S) -> Reader<S> {
        Reader { source, buffer: Vec::new(), held: 0..0 }
    }

    /// Where the bytes come from.
    pub fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// What came and was not used yet.
    pub fn held(&self) -> &[u8] {
        &self.buffer[self.held.clone()]
    }

    /// The first so many of them are used.
    pub(crate) fn take(&mut self, count: usize) {
        self.held.start += count;
        if self.held.is_empty() {
            self.held = 0..0;
        }
    }

    /// Keeps no more memory than a head needs: many clients are idle at once, after a large body too.
    pub(crate) fn rest(&mut self) {
        if self.held.is_empty() && self.buffer.len() > Self::FOR_A_HEAD {
            self.buffer = Vec::new();
        }
    }

    /// Reads once, at most so many bytes. Returns how many came; 0 is the end of the source.
    pub(crate) fn fill(&mut self, most: usize) -> io::Result<usize> {
        if self.held.end + most > self.buffer.len() {
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
            let needed = self.held.end + most;
            if needed > self.buffer.len() {
                self.buffer.resize(needed, 0);
            }
        }
        let room = self.held.end..self.held.end + most;
        let read = self.source.read(&mut self.buffer[room])?;
        self.held.end += read;
        Ok(read)
    }
}

/// The longest line before a chunk. Chunk extensions are not in use.
const LONGEST_CHUNK_LINE: usize = 256;

/// The largest size of a chunk that is believed.
const LARGEST_CHUNK: u64 = u32::MAX as u64;
const LINE_END: &[u8] = b"\r\n";

/// How far the reading of a body is.
pub struct Body {
    chunked: bool,
    state: BodyState,
}

#[derive(Debug, Clone, Copy)]
enum BodyState {
    /// So many bytes of it, or of this chunk, are still to come; then a chunk has a line end.
    Data(u64),
    /// The line before a chunk comes next.
    Size,
    /// The trailer comes next: so many fields and bytes of it have been.
    Trailer(usize, usize),
    /// All of it has been read.
    End,
    /// Where it ends is not known.
    Broken(BodyError),
}

impl Body {
    /// A body of that length; `None` for one in chunks.
    pub fn new(length: Option<u64>) -> Body {
        let state = match length {
            None => BodyState::Size,
            Some(length) => BodyState::Data(length),
        };
        Body { chunked: length.is_none(), state }
    }

    /// Reads all that is left of it. `has_room` is asked before each part whose length was not said at the beginning.
    ///
    /// # Errors
    /// When it is longer than `most`, its framing is broken, there is no room, or the source ends or fails first.
    pub fn read<S: Read>(
        &mut self,
        reader: &mut Reader<S>,
        most: usize,
        has_room: impl Fn(usize) -> bool,
    ) -> Result<Vec<u8>, BodyError> {
        let mut body = Vec::new();
        loop {
            let part = self.next(reader, most - body.len())?;
            if part == 0 {
                return Ok(body);
            }
            if self.chunked && !has_room(part) {
                self.state = BodyState::Broken(BodyError::NoRoom);
                return Err(BodyError::NoRoom);
            }
            body.extend_from_slice(&reader.held()[..part]);
            self.take(reader, part);
        }
    }

    /// Reads and drops what is left of it.
    pub(crate) fn skip<S: Read>(&mut self, reader: &mut Reader<S>, most: usize) -> Result<(), BodyError> {
        let mut left = most;
        while let part @ 1.. = self.next(reader, left)? {
            left -= part;
            self.take(reader, part);
        }
        Ok(())
    }

    /// What is left of it may be no more than this: only chunks can hide more.
    pub(crate) fn may_end_within(&self, most: u64) -> bool {
        match self.state {
            BodyState::Data(left) => left <= most,
            BodyState::Size | BodyState::Trailer(..) | BodyState::End => true,
            BodyState::Broken(_) => false,
        }
    }

    /// How many bytes of it the reader holds now; 0 at its end. It will not have more than `room`.
    fn next<S: Read>(&mut self, reader: &mut Reader<S>, room: usize) -> Result<usize, BodyError> {
        let result = self.advance(reader, room);
        if let Err(error) = result {
            self.state = BodyState::Broken(error);
        }
        result
    }

    fn advance<S: Read>(&mut self, reader: &mut Reader<S>, room: usize) -> Result<usize, BodyError> {
        loop {
            match self.state {
                BodyState::Data(0) if self.chunked => {
                    while reader.held().len() < LINE_END.len() {
                        more(reader)?;
                    }
                    if !reader.held().starts_with(LINE_END) {
                        return Err(BodyError::Malformed("a chunk is longer than it says"));
                    }
                    reader.take(LINE_END.len());
                    self.state = BodyState::Size;
                }
                BodyState::Data(0) => self.state = BodyState::End,
                BodyState::Data(left) if left > room as u64 => return Err(BodyError::TooLarge),
                BodyState::Data(left) => {
                    if reader.held().is_empty() {
                        more(reader)?;
                    }
                    return Ok(reader.held().len().min(left as usize));
                }
                BodyState::Size => {
                    let line = line(reader, LONGEST_CHUNK_LINE, "the line before a chunk is too long")?;
                    let size = chunk_size(&reader.held()[..line])?;
                    reader.take(line + LINE_END.len());
                    self.state = if size == 0 { BodyState::Trailer(0, 0) } else { BodyState::Data(size) };
                }
                BodyState::Trailer(fields, bytes) => {
                    let line = line(reader, LONGEST_HEAD - bytes, "the trailer is longer than 32 KiB")?;
                    let whole = line + LINE_END.len();
                    self.state = match line {
                        0 => BodyState::End,
                        _ if fields == MOST_FIELDS => {
                            return Err(BodyError::Malformed("there are more than 100 trailer fields"));
                        }
                        _ => {
                            field(&reader.held()[..line]).map_err(BodyError::Malformed)?;
                            BodyState::Trailer(fields + 1, bytes + whole)
                        }
                    };
                    reader.take(whole);
                }
                BodyState::End => return Ok(0),
                BodyState::Broken(error) => return Err(error),
            }
        }
    }

    /// So many bytes of it, of those that `next` found, have been used.
    fn take<S: Read>(&mut self, reader: &mut Reader<S>, part: usize) {
        reader.take(part);
        if let BodyState::Data(left) = &mut self.state {
            *left -= part as u64;
        }
    }
}

fn more<S: Read>(reader: &mut Reader<S>) -> Result<(), BodyError> {
    if reader.fill(Reader::<S>::FOR_A_BODY)? == 0 { Err(BodyError::Gone) } else { Ok(()) }
}

/// Reads until a whole line is held, and returns its length without its end. With its end it may be so long.
fn line<S: Read>(reader: &mut Reader<S>, longest: usize, too_long: &'static str) -> Result<usize, BodyError> {
    loop {
        // The limit first: which reads brought the bytes makes no difference then.
        let held = &reader.held()[..reader.held().len().min(longest)];
        match held.iter().position(|byte| *byte == b'\n') {
            Some(end) if held[..end].ends_with(b"\r") => return Ok(end - 1),
            Some(_) => return Err(BodyError::Malformed("a line ends with LF alone")),
            None if held.len() == longest => return Err(BodyError::Malformed(too_long)),
            None => more(reader)?,
        }
    }
}

/// The size that the line before a chunk says. What comes behind a `;` is not used.
fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let wrong = BodyError::Malformed("the line before a chunk is not its size");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    if !(rest.is_empty() || rest.starts_with(b";")) || !rest.iter().all(|byte| is_value(*byte)) {
        return Err(wrong);
    }
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    // No client sends so much at once: that is a number made to overflow one.
    size.filter(|size| *size <= LARGEST_CHUNK).ok_or(wrong)
}
