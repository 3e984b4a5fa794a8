//! The answer to one request of a compatible surface: runs what is asked, and brings what the backend says back into the
//! client's dialect, whole or in frames as it comes.

use super::thread::Thread;
use super::{Chat, DRIP, Dialect, Finished, Format, Frames, Reply, Stamp, drips, structured};
use crate::engine::{Listener, Outcome};
use crate::error::{Error, Failure, Kind};
use crate::event::{Event, Sink, Usage};
use crate::exec::Control;
use crate::http::call::Call;
use crate::http::faults::Fault;
use crate::http::native::deliver::Work;
use crate::http::outlet::Outlet;
use crate::task::Task;
use crate::world;
use std::io;
use std::time::{Duration, Instant};

/// How often a model may try to answer as it was asked to.
const TRIES: usize = 2;
/// The longest answer that is kept in memory until its end, in bytes.
const MOST_ANSWER: usize = 64 << 20;

/// The header that says who answers.
pub const BACKEND: &str = "x-clinvk-backend";
/// The header that says with which model, where the backend tells.
const MODEL: &str = "x-clinvk-model";

/// One request under way.
pub struct Asked<'a> {
    /// What is asked.
    pub chat: &'a Chat,
    /// How it is answered.
    pub dialect: &'static dyn Dialect,
    /// What the answer is called.
    pub stamp: &'a Stamp,
    /// Whose work it is.
    pub work: &'a Work<'a>,
    /// Its limits.
    pub control: &'a Control,
    /// Its place in a conversation.
    pub thread: &'a Thread,
}

/// The client's side of an answer that comes whole. It has it before the backend's program is gone.
trait Delivery<'e, 'c: 'e> {
    /// Its connection.
    fn outlet(&mut self) -> &mut Outlet<'e, 'c>;

    /// Time passes; so long since it began.
    fn wait(&mut self, since: Duration) -> io::Result<()>;

    /// Here it is.
    fn deliver(&mut self, asked: &Asked<'_>, reply: &Reply, finished: &Finished) -> io::Result<()>;
}

/// As one JSON object.
struct Whole<'o, 'e, 'c> {
    outlet: &'o mut Outlet<'e, 'c>,
    /// The longest time of the run.
    limit: Option<Duration>,
}

impl<'e, 'c: 'e> Delivery<'e, 'c> for Whole<'_, 'e, 'c> {
    fn outlet(&mut self) -> &mut Outlet<'e, 'c> {
        self.outlet
    }

    fn wait(&mut self, since: Duration) -> io::Result<()> {
        if drips(since, self.limit) { self.outlet.quiet_before_json(DRIP) } else { Ok(()) }
    }

    fn deliver(&mut self, asked: &Asked<'_>, reply: &Reply, finished: &Finished) -> io::Result<()> {
        self.outlet.whole(&asked.dialect.answer(asked.chat, asked.stamp, reply, finished))
    }
}

/// As frames, all at once: its form matters, and it had to be found right first.
struct Framed<'o, 'e, 'c> {
    outlet: &'o mut Outlet<'e, 'c>,
    frames: &'o mut dyn Frames,
}

impl<'e, 'c: 'e> Delivery<'e, 'c> for Framed<'_, 'e, 'c> {
    fn outlet(&mut self) -> &mut Outlet<'e, 'c> {
        self.outlet
    }

    fn wait(&mut self, _: Duration) -> io::Result<()> {
        self.outlet.quiet(|| self.frames.alive())
    }

    fn deliver(&mut self, _: &Asked<'_>, reply: &Reply, finished: &Finished) -> io::Result<()> {
        let framed = match reply {
            Reply::Text(text) => self.frames.text(text),
            Reply::Tool { name, arguments } => self.frames.tool(name, arguments),
        };
        self.outlet.send(&(framed + &self.frames.done(finished)))?;
        self.outlet.end()
    }
}

impl Asked<'_> {
    /// One JSON object at the end.
    ///
    /// # Errors
    /// What the client is told.
    pub fn whole(&self, call: &mut Call<'_, '_>, tasks: Vec<Task>) -> Result<(), Fault> {
        let mut outlet = call.outlet("application/json");
        let limit = Some(self.control.wall).filter(|limit| !limit.is_zero());
        let result = self.settle(tasks, &mut Whole { outlet: &mut outlet, limit });
        // Once blanks are out, only a cut says that something is missing.
        if outlet.is_open() { Ok(()) } else { result }
    }

    /// Frames as the answer comes; where its form matters, once it is known to be right.
    ///
    /// # Errors
    /// What the client is told, where it has not heard anything yet.
    pub fn stream(&self, call: &mut Call<'_, '_>, tasks: Vec<Task>) -> Result<(), Fault> {
        let mut frames = self.dialect.frames(self.chat, self.stamp);
        let mut outlet = call.outlet("text/event-stream; charset=utf-8");
        let start = frames.start();
        outlet.hold(&start).map_err(|_| Error::ReaderGone)?;
        let result = match self.is_free() {
            true => self.run_free(&tasks, &mut *frames, &mut outlet),
            false => self.settle(tasks, &mut Framed { outlet: &mut outlet, frames: &mut *frames }),
        };
        match result {
            Err(fault)
                if outlet.is_open()
                    || (self.dialect.tells_in_frames(&fault) && !self.thread.may_begin_anew(&fault)) =>
            {
                let failed = frames.failed(&fault, &self.work.who.request);
                // A client that left has no use for it.
                let _ = outlet.send(&failed).and_then(|()| outlet.end());
                Ok(())
            }
            other => other,
        }
    }

    /// Runs it once, and passes the text on.
    fn run_free(
        &self,
        tasks: &[Task],
        frames: &mut dyn Frames,
        outlet: &mut Outlet<'_, '_>,
    ) -> Result<(), Fault> {
        let mut pieces = Pieces { asked: self, frames, outlet, bytes: 0, text: String::new() };
        let outcome = self.work.server.run(self.work, tasks, self.control, &mut pieces, false)?;
        outcome.failure.map_or(Ok(()), |failure| Err(Fault::of_failure(&failure, world::now().0)))
    }

    /// Runs it until the answer is what was asked for, and delivers that.
    fn settle<'e, 'c: 'e>(
        &self,
        mut tasks: Vec<Task>,
        delivery: &mut dyn Delivery<'e, 'c>,
    ) -> Result<(), Fault> {
        let mut problem = Failure::new(Kind::Internal, "nothing was tried");
        for _ in 0..TRIES {
            let (since, text) = (Instant::now(), String::new());
            let mut keeper = Keeper { asked: self, text, since, delivery, problem: None };
            let result = self.work.server.run(self.work, &tasks, self.control, &mut keeper, false);
            let Keeper { text, problem: found, .. } = keeper;
            if text.len() > MOST_ANSWER {
                let sentence =
                    format!("the answer has more than {MOST_ANSWER} bytes: only a stream can take it");
                return Err(Fault::of(Kind::Unreadable, sentence));
            }
            let failure = match (result?.failure, found) {
                (_, Some(failure)) => failure,
                (Some(failure), None) => return Err(Fault::of_failure(&failure, world::now().0)),
                (None, None) => return Ok(()),
            };
            log::debug!("{}: asked once more", self.work.who.request);
            let answer = match text.trim_end() {
                // Some backends check the form themselves, and tell of an answer without it only what is wrong.
                "" => String::new(),
                answer => format!("\n\nThe answer was:\n{answer}"),
            };
            for task in &mut tasks {
                task.prompt += &format!(
                    "{answer}\n\nThat answer cannot be used: {}. Answer again, as it was asked for.",
                    failure.message
                );
            }
            problem = failure;
        }
        Err(Fault::of_failure(&problem, world::now().0))
    }

    /// Any text will do for an answer.
    fn is_free(&self) -> bool {
        self.chat.forced.is_none() && self.chat.format == Format::Text
    }

    /// A run begins: who answers, and in which session of ours.
    fn begin(&self, backend: &str, session: Option<&str>, outlet: &mut Outlet<'_, '_>) {
        self.work.run.begin(backend, session);
        self.thread.begin(session);
        outlet.header(BACKEND, backend.to_owned());
        session.into_iter().for_each(|session| outlet.header("x-clinvk-session", session.to_owned()));
    }

    /// Keeps the conversation, before the client has its answer and can go on.
    fn keep(&self, outcome: &Outcome, text: &str) {
        if let Some(session) = &outcome.session {
            let response = self.stamp.id("resp_", 32);
            self.thread.keep(session, self.chat, text, &response);
        }
    }

    /// What the run used; an estimate where the backend does not say.
    fn finished(&self, outcome: &Outcome, bytes: usize, outlet: &mut Outlet<'_, '_>) -> Finished {
        let usage = match outcome.usage.total() {
            0 => {
                outlet.header("x-clinvk-usage", "estimated".to_owned());
                // Four letters are about a token.
                Usage { input: self.chat.estimate, output: bytes.div_ceil(4) as u64, ..Usage::default() }
            }
            _ => outcome.usage,
        };
        Finished { usage, truncated: outcome.truncated }
    }
}

/// The model that answers, where the backend says it.
fn model_of(event: &Event) -> Option<&str> {
    match event {
        Event::Started { model, .. } => model.as_deref(),
        _ => None,
    }
}

/// Passes text on in frames.
struct Pieces<'a, 'o, 'e, 'c> {
    asked: &'a Asked<'a>,
    frames: &'a mut dyn Frames,
    outlet: &'o mut Outlet<'e, 'c>,
    /// How much text there was.
    bytes: usize,
    /// The text itself, where the conversation is kept.
    text: String,
}

impl Sink for Pieces<'_, '_, '_, '_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Some(model) = model_of(event) {
            self.outlet.header(MODEL, model.to_owned());
        }
        match event {
            Event::Text(text) => {
                self.bytes += text.len();
                if self.asked.thread.keeps() && self.text.len() <= MOST_ANSWER {
                    self.text.push_str(text);
                }
                self.outlet.send(&self.frames.text(text))
            }
            _ => Ok(()),
        }
    }

    fn quiet(&mut self) -> io::Result<()> {
        self.outlet.quiet(|| self.frames.alive())
    }

    fn raw(&mut self, _line: &str) -> io::Result<()> {
        // It may be one of many that say nothing to us: the client is as much in silence as if there were none.
        self.quiet()
    }
}

impl Listener for Pieces<'_, '_, '_, '_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) {
        self.asked.begin(backend, session, self.outlet);
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        if outcome.failure.is_some() {
            return Ok(());
        }
        self.asked.keep(outcome, &self.text);
        let finished = self.asked.finished(outcome, self.bytes, self.outlet);
        self.outlet.send(&self.frames.done(&finished))?;
        self.outlet.end()
    }
}

/// Keeps the text until its end.
struct Keeper<'a, 'e, 'c: 'e> {
    asked: &'a Asked<'a>,
    text: String,
    since: Instant,
    delivery: &'a mut dyn Delivery<'e, 'c>,
    /// Why the answer is not what was asked for.
    problem: Option<Failure>,
}

impl<'e, 'c: 'e> Sink for Keeper<'_, 'e, 'c> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Some(model) = model_of(event) {
            self.delivery.outlet().header(MODEL, model.to_owned());
        }
        if let Event::Text(text) = event {
            self.text.push_str(text);
            if self.text.len() > MOST_ANSWER {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        Ok(())
    }

    fn quiet(&mut self) -> io::Result<()> {
        self.delivery.wait(self.since.elapsed())
    }

    fn raw(&mut self, _line: &str) -> io::Result<()> {
        self.quiet()
    }
}

impl<'e, 'c: 'e> Listener for Keeper<'_, 'e, 'c> {
    fn begin(&mut self, backend: &str, session: Option<&str>) {
        self.asked.begin(backend, session, self.delivery.outlet());
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        match &outcome.failure {
            None => {}
            // The backend has found out by itself that the answer is not what was asked for.
            Some(failure) if failure.kind == Kind::Unreadable && !self.asked.is_free() => {
                self.problem = Some(failure.clone());
                return Ok(());
            }
            Some(_) => return Ok(()),
        }
        match structured::reply(self.asked.chat, self.text.trim_end_matches('\n')) {
            Ok(reply) => {
                self.asked.keep(outcome, &self.text);
                let finished = self.asked.finished(outcome, self.text.len(), self.delivery.outlet());
                self.delivery.deliver(self.asked, &reply, &finished)
            }
            Err(failure) => {
                self.problem = Some(failure);
                Ok(())
            }
        }
    }
}
