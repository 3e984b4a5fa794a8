//! The one door: every run of every surface goes through `Engine::run`. Checks the task against the backend, finds
//! the program, lets exec hold the conversation and folds its events into an `Outcome`, in one pass.

pub mod answer; // one that is kept whole
pub mod dry_run; // what would be executed
pub mod fallback; // who is asked when one cannot answer for now
pub mod request; // what is asked for, before defaults

use self::answer::Collector;
use crate::backend::{self, Backend, Launch, Registry, Step, Steps, VendorSessions};
use crate::base::world::{self, World};
use crate::exec::{self, Control, Stop};
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener, TRUNCATED};
use crate::model::outcome::Outcome;
use crate::model::task::{Task, TaskOption};
use crate::session::replay::Past;
use crate::session::{Keep, KeepWaiting, Run, Session, Store, Tokens, TurnEnd, bounds};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a vendor's program may take to remove a session.
const FORGETTING_TAKES: Duration = Duration::from_secs(10);

/// As many denied permissions are told one by one; the rest are counted.
const MOST_DENIALS_TOLD: u64 = 10;

/// Runs tasks.
pub struct Engine {
    /// The sessions.
    pub store: Store,
    /// What is kept of a turn.
    pub keep: Keep,
    /// Most characters of a conversation that is replayed.
    pub replay_limit: usize,
    /// The backends there are.
    pub registry: Registry,
    /// Backends that the configuration switches off.
    pub disabled: BTreeSet<String>,
    /// Where programs and scratch files are found.
    pub world: Arc<World>,
}

/// A task that was checked, and how it will be launched: all that a dry run needs.
pub struct Prepared {
    pub backend: Arc<dyn Backend>,
    /// The task as it will be put: the model's alias resolved, what could not be honoured left out.
    pub task: Task,
    /// How the program is started.
    pub launch: Launch,
    /// What `lenient` left out, and how a conversation was continued.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Checks a task and says how it would be run. Starts nothing.
    ///
    /// # Errors
    /// When the backend does not exist or is disabled, or when it cannot honour the task.
    pub fn prepare(&self, task: &Task) -> Result<Prepared, Error> {
        if self.disabled.contains(&task.backend) {
            return Err(Error::Disabled { backend: task.backend.clone() });
        }
        let backend = self.registry.get(&task.backend)?;
        let (mut task, mut warnings) = (task.clone(), Vec::new());
        let session = task.session.as_ref().map(|session| self.store.load(&session.id)).transpose()?;
        check_words(&task)?;
        check_stored(&task, session.as_ref())?;
        if let Some(session) = &session {
            warnings = self.continue_session(&mut task, &*backend, session)?;
        }
        for option in task.used() {
            let Err(why) = backend.honours(option) else { continue };
            if !task.lenient {
                return Err(Error::CannotHonour { backend: task.backend, option, why: why.to_owned() });
            }
            warnings.push(format!("backend `{}` cannot honour {}: {why}", task.backend, option.word()));
            task.drop_option(option);
        }
        check_extra(&task, backend.extra_flags())?;
        task.model = task.model.as_deref().and_then(|model| resolve_model(backend.models(), model));
        let launch = backend.launch(&task)?;
        Ok(Prepared { backend, task, launch, warnings })
    }

    /// Where the program of a backend is.
    pub fn locate(&self, backend: &dyn Backend, fresh: bool) -> Option<PathBuf> {
        let find = |program: &str| self.world.find_program(program);
        self.registry.locate(backend.program(), Instant::now(), fresh, find)
    }

    /// Removes a session of ours, and the vendor's behind it where that is known to be possible: in the vendor's own way
    /// where there is one, else its file.
    ///
    /// # Errors
    /// When ours cannot be removed. What a vendor keeps besides is not looked for.
    pub fn forget(&self, session: &Session) -> Result<(), Error> {
        let keeps = self.registry.get(&session.backend).ok().and_then(|backend| backend.vendor_sessions());
        if let (Some(keeps), Some(id)) = (keeps, &session.backend_session_id) {
            // Anything else could be the end of another name.
            let is_whole =
                id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if is_whole && !self.delete_by_program(&session.backend, keeps, id) {
                let home = self.world.env.get(keeps.variable).map(PathBuf::from);
                let home = home.unwrap_or_else(|| self.world.user_home.join(keeps.home));
                remove_files(&home.join(keeps.folder), &format!("{id}.jsonl"), 4);
            }
        }
        self.store.remove(&session.id)
    }

    /// Whether the vendor's program has removed a session of its own.
    fn delete_by_program(&self, backend: &str, keeps: VendorSessions, id: &str) -> bool {
        let program = self.registry.get(backend).ok().and_then(|backend| self.locate(&*backend, false));
        let Some(program) = program.filter(|_| !keeps.delete.is_empty()) else { return false };
        let program = program.to_string_lossy();
        let argv: Vec<&str> =
            [&*program].into_iter().chain(keeps.delete.iter().copied()).chain([id]).collect();
        match exec::output(&argv, &self.world, FORGETTING_TAKES) {
            Ok(printed) if printed.ended.code == Some(0) => true,
            Ok(printed) => {
                log::debug!("{backend} did not delete {id}: {}", printed.ended.stderr);
                false
            }
            Err(error) => {
                log::warn!("{backend} did not delete {id}: {error}");
                false
            }
        }
    }

    /// Runs a task to its end. The listener hears everything; the outcome is also returned, once no process is left.
    ///
    /// # Errors
    /// When *we* could not do it: bad task, nothing installed, a time limit, a cancel. A backend that ran and said no is
    /// an `Outcome` with a failure in it.
    pub fn run(
        &self,
        asked: &Task,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error> {
        let Prepared { backend, mut task, mut launch, mut warnings } = self.prepare(asked)?;
        let name = backend.name();
        let program = self.locate(&*backend, true).ok_or_else(|| Error::NotInstalled {
            backend: name.to_owned(),
            program: backend.program().to_owned(),
        })?;
        if !task.dir.is_dir() {
            return Err(Error::Invalid(format!(
                "working directory `{}` is not a directory",
                task.dir.display()
            )));
        }
        let cancel = Arc::clone(&control.cancel);
        let keep_waiting = Arc::new(move || if cancel.is_thrown() { Err(Error::Cancelled) } else { Ok(()) });
        if let Err(error) = self.store.has_place() {
            // What costs something is not done where it is known before that it cannot be kept.
            if !task.ephemeral && backend.answers() {
                return Err(Error::Invalid(format!("{error} (`--ephemeral` keeps no session)")));
            }
            if !task.ephemeral {
                let warning = format!("the session was not saved: {error}");
                log::warn!("{warning}");
                warnings.push(warning);
                task.ephemeral = true;
            }
        }
        let (mut run, session_failure) = match self.open_session(asked, &task, keep_waiting) {
            Ok(run) => (run, None),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // The answer matters more than its record; but a session that is continued must be ours alone.
            Err(error) if task.session.is_none() => (None, Some(Failure::from(&error))),
            Err(error) => return Err(error),
        };
        listener.begin(name, run.as_ref().map(|run| &*run.session().id)).map_err(|_| Error::ReaderGone)?;
        if let Some(run) = &mut run {
            // Another run may have gone on with it until we had it.
            if task.session.is_some() {
                match self.prepare(asked) {
                    Ok(fresh) => Prepared { task, launch, warnings, .. } = fresh,
                    Err(error) => {
                        // What is wrong is more than that it could not be saved.
                        let (backend, failure) = (name.to_owned(), Some(Failure::from(&error)));
                        let _ = run.end(TurnEnd { backend, failure, ..TurnEnd::default() });
                        return Err(error);
                    }
                }
            }
        }
        let never = exec::NEVER_INHERITED.iter().chain(backend::marks_of_outer_sessions());
        launch.reach.clone_from(&task.add_dirs);
        launch.env.extend(task.env.iter().cloned());
        launch.unset.extend(task.unset.iter().cloned());
        launch.unset.extend(never.map(|name| (*name).to_owned()));
        let mut dialogue = backend.dialogue(&task);
        let mut fold = Fold {
            since: Instant::now(),
            outcome: Outcome {
                backend: name.to_owned(),
                model: task.model.clone(),
                session: run.as_ref().map(|run| run.session().id.clone()),
                session_failure,
                warnings,
                ..Outcome::default()
            },
            run,
            formed: task.schema.clone().map(|schema| (schema, Collector::default())),
            refusal: None,
            is_over: false,
            listener,
        };
        let marker = exec::marker(&self.world)?;
        let report = exec::run(&program, &launch, &marker, &self.world, &mut *dialogue, control, &mut fold);
        let finished = match report.and_then(|report| stopped(&report.stop)) {
            Err(Error::ReaderGone) => Err(fold.refusal.take().unwrap_or(Error::ReaderGone)),
            finished => finished,
        };
        if let Err(error) = &finished {
            fold.stop(error);
        }
        finished.map(|()| fold.outcome)
    }

    /// Puts a session's conversation in front of the task: by the vendor's own id where that can be continued, else by
    /// replaying the stored turns. Returns what is worth knowing of it.
    fn continue_session(
        &self,
        task: &mut Task,
        backend: &dyn Backend,
        session: &Session,
    ) -> Result<Vec<String>, Error> {
        let replay = task.session.as_ref().is_some_and(|session| session.replay);
        let same = session.backend == task.backend && !replay && !task.ephemeral;
        if same && session.backend_session_id.is_some() && backend.honours(TaskOption::Resume).is_ok() {
            task.resume = session.backend_session_id.clone();
            return Ok(Vec::new());
        }
        let mut past = Past::new(self.replay_limit);
        self.store.each_turn(&session.id, |turn| past.hear(&turn))?;
        if past.turns() == 0 && session.turn_count > 0 {
            let why = "it has to be replayed, and its turns are not stored (session.store_turns)".to_owned();
            return Err(Error::NotResumable { id: session.id.clone(), why });
        }
        task.prompt = past.before(&task.prompt).into();
        let (stored, all, left_out) = (past.turns(), session.turn_count, past.left_out());
        let incomplete = format!("only {stored} of {all} earlier turns are stored and could be replayed");
        let trimmed =
            format!("the first {left_out} of {stored} earlier turns were left out (session.replay_limit)");
        Ok([(stored < all).then_some(incomplete), (left_out > 0).then_some(trimmed)]
            .into_iter()
            .flatten()
            .collect())
    }

    /// Opens the session of a run: a new one, the one that is continued, or none.
    fn open_session(
        &self,
        asked: &Task,
        task: &Task,
        keep_waiting: KeepWaiting,
    ) -> Result<Option<Run>, Error> {
        if task.ephemeral {
            return Ok(None);
        }
        if let Some(session) = &task.session {
            let run = self.store.resume(
                &session.id,
                session.wait_limit,
                keep_waiting,
                asked.prompt.clone(),
                self.keep,
            )?;
            if !task.tags.is_empty() {
                self.store.update(&session.id, |session| session.add_tags(&task.tags))?;
            }
            return Ok(Some(run));
        }
        let mut session = Session::new(world::random_id()?, &task.backend, task.dir.clone(), &asked.prompt);
        session.model = task.model.clone();
        session.set_tags(&task.tags)?;
        session.set_metadata(task.metadata.clone())?;
        (session.owner, session.hidden) = (task.owner.clone(), task.hidden);
        if session.hidden {
            // Nobody looks for it by its words, and the index would keep them for longer than it lives.
            (session.title, session.initial_prompt) = Default::default();
        }
        self.store.begin(session, keep_waiting, asked.prompt.clone(), self.keep).map(Some)
    }
}

/// A stop that is no result, as the error that it is.
fn stopped(stop: &Stop) -> Result<(), Error> {
    match *stop {
        Stop::Finished(_) => Ok(()),
        Stop::TimedOut(limit, after) => Err(Error::TimedOut { limit, after }),
        Stop::Cancelled => Err(Error::Cancelled),
        Stop::ReaderGone => Err(Error::ReaderGone),
    }
}

/// Removes the files below a folder, so many levels deep, whose names end so.
fn remove_files(dir: &Path, end: &str, levels: usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && levels > 1 {
            remove_files(&entry.path(), end, levels - 1);
        } else if !is_dir && entry.file_name().to_string_lossy().ends_with(end) {
            if let Err(error) = fs::remove_file(entry.path()) {
                log::warn!("cannot remove `{}`: {error}", entry.path().display());
            }
        }
    }
}

/// What the dialogue would say, line by line, if the child answered as its backend rehearses it.
pub fn rehearse(prepared: &Prepared) -> Vec<String> {
    let mut dialogue = prepared.backend.dialogue(&prepared.task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    for line in prepared.backend.rehearsal(&prepared.task) {
        dialogue.line(&line, &mut steps);
    }
    let said = steps.into_iter().filter_map(|step| match step {
        Step::Send(line) => Some(line + "\n"),
        Step::SendRaw(text) => Some(text.to_string()),
        _ => None,
    });
    said.collect()
}

/// The vendor's name for an alias; any other name as it is; none for the backend's default.
pub(crate) fn resolve_model(models: &[(String, String)], asked: &str) -> Option<String> {
    let model = models.iter().find(|(alias, _)| alias == asked).map_or(asked, |(_, model)| model);
    Some(model.to_owned()).filter(|model| !model.is_empty())
}

/// Whatever will be stored of a task has its bounds, which are told before anything is run.
fn check_stored(task: &Task, session: Option<&Session>) -> Result<(), Error> {
    if !task.ephemeral && session.is_none() && task.dir.to_str().is_none() {
        return Err(Error::Invalid(format!(
            "the working directory `{}` is not valid UTF-8, so that no session can have it: give another one (`-w DIR`), \
             or keep no session (`--ephemeral`)",
            task.dir.display()
        )));
    }
    task.model.as_deref().map_or(Ok(()), bounds::model)?;
    bounds::metadata(&task.metadata)?;
    if !task.tags.is_empty() {
        let before: &[String] = session.map_or(&[], |session| &session.tags);
        bounds::tags(before.iter().chain(&task.tags))?;
    }
    Ok(())
}

/// What may become an argument, a variable or a path can be one: none of them holds a NUL, and a name holds no control
/// character at all.
fn check_words(task: &Task) -> Result<(), Error> {
    let in_words = |words: &[String]| words.iter().any(|word| word.contains('\0'));
    let in_dirs = |dirs: &[PathBuf]| dirs.iter().any(|dir| dir.as_os_str().as_encoded_bytes().contains(&0));
    for (what, has_nul) in [
        ("the working directory", in_dirs(std::slice::from_ref(&task.dir))),
        ("an additional directory", in_dirs(&task.add_dirs)),
        ("an extra flag", in_words(&task.extra)),
        ("an allowed tool", in_words(task.allowed_tools.as_deref().unwrap_or_default())),
        ("a denied tool", in_words(&task.denied_tools)),
    ] {
        if has_nul {
            return Err(Error::Invalid(format!("{what} has a NUL character: no program can be told that")));
        }
    }
    match &task.model {
        Some(model) if model.chars().any(char::is_control) => {
            Err(Error::Invalid(format!("the model's name has a control character: {model:?}")))
        }
        _ => Ok(()),
    }
}

/// Every word that looks like a flag has to be on the list; a value follows in the same word or the next.
fn check_extra(task: &Task, allowed: &[&'static str]) -> Result<(), Error> {
    let mut value_may_follow = false;
    for word in &task.extra {
        let is_flag = word.starts_with('-');
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        let known = allowed.iter().find(|flag| flag.trim_end_matches('=') == name);
        match known {
            Some(flag) => value_may_follow = flag.ends_with('=') && !word.contains('='),
            None if !is_flag && value_may_follow => value_may_follow = false,
            None => {
                let allowed = allowed.iter().map(|flag| flag.trim_end_matches('=').to_owned()).collect();
                return Err(Error::ExtraFlag { backend: task.backend.clone(), flag: word.clone(), allowed });
            }
        }
    }
    Ok(())
}

/// Folds the events of a run into its outcome while they pass to the listener.
struct Fold<'a> {
    since: Instant,
    outcome: Outcome,
    run: Option<Run>,
    /// The schema that the answer has to follow, and what there is of it: nobody hears of one that does not.
    formed: Option<(Value, Collector)>,
    /// Why the listener stopped the run, where that is more than a reader that left.
    refusal: Option<Error>,
    /// The listener has the outcome.
    is_over: bool,
    listener: &'a mut dyn Listener,
}

impl Listener for Fold<'_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let heard = match event {
            Event::Done(done) => self.finish(done),
            event => self.hear(event),
        };
        heard.map_err(|error| match error.downcast() {
            Ok(refusal) => {
                self.refusal = Some(refusal);
                io::ErrorKind::Other.into()
            }
            Err(error) => error,
        })
    }

    fn idle(&mut self) -> io::Result<()> {
        self.listener.idle()
    }
}

impl Fold<'_> {
    /// Takes into the outcome what is for it, and passes the event on.
    fn hear(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Started { model, session } => {
                self.outcome.model = model.clone().or(self.outcome.model.take());
                self.outcome.backend_session = session.clone().or(self.outcome.backend_session.take());
            }
            Event::Usage(usage) => self.outcome.usage = *usage,
            Event::Progress { stage, .. } => self.outcome.truncated |= stage == TRUNCATED,
            Event::PermissionDenied { .. } => self.outcome.permission_denials += 1,
            Event::Text(_) | Event::Void(_) => {
                if let Some((_, answer)) = &mut self.formed {
                    answer.add(event)?;
                    return self.listener.idle();
                }
                if let Some(run) = &mut self.run {
                    run.hear(event);
                }
            }
            Event::Model { name, .. } => self.outcome.model = Some(name.clone()),
            _ => {}
        }
        let is_one_more = matches!(event, Event::PermissionDenied { .. })
            && self.outcome.permission_denials > MOST_DENIALS_TOLD;
        self.outcome.warnings.extend(event.warning().filter(|_| !is_one_more));
        self.listener.event(event)
    }

    /// The program has finished. An answer that was kept back until it was whole is told where it follows its schema, else
    /// the run has failed.
    fn finish(&mut self, done: &Outcome) -> io::Result<()> {
        let (mut failure, mut exit_code, mut told) = (done.failure.clone(), done.exit_code, Ok(()));
        if let (Some((schema, answer)), None) = (self.formed.take(), &failure) {
            match answer::formed(&schema, &answer.text) {
                Ok((text, _)) => told = self.hear(&Event::Text(text.to_owned())),
                Err(wrong) => (failure, exit_code) = (Some(wrong), 1),
            }
        }
        self.conclude(failure, exit_code);
        told.and_then(|()| self.tell_outcome())
    }

    /// The run ended without a result: what there was of it is saved and told, unless nobody listens.
    fn stop(&mut self, error: &Error) {
        if self.is_over {
            return;
        }
        self.conclude(Some(Failure::from(error)), 1);
        // A client that left has no use for an error either; a server without memory for the answer has none for a part of
        // it.
        if !matches!(error, Error::ReaderGone | Error::Busy(_)) {
            let _ = self.tell_outcome();
        }
    }

    /// Completes the outcome, and saves it.
    fn conclude(&mut self, failure: Option<Failure>, exit_code: i32) {
        (self.outcome.failure, self.outcome.exit_code) = (failure, exit_code);
        self.outcome.duration = self.since.elapsed();
        if let Some(failure) =
            self.outcome.failure.as_mut().filter(|failure| failure.kind == Kind::SessionNotFound)
        {
            failure.message += " (`--replay` starts a new one from the stored turns)";
        }
        // Those that were not told one by one.
        let more = self.outcome.permission_denials.saturating_sub(MOST_DENIALS_TOLD);
        if more > 0 {
            self.outcome.warnings.push(format!("{more} more permissions were denied"));
        }
        self.save();
        if let Some(failure) = &self.outcome.session_failure {
            self.outcome.warnings.push(format!("the session was not saved: {}", failure.message));
        }
    }

    fn tell_outcome(&mut self) -> io::Result<()> {
        self.is_over = true;
        self.listener.event(&Event::Done(Box::new(self.outcome.clone())))
    }

    /// Saves the session's turn, and lets the session go.
    fn save(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        let saved = run.end(TurnEnd {
            backend: self.outcome.backend.clone(),
            model: self.outcome.model.clone(),
            backend_session_id: self.outcome.backend_session.clone(),
            usage: Tokens::from(&self.outcome.usage),
            duration: self.outcome.duration,
            failure: self.outcome.failure.clone(),
        });
        self.outcome.session_failure = saved.err().as_ref().map(Failure::from);
    }
}
