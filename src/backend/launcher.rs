//! Launchers: programs that start a backend's program for us, inside of something, as `bwrap` does, or on another machine, as
//! `ssh` does. What they are given is words, and a line or two on standard input (`script`); all else is the backend's own.

mod script;

pub use script::Start;

use super::{Backend, Dialogue, Ended, File, Keeping, Launch, Step, Steps, VendorSessions};
use crate::base::text;
use crate::config::{BackendConfig, LauncherType};
use crate::model::error::{Error, Failure, Kind, words_of_stderr};
use crate::model::task::{Sandbox, Task, TaskOption};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The launchers that start programs elsewhere, and how they take their words. Every other one is taken for one that starts
/// them here: it is seen at once where that is wrong, and nothing of ours leaves the machine.
const ELSEWHERE: &[(&str, LauncherType)] = &[
    ("docker", LauncherType::Exec),
    ("incus", LauncherType::Exec),
    ("kubectl", LauncherType::Exec),
    ("lxc", LauncherType::Exec),
    ("nerdctl", LauncherType::Exec),
    ("oc", LauncherType::Exec),
    ("podman", LauncherType::Exec),
    // Its files may be ours, but not those below /tmp.
    ("srun", LauncherType::Exec),
    ("ssh", LauncherType::Shell),
];

/// The exit status with which `ssh` says that it has no connection.
const NO_CONNECTION: i32 = 255;

/// The launcher of a backend, as the configuration has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Launcher {
    backend: String,
    /// The command that starts a program; never empty.
    pub(crate) words: Vec<String>,
    given: Option<LauncherType>,
    places: Vec<String>,
    env: Vec<String>,
    /// The backend lets its program work through us, here.
    works_here: bool,
}

impl Launcher {
    pub(crate) fn of(backend: &str, part: &BackendConfig) -> Option<Launcher> {
        (!part.launcher.is_empty()).then(|| Launcher {
            backend: backend.to_owned(),
            words: part.launcher.clone(),
            given: part.launcher_type,
            places: part.launcher_workdir.clone(),
            env: part.launcher_env.clone(),
            works_here: part.declared.client_tools,
        })
    }

    /// The command as a shell would take it.
    pub(crate) fn shown(&self) -> String {
        self.words.iter().map(|word| text::quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// Where it starts programs.
    ///
    /// # Errors
    /// When another program starts a launcher that is known: whether that makes a difference is not.
    pub(crate) fn kind(&self) -> Result<LauncherType, Error> {
        let known = |word: &String| {
            let name = Path::new(word).file_name()?.to_str()?;
            ELSEWHERE.iter().find(|(known, _)| *known == name)
        };
        match (self.given, known(&self.words[0])) {
            (Some(given), _) => Ok(given),
            (None, Some((_, kind))) => Ok(*kind),
            (None, None) => match self.words.iter().find_map(known) {
                None => Ok(LauncherType::Local),
                Some((name, kind)) => Err(self.wrong(
                    "launcher_type",
                    format!(
                        "`{}` is behind `{name}`, or the other way round: say which of local, exec and shell it is \
                         (`{name}` alone is {})",
                        self.words[0],
                        kind.word()
                    ),
                )),
            },
        }
    }

    fn wrong(&self, key: &str, problem: String) -> Error {
        Error::Config { origin: format!("backends.{}.{key}", self.backend), position: None, problem }
    }

    /// What a task's working directory and its further ones are called there.
    fn mapped(&self, dir: &Path, more: &[PathBuf]) -> Result<(PathBuf, Vec<PathBuf>), Error> {
        let mut pairs: Vec<(&Path, &Path)> = Vec::new();
        for place in &self.places {
            let (from, to) = match place.split_once(':') {
                Some((from, to)) => (Path::new(from), Path::new(to)),
                None => (dir, Path::new(place)),
            };
            if !from.is_absolute() || !to.is_absolute() {
                let problem = format!("`{place}`: expected `FROM:TO` or `TO`, absolute paths");
                return Err(self.wrong("launcher_workdir", problem));
            }
            pairs.push((from, to));
        }
        let there = |dir: &Path| {
            let fits = pairs.iter().filter_map(|(from, to)| Some((from, to, dir.strip_prefix(from).ok()?)));
            match fits.max_by_key(|(from, ..)| from.components().count()) {
                Some((_, to, rest)) if rest.as_os_str().is_empty() => Ok(to.to_path_buf()),
                Some((_, to, rest)) => Ok(to.join(rest)),
                None if pairs.is_empty() => Ok(dir.to_owned()),
                None => {
                    let problem = format!("no entry says what `{}` is called there", dir.display());
                    Err(self.wrong("launcher_workdir", problem))
                }
            }
        };
        Ok((there(dir)?, more.iter().map(|dir| there(dir)).collect::<Result<_, _>>()?))
    }

    fn check(&self, kind: LauncherType, declared: &[(String, String)]) -> Result<(), Error> {
        if kind == LauncherType::Local {
            return Ok(());
        }
        if self.works_here {
            let problem = "the program is elsewhere, and would read, write and run here".to_owned();
            return Err(self.wrong("client_tools", problem));
        }
        let names = declared.iter().map(|(name, _)| ("env", name));
        let mut names = self.env.iter().map(|name| ("launcher_env", name)).chain(names);
        match names.find(|(_, name)| !script::is_name(name)) {
            Some((key, name)) => {
                Err(self.wrong(key, format!("`{name}` is no name of a variable that a shell there can set")))
            }
            None => Ok(()),
        }
    }
}

/// A backend whose program has a launcher.
pub(super) struct Launched {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) launcher: Launcher,
}

impl Launched {
    /// The task as it is there.
    fn there(&self, task: &Task) -> Result<Task, Error> {
        let (dir, add_dirs) = self.launcher.mapped(&task.dir, &task.add_dirs)?;
        let mut there = Task { dir, add_dirs, ..task.clone() };
        if self.launcher.kind()? != LauncherType::Local {
            there.scratch = Path::new("/tmp").join(task.scratch.file_name().unwrap_or("clinvk".as_ref()));
        }
        Ok(there)
    }

    /// The same where it was launched: then there is nothing wrong with it.
    fn launched(&self, task: &Task) -> Task {
        self.there(task).unwrap_or_else(|_| task.clone())
    }
}

impl Backend for Launched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    /// What has to be here is the launcher.
    fn program(&self) -> &str {
        &self.launcher.words[0]
    }

    fn launcher(&self) -> Option<&Launcher> {
        Some(&self.launcher)
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        self.inner.honours(option)
    }

    fn models(&self) -> &[(String, String)] {
        self.inner.models()
    }

    fn claims(&self) -> &'static [&'static str] {
        self.inner.claims()
    }

    fn answers(&self) -> bool {
        self.inner.answers()
    }

    fn takes_schema(&self, schema: &Value) -> bool {
        self.inner.takes_schema(schema)
    }

    fn base_url(&self) -> Option<&'static str> {
        self.inner.base_url()
    }

    /// Only files that are here can be removed.
    fn vendor_sessions(&self) -> Option<VendorSessions> {
        let is_here = self.launcher.kind().is_ok_and(|kind| kind == LauncherType::Local);
        self.inner.vendor_sessions().filter(|_| is_here).map(|keeps| VendorSessions { delete: &[], ..keeps })
    }

    fn extra_flags(&self) -> &[&'static str] {
        self.inner.extra_flags()
    }

    fn reach(&self, task: &Task) -> Sandbox {
        self.inner.reach(task)
    }

    /// It is what the launcher starts that would have to say it.
    fn version_args(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        let (kind, there) = (self.launcher.kind()?, self.there(task)?);
        let mut launch = self.inner.launch(&there)?;
        self.launcher.check(kind, &launch.env)?;
        let dir = std::mem::replace(&mut launch.dir, task.dir.clone());
        let in_place = |word: &String| word.replace("{workdir}", &dir.to_string_lossy());
        let mut start = Start {
            words: self.launcher.words[1..].iter().map(in_place).collect(),
            kind,
            program: std::mem::replace(&mut launch.program, self.launcher.words[0].clone()),
            dir,
            env: self.launcher.env.clone(),
            files: Vec::new(),
            overlay: None,
        };
        if kind != LauncherType::Local {
            start.files = std::mem::take(&mut launch.files);
            start.overlay = launch.overlay.take();
            if let Some(overlay) = &start.overlay {
                // The two cannot be merged there: the program is to do it.
                let path = there.scratch.join("settings").join("settings.json");
                launch.env.push((overlay.settings_variable.to_owned(), path.to_string_lossy().into_owned()));
                start.files.push(File { path, text: overlay.settings.1.to_string() });
            }
        }
        launch.start = Some(start);
        Ok(launch)
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        let inner = self.inner.dialogue(&self.launched(task));
        Box::new(Told { inner, launcher: self.launcher.clone(), is_over: false })
    }

    fn keeps(&self, task: &Task) -> Option<Keeping> {
        let keeping = self.inner.keeps(&self.launched(task))?;
        let shape = format!("{:?} {} {}", self.launcher, task.dir.display(), keeping.shape);
        Some(Keeping { shape, ..keeping })
    }

    fn rehearsal(&self, task: &Task) -> Vec<String> {
        self.inner.rehearsal(&self.launched(task))
    }
}

/// The backend's dialogue, and what only a launcher says.
struct Told {
    inner: Box<dyn Dialogue>,
    launcher: Launcher,
    is_over: bool,
}

impl Told {
    fn note(&mut self, steps: &Steps) {
        self.is_over |= steps.iter().any(|step| matches!(step, Step::Finished(_)));
    }

    /// Why the program was not even started.
    fn not_started(&self, ended: &Ended) -> Option<Failure> {
        // Not the words behind it: a client of a server reads this, too.
        let launcher = &self.launcher.words[0];
        if let Some(program) = script::not_there(&ended.stderr) {
            let message = format!(
                "`{program}` is not on PATH where `{launcher}` starts it: install it there, or name its path \
                 (backends.{}.program)",
                self.launcher.backend
            );
            return Some(Failure::new(Kind::NotInstalled, message));
        }
        let is_lost = ended.code == Some(NO_CONNECTION)
            && self.launcher.kind().is_ok_and(|kind| kind == LauncherType::Shell);
        is_lost.then(|| Failure::new(Kind::Unreachable, format!("`{launcher}`: {}", words_of_stderr(ended))))
    }
}

impl Dialogue for Told {
    fn start(&mut self, steps: &mut Steps) {
        self.inner.start(steps);
        self.note(steps);
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        self.inner.line(line, steps);
        self.note(steps);
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        self.inner.interrupt(steps);
        self.note(steps);
    }

    fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        self.inner.permitted(id, allowed, steps);
        self.note(steps);
    }

    fn used(&mut self, id: &str, came: Result<super::ToolReply, super::ToolError>, steps: &mut Steps) {
        self.inner.used(id, came, steps);
        self.note(steps);
    }

    fn alarm(&mut self, steps: &mut Steps) {
        self.inner.alarm(steps);
        self.note(steps);
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        match self.not_started(ended).filter(|_| !self.is_over) {
            Some(failure) => steps.push(Step::Finished(Err(failure))),
            None => self.inner.eof(ended, steps),
        }
    }
}
