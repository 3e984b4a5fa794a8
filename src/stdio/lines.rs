//! What a client says, cut into lines, none of which is longer than memory allows.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is read, in bytes: a prompt may have pictures.
pub(super) const LONGEST_LINE: usize = 64 << 20;

/// A client's lines.
pub(super) struct Lines<R>(BufReader<R>);

pub(super) enum Line {
    /// With its end, where it has one.
    Whole(Vec<u8>),
    /// It was left out.
    TooLong,
    End,
}

impl<R: Read> Lines<R> {
    pub(super) fn of(input: R) -> Lines<R> {
        Lines(BufReader::with_capacity(64 << 10, input))
    }

    pub(super) fn next(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        let limit = LONGEST_LINE as u64 + 1;
        (&mut self.0).take(limit).read_until(b'\n', &mut line)?;
        match line.last() {
            None => Ok(Line::End),
            Some(last) if *last != b'\n' && line.len() > LONGEST_LINE => {
                drop(line);
                self.leave_out().map(|()| Line::TooLong)
            }
            Some(_) => Ok(Line::Whole(line)),
        }
    }

    /// Goes on to the end of the line, and keeps nothing of it.
    fn leave_out(&mut self) -> io::Result<()> {
        self.0.skip_until(b'\n').map(drop)
    }
}
