//! The outside: environment, working directory, clock, random bytes, terminals. The one place that reads them, so
//! that everything else is a function of its arguments.
#![allow(clippy::disallowed_methods)]

use crate::base::collect::inserted;
use crate::base::encoding::{base64, from_base64};
use crate::base::sha256;
use crate::base::sys;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A path below which there can be nothing.
const NOWHERE: &str = "/dev/null";

/// What is needed and was not given.
#[derive(Debug)]
pub enum Missing {
    /// By the user: a sentence.
    Setting(String),
    /// By the system: random bytes.
    Random(io::Error),
}

/// What the process was given when it started.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The environment, where it is valid UTF-8.
    pub env: BTreeMap<String, String>,
    /// The user's home directory; `NOWHERE` when there is none.
    pub user_home: PathBuf,
    /// `$CLINVK_HOME`, or `.clinvk` in the user's home; below `NOWHERE` when there is `no_home`.
    pub home: PathBuf,
    /// Why there is no place to keep anything in.
    pub no_home: Option<String>,
    /// The working directory: absolute; empty when it has been deleted.
    pub cwd: PathBuf,
    /// This very program, for the built-in backend.
    pub exe: PathBuf,
    /// Where short-lived files go.
    pub temp: PathBuf,
    /// What programs inherit, where that is the environment of another process than this one.
    pub environment: Option<Arc<BTreeMap<OsString, OsString>>>,
}

impl World {
    /// Reads everything once. What is missing is told by what needs it.
    pub fn read() -> Result<World, Missing> {
        let world = World::of(&inserted(std::env::vars_os()), std::env::current_dir().unwrap_or_default());
        // A program that we start is never given them, and is not to find them in /proc either.
        sys::wipe_variable(c"CLINVK_API_KEYS");
        sys::wipe_variable(c"CLINVK_API_KEY");
        // Without /proc only the second way is left.
        let exe = std::env::current_exe().ok().or_else(sys::executed_as);
        world.map(|world| World { exe: world.cwd.join(exe.unwrap_or("clinvk".into())), ..world })
    }

    /// That of a process with these variables in that directory, but for its program.
    fn of(variables: &BTreeMap<OsString, OsString>, cwd: PathBuf) -> Result<World, Missing> {
        let mut env = BTreeMap::new();
        for (name, value) in variables {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => _ = env.insert(name.to_owned(), value.to_owned()),
                // One of ours that is left out would be a setting, or API keys, that the user did not make.
                (Some(name), None) if name.starts_with("CLINVK_") => {
                    return Err(Missing::Setting(format!("the variable {name} is not valid UTF-8")));
                }
                _ => {}
            }
        }
        let given = |name: &str| variables.get(OsStr::new(name)).map(PathBuf::from);
        let named = |name: &str| given(name).filter(|value| !value.as_os_str().is_empty());
        let user_home = named("HOME").or_else(sys::home_of_user);
        let (home, no_home) = match find_home(named("CLINVK_HOME"), user_home.as_deref(), &cwd) {
            Ok(home) => (home, None),
            Err(why) => (Path::new(NOWHERE).join(".clinvk"), Some(why)),
        };
        let user_home = user_home.filter(|home| home.is_absolute()).unwrap_or(NOWHERE.into());
        // A program that we start in another directory has to find it there.
        let temp = cwd.join(given("TMPDIR").unwrap_or("/tmp".into()));
        let temp = Some(temp).filter(|temp| temp.is_absolute()).unwrap_or("/tmp".into());
        Ok(World { home, no_home, temp, env, user_home, cwd, exe: PathBuf::new(), environment: None })
    }

    /// What a program of ours inherits, and the working directory, as text, so that another process can be given it.
    pub(crate) fn carried<'a>(&self, without: impl IntoIterator<Item = &'a str>) -> String {
        let variables = self.inherited(without);
        let mut bytes = self.cwd.as_os_str().as_bytes().to_vec();
        for (name, value) in &variables {
            bytes.extend([b"\0", name.as_bytes(), b"=", value.as_bytes()].concat());
        }
        base64(&bytes)
    }

    /// Stands for the environment of another process, without what differs from one command of a shell to the next and
    /// nothing depends on; empty for this process' own.
    pub(crate) fn environment_digest(&self) -> String {
        const OF_SHELL: &[&str] = &["_", "SHLVL", "PWD", "OLDPWD"];
        let Some(environment) = &self.environment else { return String::new() };
        let counts = |(name, _): &(&OsString, &OsString)| !OF_SHELL.iter().any(|own| *name == *own);
        let variables = environment.iter().filter(counts);
        let bytes =
            variables.flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
        sha256::hex(&bytes.collect::<Vec<u8>>())
    }

    /// That of the process which has made this text by `carried`; none where no process has. `exe`: this very program.
    pub(crate) fn of_carried(text: &str, exe: &Path) -> Option<Result<World, Missing>> {
        let bytes = from_base64(text)?;
        let mut parts = bytes.split(|byte| *byte == 0);
        let cwd = PathBuf::from(OsStr::from_bytes(parts.next()?));
        let pair = |part: &[u8]| {
            let end = part.iter().position(|byte| *byte == b'=').filter(|end| *end > 0)?;
            let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            Some((text(&part[..end]), text(&part[end + 1..])))
        };
        let variables: BTreeMap<_, _> = parts.map(pair).collect::<Option<_>>()?;
        let world = World::of(&variables, cwd);
        Some(world.map(|world| World {
            exe: exe.to_owned(),
            environment: Some(Arc::new(variables)),
            ..world
        }))
    }

    /// The environment as a program that we start inherits it, but for these.
    pub(crate) fn inherited<'a>(
        &self,
        without: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<OsString, OsString> {
        let own = || inserted(std::env::vars_os());
        let mut env: BTreeMap<_, _> =
            self.environment.as_deref().map_or_else(own, |environment| environment.clone());
        without.into_iter().for_each(|name| _ = env.remove(OsStr::new(name)));
        env
    }

    /// Where clinvk keeps its things.
    pub(crate) fn home(&self) -> Result<&Path, Missing> {
        match &self.no_home {
            None => Ok(&self.home),
            Some(why) => Err(Missing::Setting(why.clone())),
        }
    }

    /// Where a program is: a path as it stands, a bare name on PATH. Only executable files count.
    pub(crate) fn find_program(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            return Some(self.cwd.join(program)).filter(|path| is_executable(path));
        }
        let path = self.env.get("PATH").map(String::as_str).unwrap_or("/usr/local/bin:/usr/bin:/bin");
        std::env::split_paths(path)
            .map(|dir| self.cwd.join(dir).join(program))
            .find(|path| is_executable(path))
    }
}

/// Where clinvk keeps its things, or why that is nowhere. The user's home is never made.
fn find_home(given: Option<PathBuf>, user: Option<&Path>, cwd: &Path) -> Result<PathBuf, String> {
    const OTHERWISE: &str = "or set CLINVK_HOME";
    if let Some(home) = given {
        let shown = home.display().to_string();
        return Some(cwd.join(home)).filter(|home| home.is_absolute()).ok_or_else(|| {
            format!("CLINVK_HOME is `{shown}`, and the working directory is gone: give an absolute path")
        });
    }
    let Some(user) = user else {
        return Err(format!("HOME is not set, and the user has no home directory: set it, {OTHERWISE}"));
    };
    let shown = user.display();
    if !user.is_absolute() {
        return Err(format!("HOME is `{shown}`, which is no absolute path: correct it, {OTHERWISE}"));
    }
    match fs::metadata(user) {
        Ok(meta) if meta.is_dir() => Ok(user.join(".clinvk")),
        Ok(_) => Err(format!("the home directory `{shown}` is not a directory: correct HOME, {OTHERWISE}")),
        Err(error) => {
            Err(format!("the home directory `{shown}` cannot be used: {error}: create it, {OTHERWISE}"))
        }
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// 32 hex digits from the system's random source.
pub fn random_id() -> Result<String, Missing> {
    let mut bytes = [0u8; 16];
    sys::random(&mut bytes).map_err(Missing::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Seconds and nanoseconds since 1970.
pub fn now() -> (u64, u32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_nanos())
}

/// Standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// This process has a terminal that it can be controlled from, whatever its standard streams are: one that was closed is none.
pub(crate) fn has_terminal() -> bool {
    let flags = sys::O_NONBLOCK | sys::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty").is_ok()
}

/// Standard error is a terminal on which a line can be drawn over.
pub(crate) fn stderr_can_be_drawn_on() -> bool {
    stderr_is_terminal() && has_escapes()
}

/// The terminal, where there is one, understands escape sequences. It says so by its name.
pub(crate) fn has_escapes() -> bool {
    std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb")
}
