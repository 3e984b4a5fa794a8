//! Cuts a stream of bytes into lines or pieces of text. Bytes that are no UTF-8 become U+FFFD.

use crate::backend::Framing;

/// The longest line that is taken: several MiB are normal (a whole answer or a picture in one JSON line).
pub(super) const LONGEST_LINE: usize = 16 << 20;

/// A line was longer than `LONGEST_LINE`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// What has been read and not yet handed on.
#[derive(Default)]
pub(super) struct Cutter {
    framing: Framing,
    held: Vec<u8>,
    /// How much of `held` is known to have no line end.
    searched: usize,
}

impl Cutter {
    pub(crate) fn new(framing: Framing) -> Cutter {
        Cutter { framing, ..Cutter::default() }
    }

    /// Takes bytes in and hands on every complete line, or the text up to the last complete character.
    pub(crate) fn take(&mut self, bytes: &[u8], mut heard: impl FnMut(&str)) -> Result<(), TooLong> {
        self.held.extend_from_slice(bytes);
        match self.framing {
            Framing::Lines => {
                let mut start = 0;
                while let Some(length) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                    let end = self.searched + length;
                    heard(&line(&self.held[start..end]));
                    start = end + 1;
                    self.searched = start;
                }
                self.held.drain(..start);
                self.searched = self.held.len();
                if self.held.len() > LONGEST_LINE { Err(TooLong) } else { Ok(()) }
            }
            Framing::Pieces => {
                let end = self.held.len() - unfinished(&self.held);
                if end > 0 {
                    let piece = String::from_utf8_lossy(&self.held[..end]).into_owned();
                    self.held.drain(..end);
                    heard(&piece);
                }
                Ok(())
            }
        }
    }

    /// Hands on what is left at the end of the stream.
    pub(crate) fn end(&mut self, mut heard: impl FnMut(&str)) {
        let held = std::mem::take(&mut self.held);
        self.searched = 0;
        if !held.is_empty() {
            heard(&line(&held));
        }
    }
}

fn line(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes))
}

/// How many bytes at the end are the beginning of a character whose rest has not come yet.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let needs = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(framing: Framing, reads: &[&[u8]]) -> Vec<String> {
        let mut cutter = Cutter::new(framing);
        let mut heard = Vec::new();
        for bytes in reads {
            cutter.take(bytes, |text| heard.push(text.to_owned())).unwrap();
        }
        cutter.end(|text| heard.push(text.to_owned()));
        heard
    }

    #[test]
    fn lines_are_whole_whatever_the_reads_were() {
        assert_eq!(cut(Framing::Lines, &[b"a\nb", b"c\r\n\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(cut(Framing::Lines, &[b"\xff\0\n"]), ["\u{fffd}\0"]);
    }

    #[test]
    fn pieces_never_cut_a_character() {
        assert_eq!(cut(Framing::Pieces, &[b"a\xe2\x82", b"\xac", b"b"]), ["a", "€", "b"]);
        assert_eq!(cut(Framing::Pieces, &[b"a\xff", b"b\xf0\x9f"]), ["a\u{fffd}", "b", "\u{fffd}"]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut cutter = Cutter::new(Framing::Lines);
        let chunk = vec![b'x'; LONGEST_LINE];
        assert_eq!(cutter.take(&chunk, |_| ()), Ok(()));
        assert_eq!(cutter.take(b"x", |_| ()), Err(TooLong));
    }
}
