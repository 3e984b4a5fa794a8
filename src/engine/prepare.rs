//! A task that is checked, and how its program will be launched. Nothing is taken for it and nothing started: this is all
//! that a dry run needs.

use super::{Engine, resolve_model};
use crate::backend::{Backend, Launch};
use crate::model::error::Error;
use crate::model::task::{Sandbox, Task, TaskOption};
use crate::session::replay::Past;
use crate::session::{Session, bounds};
use std::path::PathBuf;
use std::sync::Arc;

/// A task that was checked, and how it will be launched.
pub struct Prepared {
    pub(crate) backend: Arc<dyn Backend>,
    /// The task as it will be put: the model's alias resolved, what could not be honoured left out.
    pub(crate) task: Task,
    /// How the program is started.
    pub(crate) launch: Launch,
    /// What `lenient` left out, and how a conversation was continued.
    pub(crate) warnings: Vec<String>,
    /// The task as it was asked, and the session that it continues as it was then.
    pub(super) continues: Option<(Task, Session)>,
}

impl Engine {
    /// Checks a task and says how it would be run. `session`: the one that it continues.
    ///
    /// # Errors
    /// When the backend does not exist or is disabled, or when it cannot honour the task.
    pub(crate) fn prepare(&self, mut task: Task, session: Option<&Session>) -> Result<Prepared, Error> {
        if self.disabled.contains(&task.backend) {
            return Err(Error::Disabled { backend: task.backend });
        }
        let backend = self.registry.get(&task.backend)?;
        check_words(&task)?;
        check_stored(&task, session)?;
        let continues = session.map(|session| (task.clone(), session.clone()));
        let mut warnings = match session {
            Some(session) => self.continue_session(&mut task, &*backend, session)?,
            None => Vec::new(),
        };
        for option in task.used() {
            let Err(why) = honours(&*backend, &task, option) else { continue };
            if !task.lenient {
                return Err(Error::CannotHonour { backend: task.backend, option, why: why.to_owned() });
            }
            warnings.push(format!("backend `{}` cannot honour {}: {why}", task.backend, option.word()));
            task.drop_option(option);
        }
        check_extra(&task, backend.extra_flags())?;
        task.model = task.model.as_deref().and_then(|model| resolve_model(backend.models(), model));
        let launch = backend.launch(&task)?;
        Ok(Prepared { backend, task, launch, warnings, continues })
    }

    /// Puts a session's conversation in front of the task: by the vendor's own id where that can be continued, else by
    /// replaying the stored turns. Returns what is worth knowing of it.
    fn continue_session(
        &self,
        task: &mut Task,
        backend: &dyn Backend,
        session: &Session,
    ) -> Result<Vec<String>, Error> {
        // The session has the name that its program told. A program that cannot be told one goes on all the same.
        let is_told = session.backend == task.backend && session.model == task.model;
        if is_told && backend.honours(TaskOption::Model).is_err() {
            task.model = None;
        }
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
}

/// Whether an option can be honoured in this task.
fn honours(backend: &dyn Backend, task: &Task, option: TaskOption) -> Result<(), &'static str> {
    match (option, task.sandbox) {
        (TaskOption::Mcp, Sandbox::ReadOnly) => {
            Err("what a server's tools do is in no sandbox: `read-only` excludes them")
        }
        _ => backend.honours(option),
    }
}

/// What will be stored of a task has its bounds: a task beyond them is refused before anything is run.
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
