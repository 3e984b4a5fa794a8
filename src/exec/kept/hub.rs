//! The thread of a kept program: it hears the program and the runs in it, passes on what is said, as the backend's `Mux` says,
//! and sees the program to its end.

use super::{Ends, Order, Over, Shared};
use crate::backend::{Launch, Mux, Route, Routes, Seat, StopSignal};
use crate::base::logging::DIALOGUE;
use crate::base::sync::lock;
use crate::base::sys::{self, Exit, Watch};
use crate::exec::Pipes;
use crate::exec::lines::{Cutter, TooLong};
use crate::exec::live::Live;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a program that has been heard before may say nothing to a run that enters: then it is taken for dead.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often a program is looked at while runs are in it, and while none is.
const TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(2);
/// How long what a turn started may take to end after it, or to begin; and a program to end that has closed its output.
const STRAYS_END_WITHIN: Duration = Duration::from_secs(1);
/// How much is held for a run that does not read. With more the program is not read either, and waits as for a reader of its own.
const MOST_UNREAD: usize = 4 << 20;
/// How long its pipes may stay open when the program is gone: another process holds them.
const LINGER: Duration = Duration::from_millis(200);
const READ: usize = 64 << 10;

/// What waits to be written, from where it is.
#[derive(Default)]
struct Outbox {
    lines: VecDeque<String>,
    written: usize,
    bytes: usize,
}

impl Outbox {
    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line + "\n");
    }

    /// Writes what there is room for; false where the other side does not read any more.
    fn write(&mut self, out: &mut File) -> bool {
        while let Some(line) = self.lines.front() {
            match out.write(&line.as_bytes()[self.written..]) {
                Ok(wrote) => {
                    (self.written, self.bytes) = (self.written + wrote, self.bytes - wrote);
                    if self.written == line.len() {
                        (_, self.written) = (self.lines.pop_front(), 0);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// A run in a program, as the program's thread sees it.
struct Guest {
    ends: Ends,
    /// What it has said of a line whose end has not come.
    partial: Vec<u8>,
    outbox: Outbox,
    /// The program has said something to a run in it, or this one has entered.
    since: Instant,
    /// The program has said something since it entered.
    heard: bool,
    /// It has left, and its part is over when the program has done what that takes.
    left: Option<Over>,
}

/// How far the end of a program has come. Each stage has its end, and then the next one begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Its input is closed.
    Closed,
    Signalled,
    Killed,
}

/// The thread of a kept program.
pub(super) struct Hub<'a> {
    pid: i32,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    outbox: Outbox,
    cutter: Cutter,
    guests: BTreeMap<Seat, Guest>,
    shared: &'a Shared,
    live: &'a Live,
    stop_signal: StopSignal,
    grace: Duration,
    /// It has said something: from then on it is expected to.
    is_awake: bool,
    /// Since when what a turn started is waited for.
    unsettled: Option<Instant>,
    /// When the last run left, until it is known that nothing of it was started behind it.
    left: Option<Instant>,
    stage: Option<(Ending, Instant)>,
    /// When it closed its output.
    closed: Option<Instant>,
    exit: Option<(Exit, Instant)>,
}

impl<'a> Hub<'a> {
    pub(super) fn new(
        pid: i32,
        pipes: Pipes,
        launch: &Launch,
        shared: &'a Shared,
        live: &'a Live,
        grace: Duration,
    ) -> Hub<'a> {
        let Pipes { opening, stdin, stdout, stderr } = pipes;
        let mut outbox = Outbox::default();
        if let Some(opening) = opening.strip_suffix('\n') {
            outbox.push(opening.to_owned());
        }
        Hub {
            pid,
            stdin,
            stdout,
            stderr,
            outbox,
            cutter: Cutter::new(launch.framing),
            guests: BTreeMap::new(),
            shared,
            live,
            stop_signal: launch.stop,
            grace,
            is_awake: false,
            unsettled: None,
            left: None,
            stage: None,
            closed: None,
            exit: None,
        }
    }

    /// Passes on what is said until the program is gone; says how it ended.
    pub(super) fn hold(mut self) -> Exit {
        self.mux(|mux, routes| mux.start(routes));
        loop {
            self.obey();
            self.look_after_guests();
            self.look_for_strays();
            if let Some(exit) = self.has_ended() {
                return exit;
            }
            self.advance_end();
            if let Err(error) = self.wait() {
                self.spoil(&format!("it cannot be listened to: {error}"));
                self.guests.clear();
            }
        }
    }

    /// Lets the mux speak, and does what it wants.
    fn mux(&mut self, say: impl FnOnce(&mut dyn Mux, &mut Routes)) {
        let mut routes = Routes::new();
        say(&mut **lock(&self.shared.mux), &mut routes);
        for route in routes {
            match route {
                Route::ToProgram(line) => self.outbox.push(line),
                Route::ToRun(seat, line) => {
                    if let Some(guest) = self.guests.get_mut(&seat) {
                        guest.outbox.push(line);
                    }
                }
                Route::MayBeSilent(seat) => {
                    if let Some(guest) = self.guests.get_mut(&seat) {
                        guest.heard = true;
                    }
                }
                Route::Spoilt(why) => self.spoil(&why),
            }
        }
    }

    fn spoil(&self, why: &str) {
        let mut state = lock(&self.shared.state);
        if state.spoilt.is_none() {
            log::debug!(target: DIALOGUE, "pid {} is not kept: {why}", self.pid);
            state.spoilt = Some(why.to_owned());
        }
    }

    /// Does what it was ordered to.
    fn obey(&mut self) {
        let orders = std::mem::take(&mut lock(&self.shared.state).orders);
        for order in orders {
            match order {
                Order::Enter { seat, conversation, ends } => {
                    let (partial, outbox) = Default::default();
                    // What runs before it were told does not count.
                    let (since, heard) = (Instant::now(), !self.is_awake);
                    let guest = Guest { ends, partial, outbox, since, heard, left: None };
                    self.guests.insert(seat, guest);
                    self.mux(|mux, routes| mux.enter(seat, conversation.as_deref(), routes));
                }
                Order::Expel(seat) if self.guests.contains_key(&seat) => {
                    self.spoil("a run in it had to be stopped by force");
                    lock(&self.shared.state).is_stopped = true;
                    self.let_go(seat, Exit::Signal(sys::SIGTERM));
                }
                Order::Expel(_) => {}
                Order::End => self.spoil("it is not wanted any more"),
            }
        }
    }

    fn leave(&mut self, seat: Seat, exit: Exit) {
        let mut conversation = None;
        self.mux(|mux, routes| conversation = mux.leave(seat, routes));
        if let Some(guest) = self.guests.get_mut(&seat) {
            guest.left = Some(Over { exit, conversation });
        }
    }

    /// A run's part is over, whether it has left or not.
    fn let_go(&mut self, seat: Seat, exit: Exit) {
        if self.guests.get(&seat).is_some_and(|guest| guest.left.is_none()) {
            self.leave(seat, exit);
        }
        let Some(mut guest) = self.guests.remove(&seat) else { return };
        let over = guest.left.take().unwrap_or(Over { exit, conversation: None });
        // Before the next run: what this one has left behind.
        if self.guests.is_empty() && self.exit.is_none() {
            self.left = Some(Instant::now());
            self.unsettled = self.left.filter(|_| self.live.tree().has_strays(self.pid));
        }
        let mut state = lock(&self.shared.state);
        state.unsettled = self.unsettled.is_some();
        state.over.insert(seat, over);
        state.seats -= 1;
        drop(state);
        self.shared.changed.notify_all();
        // Its output ends only when all that is known: the run looks then.
        drop(guest);
    }

    /// Lets go of those that have left, and notices a program that says nothing.
    fn look_after_guests(&mut self) {
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
        let may_be_unheard = |seat: &Seat| self.stdin.is_none() && *seat > 1;
        let silent: Vec<Seat> = (self.guests.iter())
            .filter(|(seat, guest)| !guest.heard || may_be_unheard(seat))
            .filter(|(_, guest)| guest.since.elapsed() > ANSWERS_WITHIN)
            .map(|(seat, _)| *seat)
            .collect();
        for seat in silent {
            let sentence = format!("it has said nothing for {ANSWERS_WITHIN:?}");
            if let Some(guest) = self.guests.get_mut(&seat) {
                // Where that pipe is full the run has words enough.
                let _ = guest.ends.stderr.write(sentence.as_bytes());
            }
            self.spoil(&sentence);
            // It may be slow only, and the run is tried once more: not while this one still does what it was told.
            lock(&self.shared.state).is_stopped = true;
            self.let_go(seat, Exit::Signal(sys::SIGKILL));
        }
    }

    /// What a turn has started may end by itself soon after it.
    fn look_for_strays(&mut self) {
        let late = self.left.filter(|left| left.elapsed() > STRAYS_END_WITHIN);
        if late.is_some() {
            self.left = None;
            if self.guests.is_empty() && self.unsettled.is_none() && self.live.tree().has_strays(self.pid) {
                self.spoil("a turn started processes behind its end");
            }
        }
        let Some(since) = self.unsettled else { return };
        // With a run in it again, what runs below it may be that one's.
        let is_settled = !self.guests.is_empty() || !self.live.tree().has_strays(self.pid);
        if !is_settled && since.elapsed() > STRAYS_END_WITHIN {
            self.spoil("a turn left processes behind");
        }
        if is_settled || since.elapsed() > STRAYS_END_WITHIN {
            self.unsettled = None;
            lock(&self.shared.state).unsettled = false;
        }
    }

    /// How the program ended, once it did and all is read. Runs that are still in it hear of it.
    fn has_ended(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = sys::exited(self.pid).map(|exit| (exit, Instant::now()));
            if self.exit.is_some() {
                // A launcher that was killed leaves the program itself behind, which would go on to answer.
                self.live.tree().signal_all(sys::SIGKILL);
            }
        }
        let Some((exit, at)) = self.exit else {
            // One that goes on without a word is of no use to those in it.
            if self.closed.is_some_and(|closed| closed.elapsed() > STRAYS_END_WITHIN) {
                self.let_all_go(Exit::Code(0));
            }
            return None;
        };
        if self.stdout.is_some() && at.elapsed() < LINGER {
            return None;
        }
        self.spoil("it has ended");
        self.let_all_go(exit);
        Some(exit)
    }

    fn let_all_go(&mut self, exit: Exit) {
        for seat in self.guests.keys().copied().collect::<Vec<_>>() {
            // What it said last is still to be read.
            if let Some(guest) = self.guests.get_mut(&seat) {
                guest.outbox.write(&mut guest.ends.stdout);
            }
            self.let_go(seat, exit);
        }
    }

    /// Goes on with the end of a program that takes no further run, once the last one is over.
    fn advance_end(&mut self) {
        if !self.guests.is_empty() || lock(&self.shared.state).spoilt.is_none() {
            return;
        }
        let next = match self.stage {
            // Where a run was stopped it is not asked first.
            None if lock(&self.shared.state).is_stopped => Ending::Signalled,
            None => Ending::Closed,
            Some((_, since)) if since.elapsed() < self.grace => return,
            Some((Ending::Closed, _)) => Ending::Signalled,
            Some((Ending::Signalled, _)) => Ending::Killed,
            Some((Ending::Killed, _)) => return,
        };
        self.stage = Some((next, Instant::now()));
        self.stdin = None;
        let mut tree = self.live.tree();
        match next {
            Ending::Closed => tree.remember(),
            Ending::Signalled => {
                tree.remember();
                tree.signal_group(match self.stop_signal {
                    StopSignal::Interrupt => sys::SIGINT,
                    StopSignal::Terminate => sys::SIGTERM,
                });
            }
            Ending::Killed => tree.signal_all(sys::SIGKILL),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let is_deaf =
            |stdin: &mut File| !self.outbox.write(stdin) || Watch::other_side_gone(stdin.as_fd()).is_awake();
        if self.stdin.as_mut().is_some_and(is_deaf) {
            self.stdin = None;
            self.spoil("it has closed its input");
        }
        let is_read = self.is_read();
        let mut watches = vec![Watch::readable(self.shared.wake.0.as_fd())];
        let out = self.stdout.as_ref().filter(|_| is_read);
        watches.extend(out.map(|fd| Watch::readable(fd.as_fd())));
        watches.extend(self.stderr.as_ref().map(|fd| Watch::readable(fd.as_fd())));
        let stdin = self.stdin.as_ref().filter(|_| !self.outbox.is_empty());
        watches.extend(stdin.map(|fd| Watch::writable(fd.as_fd())));
        // A run that says much waits for the program as it would for its own.
        let hears = self.outbox.bytes < MOST_UNREAD;
        for guest in self.guests.values() {
            let speaks = hears && guest.left.is_none();
            watches.extend(speaks.then(|| Watch::readable(guest.ends.stdin.as_fd())));
            let unread = !guest.outbox.is_empty();
            watches.extend(unread.then(|| Watch::writable(guest.ends.stdout.as_fd())));
        }
        let is_quiet = self.guests.is_empty() && self.stage.is_none() && self.unsettled.is_none();
        let is_ending = self.exit.is_some() || self.stdout.is_none();
        let limit = match () {
            () if is_ending => Duration::from_millis(5),
            () if is_quiet => IDLE_TICK,
            () => TICK,
        };
        sys::poll(&mut watches, limit)?;
        while matches!((&self.shared.wake.0).read(&mut [0; 64]), Ok(64)) {}
        self.hear_stderr();
        if is_read {
            self.hear_program();
        }
        if hears {
            self.hear_runs();
        }
        for guest in self.guests.values_mut() {
            // One that does not read any more is about to leave.
            guest.outbox.write(&mut guest.ends.stdout);
        }
        Ok(())
    }

    /// Whether all runs take what is said to them.
    fn is_read(&self) -> bool {
        self.guests.values().all(|guest| guest.outbox.bytes < MOST_UNREAD)
    }

    fn hear_stderr(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut buffer = [0; 4096];
        match stderr.read(&mut buffer) {
            Ok(0) => self.stderr = None,
            Ok(read) => {
                let words = &buffer[..read];
                log::debug!(target: DIALOGUE, "! {}", String::from_utf8_lossy(words).trim_end());
                // Of which of several runs it speaks is not known.
                let runs = self.guests.len();
                if let (1, Some(guest)) = (runs, self.guests.values_mut().next()) {
                    // As much as there is room for: the rest is in the log.
                    let _ = guest.ends.stderr.write(words);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.stderr = None,
        }
    }

    fn hear_program(&mut self) {
        let Some(stdout) = &mut self.stdout else { return };
        let mut buffer = [0; READ];
        let read = match stdout.read(&mut buffer) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => {
                self.spoil("it has closed its output");
                (self.stdout, self.closed) = (None, Some(Instant::now()));
                return;
            }
        };
        self.is_awake = true;
        self.guests.values_mut().for_each(|guest| (guest.heard, guest.since) = (true, Instant::now()));
        let mut cutter = std::mem::replace(&mut self.cutter, Cutter::new(Default::default()));
        let taken = cutter.take(&buffer[..read], |line| {
            if self.guests.is_empty() {
                log::debug!(target: DIALOGUE, "< {line}");
            }
            self.mux(|mux, routes| mux.program_says(line, routes));
            Ok::<(), TooLong>(())
        });
        self.cutter = cutter;
        if taken.is_err() {
            self.spoil("a line of its output is too long");
            self.stdout = None;
            self.live.tree().signal_all(sys::SIGKILL);
        }
    }

    fn hear_runs(&mut self) {
        let seats: Vec<Seat> = self.guests.keys().copied().collect();
        for seat in seats {
            let mut buffer = [0; READ];
            let Some(guest) = self.guests.get_mut(&seat).filter(|guest| guest.left.is_none()) else {
                continue;
            };
            match guest.ends.stdin.read(&mut buffer) {
                // The run has had its result.
                Ok(0) => self.leave(seat, Exit::Code(0)),
                Ok(read) => {
                    let mut rest = &buffer[..read];
                    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                        let Some(guest) = self.guests.get_mut(&seat) else { break };
                        guest.partial.extend_from_slice(&rest[..end]);
                        rest = &rest[end + 1..];
                        let line = String::from_utf8(std::mem::take(&mut guest.partial));
                        let line = line
                            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                        self.mux(|mux, routes| mux.run_says(seat, line, routes));
                    }
                    if let Some(guest) = self.guests.get_mut(&seat) {
                        guest.partial.extend_from_slice(rest);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.leave(seat, Exit::Code(1)),
            }
        }
    }
}
