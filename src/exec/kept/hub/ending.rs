//! How a kept program comes to its end, and what a turn leaves behind in it, for which it may have to.

use super::Hub;
use crate::base::sync::lock;
use crate::base::sys::{self, Exit};
use crate::exec::pipes::LINGER;
use std::time::{Duration, Instant};

/// How long what a turn started may take to end after it, or to begin; and a program to end that has closed its output.
const STRAYS_END_WITHIN: Duration = Duration::from_secs(1);

/// How far the end of a program has come. Each stage has its end, and then the next one begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its input is closed.
    Closed,
    Signalled,
    Killed,
}

/// What the last turn has started and left behind, since the last run left.
#[derive(Clone, Copy)]
pub(super) enum Strays {
    /// Nothing, as far as is known.
    None,
    /// Nothing yet: it may be started behind the turn's end.
    MayCome(Instant),
    /// Something, which may end by itself. No run begins before that.
    There(Instant),
}

impl Strays {
    pub(super) fn are_there(self) -> bool {
        matches!(self, Strays::There(_))
    }
}

impl Hub<'_> {
    pub(super) fn look_for_strays(&mut self) {
        let (since, were_there) = match self.strays {
            Strays::None => return,
            Strays::MayCome(since) => (since, false),
            Strays::There(since) => (since, true),
        };
        let is_late = since.elapsed() > STRAYS_END_WITHIN;
        if !were_there && !is_late {
            return;
        }
        // With a run in it again, what runs below it may be that one's.
        let are_there = self.guests.is_empty() && self.live.tree().has_strays(self.pid);
        self.strays = match (are_there, is_late) {
            (true, false) => return,
            (false, false) => Strays::MayCome(since),
            (_, true) => Strays::None,
        };
        if are_there {
            self.spoil(match were_there {
                true => "a turn left processes behind",
                false => "a turn started processes behind its end",
            });
        }
        lock(&self.shared.state).unsettled = false;
    }

    /// How the program ended, once it did and all is read. Runs that are still in it hear of it.
    pub(super) fn has_ended(&mut self) -> Option<Exit> {
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
        if self.pipes.stdout.is_some() && at.elapsed() < LINGER {
            return None;
        }
        self.spoil("it has ended");
        self.let_all_go(exit);
        Some(exit)
    }

    /// Goes on with the end of a program that takes no further run, once the last one is over.
    pub(super) fn advance_end(&mut self) {
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
        self.pipes.stdin = None;
        let mut tree = self.live.tree();
        match next {
            Ending::Closed => tree.remember(),
            Ending::Signalled => {
                tree.remember();
                tree.signal_group(self.stop_signal);
            }
            Ending::Killed => tree.signal_all(sys::SIGKILL),
        }
    }
}
