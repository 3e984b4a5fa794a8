//! How a run ends: why it has to, and how far that has come. First the child is asked in its own words, where it has some; then it
//! gets the signal that suits it; then it is killed. Each stage has its time.

use super::{Conversation, LARGEST_PIPE};
use crate::base::sys::Watch;
use crate::exec::pipes::{LINGER, READ};
use crate::exec::{Stop, tree};
use crate::model::event::Event;
use std::os::fd::AsFd;
use std::time::Duration;

/// How far a stop has come. Each stage has its end, and then the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The result is known; the child flushes and exits by itself.
    Settling,
    /// It was asked in its own words.
    Asked,
    /// It was sent the signal that suits it.
    Signalled,
    Killed,
}

impl Conversation<'_> {
    pub(super) fn check_limits(&mut self) {
        if self.stop.is_some() {
            return;
        }
        let Some(stop) = self.limits.passed() else { return };
        if let Stop::Finished(result) = &stop {
            self.tell_result(result, None);
        }
        self.stop_for(stop);
    }

    /// Begins to stop the child, for that reason.
    pub(super) fn stop_for(&mut self, stop: Stop) {
        if self.stop.is_some() {
            return;
        }
        log::debug!("stopping: {stop:?}");
        self.stop = Some(stop);
        self.partner.remember();
        if !tree::sees_processes() {
            let message = "without /proc only the program's process group could be stopped: what it had started in \
                           sessions of its own may go on";
            let warning = Event::Progress { stage: "warning".to_owned(), message: message.to_owned() };
            let _ = self.listener.event(&warning);
        }
        let before = self.pipes.outbox.bytes();
        self.step(|dialogue, steps| dialogue.interrupt(steps));
        if self.pipes.outbox.bytes() > before {
            self.enter(Stage::Asked, self.control.grace / 2);
        } else {
            self.signal(self.control.grace);
        }
    }

    fn signal(&mut self, grace: Duration) {
        self.partner.signal(self.stop_signal);
        self.enter(Stage::Signalled, grace);
    }

    /// A stage begins, and may take so long.
    pub(super) fn enter(&mut self, stage: Stage, time: Duration) {
        self.stage = Some((stage, self.limits.now() + time));
    }

    /// Goes on to the next stage of a stop when this one has had its time.
    pub(super) fn advance_stop(&mut self) {
        let hurry = self.control.cancel.is_urgent();
        match self.stage {
            None | Some((Stage::Killed, _)) => {}
            Some((_, until)) if self.limits.now() < until && !hurry => {}
            Some((Stage::Settling | Stage::Asked, _)) if !hurry => {
                self.partner.remember();
                self.signal(self.control.grace / 2);
            }
            Some(_) => {
                self.partner.kill();
                self.enter(Stage::Killed, Duration::ZERO);
            }
        }
    }

    /// The child has ended and its pipes are empty, or have lingered long enough.
    pub(super) fn is_over(&mut self) -> bool {
        let now = self.limits.now();
        if self.exit.is_none() {
            self.exit = self.partner.exited().map(|exit| (exit, now));
        }
        match self.exit {
            None => false,
            Some(_) if self.pipes.stdout.is_none() => true,
            // Once the result is known, or the run was stopped, the words of grandchildren are not waited for.
            Some((_, at)) if self.stop.is_none() && now < at + LINGER => false,
            Some(_) => {
                self.drain();
                true
            }
        }
    }

    /// Hears what the child left in a pipe that another process holds open, to the last line without an end.
    fn drain(&mut self) {
        for _ in 0..=LARGEST_PIPE / READ {
            if !self.pipes.stdout.as_ref().is_some_and(|stdout| Watch::readable(stdout.as_fd()).is_awake()) {
                break;
            }
            self.read_stdout();
        }
        std::mem::take(&mut self.cutter).end(|line| self.hear(line));
    }
}
