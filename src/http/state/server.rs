//! What requests have to do with, and the one way in which they run anything.

use crate::backend::Trust;
use crate::base::json::{self, json};
use crate::base::sync::lock;
use crate::base::time::timestamp;
use crate::base::world;
use crate::config::{self, Config};
use crate::engine::dry_run::Reader;
use crate::engine::fallback::Attempts;
use crate::engine::policy::{self, Policy};
use crate::engine::pool::{Child, Counts};
use crate::engine::request::{Defaults, Request};
use crate::engine::{Engine, Prepared};
use crate::exec::{self, Cancel, Control};
use crate::http::front::client_address::Proxies;
use crate::http::front::keys::Keys;
use crate::http::front::origin::OriginPolicy;
use crate::http::front::rate::Buckets;
use crate::http::front::request_id::TRACE_VARIABLE;
use crate::http::net::Gauges;
use crate::http::net::memory::{COPIES, Held};
use crate::http::state::admission::{Bounds, Claim, Claimant, Slots};
use crate::http::state::call::{Who, Work};
use crate::http::state::idempotency::Idempotency;
use crate::http::state::metrics::{Metrics, Ran};
use crate::http::state::reuse::{Reuse, Which};
use crate::http::state::runs::Runs;
use crate::http::state::self_reference;
use crate::model::error::{Error, Kind};
use crate::model::event::{Event, Listener, Permission};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::session::{Filter, Page, Session};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a vendor's program may take to say its version.
const VERSION_TAKES: Duration = Duration::from_secs(10);

/// How long one round of forgetting may take, so that the others of its thread have their turn.
const FORGETTING: Duration = Duration::from_secs(5);

/// Results that clients may come back for have this part of the memory.
const PART_FOR_RESULTS: usize = 4;

/// How long what was found of the session store is true.
const LOOK: Duration = Duration::from_secs(5);

/// The server by one configuration. When that is read again, another one takes its place; a request, and what it runs, has
/// the same one from its beginning to its end.
pub(crate) struct Server {
    /// What the user configured.
    pub(crate) config: Config,
    /// The one way to the backends.
    pub(crate) engine: Engine,
    /// Who may come in.
    pub(crate) keys: Keys,
    /// What any client may ask for.
    pub(crate) policy: Policy,
    /// Whose word on addresses is believed.
    pub(crate) proxies: Proxies,
    /// Which names and pages are ours.
    pub(crate) origins: OriginPolicy,
    /// Where a request works that names no directory.
    pub(crate) workdir: PathBuf,
    /// What is the same by every configuration.
    pub(crate) lasting: Arc<Lasting>,
    /// Variables that point at this very server, and where to.
    loops: Vec<(String, String)>,
    versions: Mutex<HashMap<PathBuf, Option<String>>>,
    store: Mutex<Option<(Result<usize, String>, Instant)>>,
}

/// What lasts as long as the process, whatever configuration is read.
pub(crate) struct Lasting {
    /// How often each client may ask.
    pub(crate) buckets: Buckets,
    /// How many runs at once.
    pub(crate) slots: Slots,
    pub(crate) runs: Runs,
    /// Requests that may be sent again.
    pub(crate) idempotency: Idempotency,
    /// Conversations of compatible requests that may go on.
    pub(crate) reuse: Reuse,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What the listeners count.
    pub(crate) gauges: Arc<Gauges>,
    /// Command lines of this user have it run what they ask for with what they were given: `caller`.
    pub(crate) has_callers: bool,
    /// Since when it serves.
    pub(crate) since: Instant,
}

impl Lasting {
    /// Nothing has happened yet.
    pub(crate) fn new(gauges: Arc<Gauges>) -> Lasting {
        Lasting {
            buckets: Buckets::default(),
            slots: Slots::default(),
            runs: Runs::default(),
            idempotency: Idempotency::default(),
            reuse: Reuse::default(),
            metrics: Metrics::default(),
            gauges,
            has_callers: false,
            since: Instant::now(),
        }
    }

    /// It is used, or was since the last time that this was asked: a client, a run, a result for which one may come.
    pub(crate) fn was_used(&self) -> bool {
        self.gauges.was_used() || self.slots.used() != (0, 0) || !self.runs.all().is_empty()
    }

    /// From now on the bounds of this configuration hold.
    fn bound(&self, of_server: &config::Server) {
        let secs = Duration::from_secs;
        self.buckets.bound(secs(of_server.rate_limit_cleanup_secs));
        self.slots.bound(Bounds {
            runs: of_server.max_runs,
            per_backend: of_server.max_runs_per_backend,
            queue: of_server.queue_length,
            wait_limit: secs(of_server.queue_timeout_secs),
        });
        self.runs.bound(secs(of_server.run_retention_secs), of_server.max_memory_bytes / PART_FOR_RESULTS);
        self.reuse.bound(secs(of_server.reuse_secs), of_server.reuse_max);
    }
}

impl Server {
    /// Everything that can be wrong is found out here, before a client has to do with it. What lasts is held to the bounds of
    /// this configuration then.
    pub(crate) fn new(
        config: Config,
        engine: Engine,
        keys: Keys,
        lasting: Arc<Lasting>,
        addresses: &[String],
    ) -> Result<Server, Error> {
        let of_server = &config.server;
        let origins = OriginPolicy::of(of_server)?;
        let server = Server {
            policy: Policy::of(of_server)?,
            proxies: Proxies::parse(&of_server.trusted_proxies)?,
            origins: if keys.is_empty() { origins.without_keys()? } else { origins },
            keys,
            workdir: policy::default_workdir(of_server, &engine.world.cwd)?,
            lasting,
            loops: self_reference::variables(&engine.world, addresses),
            versions: Mutex::default(),
            store: Mutex::default(),
            config,
            engine,
        };
        server.lasting.bound(&server.config.server);
        Ok(server)
    }

    /// To be called every few seconds.
    pub(crate) fn look_after(&self) {
        self.keys.reload(Instant::now()).iter().for_each(|what| log::warn!("{what}"));
        self.engine.pool.iter().for_each(|pool| pool.look_after());
        self.lasting.runs.expire();
        self.lasting.idempotency.expire();
        self.forget(Which::Over, Instant::now() + FORGETTING);
    }

    /// Removes sessions that were kept for clients to go on with and that no client came back for, or all; ours and the
    /// vendor's, one after the other, until that moment. What is left then has its turn the next time, or is found by the
    /// next server.
    pub(crate) fn forget(&self, which: Which, until: Instant) {
        while let Some(id) = self.lasting.reuse.next_gone(which) {
            let forgotten = self.engine.store.load(&id).and_then(|session| self.engine.forget(&session));
            match forgotten {
                Ok(()) | Err(Error::SessionNotFound { .. }) => {}
                Err(error) => log::warn!("{error}"),
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Removes what another server kept and did not come to remove.
    pub(crate) fn sweep(&self) {
        let (secs, nanos) = world::now();
        let before = timestamp((secs.saturating_sub(self.config.server.reuse_secs), nanos));
        let old = Filter { before: Some(before), ..Filter::any() };
        match self.engine.store.entries(&old, Page::ALL, &mut |_| {}) {
            Ok(entries) => entries
                .iter()
                .filter(|entry| entry.hidden)
                .for_each(|entry| self.lasting.reuse.forget(&entry.id)),
            Err(error) => log::warn!("{error}"),
        }
    }

    /// What a client's request is completed from.
    pub(crate) fn defaults<'a>(&'a self, who: &'a Who, session: Option<&'a Session>) -> Defaults<'a> {
        Defaults {
            config: &self.config,
            registry: &self.engine.registry,
            base: &self.workdir,
            temp: &self.engine.world.temp,
            home: &self.engine.world.home,
            session,
            directories: self.policy(who),
            reads_files: false,
        }
    }

    /// The tasks of a client's request, within what it may ask for.
    pub(crate) fn tasks(
        &self,
        who: &Who,
        request: &Request,
        session: Option<&Session>,
    ) -> Result<Vec<Task>, Error> {
        let defaults = self.defaults(who, session);
        let mut tasks = request.tasks(&defaults, || request.text(&defaults))?;
        tasks.iter_mut().try_for_each(|task| self.admit(who, request, task))?;
        Ok(tasks)
    }

    /// Makes a task one of that client's, if the rules allow it.
    pub(crate) fn admit(&self, who: &Who, request: &Request, task: &mut Task) -> Result<(), Error> {
        // A client that may not use all does not learn what there is.
        self.policy(who).backend(&task.backend)?;
        let backend = self.engine.registry.get(&task.backend)?;
        let is_obeyed = |(name, _): &&(String, String)| backend.base_url() == Some(name.as_str());
        if let Some((name, url)) = self.loops.iter().find(is_obeyed) {
            let problem = format!(
                "`{url}` is this very server: backend `{}` would ask itself; start the server without {name}",
                task.backend
            );
            return Err(Error::Config { origin: name.clone(), position: None, problem });
        }
        task.unset.extend(self.loops.iter().map(|(name, _)| name.clone()));
        task.owner = who.owner();
        task.trace = who.trace.clone().map(|trace| (TRACE_VARIABLE.to_owned(), trace));
        self.policy(who).admit(request, task, &*backend)
    }

    /// The rules for a client.
    pub(crate) fn policy<'a>(&'a self, who: &'a Who) -> &'a Policy {
        who.key.as_ref().map_or(&self.policy, |key| &key.policy)
    }

    /// The limits of a client's run.
    pub(crate) fn control(
        &self,
        who: &Who,
        request: &Request,
        cancel: Arc<Cancel>,
        streamed: bool,
    ) -> Control {
        who.limits.over(request.control(&self.config, cancel), streamed)
    }

    /// Runs tasks for a client: the one way in which the server runs anything. They are admitted, and of that engine.
    pub(crate) fn run(
        &self,
        work: &Work<'_>,
        engine: &Engine,
        attempts: Attempts,
        control: &Control,
        listener: &mut dyn Listener,
        claimant: Claimant,
    ) -> Result<Outcome, Error> {
        let first = attempts.first().task.backend.clone();
        let key = work.who.key.as_ref().map(|key| (key.name.clone(), key.max_runs));
        if self.config.server.log_commands {
            self.log_command(work, attempts.first());
        }
        let _slot =
            self.lasting.slots.take(Claim { backend: first.clone(), key, claimant }, &control.cancel)?;
        let held = Some(work.held).filter(|_| work.keeps_answer);
        let mut meter =
            Meter { listener, since: Instant::now(), first_event: None, held, cancel: &control.cancel };
        let result = attempts.run(engine, control, &mut meter);
        let (took, first_event) = (meter.since.elapsed(), meter.first_event);
        let backend = result.as_ref().map_or(&first, |outcome| &outcome.backend);
        let kind = match &result {
            Ok(outcome) => outcome.failure.as_ref().map(|failure| failure.kind),
            Err(error) => Some(error.kind()),
        };
        let usage = result.as_ref().map(|outcome| outcome.usage).unwrap_or_default();
        self.lasting.metrics.run(backend, &Ran { kind, took, first_event, usage });
        crate::base::logging::record(
            "run",
            json!({
                "request_id": work.who.request,
                "backend": backend,
                "kind": kind.map_or("ok", Kind::word),
                "duration_ms": took.as_millis() as u64,
                "input_tokens": usage.input,
                "output_tokens": usage.output,
            }),
        );
        result
    }

    /// Logs how a task is launched. Some programs get the prompt, what came before it, or the system prompt as arguments, and
    /// some keys: they are not in the log.
    fn log_command(&self, work: &Work<'_>, prepared: &Prepared) {
        let hidden = |text: &Option<String>| text.as_ref().map(|_| "PROMPT".to_owned());
        let task = prepared.task.clone();
        let (system, append_system) = (hidden(&task.system), hidden(&task.append_system));
        let silent = Task { prompt: "PROMPT".into(), system, append_system, ..task };
        if let Ok(launch) = prepared.backend.launch(&silent) {
            let (request, program) = (&work.who.request, &launch.program);
            let args = Reader::Other(self.config.backend(&silent.backend)).args(&launch);
            let facts = json!({"request_id": request, "program": program, "args": args, "dir": json::path(&silent.dir)});
            crate::base::logging::record("command", facts);
        }
    }

    /// The programs that are kept for further runs, and what was done with such, by backend.
    pub(crate) fn kept(&self) -> (Vec<Child>, BTreeMap<String, Counts>) {
        self.engine.pool.as_ref().map(|pool| pool.look()).unwrap_or_default()
    }

    /// The backends that are not switched off, whether each is there, and since when that is known.
    pub(crate) fn backends(&self) -> Vec<(String, bool, Duration)> {
        let registry = &self.engine.registry;
        let look = |name: String| {
            let backend = registry.get(&name).ok()?;
            let is_there = self.engine.locate(&*backend, Trust::All).is_some();
            let age = registry.looked_for(backend.program()).map(|at| at.elapsed()).unwrap_or_default();
            Some((name, is_there, age))
        };
        registry.names().into_iter().filter_map(look).collect()
    }

    /// Those of the backends that a client may use.
    pub(crate) fn backends_of(&self, who: &Who) -> Vec<(String, bool, Duration)> {
        let policy = self.policy(who);
        self.backends().into_iter().filter(|(name, ..)| policy.backend(name).is_ok()).collect()
    }

    /// How many sessions there are, if the store can be written: asked at most every few seconds.
    pub(crate) fn sessions(&self) -> Result<usize, String> {
        let mut looked = lock(&self.store);
        match &*looked {
            Some((found, at)) if at.elapsed() < LOOK => found.clone(),
            _ => {
                let found = self.engine.store.look().map_err(|error| error.to_string());
                *looked = Some((found.clone(), Instant::now()));
                found
            }
        }
    }

    /// What a program says of its version, asked once.
    pub(crate) fn version(&self, args: &[&str], program: &Path) -> Option<String> {
        let known = |versions: &HashMap<PathBuf, Option<String>>| versions.get(program).cloned();
        let lock = || lock(&self.versions);
        if let Some(version) = known(&lock()) {
            return version;
        }
        let version = exec::version(program, args, &self.engine.world, VERSION_TAKES);
        lock().insert(program.to_owned(), version.clone());
        version
    }
}

/// Measures a run: when its answer begins, and how much memory it takes.
struct Meter<'a> {
    listener: &'a mut dyn Listener,
    since: Instant,
    first_event: Option<Duration>,
    /// Where an answer that is kept counts.
    held: Option<&'a Held>,
    cancel: &'a Cancel,
}

impl Listener for Meter<'_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        self.listener.begin(backend, session)
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if matches!(event, Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. }) {
            self.first_event.get_or_insert(self.since.elapsed());
        }
        if let (Event::Text(text), Some(held)) = (event, self.held) {
            if !held.grow(text.len() * COPIES, || !self.cancel.is_thrown()) {
                let sentence = "the server has no memory for the answer now (server.max_memory_bytes)";
                return Err(io::Error::other(Error::Busy(sentence.to_owned())));
            }
        }
        self.listener.event(event)
    }

    fn permission(&mut self, asked: &Permission) -> io::Result<bool> {
        self.listener.permission(asked)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.listener.idle()
    }
}
