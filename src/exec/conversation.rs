//! One conversation with one child, from its first line to its exit: what is read and written, which limit has passed,
//! and how far a stop has come.

use super::lines::{self, Cutter, TooLong};
use super::live::Clock;
use super::terminals::ClientTools;
use super::tree;
use super::{Control, Partner, Pipes, Report, Stop};
use crate::backend::{Dialogue, Ended, Launch, Step, Steps, StopSignal};
use crate::base::logging::DIALOGUE;
use crate::base::sys::{self, Exit, Watch};
use crate::model::error::{Failure, Kind, Limit};
use crate::model::event::{Event, Listener};
use crate::model::outcome::Outcome;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::time::Duration;

/// How often a silent run looks around: for a child that ended without closing its pipes, and to let the listener be `idle`.
const TICK: Duration = Duration::from_millis(100);
/// How often what was left to us and has ended is reaped.
const REAP: Duration = Duration::from_secs(5);
/// How long pipes may stay open after the child is gone: a grandchild holds them.
const LINGER: Duration = Duration::from_millis(200);
/// How much of standard error is kept for messages.
const STDERR_TAIL: usize = 8 << 10;
/// How much is read at once: a little, because most answers are short, and once there is more, all that a pipe holds.
const FIRST_READ: usize = 4 << 10;
const READ: usize = 64 << 10;
/// What a pipe holds at most, where `fs.pipe-max-size` was not raised.
const LARGEST_PIPE: usize = 1 << 20;

/// How far a stop has come. Each stage has its end, and then the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The result is known; the child flushes and exits by itself.
    Settling,
    /// It was asked in its own words.
    Asked,
    /// It was sent the signal that suits it.
    Signalled,
    Killed,
}

/// One conversation with one child, from its first line to its exit.
pub(super) struct Conversation<'a> {
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    /// What is still to be written to the child, from where it is: it may be long. And how much of the first part has been.
    pending: VecDeque<Box<dyn Deref<Target = str>>>,
    written: usize,
    close_stdin: bool,
    cutter: Cutter,
    /// What is read goes here first: too large for the stack of a thread that serves one client.
    buffer: Vec<u8>,
    stderr_tail: Vec<u8>,
    dialogue: &'a mut dyn Dialogue,
    control: &'a Control,
    listener: &'a mut dyn Listener,
    /// The listener has heard no event since the last wait.
    is_idle: bool,
    partner: &'a dyn Partner,
    tools: ClientTools<'a>,
    stop_signal: StopSignal,
    watches_model: bool,
    /// Began with the run; every other time is counted on it.
    clock: Clock,
    last_output: Duration,
    last_reaping: Duration,
    last_stage_of_model: Duration,
    model_answers: bool,
    answered: bool,
    /// When the dialogue wants to hear of the time.
    alarm: Option<Duration>,
    stop: Option<Stop>,
    stage: Option<(Stage, Duration)>,
    exit: Option<(Exit, Duration)>,
}

/// Why the reading of a line ended early.
enum Halt {
    TooLong,
    Io(io::Error),
}

impl From<TooLong> for Halt {
    fn from(_: TooLong) -> Halt {
        Halt::TooLong
    }
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
        let Pipes { opening, stdin, stdout, stderr } = pipes;
        let opening: Option<Box<dyn Deref<Target = str>>> =
            if opening.is_empty() { None } else { Some(Box::new(opening)) };
        Conversation {
            stdin,
            stdout,
            stderr,
            pending: opening.into_iter().collect(),
            written: 0,
            close_stdin: false,
            cutter: Cutter::new(launch.framing),
            buffer: vec![0; FIRST_READ],
            stderr_tail: Vec::new(),
            dialogue,
            control,
            listener,
            is_idle: true,
            partner,
            tools,
            stop_signal: launch.stop,
            watches_model: launch.model_is_remote,
            clock: Clock::start(),
            last_output: Duration::ZERO,
            last_reaping: Duration::ZERO,
            last_stage_of_model: Duration::ZERO,
            model_answers: false,
            answered: false,
            alarm: None,
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
            if self.stop.is_none() && self.alarm.is_some_and(|at| at <= self.clock.ran()) {
                self.alarm = None;
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
        match step {
            Step::Send(line) => {
                log::debug!(target: DIALOGUE, "> {line}");
                self.pending.push_back(Box::new(line + "\n"));
            }
            Step::SendRaw(text) => self.pending.push_back(Box::new(text)),
            Step::CloseStdin => self.close_stdin = true,
            Step::Asked => (self.last_stage_of_model, self.alarm) = (self.clock.ran(), None),
            Step::Answering => self.model_answers = true,
            Step::Alarm(after) => self.alarm = Some(self.clock.ran() + after),
            Step::Event(event) => {
                if matches!(event, Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. }) {
                    (self.model_answers, self.answered) = (true, true);
                }
                self.tell(&event);
            }
            Step::Ask(permission) => {
                let mut allowed = false;
                self.let_hear(|listener| {
                    allowed = listener.permission(&permission)?;
                    Ok(())
                });
                // A yes that crossed the order to stop is none any more.
                allowed &= self.stop.is_none() && !self.control.cancel.is_thrown();
                // The person was silent, not the child, nor its model.
                self.last_output = self.clock.ran();
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
            self.last_output = self.clock.ran();
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
        self.stage = Some((Stage::Settling, self.clock.ran() + self.control.grace));
    }

    fn tell_result(&mut self, result: &Result<(), Failure>, code: Option<i32>) {
        let (failure, exit_code) = (result.clone().err(), code.unwrap_or(i32::from(result.is_err())));
        let done = Event::Done(Box::new(Outcome { failure, exit_code, ..Outcome::default() }));
        if self.listener.event(&done).is_err() {
            log::debug!("the reader left at the end");
        }
    }

    /// Begins to stop the child, for that reason.
    fn stop_for(&mut self, stop: Stop) {
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
        let before = self.pending.len();
        self.step(|dialogue, steps| dialogue.interrupt(steps));
        if self.pending.len() > before {
            self.stage = Some((Stage::Asked, self.clock.ran() + self.control.grace / 2));
        } else {
            self.signal(self.control.grace);
        }
    }

    fn signal(&mut self, grace: Duration) {
        let signal = match self.stop_signal {
            StopSignal::Interrupt => sys::SIGINT,
            StopSignal::Terminate => sys::SIGTERM,
        };
        self.partner.signal(signal);
        self.stage = Some((Stage::Signalled, self.clock.ran() + grace));
    }

    fn check_limits(&mut self) {
        if self.stop.is_some() {
            return;
        }
        let now = self.clock.ran();
        let passed = |limit: Duration, from: Duration| !limit.is_zero() && now >= from + limit;
        let Control { wall, stall, first_byte, connect, .. } = *self.control;
        let stop = if self.control.cancel.is_thrown() {
            Stop::Cancelled
        } else if passed(wall, Duration::ZERO) {
            Stop::TimedOut(Limit::Wall, wall)
        } else if passed(stall, self.last_output) {
            Stop::TimedOut(Limit::Stall, stall)
        } else if !self.answered && passed(first_byte, Duration::ZERO) {
            Stop::TimedOut(Limit::FirstByte, first_byte)
        } else if self.watches_model
            && !self.model_answers
            // Until then the dialogue waits for the program itself, and bounds that.
            && self.alarm.is_none()
            && passed(connect, self.last_stage_of_model)
        {
            let message = format!("no sign of life from the model for {connect:?} (vendor_connect_secs)");
            let result = Err(Failure::new(Kind::Unreachable, message));
            self.tell_result(&result, None);
            Stop::Finished(result)
        } else {
            return;
        };
        self.stop_for(stop);
    }

    /// Goes on to the next stage of a stop when this one has had its time.
    fn advance_stop(&mut self) {
        let hurry = self.control.cancel.is_urgent();
        match self.stage {
            None | Some((Stage::Killed, _)) => {}
            Some((_, until)) if self.clock.ran() < until && !hurry => {}
            Some((Stage::Settling | Stage::Asked, _)) if !hurry => {
                self.partner.remember();
                self.signal(self.control.grace / 2);
            }
            Some(_) => {
                self.partner.kill();
                self.stage = Some((Stage::Killed, self.clock.ran()));
            }
        }
    }

    /// The child has ended and its pipes are empty, or have lingered long enough.
    fn is_over(&mut self) -> bool {
        let now = self.clock.ran();
        if self.exit.is_none() {
            self.exit = self.partner.exited().map(|exit| (exit, now));
        }
        match self.exit {
            None => false,
            Some(_) if self.stdout.is_none() => true,
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
            let readable = self.stdout.as_ref().is_some_and(|stdout| {
                let mut watch = [Watch::readable(stdout.as_fd())];
                sys::poll(&mut watch, Duration::ZERO).is_ok() && watch[0].woke()
            });
            if !readable {
                break;
            }
            self.read_stdout();
        }
        let mut cutter = std::mem::replace(&mut self.cutter, Cutter::new(Default::default()));
        let _ = cutter.end(|line| {
            self.hear(line);
            Ok::<(), Halt>(())
        });
    }

    /// Waits for the next thing to happen, and lets it.
    fn wait(&mut self) -> io::Result<()> {
        self.is_idle = true;
        self.write();
        if self.pending.is_empty() && self.close_stdin {
            self.stdin = None;
        }
        let mut watches = Vec::with_capacity(4);
        let mut watch = |watch: Option<Watch>| watch.map(|watch| (watches.push(watch), watches.len() - 1).1);
        let out = watch(self.stdout.as_ref().map(|fd| Watch::readable(fd.as_fd())));
        let err = watch(self.stderr.as_ref().map(|fd| Watch::readable(fd.as_fd())));
        watch(self.stdin.as_ref().filter(|_| !self.pending.is_empty()).map(|fd| Watch::writable(fd.as_fd())));
        // Once thrown it stays readable: then only the clock is watched.
        watch((!self.control.cancel.is_thrown()).then(|| self.control.cancel.watch()));
        watches.extend(self.tools.watches());
        // A child that has closed its output is about to exit: that is waited for with short steps.
        let wait_limit = match (out, self.exit) {
            (Some(_), None) if !self.tools.are_ending() => TICK,
            // The longer it takes, the longer the steps: it may live on for hours.
            (_, None) => {
                (self.clock.ran().saturating_sub(self.last_output) / 8).clamp(Duration::from_millis(1), TICK)
            }
            (_, Some(_)) => Duration::from_millis(1),
        };
        sys::poll(&mut watches, wait_limit.min(self.until_next_limit()))?;
        let woke = |index: Option<usize>| index.is_some_and(|index| watches[index].woke());
        let (out, err) = (woke(out), woke(err));
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
        if self.clock.ran() >= self.last_reaping + REAP {
            self.last_reaping = self.clock.ran();
            super::reap_orphans();
        }
        Ok(())
    }

    fn until_next_limit(&self) -> Duration {
        let now = self.clock.ran();
        let Control { wall, stall, first_byte, .. } = *self.control;
        [(wall, Duration::ZERO), (stall, self.last_output), (first_byte, Duration::ZERO)]
            .into_iter()
            .filter(|(limit, _)| !limit.is_zero())
            .map(|(limit, from)| (from + limit).saturating_sub(now))
            .chain(self.stage.map(|(_, until)| until.saturating_sub(now)))
            .chain(self.alarm.map(|at| at.saturating_sub(now)))
            .filter(|left| !left.is_zero())
            .min()
            .unwrap_or(TICK)
    }

    /// Writes what there is room for.
    fn write(&mut self) {
        while let (Some(stdin), Some(part)) = (&mut self.stdin, self.pending.front()) {
            let rest = &part.as_bytes()[self.written..];
            match stdin.write(rest) {
                // A long prompt is not needed any more.
                Ok(written) if written == rest.len() => (_, self.written) = (self.pending.pop_front(), 0),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It does not read any more: what it made of what it had read is what it says next.
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Returns how much it has read.
    fn read_stderr(&mut self) -> usize {
        let Some(stderr) = &mut self.stderr else { return 0 };
        let mut buffer = [0; 4096];
        match stderr.read(&mut buffer) {
            Ok(0) => self.stderr = None,
            Ok(read) => {
                log::debug!(target: DIALOGUE, "! {}", String::from_utf8_lossy(&buffer[..read]).trim_end());
                self.stderr_tail.extend_from_slice(&buffer[..read]);
                let excess = self.stderr_tail.len().saturating_sub(STDERR_TAIL);
                self.stderr_tail.drain(..excess);
                return read;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.stderr = None,
        }
        0
    }

    fn read_stdout(&mut self) {
        let Some(stdout) = &mut self.stdout else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut cutter = std::mem::replace(&mut self.cutter, Cutter::new(Default::default()));
        let read = match stdout.read(&mut buffer) {
            Ok(0) => Err(None),
            Ok(read) => Ok(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(Some(error)),
        };
        let result = match read {
            Ok(read) => {
                let heard = cutter.take(&buffer[..read], |line| {
                    self.hear(line);
                    Ok(())
                });
                // Only now: while we wait for our own reader, the child is not the one that is silent.
                if read > 0 {
                    self.last_output = self.clock.ran();
                }
                if read == buffer.len() {
                    buffer.resize(READ, 0);
                }
                heard
            }
            Err(error) => {
                self.stdout = None;
                self.last_output = self.clock.ran();
                let rest = cutter.end(|line| {
                    self.hear(line);
                    Ok(())
                });
                error.map_or(rest, |error| Err(Halt::Io(error)))
            }
        };
        (self.cutter, self.buffer) = (cutter, buffer);
        let problem = match result {
            Ok(()) => return,
            Err(Halt::TooLong) => {
                format!("a line of its output is longer than {} MiB", lines::LONGEST_LINE >> 20)
            }
            Err(Halt::Io(error)) => format!("its output cannot be read: {error}"),
        };
        self.stdout = None;
        self.finish(Err(Failure::new(Kind::Unreadable, problem)));
    }

    fn hear(&mut self, line: &str) {
        if self.watches_model {
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
        let (code, signal) = match self.exit {
            Some((Exit::Code(code), _)) => (Some(code), None),
            Some((Exit::Signal(signal), _)) => (None, Some(signal)),
            None => (None, None),
        };
        let ended =
            Ended { code, signal, stderr: String::from_utf8_lossy(&self.stderr_tail).trim().to_owned() };
        if self.stop.is_none() {
            self.step(|dialogue, steps| dialogue.eof(&ended, steps));
        }
        let stop = self.stop.unwrap_or_else(|| {
            Stop::Finished(Err(Failure::new(Kind::Crash, "the backend ended without a result")))
        });
        Report { stop, ended }
    }
}
