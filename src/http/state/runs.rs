//! What is running: one entry a request that started something, from its beginning to its end, and for a while behind it
//! where a client may come back for it.

use crate::base::json::json;
use crate::base::sync::lock;
use crate::base::time::timestamp;
use crate::base::world;
use crate::exec::Cancel;
use crate::http::net::memory::Held;
use crate::http::state::event_log::EventLog;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A request that runs something.
pub struct Run {
    pub(crate) id: String,
    pub(crate) route: &'static str,
    /// The client's address.
    pub(crate) client: String,
    /// The key that it belongs to.
    pub(crate) owner: Option<String>,
    /// What it says, where a client may come back for it.
    pub(crate) event_log: Option<EventLog>,
    /// It goes on without any client.
    pub(crate) detached: bool,
    since: (u64, u32),
    began: Instant,
    followers: AtomicUsize,
    state: Mutex<RunState>,
}

#[derive(Default)]
struct RunState {
    backends: Vec<String>,
    sessions: Vec<String>,
    result: Option<(Finished, Instant)>,
    /// Stops it; there as long as it runs.
    cancel: Option<Arc<Cancel>>,
    held: Option<Arc<Held>>,
    forgotten: bool,
}

/// The end of a run: a status and a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub(crate) status: u16,
    /// Headers that belong to it, such as `Retry-After`.
    pub(crate) headers: Vec<(String, String)>,
    /// The JSON.
    pub(crate) body: String,
    /// The kind of failure in it; null is a success.
    kind: Value,
    /// The sentence of that failure.
    error: Value,
}

impl Finished {
    /// The end with this body: an answer, or a failure.
    pub(crate) fn new(status: u16, headers: Vec<(String, String)>, body: String) -> Finished {
        /// What is read of a body, which may be long.
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Failure {
            kind: Value,
            error: Value,
        }
        let Failure { kind, error } = serde_json::from_str(&body).unwrap_or_default();
        // A failure has both in one object, an answer side by side.
        let (kind, error) =
            if error.is_object() { (error["kind"].clone(), error["message"].clone()) } else { (kind, error) };
        Finished { status, headers, body, kind, error }
    }
}

impl Run {
    /// A run that begins now.
    pub(crate) fn new(
        id: String,
        route: &'static str,
        client: String,
        owner: Option<String>,
        cancel: Arc<Cancel>,
    ) -> Run {
        Run {
            id,
            route,
            client,
            owner,
            event_log: None,
            detached: false,
            since: world::now(),
            began: Instant::now(),
            followers: AtomicUsize::new(0),
            state: Mutex::new(RunState { cancel: Some(cancel), ..RunState::default() }),
        }
    }

    /// Stops it, if it still runs.
    pub(crate) fn cancel(&self) {
        let cancel = self.state().cancel.clone();
        cancel.inspect(|cancel| cancel.throw());
    }

    /// It was stopped, and is not over yet.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().cancel.as_ref().is_some_and(|cancel| cancel.is_thrown())
    }

    /// Nothing of it goes on any more: of all that it had only the memory of its result is kept, and no descriptor.
    pub(crate) fn rest(&self, held: Arc<Held>) {
        let mut state = self.state();
        held.settle(self.kept(&state));
        (state.cancel, state.held) = (None, Some(held));
    }

    /// About how much it takes to tell it whole.
    pub(crate) fn weight(&self) -> usize {
        /// Its values, those that are told twice, and the text of all.
        const TOLD: usize = 6;
        self.state().result.as_ref().map_or(0, |(finished, _)| finished.body.len() * TOLD)
    }

    /// How many bytes are kept for a client that comes back.
    fn kept(&self, state: &RunState) -> usize {
        let body = state.result.as_ref().map_or(0, |(finished, _)| finished.body.len());
        body + self.event_log.as_ref().map_or(0, EventLog::bytes)
    }

    /// No client can come back for it: others needed its room.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.state().forgotten
    }

    /// A backend begins to work for it, in this session of ours.
    pub(crate) fn begin(&self, backend: &str, session: Option<&str>) {
        let mut state = self.state();
        if !state.backends.iter().any(|known| known == backend) {
            state.backends.push(backend.to_owned());
        }
        state.sessions.extend(session.map(str::to_owned));
    }

    /// It is over; what is said first of its end counts. Clients that follow its log are woken.
    pub(crate) fn finish(&self, finished: Finished) {
        self.state().result.get_or_insert((finished, Instant::now()));
        if let Some(event_log) = &self.event_log {
            event_log.end();
        }
    }

    /// How it ended, once it did.
    pub(crate) fn result(&self) -> Option<Finished> {
        self.state().result.as_ref().map(|(finished, _)| finished.clone())
    }

    /// The status with which it ended, once it did.
    pub(crate) fn status(&self) -> Option<u16> {
        self.state().result.as_ref().map(|(finished, _)| finished.status)
    }

    /// A client follows it, as long as what is returned lives. A run that no client follows any more is stopped, unless it is
    /// detached.
    pub(crate) fn follow(self: &Arc<Run>) -> Follower {
        self.followers.fetch_add(1, Ordering::SeqCst);
        Follower(self.clone())
    }

    /// Since when it has been over.
    fn over_for(&self) -> Option<Duration> {
        self.state().result.as_ref().map(|(_, at)| at.elapsed())
    }

    /// What is told of it.
    pub(crate) fn to_json(&self) -> Value {
        let state = self.state();
        let end = state.result.as_ref().map(|(_, at)| *at);
        let result = state.result.as_ref().map(|(finished, _)| finished);
        let seconds = end.unwrap_or_else(Instant::now).duration_since(self.began).as_secs_f64();
        json!({
            "id": self.id,
            "route": self.route,
            "backend": state.backends.join(","),
            "session_id": state.sessions.first(),
            "since": timestamp(self.since),
            "seconds": seconds,
            "duration_seconds": seconds,
            "client": self.client,
            "key": self.owner,
            "detached": self.detached,
            "state": if result.is_some() { "done" } else { "running" },
            "status": result.map(|finished| finished.status),
            "kind": result.map(|finished| &finished.kind),
            "error": result.map(|finished| &finished.error),
        })
    }

    /// The same with its result, which may be large.
    pub(crate) fn to_json_with_result(&self) -> Value {
        let mut to_json = self.to_json();
        let body = |body: &str| serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        let result = self.state().result.as_ref().map_or(Value::Null, |(finished, _)| body(&finished.body));
        to_json["usage"] = result["usage"].clone();
        to_json["content"] = result["content"].clone();
        to_json["result"] = result;
        to_json
    }

    fn state(&self) -> MutexGuard<'_, RunState> {
        lock(&self.state)
    }
}

/// A client that follows a run.
pub(crate) struct Follower(Arc<Run>);

impl Drop for Follower {
    fn drop(&mut self) {
        let run = &self.0;
        let was_last = run.followers.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && !run.detached && run.status().is_none() {
            run.cancel();
        }
    }
}

/// All runs of the server.
#[derive(Default)]
pub(crate) struct Runs {
    runs: Mutex<BTreeMap<String, Arc<Run>>>,
    /// How long those that are over are kept, and how many bytes of them at most.
    bounds: Mutex<(Duration, usize)>,
}

impl Runs {
    /// From now on those that are over are kept for so long, and no more than so many bytes of them: the oldest go first.
    pub(crate) fn bound(&self, retention: Duration, most_kept: usize) {
        *lock(&self.bounds) = (retention, most_kept);
    }

    /// Lists a run until what is returned is dropped; one with a log for the retention after its end.
    pub(crate) fn add(&self, run: Run) -> Listed<'_> {
        let run = Arc::new(run);
        self.keep(run.clone());
        Listed { runs: self, run }
    }

    /// Lists a run that a client may come back for.
    pub(crate) fn keep(&self, run: Arc<Run>) {
        self.lock().insert(run.id.clone(), run);
    }

    /// The runs that are listed, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Run>> {
        let mut all: Vec<Arc<Run>> = self.lock().values().cloned().collect();
        all.sort_unstable_by_key(|run| run.began);
        all
    }

    /// How many go on without any client.
    pub(crate) fn detached(&self) -> usize {
        self.lock().values().filter(|run| run.detached && run.status().is_none()).count()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Run>> {
        self.lock().get(id).cloned()
    }

    /// Stops all that still run.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|run| run.cancel());
    }

    /// Forgets those that no client came back for in time.
    pub(crate) fn expire(&self) {
        drop(self.lock());
    }

    /// The runs that are not to be forgotten yet.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Run>>> {
        let (retention, most_kept) = *lock(&self.bounds);
        let mut runs = lock(&self.runs);
        runs.retain(|_, run| run.over_for().is_none_or(|over| over < retention));
        let mut over: Vec<(Duration, Arc<Run>)> =
            runs.values().filter_map(|run| Some((run.over_for()?, run.clone()))).collect();
        over.sort_unstable_by_key(|(over, _)| *over);
        let mut kept = 0;
        for (_, run) in over {
            let mut state = run.state();
            kept += run.kept(&state);
            if kept > most_kept {
                state.forgotten = true;
                runs.remove(&run.id);
            }
        }
        runs
    }
}

/// A run that is listed for as long as this lives.
pub(crate) struct Listed<'a> {
    runs: &'a Runs,
    run: Arc<Run>,
}

impl std::ops::Deref for Listed<'_> {
    type Target = Arc<Run>;

    fn deref(&self) -> &Arc<Run> {
        &self.run
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.run.id);
    }
}
