//! How the results of a request reach its client: as one JSON answer, as a stream, or later, when it comes back for them.

use crate::base::json::json;
use crate::base::{sha256, world};
use crate::exec::Cancel;
use crate::http::front::errors::{Fault, Surface};
use crate::http::state::call::{Call, Who, Work};
use crate::http::state::event_log::{EventLog, Next};
use crate::http::state::idempotency::{Digest, Place};
use crate::http::state::runs::{Finished, Run};
use crate::http::state::streaming::StreamingResponse;
use crate::model::error::{Error, Kind};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The work behind a request.
pub(crate) type Job = Box<dyn FnOnce(&Work<'_>, &mut dyn Feed) -> Result<String, Failed> + Send>;

/// A failure, with what else is known of it.
pub(crate) struct Failed {
    /// The failure itself.
    pub(crate) fault: Fault,
    /// Fields of the answer beside `error`.
    pub(crate) known: Value,
}

impl<F: Into<Fault>> From<F> for Failed {
    fn from(fault: F) -> Failed {
        Failed { fault: fault.into(), known: json!({}) }
    }
}

/// Where results go while they are made.
pub(crate) trait Feed {
    /// One result, or one thing that happened. `is_of_answer`: it is worth a status line; until then a failure is one.
    fn event(&mut self, value: &Value, is_of_answer: bool) -> io::Result<()>;

    /// A while of silence has passed.
    fn idle(&mut self) -> io::Result<()>;

    /// All is known, and the client need not wait until the last process is gone. Nothing comes behind it.
    fn result(&mut self, body: String) -> io::Result<()>;

    /// The client has had something: a failure has to go into the stream.
    fn is_open(&self) -> bool;
}

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object at the end.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Server-sent events.
    Sse,
}

impl Format {
    /// What the client asked for by `Accept`.
    pub(crate) fn of(call: &Call<'_, '_>) -> Format {
        let accept = call.exchange.head.text("accept").unwrap_or("");
        let accepts = |kind: &str| accept.split(',').any(|part| part.trim().split(';').next() == Some(kind));
        match () {
            () if accepts("text/event-stream") => Format::Sse,
            () if accepts("application/x-ndjson") => Format::Ndjson,
            () => Format::Json,
        }
    }

    /// The same where its body may ask for a stream.
    pub(crate) fn or_stream(self, wants_stream: bool) -> Format {
        if wants_stream && self == Format::Json { Format::Ndjson } else { self }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Sse => "text/event-stream; charset=utf-8",
        }
    }

    /// One event on the wire; `number` is what `Last-Event-ID` says again.
    fn frame(self, number: usize, line: &str) -> String {
        match self {
            Format::Json => String::new(),
            Format::Ndjson => format!("{line}\n"),
            Format::Sse => format!("id: {number}\ndata: {line}\n\n"),
        }
    }

    /// What says that a stream is alive.
    fn keep_alive(self) -> String {
        match self {
            Format::Json => " ".to_owned(),
            Format::Ndjson => "\n".to_owned(),
            Format::Sse => ": keep-alive\n\n".to_owned(),
        }
    }
}

/// An `Idempotency-Key`, and what is asked with it.
pub type Key = (Place, Digest);

/// The key that a request has. After that its body is needed no more.
pub(crate) fn key(call: &Call<'_, '_>, body: &[u8]) -> Result<Option<Key>, Fault> {
    let Some(key) = call.exchange.head.text("idempotency-key") else { return Ok(None) };
    // The same body for another session is another request.
    let asked = [call.params.concat().as_bytes(), &sha256::digest(body)].concat();
    Ok(Some((Place::of(&call.who, key)?, sha256::digest(&asked))))
}

/// Does the work of a request and answers it. With an `Idempotency-Key` a request that is sent again gets the same answer;
/// with `detach` it is answered at once, and the work goes on alone.
pub(crate) fn deliver(
    call: &mut Call<'_, '_>,
    key: Option<Key>,
    format: Format,
    detach: bool,
    job: Job,
) -> Result<(), Fault> {
    if call.exchange.is_draining() {
        return Err(Fault::of(Kind::Draining, "the server is about to stop: try again in a moment"));
    }
    if key.is_none() && !detach {
        return directly(call, format, job);
    }
    let run = match key {
        None => begin(call, format, detach, job)?,
        Some((place, digest)) => {
            let server = call.server.clone();
            server.lasting.idempotency.first(&place, digest, || begin(call, format, detach, job))?
        }
    };
    if detach {
        let body_json = json!({"run_id": run.id, "events": format!("/api/v1/runs/{}/events", run.id)});
        call.answer(202, "application/json", body_json.to_string());
        return Ok(());
    }
    follow(call, &run, format, 0)
}

/// The work in the client's own thread, its results straight to its connection.
fn directly(call: &mut Call<'_, '_>, format: Format, job: Job) -> Result<(), Fault> {
    let (server, who, cancel) = (call.server.clone(), call.who.clone(), call.cancel()?);
    let held = call.exchange.held().clone();
    let run = Run::new(world::random_id()?, who.route, who.client.clone(), who.owner(), cancel.clone());
    let run = server.lasting.runs.add(run);
    let mut feed =
        Direct { response: call.response(format.content_type()), format, number: 0, is_over: false };
    let streamed = format != Format::Json;
    let (held, run, cancel, keeps_answer) = (&*held, &run, &cancel, !streamed);
    let work = Work { server: &server, who: &who, held, run, cancel, streamed, keeps_answer };
    let result = job(&work, &mut feed);
    let Direct { mut response, is_over, .. } = feed;
    match result {
        _ if is_over => Ok(()),
        Ok(body) if format == Format::Json => {
            // Behind the blanks, where some were said already.
            let _ = response.whole(body);
            Ok(())
        }
        Ok(_) => {
            let _ = response.end();
            Ok(())
        }
        Err(failed) if !response.is_open() => {
            call.tell_failed(&failed);
            Ok(())
        }
        // JSON that began is cut; a stream has said it.
        Err(_) if format == Format::Json => Ok(()),
        Err(_) => {
            let _ = response.end();
            Ok(())
        }
    }
}

impl Call<'_, '_> {
    /// Answers with a failure and what else is known of it.
    fn tell_failed(&mut self, failed: &Failed) {
        let finished = finished(Err(failed), &self.who);
        self.headers.extend(finished.headers);
        self.answer(finished.status, "application/json", finished.body);
    }
}

/// A result as status, headers and body.
fn finished(result: Result<String, &Failed>, who: &Who) -> Finished {
    match result {
        Ok(body) => Finished::new(200, Vec::new(), body),
        Err(Failed { fault, known }) => {
            let body_json = serde_json::from_str(&fault.body(Surface::Native, &who.request));
            let mut body: Value = body_json.unwrap_or_else(|_| json!({}));
            if let (Some(body), Some(known)) = (body.as_object_mut(), known.as_object()) {
                known.iter().filter(|(name, _)| *name != "error").for_each(|(name, value)| {
                    body.insert(name.clone(), value.clone());
                });
            }
            Finished::new(fault.status(Surface::Native), fault.headers(Surface::Native), body.to_string())
        }
    }
}

/// Results straight to the client.
struct Direct<'a, 'c> {
    response: StreamingResponse<'a, 'c>,
    format: Format,
    number: usize,
    is_over: bool,
}

impl Feed for Direct<'_, '_> {
    fn event(&mut self, value: &Value, is_of_answer: bool) -> io::Result<()> {
        if self.format == Format::Json {
            return self.response.idle_before_json(None);
        }
        let frame = self.format.frame(self.number, &value.to_string());
        self.number += 1;
        if is_of_answer { self.response.send(&frame) } else { self.response.hold(&frame) }
    }

    fn idle(&mut self) -> io::Result<()> {
        match self.format {
            Format::Json => self.response.idle_before_json(None),
            format => self.response.idle(|| format.keep_alive()),
        }
    }

    fn result(&mut self, body: String) -> io::Result<()> {
        self.is_over = true;
        match self.format {
            Format::Json => self.response.whole(body),
            Format::Ndjson | Format::Sse => self.response.end(),
        }
    }

    fn is_open(&self) -> bool {
        self.response.is_open()
    }
}

/// Results into an event log.
struct Logged<'a> {
    event_log: &'a EventLog,
    run: &'a Run,
    who: &'a Who,
}

impl Feed for Logged<'_> {
    fn event(&mut self, value: &Value, is_of_answer: bool) -> io::Result<()> {
        self.event_log.write(&value.to_string(), is_of_answer);
        Ok(())
    }

    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn result(&mut self, body: String) -> io::Result<()> {
        self.run.finish(finished(Ok(body), self.who));
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.event_log.has_answer()
    }
}

/// Begins the work in a thread of its own, so that clients may come and go.
fn begin(call: &mut Call<'_, '_>, format: Format, detached: bool, job: Job) -> Result<Arc<Run>, Fault> {
    // No client's leaving ends them: they are counted before they begin.
    let bounds = call.server.lasting.slots.bounds();
    if detached && call.server.lasting.runs.detached() >= bounds.runs + bounds.queue {
        let sentence =
            format!("too many runs at once: {} detached runs go on already", bounds.runs + bounds.queue);
        return Err(Error::Busy(sentence).into());
    }
    let cancel = Arc::new(Cancel::new()?);
    let (server, who, held) = (call.server.clone(), call.who.clone(), call.exchange.held().clone());
    let mut run = Run::new(world::random_id()?, who.route, who.client.clone(), who.owner(), cancel.clone());
    (run.event_log, run.detached) = (Some(EventLog::default()), detached);
    let run = Arc::new(run);
    let (listed, of_thread) = (call.server.clone(), run.clone());
    let work = move || {
        let run = of_thread;
        let event_log = run.event_log.as_ref().expect("it was just given one");
        // The limits are those of the first request.
        let streamed = detached || format != Format::Json;
        let result = {
            let (held, run, cancel, keeps_answer) = (&*held, &*run, &cancel, true);
            let work = Work { server: &server, who: &who, held, run, cancel, streamed, keeps_answer };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                job(&work, &mut Logged { event_log, run, who: &who })
            }))
        };
        let result = result.unwrap_or_else(|_| Err(Fault::of(Kind::Internal, "internal error").into()));
        run.finish(match result {
            Ok(body) => finished(Ok(body), &who),
            Err(failed) => finished(Err(&failed), &who),
        });
        drop(cancel);
        run.rest(held);
    };
    let thread = thread::Builder::new().name("run".to_owned()).spawn(work);
    thread.map_err(|error| Error::System { what: "start a thread", error })?;
    listed.lasting.runs.keep(run.clone());
    Ok(run)
}

/// How long a follower waits for the next piece before it looks around.
const LOOK: Duration = Duration::from_millis(100);

/// Answers with what a run says, from that event on.
pub(crate) fn follow(
    call: &mut Call<'_, '_>,
    run: &Arc<Run>,
    format: Format,
    mut from: usize,
) -> Result<(), Fault> {
    let Some(event_log) = &run.event_log else {
        return Err(Fault::of(Kind::InvalidRequest, "only a detached run can be followed"));
    };
    let (_follower, cancel) = (run.follow(), call.cancel()?);
    let mut response = call.response(format.content_type());
    loop {
        let said = match event_log.next(from, LOOK) {
            Next::Over => break,
            _ if cancel.is_thrown() => return Ok(()),
            Next::Piece(number, _) if format == Format::Json => {
                from = number + 1;
                response.idle_before_json(None)
            }
            Next::Nothing if format == Format::Json => response.idle_before_json(None),
            Next::Nothing => response.idle(|| format.keep_alive()),
            // A client that follows a detached run sees by the numbers that something is missing.
            Next::Piece(number, _) if number > from && !run.detached => {
                if response.is_open() {
                    return Ok(());
                }
                let sentence = "the beginning of this stream is not kept any more: ask for JSON";
                return Err(Fault::of(Kind::Unreadable, sentence));
            }
            Next::Piece(number, piece) => {
                from = number + 1;
                let frame = format.frame(number, &piece.text);
                if piece.is_of_answer { response.send(&frame) } else { response.hold(&frame) }
            }
        };
        if said.is_err() {
            return Ok(());
        }
    }
    let Some(end) = run.result() else { return Ok(()) };
    if format != Format::Json && (response.is_open() || end.status == 200) {
        let _ = response.end();
    } else if response.is_open() {
        let _ = response.send(&end.body).and_then(|()| response.end());
    } else {
        call.headers.extend(end.headers);
        call.answer(end.status, "application/json", end.body);
    }
    Ok(())
}
