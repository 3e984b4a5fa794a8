//! The pipes between us and a program, none of which blocks: what is read from them, what waits to be written to one, and how
//! the program at their other end ended.

use crate::backend::Ended;
use crate::base::logging::DIALOGUE;
use crate::base::sys::{Child, Exit, Watch};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::time::Duration;

/// As much as a pipe holds, where its size was not changed.
pub(super) const READ: usize = 64 << 10;
/// How long pipes may stay open when the program is gone: another process holds them.
pub(super) const LINGER: Duration = Duration::from_millis(200);
/// How much of standard error is kept for messages.
const STDERR_TAIL: usize = 8 << 10;

/// Our ends of a program's pipes, or of what takes their place. One that is closed is gone.
pub(super) struct Pipes {
    pub(super) stdin: Option<File>,
    pub(super) stdout: Option<File>,
    pub(super) stderr: Option<File>,
    /// What is still to be written to the program.
    pub(super) outbox: Outbox,
}

impl Pipes {
    /// `opening`: what is written before all else.
    pub(super) fn of(child: Child, opening: String) -> Pipes {
        let Child { stdin, stdout, stderr, .. } = child;
        let mut outbox = Outbox::default();
        outbox.push(opening);
        Pipes { stdin, stdout, stderr, outbox }
    }

    /// Writes what there is room for.
    pub(super) fn write(&mut self) {
        self.outbox.write(&mut self.stdin);
    }

    /// Wakes when there is room for what waits to be written.
    pub(super) fn writable(&self) -> Option<Watch> {
        let stdin = self.stdin.as_ref().filter(|_| !self.outbox.is_empty());
        stdin.map(|stdin| Watch::writable(stdin.as_fd()))
    }

    /// Reads what the program says on standard error: for the log, and for messages.
    pub(super) fn read_stderr<'a>(&mut self, buffer: &'a mut [u8]) -> &'a [u8] {
        let words = read(&mut self.stderr, buffer).unwrap_or_default();
        if !words.is_empty() {
            log::debug!(target: DIALOGUE, "! {}", String::from_utf8_lossy(words).trim_end());
        }
        words
    }
}

/// What waits to be written, from where it is: it may be long.
#[derive(Default)]
pub(super) struct Outbox {
    parts: VecDeque<Box<dyn Deref<Target = str>>>,
    /// How much of the first part has been written.
    written: usize,
    bytes: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, part: impl Deref<Target = str> + 'static) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(Box::new(part));
        }
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes what there is room for. A reader that does not read any more is gone: then the pipe is, too.
    pub(super) fn write(&mut self, pipe: &mut Option<File>) {
        while let (Some(out), Some(part)) = (&mut *pipe, self.parts.front()) {
            match out.write(&part.as_bytes()[self.written..]) {
                Ok(wrote) => {
                    (self.written, self.bytes) = (self.written + wrote, self.bytes - wrote);
                    if self.written == part.len() {
                        // A long prompt is not needed any more.
                        (_, self.written) = (self.parts.pop_front(), 0);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => *pipe = None,
            }
        }
    }
}

/// Reads what is there, at most what the buffer holds; nothing is no end. A pipe that is closed or cannot be read is gone.
pub(super) fn read<'a>(pipe: &mut Option<impl Read>, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let Some(open) = pipe else { return Ok(&[]) };
    match open.read(buffer) {
        Ok(count @ 1..) => Ok(&buffer[..count]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(&[]),
        ended => {
            *pipe = None;
            ended.map(|_| &buffer[..0])
        }
    }
}

/// Reads what is there, at most one buffer, behind what was read before; `true` when anything was.
pub(super) fn read_into(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    let came = read(pipe, &mut buffer)?;
    into.extend_from_slice(came);
    Ok(!came.is_empty())
}

/// Keeps the end of what was said on standard error.
pub(super) fn keep_tail(stderr: &mut Vec<u8>) {
    stderr.drain(..stderr.len().saturating_sub(STDERR_TAIL));
}

/// How a program ended, and what it last said on standard error.
pub(super) fn ended(exit: Option<Exit>, stderr: &[u8]) -> Ended {
    let (code, signal) = match exit {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    Ended { code, signal, stderr: String::from_utf8_lossy(stderr).trim().to_owned() }
}
