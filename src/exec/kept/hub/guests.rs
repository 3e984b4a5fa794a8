//! The runs in a kept program: each enters, speaks, leaves with its result, and its part is over when the program has done what
//! that takes.

use super::{Ends, Hub, Over, Strays};
use crate::backend::Seat;
use crate::base::sync::lock;
use crate::base::sys::{self, Exit};
use crate::exec::pipes::{Outbox, READ};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// How long a program that has been heard before may say nothing to a run that enters: then it is taken for dead.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A run in a program, as the program's thread sees it.
pub(super) struct Guest {
    pub(super) ends: Ends,
    /// What it has said of a line whose end has not come.
    partial: Vec<u8>,
    pub(super) outbox: Outbox,
    /// The program has said something to a run in it, or this one has entered.
    since: Instant,
    /// The program has said something since it entered, or need not.
    pub(super) heard: bool,
    /// It has left, and its part is over when the program has done what that takes.
    pub(super) left: Option<Over>,
}

impl Guest {
    pub(super) fn new(ends: Ends, heard: bool) -> Guest {
        let (partial, outbox) = Default::default();
        Guest { ends, partial, outbox, since: Instant::now(), heard, left: None }
    }

    /// The program has said something.
    pub(super) fn mark_heard(&mut self) {
        (self.heard, self.since) = (true, Instant::now());
    }

    /// The lines that are whole with what it says now.
    ///
    /// # Errors
    /// How it ended, where it says no more.
    pub(super) fn hear(&mut self) -> Result<Vec<String>, Exit> {
        let (mut buffer, mut lines) = ([0; READ], Vec::new());
        let mut rest = match self.ends.stdin.read(&mut buffer) {
            // The run has had its result.
            Ok(0) => return Err(Exit::Code(0)),
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
            Err(_) => return Err(Exit::Code(1)),
        };
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = String::from_utf8(std::mem::take(&mut self.partial));
            lines.push(line.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()));
        }
        self.partial.extend_from_slice(rest);
        Ok(lines)
    }

    /// Gives it what the program says on standard error, as much as there is room for: the rest is in the log.
    pub(super) fn hear_stderr(&mut self, words: &[u8]) {
        let _ = self.ends.stderr.write(words);
    }
}

impl Hub<'_> {
    /// A run has left, and the program is asked to do what that takes.
    pub(super) fn leave(&mut self, seat: Seat, exit: Exit) {
        let mut conversation = None;
        self.mux(|mux, routes| conversation = mux.leave(seat, routes));
        if let Some(guest) = self.guests.get_mut(&seat) {
            guest.left = Some(Over { exit, conversation });
        }
    }

    /// A run's part is over, whether it has left or not.
    pub(super) fn let_go(&mut self, seat: Seat, exit: Exit) {
        if self.guests.get(&seat).is_some_and(|guest| guest.left.is_none()) {
            self.leave(seat, exit);
        }
        let Some(mut guest) = self.guests.remove(&seat) else { return };
        let over = guest.left.take().unwrap_or(Over { exit, conversation: None });
        // Before the next run: what this one has left behind.
        if self.guests.is_empty() && self.exit.is_none() {
            let now = Instant::now();
            let has_strays = self.live.tree().has_strays(self.pid);
            self.strays = if has_strays { Strays::There(now) } else { Strays::MayCome(now) };
        }
        let mut state = lock(&self.shared.state);
        state.unsettled = self.strays.are_there();
        state.over.insert(seat, over);
        state.seats -= 1;
        drop(state);
        self.shared.changed.notify_all();
        // Its output ends only when all that is known: the run looks then.
        drop(guest);
    }

    pub(super) fn let_all_go(&mut self, exit: Exit) {
        for seat in self.guests.keys().copied().collect::<Vec<_>>() {
            // What it said last is still to be read.
            if let Some(guest) = self.guests.get_mut(&seat) {
                guest.outbox.write(&mut guest.ends.stdout);
            }
            self.let_go(seat, exit);
        }
    }

    /// Lets go of those that have left, and of those to which the program says nothing.
    pub(super) fn look_after_guests(&mut self) {
        let exit = |guest: &Guest| guest.left.as_ref().map(|over| over.exit);
        let left: Vec<(Seat, Exit)> =
            self.guests.iter().filter_map(|(seat, guest)| Some((*seat, exit(guest)?))).collect();
        for (seat, exit) in left {
            if !lock(&self.shared.mux).is_leaving(seat) {
                self.let_go(seat, exit);
            }
        }
        if !self.is_read() {
            self.guests.values_mut().for_each(|guest| guest.since = Instant::now());
        }
        // One that has closed its input may have left a run's words in it, but for those of the first.
        let may_be_unheard = |seat: &Seat| self.pipes.stdin.is_none() && *seat > 1;
        let silent: Vec<Seat> = (self.guests.iter())
            .filter(|(seat, guest)| !guest.heard || may_be_unheard(seat))
            .filter(|(_, guest)| guest.since.elapsed() > ANSWERS_WITHIN)
            .map(|(seat, _)| *seat)
            .collect();
        for seat in silent {
            let sentence = format!("it has said nothing for {ANSWERS_WITHIN:?}");
            if let Some(guest) = self.guests.get_mut(&seat) {
                // Where that pipe is full the run has words enough.
                guest.hear_stderr(sentence.as_bytes());
            }
            self.spoil(&sentence);
            // It may be slow only, and the run is tried once more: not while this one still does what it was told.
            lock(&self.shared.state).is_stopped = true;
            self.let_go(seat, Exit::Signal(sys::SIGKILL));
        }
    }
}
