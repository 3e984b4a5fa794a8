//! What a request may do: the ceiling that the server sets for all and that of an API key, of which the stricter holds; or
//! that of the flags of a command. What a request says above it is refused, with the rule's name; what it does not say is
//! lowered to it.

use crate::backend::Backend;
use crate::config::{KeyPolicy, Server};
use crate::engine::request::{Directories, Request, Tools, directory};
use crate::engine::resolve_model;
use crate::model::error::Error;
use crate::model::task::{Approval, Sandbox, Task, TaskOption};
use std::fs;
use std::path::{Path, PathBuf};

/// The modes of one kind, and the rule that sets their ceiling.
struct Scale<T: 'static> {
    /// From the strictest.
    order: &'static [T],
    ceiling: fn(&Rules) -> T,
    word: fn(T) -> &'static str,
    /// What a mode is called in a sentence.
    name: &'static str,
    key: &'static str,
}

const APPROVALS: Scale<Approval> = Scale {
    // From the weakest: what may do least without a person's yes.
    order: &[Approval::Always, Approval::Default, Approval::Auto, Approval::None],
    ceiling: |rules| rules.approval,
    word: Approval::word,
    name: "approval",
    key: "max_approval_mode",
};
const SANDBOXES: Scale<Sandbox> = Scale {
    // What a backend is configured to may be anything but is no more than all.
    order: &[Sandbox::ReadOnly, Sandbox::Workspace, Sandbox::Default, Sandbox::Full],
    ceiling: |rules| rules.sandbox,
    word: Sandbox::word,
    name: "sandbox",
    key: "max_sandbox_mode",
};

/// In a list of models: the one that a backend has when none is named.
const UNNAMED: &str = "default";

/// The rules for one request: the server's, and the key's where there is one; or those of flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy(Vec<Rules>);

/// The rules of one place; `None` allows all, and so does an empty list of directories.
#[derive(Debug, Clone, PartialEq)]
struct Rules {
    place: Place,
    backends: Option<Vec<String>>,
    models: Option<Vec<String>>,
    approval: Approval,
    sandbox: Sandbox,
    extra: Option<Vec<String>>,
    dirs: Vec<PathBuf>,
    blocked: Vec<PathBuf>,
    project_config: bool,
    mcp: bool,
}

/// What sets rules.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// A section of the configuration: `server`, `server.keys.ci`.
    Section(String),
    /// The flags of `clinvk mcp`.
    Flags,
}

/// The flags that set rules of `clinvk mcp`, by the keys that set the server's.
const FLAGS: &[(&str, &str)] = &[
    ("allowed_backends", " --backends"),
    ("max_approval_mode", " --approval"),
    ("max_sandbox_mode", " --sandbox"),
    ("allowed_workdir_prefixes", " --workdir, --add-dir"),
];

/// What the flags of `clinvk mcp` allow.
pub(crate) struct Bounds {
    /// None is all.
    pub(crate) backends: Option<Vec<String>>,
    pub(crate) approval: Approval,
    pub(crate) sandbox: Sandbox,
    /// Free of links.
    pub(crate) dirs: Vec<PathBuf>,
}

impl Policy {
    pub(crate) fn of_flags(bounds: Bounds) -> Policy {
        let Bounds { backends, approval, sandbox, dirs } = bounds;
        Policy(vec![Rules {
            place: Place::Flags,
            backends,
            models: None,
            approval,
            sandbox,
            extra: Some(Vec::new()),
            dirs,
            blocked: Vec::new(),
            // The program that calls works with the same files.
            project_config: true,
            mcp: false,
        }])
    }

    pub fn of(server: &Server) -> Result<Policy, Error> {
        let section = "server".to_owned();
        Ok(Policy(vec![Rules {
            backends: server.allowed_backends.clone(),
            models: server.allowed_models.clone(),
            approval: server.max_approval_mode,
            sandbox: server.max_sandbox_mode,
            extra: server.allowed_extra_flags.clone(),
            dirs: prefixes(&section, "allowed_workdir_prefixes", &server.allowed_workdir_prefixes)?,
            blocked: prefixes(&section, "blocked_workdir_prefixes", &server.blocked_workdir_prefixes)?,
            project_config: server.project_config,
            mcp: server.allow_mcp,
            place: Place::Section(section),
        }]))
    }

    /// What of it the holder of the key of this name may do.
    pub fn and(&self, name: &str, key: &KeyPolicy) -> Result<Policy, Error> {
        let section = format!("server.keys.{name}");
        let rules = Rules {
            backends: key.allowed_backends.clone(),
            models: key.allowed_models.clone(),
            approval: key.max_approval_mode.unwrap_or(Approval::None),
            sandbox: key.max_sandbox_mode.unwrap_or(Sandbox::Full),
            extra: key.allowed_extra_flags.clone(),
            dirs: prefixes(&section, "allowed_workdir_prefixes", &key.allowed_workdir_prefixes)?,
            blocked: Vec::new(),
            project_config: true,
            mcp: key.allow_mcp,
            place: Place::Section(section),
        };
        Ok(Policy(self.0.iter().cloned().chain([rules]).collect()))
    }

    /// Whether this backend may be used at all.
    pub fn backend(&self, name: &str) -> Result<(), Error> {
        let asked = || format!("backend `{name}`");
        self.listed("allowed_backends", |rules| rules.backends.as_deref(), asked, |allowed| allowed == name)
    }

    /// Refuses what the list of one of the sections does not have.
    fn listed(
        &self,
        key: &str,
        list: fn(&Rules) -> Option<&[String]>,
        asked: impl FnOnce() -> String,
        is_it: impl Fn(&String) -> bool,
    ) -> Result<(), Error> {
        let mut lists = self.0.iter().filter_map(|rules| Some((rules, list(rules)?)));
        match lists.find(|(_, list)| !list.iter().any(&is_it)) {
            None => Ok(()),
            Some((rules, list)) => Err(rules.refusal(key, asked(), words(list))),
        }
    }

    /// Holds a task against the rules before it is run, and lowers what the request does not say. `task` is what became of
    /// the request, or one that stands in for it; `backend` is the task's. Its directories were held against the rules when
    /// they were resolved.
    pub fn admit(&self, request: &Request, task: &mut Task, backend: &dyn Backend) -> Result<(), Error> {
        self.backend(&task.backend)?;
        self.model(task, backend)?;
        self.extra(request)?;
        self.modes(request, task, backend)?;
        self.unasked(request, task, backend)?;
        self.mcp(request)?;
        self.project_config(request, task, backend)
    }

    fn model(&self, task: &Task, backend: &dyn Backend) -> Result<(), Error> {
        if let Some(model) = task.model.as_deref().filter(|model| model.starts_with('-')) {
            // Where a declared command has `{model}` alone, that would be a flag.
            return Err(Error::Invalid(format!("`{model}` is no name of a model")));
        }
        let real = |name: &str| resolve_model(backend.models(), name);
        // What a program calls its model nobody has asked for: a session goes on with what was asked for in it.
        let asked = task.asked_model.as_deref().or(task.model.as_deref()).filter(|model| !model.is_empty());
        let is_same = |allowed: &String| match asked.and_then(real) {
            Some(model) => asked == Some(allowed) || real(allowed) == Some(model),
            None => allowed == UNNAMED || real(allowed).is_none(),
        };
        let asked_for = || match asked {
            Some(model) => format!("model `{model}`"),
            None => format!("the model that backend `{}` has by default", task.backend),
        };
        self.listed("allowed_models", |rules| rules.models.as_deref(), asked_for, is_same)
    }

    /// Only the request's own flags: those of the configuration are in the task, too. What each takes, and whether the
    /// backend has it, is the engine's business.
    fn extra(&self, request: &Request) -> Result<(), Error> {
        let words = request.extra.as_deref().unwrap_or_default();
        if let Some(word) = words.first().filter(|word| !word.starts_with('-')) {
            // It would be the value of the last flag of the configuration.
            return Err(Error::Invalid(format!("`extra` begins with a flag, and `{word}` is none")));
        }
        let flags = words.iter().filter(|word| word.starts_with('-'));
        for flag in flags.map(|word| word.split_once('=').map_or(word.as_str(), |(flag, _)| flag)) {
            let asked = || format!("flag `{flag}`");
            let is_it = |allowed: &String| allowed.trim_end_matches('=') == flag;
            self.listed("allowed_extra_flags", |rules| rules.extra.as_deref(), asked, is_it)?;
        }
        Ok(())
    }

    fn modes(&self, request: &Request, task: &mut Task, backend: &dyn Backend) -> Result<(), Error> {
        let lenient = task.lenient;
        let real = |mode| access(mode, Sandbox::Default, lenient, backend).map(|(approval, _)| approval);
        let is_said = request.approval_mode.is_some();
        task.approval = self.lowered(&APPROVALS, task.approval, is_said, real, &task.backend)?;
        let approval = task.approval;
        let real = |mode| access(approval, mode, lenient, backend).map(|(_, reach)| reach);
        let is_said = request.sandbox_mode.is_some();
        task.sandbox = self.lowered(&SANDBOXES, task.sandbox, is_said, real, &task.backend)?;
        Ok(())
    }

    /// The mode that a task gets: its own where that is within the ceiling, else, when the request has not said it, the next
    /// stricter one that is. `real` is what a mode really is with the backend; one that the backend cannot honour counts as
    /// what it says, and is left to the engine to refuse.
    fn lowered<T: Copy + PartialEq>(
        &self,
        scale: &Scale<T>,
        mode: T,
        is_said: bool,
        real: impl Fn(T) -> Option<T>,
        backend: &str,
    ) -> Result<T, Error> {
        let (_, most) = self.strictest(scale);
        let fits = |mode: T| scale.rank(mode) <= scale.rank(most);
        if fits(mode) && real(mode).is_none_or(fits) {
            return Ok(mode);
        }
        let mut stricter = scale.order[..scale.rank(mode)].iter().rev().copied();
        let stricter = stricter.find(|mode| fits(*mode) && real(*mode).is_some_and(fits));
        stricter.filter(|_| !is_said).ok_or_else(|| {
            let asked = format!("{} mode `{}`", scale.name, (scale.word)(mode));
            self.above(
                scale,
                match real(mode).filter(|real| *real != mode).map(scale.word) {
                    Some(real) => format!("{asked}, which with backend `{backend}` is `{real}` here,"),
                    None => asked,
                },
            )
        })
    }

    /// The lowest ceiling, and whose it is.
    fn strictest<T: Copy + PartialEq>(&self, scale: &Scale<T>) -> (&Rules, T) {
        let ceilings = self.0.iter().map(|rules| (rules, (scale.ceiling)(rules)));
        ceilings.min_by_key(|(_, most)| scale.rank(*most)).expect("the server has rules")
    }

    fn above<T: Copy + PartialEq>(&self, scale: &Scale<T>, asked: String) -> Error {
        let (rules, most) = self.strictest(scale);
        rules.refusal(scale.key, asked, format!("at most `{}`", (scale.word)(most)))
    }

    /// What a request can have done without approval whatever the approval mode is.
    fn unasked(&self, request: &Request, task: &Task, backend: &dyn Backend) -> Result<(), Error> {
        if self.strictest(&APPROVALS).1 == Approval::None {
            return Ok(());
        }
        let refusal = |asked: &str| Err(self.above(&APPROVALS, asked.to_owned()));
        // Listed tools need no approval, but under `read-only`: there a list only chooses from those that read.
        let listed =
            request.allowed_tools.as_ref().and_then(|Tools(tools)| tools.as_deref()).unwrap_or_default();
        let real = access(task.approval, task.sandbox, task.lenient, backend);
        let reads_only = real.is_some_and(|(_, reach)| reach == Sandbox::ReadOnly);
        if !listed.is_empty() && !reads_only && backend.honours(TaskOption::AllowedTools).is_ok() {
            return refusal("a list of tools, which need no approval then,");
        }
        // A file that the prompt names is sent to the model, wherever it is.
        if request.interpret == Some(true) {
            return refusal("`interpret`, which reads files and runs commands without approval,");
        }
        Ok(())
    }

    /// Only the request's own servers: those of the configuration are its owner's.
    fn mcp(&self, request: &Request) -> Result<(), Error> {
        let asks = request.mcp.as_ref().is_some_and(|servers| !servers.is_none());
        match self.0.iter().find(|rules| asks && !rules.mcp) {
            Some(rules) => {
                Err(rules.refusal("allow_mcp", "`mcp`, which starts programs,".to_owned(), "none".to_owned()))
            }
            None => Ok(()),
        }
    }

    fn project_config(&self, request: &Request, task: &mut Task, backend: &dyn Backend) -> Result<(), Error> {
        let Some(rules) = self.0.iter().find(|rules| !rules.project_config) else { return Ok(()) };
        // The engine would refuse it, too, but for a `lenient` request.
        if let Err(why) = backend.honours(TaskOption::NoProjectConfig) {
            let asked = format!("backend `{}` ({why})", task.backend);
            return Err(rules.refusal("project_config", asked, "none like it".to_owned()));
        }
        if request.no_project_config == Some(false) {
            let asked = "`no_project_config: false`".to_owned();
            return Err(rules.refusal("project_config", asked, "`true` only".to_owned()));
        }
        task.no_project_config = true;
        Ok(())
    }

    /// Refuses the directory of that name for where it really is; for where that cannot be found out, too.
    fn place(&self, real: Option<&Path>, name: &Path) -> Result<(), Error> {
        let asked = || format!("directory `{}`", name.display());
        // None of the sentences says more of the place than the configuration does.
        let all = |dirs: &[PathBuf]| {
            words(&dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<String>>())
        };
        let is_in = |dirs: &[PathBuf]| real.map(|real| dirs.iter().any(|dir| real.starts_with(dir)));
        for rules in &self.0 {
            if !rules.dirs.is_empty() && is_in(&rules.dirs) != Some(true) {
                return Err(rules.refusal("allowed_workdir_prefixes", asked(), all(&rules.dirs)));
            }
            if !rules.blocked.is_empty() && is_in(&rules.blocked) != Some(false) {
                let allowed = format!("nothing in {}", all(&rules.blocked));
                return Err(rules.refusal("blocked_workdir_prefixes", asked(), allowed));
            }
        }
        Ok(())
    }
}

impl<T: PartialEq> Scale<T> {
    fn rank(&self, mode: T) -> usize {
        self.order.iter().position(|other| *other == mode).unwrap_or(self.order.len())
    }
}

impl Directories for Policy {
    fn resolve(&self, base: &Path, name: &Path) -> Result<PathBuf, Error> {
        match directory(base, name) {
            Ok(real) => self.place(Some(&real), name).map(|()| real),
            // That a directory is not there is said only of places that may be used, or a client could find out what is there.
            Err(error) => self.place(end_of_way(&base.join(name)).as_deref(), name).and(Err(error)),
        }
    }
}

/// How far the way to a path leads that is no directory; none when it goes on from there by a link that leads nowhere.
fn end_of_way(path: &Path) -> Option<PathBuf> {
    let (end, real) = path.ancestors().find_map(|path| Some((path, fs::canonicalize(path).ok()?)))?;
    let next = path.strip_prefix(end).ok()?.components().next();
    let is_link = |name| fs::symlink_metadata(real.join(name)).is_ok_and(|meta| meta.is_symlink());
    if next.is_some_and(is_link) { None } else { Some(real) }
}

impl Rules {
    fn refusal(&self, key: &str, asked: String, allowed: String) -> Error {
        let rule = match &self.place {
            Place::Section(section) => format!("{section}.{key}"),
            Place::Flags => {
                let flag = FLAGS.iter().find(|(known, _)| *known == key);
                format!("clinvk mcp{}", flag.map_or("", |(_, flag)| flag))
            }
        };
        Error::Policy { rule, asked, allowed }
    }
}

fn words(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|word| format!("`{word}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

/// What a pair of modes really is with a backend: `lenient` takes away what it cannot honour, and an approval mode may take
/// away the sandbox. `None` when the engine will refuse it.
fn access(
    approval: Approval,
    sandbox: Sandbox,
    lenient: bool,
    backend: &dyn Backend,
) -> Option<(Approval, Sandbox)> {
    let mut probe = Task { approval, sandbox, ..Task::default() };
    for option in probe.used() {
        if backend.honours(option).is_err() {
            if !lenient {
                return None;
            }
            probe.drop_option(option);
        }
    }
    Some((probe.approval, backend.reach(&probe)))
}

fn prefixes(section: &str, key: &str, list: &[String]) -> Result<Vec<PathBuf>, Error> {
    let read = |dir: &String| {
        let refuse = |problem: String| Error::Config {
            origin: format!("{section}.{key}"),
            position: None,
            problem: format!("`{dir}` {problem}"),
        };
        if !Path::new(dir).is_absolute() {
            return Err(refuse("is not absolute".to_owned()));
        }
        fs::canonicalize(dir).map_err(|error| refuse(format!("cannot be used: {error}")))
    };
    list.iter().map(read).collect()
}

/// Where a request works that names no directory: `server.default_workdir`, or where the server was started.
pub fn default_workdir(server: &Server, cwd: &Path) -> Result<PathBuf, Error> {
    directory(cwd, Path::new(&server.default_workdir)).map_err(|error| Error::Config {
        origin: "server.default_workdir".to_owned(),
        position: None,
        problem: error.to_string(),
    })
}
