//! A request of a compatible surface under way: its runs, and how what they say reaches the client, whole or in frames
//! as it comes.

use super::thread::Thread;
use super::{Chat, Dialect, Finished, Frames, Reply, Stamp, structured};
use crate::base::world;
use crate::engine::{self, answer::Collector, fallback::Attempts};
use crate::exec::Control;
use crate::http::front::errors::Fault;
use crate::http::state::admission::Claimant;
use crate::http::state::call::{Call, Work};
use crate::http::state::streaming::StreamingResponse;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener, Usage, seam};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use std::time::Duration;
use std::{io, mem};

/// How often a model may try to answer as it was asked to.
const TRIES: usize = 2;

/// The header that says how often the agent needed a permission and did not get it.
const DENIALS: &str = "x-clinvk-permission-denials";

/// One request under way.
pub(super) struct RunRequest<'a> {
    pub(crate) chat: &'a Chat,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) stamp: &'a Stamp,
    pub(crate) work: &'a Work<'a>,
    pub(crate) control: &'a Control,
    pub(crate) thread: &'a Thread,
    pub(crate) tasks: &'a [Task],
}

impl RunRequest<'_> {
    /// One JSON object at the end.
    pub(crate) fn whole(&self, call: &mut Call<'_, '_>, attempts: Attempts) -> Result<(), Fault> {
        let mut response = call.response("application/json");
        // Where its form matters there may be more than one run.
        let runs = if self.chat.is_free() { 1 } else { TRIES as u32 };
        let limit = Some(self.control.wall * runs).filter(|limit| !limit.is_zero());
        let listener = WholeListener::new(self, &mut response, Delivery::Json { limit });
        let result = self.settle(attempts, listener);
        // Once blanks are out, only a cut says that something is missing.
        if response.is_open() { Ok(()) } else { result }
    }

    /// Frames as the answer comes; where its form matters, once it is known to be right.
    pub(crate) fn stream(&self, call: &mut Call<'_, '_>, attempts: Attempts) -> Result<(), Fault> {
        let mut frames = self.dialect.frames(self.chat, self.stamp);
        let mut response = call.response("text/event-stream; charset=utf-8");
        let start = frames.start();
        response.hold(&start).map_err(|_| Error::ReaderGone)?;
        let result = match self.chat.is_free() {
            true => self.run_free(attempts, &mut *frames, &mut response),
            false => {
                let delivery = Delivery::Frames(&mut *frames);
                self.settle(attempts, WholeListener::new(self, &mut response, delivery))
            }
        };
        match result {
            Err(fault) if !response.is_open() && self.thread.may_begin_anew(&fault) => Err(fault),
            Err(fault) if response.is_open() || self.dialect.tells_in_frames(&fault) => {
                let failed = frames.failed(&fault, &self.work.who.request);
                // A client that left has no use for it.
                let _ = response.send(&failed).and_then(|()| response.end());
                Ok(())
            }
            other => other,
        }
    }

    fn run_once(&self, attempts: Attempts, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        let RunRequest { work, control, .. } = *self;
        work.server.run(work, &work.server.engine, attempts, control, listener, Claimant::Request)
    }

    /// Runs it once, and passes the text on.
    fn run_free(
        &self,
        attempts: Attempts,
        frames: &mut dyn Frames,
        response: &mut StreamingResponse<'_, '_>,
    ) -> Result<(), Fault> {
        let answer = Collector::default();
        let mut listener =
            StreamListener { asked: self, frames, response, bytes: 0, answer, broken: false, denials: 0 };
        let outcome = self.run_once(attempts, &mut listener)?;
        outcome.failure.map_or(Ok(()), |failure| Err(Fault::of_failure(&failure, world::now().0)))
    }

    /// Runs it until the answer is what was asked for, and delivers that.
    fn settle(&self, mut attempts: Attempts, mut listener: WholeListener<'_, '_, '_>) -> Result<(), Fault> {
        let (mut tasks, mut tries) = (self.tasks.to_vec(), 0);
        loop {
            tries += 1;
            let result = self.run_once(attempts, &mut listener);
            let (text, found) = (mem::take(&mut listener.answer).text, listener.problem.take());
            let failure = match (result?.failure, found) {
                (_, Some(failure)) => failure,
                (Some(failure), None) => return Err(Fault::of_failure(&failure, world::now().0)),
                (None, None) => return Ok(()),
            };
            if tries == TRIES {
                return Err(Fault::of_failure(&failure, world::now().0));
            }
            log::debug!("{}: asked once more", self.work.who.request);
            // A backend that checks the form itself tells nothing of an answer without it but what is wrong.
            let answer = Some(text.trim_end()).filter(|answer| !answer.is_empty());
            let answer = answer.map(|answer| format!("\n\nThe answer was:\n{answer}")).unwrap_or_default();
            for task in &mut tasks {
                let again = format!(
                    "{}{answer}\n\nThat cannot be used: {}. Answer again, as it was asked for.",
                    task.prompt, failure.message
                );
                task.prompt = again.into();
            }
            let (engine, session) = (&self.work.server.engine, self.thread.session.as_ref());
            attempts = Attempts::of(engine, tasks.clone(), session)?;
        }
    }

    /// A run of it begins.
    fn begin(&self, backend: &str, session: Option<&str>) {
        self.work.run.begin(backend, session);
        self.thread.begin(session);
    }

    /// The model that a backend is asked for, by the vendor's name.
    fn model(&self, backend: &str) -> Option<String> {
        let task = self.tasks.iter().find(|task| task.backend == backend)?;
        let known = self.work.server.engine.registry.get(backend).ok()?;
        task.model.as_deref().and_then(|model| engine::resolve_model(known.models(), model))
    }

    /// Who answers, in headers for the client.
    fn name_backend(
        &self,
        response: &mut StreamingResponse<'_, '_>,
        backend: &str,
        model: Option<&str>,
        session: Option<&str>,
    ) {
        let session = session.filter(|_| self.thread.keeps());
        let headers =
            [("x-clinvk-backend", Some(backend)), ("x-clinvk-model", model), ("x-clinvk-session", session)];
        for (name, value) in headers {
            value.into_iter().for_each(|value| response.header(name, value.to_owned()));
        }
    }

    /// Keeps the conversation, before the client has its answer and can go on.
    fn keep(&self, outcome: &Outcome, text: &str) {
        self.thread.keep(outcome, self.chat, text, &self.stamp.id("resp_", 32));
    }

    /// What the run used; where the backend does not say it is an estimate, and a header says so.
    fn finished(
        &self,
        response: &mut StreamingResponse<'_, '_>,
        outcome: &Outcome,
        bytes: usize,
    ) -> Finished {
        let mut usage = outcome.usage;
        if usage.total() == 0 {
            response.header("x-clinvk-usage", "estimated".to_owned());
            // Four letters are about a token.
            usage = Usage { input: self.chat.estimate, output: bytes.div_ceil(4) as u64, ..Usage::default() };
        }
        Finished { usage, truncated: outcome.truncated }
    }
}

/// Passes text on in frames.
struct StreamListener<'a, 'o, 'e, 'c> {
    asked: &'a RunRequest<'a>,
    frames: &'a mut dyn Frames,
    response: &'o mut StreamingResponse<'e, 'c>,
    /// How much text there was.
    bytes: usize,
    /// The text itself, where it is needed at the end.
    answer: Collector,
    /// How often the agent needed a permission and did not get it.
    denials: u64,
    /// What was sent last is void.
    broken: bool,
}

impl StreamListener<'_, '_, '_, '_> {
    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        if outcome.failure.is_some() {
            return Ok(());
        }
        self.asked.keep(outcome, &self.answer.text);
        let finished = self.asked.finished(self.response, outcome, self.bytes);
        self.response.send(&self.frames.done(&finished))?;
        self.response.end()
    }
}

impl Listener for StreamListener<'_, '_, '_, '_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        self.asked.begin(backend, session);
        let model = self.asked.model(backend);
        self.asked.name_backend(self.response, backend, model.as_deref(), session);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Text(text) => {
                self.bytes += text.len();
                if self.asked.thread.keeps() || self.asked.dialect.says_answer_again() {
                    self.answer.add(event)?;
                }
                // What is sent is sent: the answer begins anew in a paragraph of its own.
                return match mem::take(&mut self.broken) {
                    true => self.response.send(&self.frames.text(&(seam(text).to_owned() + text))),
                    false => self.response.send(&self.frames.text(text)),
                };
            }
            Event::Done(outcome) => return self.done(outcome),
            Event::Void(_) => {
                self.answer.add(event)?;
                self.broken = true;
            }
            Event::Started { model: Some(model), .. } | Event::Model { name: model, .. } => {
                self.response.header("x-clinvk-model", model.clone());
            }
            Event::PermissionDenied { .. } => {
                self.denials += 1;
                self.response.header(DENIALS, self.denials.to_string());
            }
            _ => {}
        }
        // It may be one of many that say nothing to the client: for the client the run is silent.
        self.idle()
    }

    fn idle(&mut self) -> io::Result<()> {
        self.response.idle(|| self.frames.alive())
    }
}

/// How an answer is sent that comes whole: the client has it before the backend's program is gone.
enum Delivery<'a> {
    /// As one JSON object.
    Json {
        /// The longest time until it is there.
        limit: Option<Duration>,
    },
    /// All at once: its form matters, and it had to be found right first.
    Frames(&'a mut dyn Frames),
}

/// Keeps the text until its end.
struct WholeListener<'a, 'e, 'c> {
    asked: &'a RunRequest<'a>,
    response: &'a mut StreamingResponse<'e, 'c>,
    delivery: Delivery<'a>,
    answer: Collector,
    /// Why the answer is not what was asked for.
    problem: Option<Failure>,
}

impl<'a, 'e, 'c> WholeListener<'a, 'e, 'c> {
    fn new(
        asked: &'a RunRequest<'a>,
        response: &'a mut StreamingResponse<'e, 'c>,
        delivery: Delivery<'a>,
    ) -> WholeListener<'a, 'e, 'c> {
        WholeListener { asked, response, delivery, answer: Collector::default(), problem: None }
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        let (asked, is_free) = (self.asked, self.asked.chat.is_free());
        if let Some(failure) = &outcome.failure {
            // The backend has found out by itself that the answer is not what was asked for.
            let is_of_form = failure.kind == Kind::Unreadable && !is_free;
            self.problem = is_of_form.then(|| failure.clone());
            return Ok(());
        }
        let bytes = self.answer.text.len();
        let formed = match is_free {
            true => None,
            false => match structured::reply(asked.chat, self.answer.text.trim_end_matches('\n')) {
                Ok(reply) => Some(reply),
                Err(failure) => {
                    self.problem = Some(failure);
                    return Ok(());
                }
            },
        };
        asked.keep(outcome, &self.answer.text);
        let reply = formed.unwrap_or_else(|| {
            // Moved, not copied: it may be long.
            self.answer.text.truncate(self.answer.text.trim_end_matches('\n').len());
            Reply::Text(mem::take(&mut self.answer.text))
        });
        let Outcome { backend, model, session, permission_denials, .. } = outcome;
        asked.name_backend(self.response, backend, model.as_deref(), session.as_deref());
        let finished = asked.finished(self.response, outcome, bytes);
        if *permission_denials > 0 {
            self.response.header(DENIALS, permission_denials.to_string());
        }
        match &mut self.delivery {
            Delivery::Json { .. } => {
                self.response.whole(asked.dialect.answer(asked.chat, asked.stamp, &reply, &finished))
            }
            Delivery::Frames(frames) => {
                let framed = match &reply {
                    Reply::Text(text) => frames.text(text),
                    Reply::Tool { name, arguments } => frames.tool(name, arguments),
                };
                self.response.send(&(framed + &frames.done(&finished)))?;
                self.response.end()
            }
        }
    }
}

impl Listener for WholeListener<'_, '_, '_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        self.asked.begin(backend, session);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Done(outcome) = event {
            return self.done(outcome);
        }
        self.answer.add(event)?;
        self.idle()
    }

    fn idle(&mut self) -> io::Result<()> {
        match &mut self.delivery {
            Delivery::Json { limit } => self.response.idle_before_json(*limit),
            Delivery::Frames(frames) => self.response.idle(|| frames.alive()),
        }
    }
}
