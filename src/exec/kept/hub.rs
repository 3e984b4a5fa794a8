//! The thread of a kept program: it passes on what the program and the runs in it say, as the backend's `Mux` says. `guests` are
//! the runs, from their entry until their part is over; `ending` sees the program to its end.

mod ending;
mod guests;

use super::{Ends, Order, Over, Shared};
use crate::backend::{Launch, Mux, Route, Routes, Seat};
use crate::base::logging::DIALOGUE;
use crate::base::sync::lock;
use crate::base::sys::{self, Exit, Watch};
use crate::exec::lines::Cutter;
use crate::exec::live::Live;
use crate::exec::pipes::{self, Pipes, READ};
use crate::exec::stop_signal;
use ending::{Ending, Strays};
use guests::Guest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often a program is looked at while runs are in it, and while none is.
const TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(2);
/// ... and while it is about to be gone.
const LAST_TICK: Duration = Duration::from_millis(5);
/// How much is held for a run that does not read. With more the program is not read either, and waits as for a reader of its own.
const MOST_UNREAD: usize = 4 << 20;

/// The thread of a kept program.
pub(super) struct Hub<'a> {
    pid: i32,
    pipes: Pipes,
    cutter: Cutter,
    guests: BTreeMap<Seat, Guest>,
    shared: &'a Shared,
    live: &'a Live,
    stop_signal: i32,
    grace: Duration,
    /// It has said something: from then on it is expected to.
    is_awake: bool,
    strays: Strays,
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
        Hub {
            pid,
            pipes,
            cutter: Cutter::new(launch.framing),
            guests: BTreeMap::new(),
            shared,
            live,
            stop_signal: stop_signal(launch),
            grace,
            is_awake: false,
            strays: Strays::None,
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
                Route::ToProgram(line) => self.pipes.outbox.push(line + "\n"),
                Route::ToRun(seat, line) => {
                    if let Some(guest) = self.guests.get_mut(&seat) {
                        guest.outbox.push(line + "\n");
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
                    // What runs before it were told does not count.
                    self.guests.insert(seat, Guest::new(ends, !self.is_awake));
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

    fn wait(&mut self) -> io::Result<()> {
        if self.pipes.stdin.is_some() {
            self.pipes.write();
            let is_open = |stdin: &File| !Watch::other_side_gone(stdin.as_fd()).is_awake();
            if !self.pipes.stdin.as_ref().is_some_and(is_open) {
                self.pipes.stdin = None;
                self.spoil("it has closed its input");
            }
        }
        let is_read = self.is_read();
        let mut watches = vec![Watch::readable(self.shared.wake.0.as_fd())];
        let out = self.pipes.stdout.as_ref().filter(|_| is_read);
        watches.extend(out.map(|fd| Watch::readable(fd.as_fd())));
        watches.extend(self.pipes.stderr.as_ref().map(|fd| Watch::readable(fd.as_fd())));
        watches.extend(self.pipes.writable());
        // A run that says much waits for the program as it would for its own.
        let hears = self.pipes.outbox.bytes() < MOST_UNREAD;
        for guest in self.guests.values() {
            let speaks = hears && guest.left.is_none();
            watches.extend(speaks.then(|| Watch::readable(guest.ends.stdin.as_fd())));
            let unread = guest.ends.stdout.as_ref().filter(|_| !guest.outbox.is_empty());
            watches.extend(unread.map(|fd| Watch::writable(fd.as_fd())));
        }
        let is_quiet = self.guests.is_empty() && self.stage.is_none() && !self.strays.are_there();
        let limit = match () {
            () if self.exit.is_some() || self.pipes.stdout.is_none() => LAST_TICK,
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
            guest.outbox.write(&mut guest.ends.stdout);
        }
        Ok(())
    }

    /// Whether all runs take what is said to them.
    fn is_read(&self) -> bool {
        self.guests.values().all(|guest| guest.outbox.bytes() < MOST_UNREAD)
    }

    fn hear_stderr(&mut self) {
        let mut buffer = [0; 4096];
        let words = self.pipes.read_stderr(&mut buffer);
        // Of which of several runs it speaks is not known.
        let runs = self.guests.len();
        if let (1, Some(guest), false) = (runs, self.guests.values_mut().next(), words.is_empty()) {
            guest.hear_stderr(words);
        }
    }

    fn hear_program(&mut self) {
        if self.pipes.stdout.is_none() {
            return;
        }
        let mut buffer = [0; READ];
        let bytes = pipes::read(&mut self.pipes.stdout, &mut buffer).unwrap_or_default();
        if self.pipes.stdout.is_none() {
            self.spoil("it has closed its output");
            self.closed = Some(Instant::now());
        }
        if bytes.is_empty() {
            return;
        }
        self.is_awake = true;
        self.guests.values_mut().for_each(Guest::mark_heard);
        let mut cutter = std::mem::take(&mut self.cutter);
        let taken = cutter.take(bytes, |line| {
            if self.guests.is_empty() {
                log::debug!(target: DIALOGUE, "< {line}");
            }
            self.mux(|mux, routes| mux.program_says(line, routes));
        });
        self.cutter = cutter;
        if taken.is_err() {
            self.spoil("a line of its output is too long");
            self.pipes.stdout = None;
            self.live.tree().signal_all(sys::SIGKILL);
        }
    }

    fn hear_runs(&mut self) {
        let seats: Vec<Seat> = self.guests.keys().copied().collect();
        for seat in seats {
            let said = self.guests.get_mut(&seat).filter(|guest| guest.left.is_none()).map(Guest::hear);
            match said {
                None => {}
                Some(Ok(lines)) => {
                    for line in lines {
                        self.mux(|mux, routes| mux.run_says(seat, line, routes));
                    }
                }
                Some(Err(exit)) => self.leave(seat, exit),
            }
        }
    }
}
