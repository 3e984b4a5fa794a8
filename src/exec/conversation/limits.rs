//! The time limits of a run: what each is counted from, and which has passed.

use crate::backend::Step;
use crate::exec::live::Clock;
use crate::exec::{Control, Stop};
use crate::model::error::{Failure, Kind, Limit};
use crate::model::event::Event;
use std::time::Duration;

/// What has happened of that which bounds a run. Times are counted on `clock`.
pub(super) struct Limits<'a> {
    control: &'a Control,
    clock: Clock,
    last_output: Duration,
    /// The vendor's model is watched: whether it gives a sign of life.
    pub(super) watches_model: bool,
    last_stage_of_model: Duration,
    model_answers: bool,
    answered: bool,
    /// When the dialogue wants to hear of the time.
    alarm: Option<Duration>,
}

impl<'a> Limits<'a> {
    /// The run begins.
    pub(super) fn new(control: &'a Control, watches_model: bool) -> Limits<'a> {
        Limits {
            control,
            clock: Clock::start(),
            last_output: Duration::ZERO,
            watches_model,
            last_stage_of_model: Duration::ZERO,
            model_answers: false,
            answered: false,
            alarm: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.ran()
    }

    /// The program was not silent.
    pub(super) fn heard(&mut self) {
        self.last_output = self.now();
    }

    /// How long it has been silent.
    pub(super) fn silence(&self) -> Duration {
        self.now().saturating_sub(self.last_output)
    }

    /// What of a dialogue's steps counts.
    pub(super) fn follow(&mut self, step: &Step) {
        match step {
            Step::Asked => (self.last_stage_of_model, self.alarm) = (self.now(), None),
            Step::Answering => self.model_answers = true,
            Step::Alarm(after) => self.alarm = Some(self.now() + *after),
            Step::Event(Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. }) => {
                (self.model_answers, self.answered) = (true, true);
            }
            _ => {}
        }
    }

    /// Whether the dialogue's time is up: once.
    pub(super) fn take_alarm(&mut self) -> bool {
        let now = self.now();
        self.alarm.take_if(|at| *at <= now).is_some()
    }

    /// Why the run has to stop, where it has to.
    pub(super) fn passed(&self) -> Option<Stop> {
        let now = self.now();
        let passed = |limit: Duration, from: Duration| !limit.is_zero() && now >= from + limit;
        let Control { wall, stall, first_byte, connect, .. } = *self.control;
        // While there is an alarm the dialogue waits for the program itself, and bounds that.
        let waits_for_model = self.watches_model && !self.model_answers && self.alarm.is_none();
        Some(if self.control.cancel.is_thrown() {
            Stop::Cancelled
        } else if passed(wall, Duration::ZERO) {
            Stop::TimedOut(Limit::Wall, wall)
        } else if passed(stall, self.last_output) {
            Stop::TimedOut(Limit::Stall, stall)
        } else if !self.answered && passed(first_byte, Duration::ZERO) {
            Stop::TimedOut(Limit::FirstByte, first_byte)
        } else if waits_for_model && passed(connect, self.last_stage_of_model) {
            let message = format!("no sign of life from the model for {connect:?} (vendor_connect_secs)");
            Stop::Finished(Err(Failure::new(Kind::Unreachable, message)))
        } else {
            return None;
        })
    }

    /// How long until the next of them passes that is still to pass, or until that moment.
    pub(super) fn until_next(&self, moment: Option<Duration>) -> Option<Duration> {
        let now = self.now();
        let Control { wall, stall, first_byte, .. } = *self.control;
        [(wall, Duration::ZERO), (stall, self.last_output), (first_byte, Duration::ZERO)]
            .into_iter()
            .filter(|(limit, _)| !limit.is_zero())
            .map(|(limit, from)| from + limit)
            .chain(moment)
            .chain(self.alarm)
            .map(|at| at.saturating_sub(now))
            .filter(|left| !left.is_zero())
            .min()
    }
}
