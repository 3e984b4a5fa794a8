//! One conversation with one child, from its first line to its exit. The dialogue says what is to be done, step by step; here
//! it is done: what is read and written, whom the listener hears. `limits` knows when time is up, and `stopping` how far a stop
//! has come.

mod limits;
mod stopping;

use super::lines::{Cutter, LONGEST_LINE, TooLong};
use super::pipes::{self, Pipes, READ};
use super::terminals::ClientTools;
use super::{Control, Partner, Report, Stop, stop_signal};
use crate::backend::{Dialogue, Launch, Step, Steps};
use crate::base::logging::DIALOGUE;
use crate::base::sys::{self, Exit, Watch};
use crate::model::error::{Failure, Kind};
use crate::model::event::{Event, Listener};
use crate::model::outcome::Outcome;
use limits::Limits;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use stopping::Stage;

/// How often a silent run looks around: for a child that ended without closing its pipes, and to let the listener be `idle`.
const TICK: Duration = Duration::from_millis(100);
/// How often what was left to us and has ended is reaped.
const REAP: Duration = Duration::from_secs(5);
/// How much is read at once: a little, because most answers are short, and once there is more, all that a pipe holds.
const FIRST_READ: usize = 4 << 10;
/// What a pipe holds at most, where `fs.pipe-max-size` was not raised.
const LARGEST_PIPE: usize = 1 << 20;

/// One conversation with one child, from its first line to its exit.
pub(super) struct Conversation<'a> {
    pipes: Pipes,
    /// Its input is closed when all is written.
    close_stdin: bool,
    cutter: Cutter,
    /// What is read goes here first: too large for the stack of a thread that serves one client.
    buffer: Vec<u8>,
    stderr_tail: Vec<u8>,
    dialogue: &'a mut dyn Dialogue,
    control: &'a Control,
    limits: Limits<'a>,
    listener: &'a mut dyn Listener,
    /// The listener has heard no event since the last wait.
    is_idle: bool,
    partner: &'a dyn Partner,
    tools: ClientTools<'a>,
    stop_signal: i32,
    last_reaping: Duration,
    stop: Option<Stop>,
    stage: Option<(Stage, Duration)>,
    exit: Option<(Exit, Duration)>,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        pipes: Pipes,
        launch: &Launch,
        dialogue: &'a mut dyn Dialogue,
        control: &'a Control,
        listener: &'a mut dyn Listener,
        partner: &'a dyn Partner,
        tools: ClientTools<'a>,
    ) -> Conversation<'a> {
        Conversation {
            pipes,
            close_stdin: false,
            cutter: Cutter::new(launch.framing),
            buffer: vec![0; FIRST_READ],
            stderr_tail: Vec::new(),
            dialogue,
            control,
            limits: Limits::new(control, launch.model_is_remote),
            listener,
            is_idle: true,
            partner,
            tools,
            stop_signal: stop_signal(launch),
            last_reaping: Duration::ZERO,
            stop: None,
            stage: None,
            exit: None,
        }
    }

    /// Talks until the child is gone.
    pub(crate) fn hold(mut self) -> io::Result<Report> {
        self.step(|dialogue, steps| dialogue.start(steps));
        loop {
            self.check_limits();
            if self.stop.is_none() && self.limits.take_alarm() {
                self.step(|dialogue, steps| dialogue.alarm(steps));
            }
            self.advance_stop();
            if self.is_over() {
                break;
            }
            self.wait()?;
        }
        Ok(self.report())
    }

    /// Lets the dialogue speak, and does what it wants.
    fn step(&mut self, say: impl FnOnce(&mut dyn Dialogue, &mut Steps)) {
        let mut steps = Steps::new();
        say(self.dialogue, &mut steps);
        for step in steps {
            self.take(step);
        }
    }

    fn take(&mut self, step: Step) {
        self.limits.follow(&step);
        match step {
            Step::Send(line) => {
                log::debug!(target: DIALOGUE, "> {line}");
                self.pipes.outbox.push(line + "\n");
            }
            Step::SendRaw(text) => self.pipes.outbox.push(text),
            Step::CloseStdin => self.close_stdin = true,
            Step::Asked | Step::Answering | Step::Alarm(_) => {}
            Step::Event(event) => self.tell(&event),
            Step::Ask(permission) => {
                let mut allowed = false;
                self.let_hear(|listener| {
                    allowed = listener.permission(&permission)?;
                    Ok(())
                });
                // A yes that crossed the order to stop is none any more.
                allowed &= self.stop.is_none() && !self.control.cancel.is_thrown();
                // The person was silent, not the child, nor its model.
                self.limits.heard();
                self.step(|dialogue, steps| dialogue.permitted(&permission.id, allowed, steps));
            }
            Step::Use { id, tool } => {
                // The run may be over soon: nothing is begun any more.
                let came = match self.stop {
                    None => self.tools.perform(&id, tool),
                    Some(_) => self.tools.refuse(tool),
                };
                if let Some(came) = came {
                    self.step(|dialogue, steps| dialogue.used(&id, came, steps));
                }
            }
            Step::Finished(result) => self.finish(result),
        }
    }

    /// Hears the programs that were started for the child.
    fn hear_terminals(&mut self) {
        if self.tools.listen() {
            self.limits.heard();
        }
        while let Some((id, came)) = self.tools.next_reply() {
            self.step(|dialogue, steps| dialogue.used(&id, came, steps));
        }
    }

    fn tell(&mut self, event: &Event) {
        self.is_idle = false;
        self.let_hear(|listener| listener.event(event));
    }

    /// Lets the listener hear something, unless it left or the result is out already.
    fn let_hear(&mut self, say: impl FnOnce(&mut dyn Listener) -> io::Result<()>) {
        if matches!(self.stop, Some(Stop::ReaderGone | Stop::Finished(_))) {
            return;
        }
        if say(self.listener).is_err() {
            // A listener that waits for its reader gives up when the run has to stop: then that is the reason.
            self.check_limits();
            self.stop_for(Stop::ReaderGone);
        }
    }

    fn finish(&mut self, result: Result<(), Failure>) {
        // A run that was stopped stays stopped, whatever the program says of it.
        if self.stop.is_none() {
            let code = self.exit.map(|(exit, _)| match exit {
                Exit::Code(code) => code,
                Exit::Signal(signal) => 128 + signal,
            });
            self.tell_result(&result, code);
            self.stop = Some(Stop::Finished(result));
        }
        self.close_stdin = true;
        self.enter(Stage::Settling, self.control.grace);
    }

    fn tell_result(&mut self, result: &Result<(), Failure>, code: Option<i32>) {
        let (failure, exit_code) = (result.clone().err(), code.unwrap_or(i32::from(result.is_err())));
        let done = Event::Done(Box::new(Outcome { failure, exit_code, ..Outcome::default() }));
        if self.listener.event(&done).is_err() {
            log::debug!("the reader left at the end");
        }
    }

    /// Waits for the next thing to happen, and lets it.
    fn wait(&mut self) -> io::Result<()> {
        self.is_idle = true;
        self.pipes.write();
        if self.pipes.outbox.is_empty() && self.close_stdin {
            self.pipes.stdin = None;
        }
        let readable = |pipe: &Option<File>| {
            pipe.as_ref().map_or_else(Watch::nothing, |pipe| Watch::readable(pipe.as_fd()))
        };
        let mut watches = vec![readable(&self.pipes.stdout), readable(&self.pipes.stderr)];
        watches.extend(self.pipes.writable());
        // Once thrown it stays readable: then only the clock is watched.
        watches.extend((!self.control.cancel.is_thrown()).then(|| self.control.cancel.watch()));
        watches.extend(self.tools.watches());
        sys::poll(&mut watches, self.wait_limit())?;
        let (out, err) = (watches[0].woke(), watches[1].woke());
        if err {
            self.read_stderr();
        }
        if out {
            self.read_stdout();
        }
        self.hear_terminals();
        if self.is_idle {
            self.let_hear(|listener| listener.idle());
        }
        if self.limits.now() >= self.last_reaping + REAP {
            self.last_reaping = self.limits.now();
            super::reap_orphans();
        }
        Ok(())
    }

    fn wait_limit(&self) -> Duration {
        // A child that has closed its output is about to exit: that is waited for with short steps.
        let tick = match (&self.pipes.stdout, self.exit) {
            (Some(_), None) if !self.tools.are_ending() => TICK,
            // The longer it takes, the longer the steps: it may live on for hours.
            (_, None) => (self.limits.silence() / 8).clamp(Duration::from_millis(1), TICK),
            (_, Some(_)) => Duration::from_millis(1),
        };
        let until_next = self.limits.until_next(self.stage.map(|(_, until)| until));
        tick.min(until_next.unwrap_or(TICK))
    }

    /// Returns how much it has read.
    fn read_stderr(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let words = self.pipes.read_stderr(&mut buffer);
        self.stderr_tail.extend_from_slice(words);
        pipes::keep_tail(&mut self.stderr_tail);
        words.len()
    }

    fn read_stdout(&mut self) {
        let (mut buffer, mut cutter) = (std::mem::take(&mut self.buffer), std::mem::take(&mut self.cutter));
        let read = pipes::read(&mut self.pipes.stdout, &mut buffer);
        let count = read.as_ref().map_or(0, |bytes| bytes.len());
        let heard = match read {
            Ok(bytes) => cutter
                .take(bytes, |line| self.hear(line))
                .map_err(|TooLong| format!("a line of its output is longer than {} MiB", LONGEST_LINE >> 20)),
            Err(error) => Err(format!("its output cannot be read: {error}")),
        };
        // Only now: while we wait for our own reader, the child is not the one that is silent.
        if count > 0 || self.pipes.stdout.is_none() {
            self.limits.heard();
        }
        if self.pipes.stdout.is_none() {
            cutter.end(|line| self.hear(line));
        }
        if count == buffer.len() {
            buffer.resize(READ, 0);
        }
        (self.cutter, self.buffer) = (cutter, buffer);
        if let Err(problem) = heard {
            self.pipes.stdout = None;
            self.finish(Err(Failure::new(Kind::Unreadable, problem)));
        }
    }

    fn hear(&mut self, line: &str) {
        if self.limits.watches_model {
            log::debug!(target: DIALOGUE, "< {line}");
        }
        if self.control.lines {
            self.tell(&Event::Line(line.to_owned()));
        }
        self.step(|dialogue, steps| dialogue.line(line, steps));
    }

    fn report(mut self) -> Report {
        // What stderr still holds says why. Another process that holds it may go on writing: a pipe's fill is enough.
        let mut left = LARGEST_PIPE;
        while let read @ 1.. = self.read_stderr() {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
        let ended = pipes::ended(self.exit.map(|(exit, _)| exit), &self.stderr_tail);
        if self.stop.is_none() {
            self.step(|dialogue, steps| dialogue.eof(&ended, steps));
        }
        let stop = self.stop.unwrap_or_else(|| {
            Stop::Finished(Err(Failure::new(Kind::Crash, "the backend ended without a result")))
        });
        Report { stop, ended }
    }
}
