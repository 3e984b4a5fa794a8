//! `clinvk doctor`: whether a prompt can run here, and what stands in its way. Starts the backends' programs for their
//! versions and nothing else; the network is asked only for a server that is named.

use super::backends::Told;
use super::flags::Typed;
use super::prompt::{self, Where};
use super::{exit, say_either, table, version};
use crate::backend::{Traces, older};
use crate::base::json::json;
use crate::base::lock::{Lock, Tried};
use crate::base::printable;
use crate::base::sys;
use crate::base::world::World;
use crate::client::{self, Server};
use crate::config::{Config, Loaded, Origin};
use crate::exec;
use crate::model::error::{Error, Kind};
use crate::model::task::TaskOption;
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How long a program may take to say its version.
const VERSION_TAKES: Duration = Duration::from_secs(5);
/// Most bytes of a file in which a login is looked for.
const LONGEST_TRACE: u64 = 4 << 20;

/// What was found of one thing.
struct Finding {
    /// What was looked at: `home`, `backend claude` ...
    about: String,
    state: State,
    message: String,
    /// What to do about it.
    remedy: Option<String>,
    /// A prompt to the default backend fails because of it.
    prevents: Option<Kind>,
    /// More of it for programs.
    data: Value,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ok,
    /// Nothing to do about it unless it is wanted.
    Note,
    Warning,
    Problem,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Warning => "warning",
            State::Problem => "problem",
        }
    }
}

impl Finding {
    fn new(about: impl Into<String>, state: State, message: impl Into<String>) -> Finding {
        let (about, message) = (about.into(), message.into());
        Finding { about, state, message, remedy: None, prevents: None, data: json!({}) }
    }

    fn remedy(self, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..self }
    }

    fn prevents(self, kind: Kind) -> Finding {
        Finding { prevents: Some(kind), ..self }
    }

    fn data(&self) -> Value {
        let mut data = json!({
            "about": self.about,
            "state": self.state.word(),
            "message": self.message,
            "remedy": self.remedy,
        });
        data.as_object_mut().into_iter().for_each(|all| {
            all.extend(self.data.as_object().cloned().unwrap_or_default());
        });
        data
    }

    fn rows(&self) -> Vec<[String; 3]> {
        let mark = if self.data["default"] == true { " (default)" } else { "" };
        let about = format!("{}{mark}", self.about);
        let cells = [self.state.word(), &about, &self.message].map(printable::safe);
        let remedy = self.remedy.as_ref();
        let more =
            remedy.map(|remedy| ["".to_owned(), "".to_owned(), format!("  {}", printable::safe(remedy))]);
        [cells].into_iter().chain(more).collect()
    }
}

/// Returns the status that a prompt to the default backend would have, as far as that can be known before.
pub(crate) fn run(typed: &Typed, world: World, explicit: Option<&Path>) -> Result<u8, Error> {
    let (config, configuration) = configuration(&world, explicit);
    let mut findings = home(&world);
    findings.push(configuration);
    findings.extend(directory(&world));
    let mut backends = backends(&world, &config)?;
    let place = prompt::place(typed, &world, &config)?;
    if let Where::At(_) = place {
        // They are those of over there that are asked.
        backends.iter_mut().for_each(|finding| finding.prevents = None);
    }
    findings.extend(backends);
    findings.extend(match place {
        Where::At(name) => Some(server(name, &world)),
        Where::Auto => Some(own_server(&world).unwrap_or_else(|| {
            Finding::new("server", State::Ok, "none of your own runs: the next run starts it")
        })),
        Where::Here => own_server(&world),
    });
    findings.extend(leftovers(&world));
    let prevents = findings.iter().find_map(|finding| finding.prevents);
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let verdict = match prevents {
        None => "a prompt can run",
        Some(_) => "no prompt can run",
    };
    let rows: Vec<[String; 3]> = findings.iter().flat_map(Finding::rows).collect();
    let text = format!(
        "{}\n{}\n{verdict} (problems: {}, warnings: {})\n",
        version::text(),
        table::aligned(&rows),
        count(State::Problem),
        count(State::Warning)
    );
    let data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "can_run": prevents.is_none(),
        "kind": prevents.map(Kind::word),
        "findings": findings.iter().map(Finding::data).collect::<Vec<_>>(),
    });
    say_either(typed, data, &text)?;
    Ok(prevents.map_or(0, |kind| exit::status(kind, 0)))
}

/// The configuration, or that of a user who has none where it cannot be used.
fn configuration(world: &World, explicit: Option<&Path>) -> (Config, Finding) {
    let loaded = match (&world.no_home, explicit) {
        (Some(_), None) => Config::of_variables(&world.env),
        _ => Config::load(&world.home, explicit, &world.env),
    };
    match loaded {
        Ok(loaded) => {
            let finding = settings(&loaded);
            (loaded.config, finding)
        }
        Err(error) => {
            let finding = Finding::new("configuration", State::Problem, error.to_string())
                .remedy("correct it; `clinvk config path` says where it is, clinvk-config(5) what it may say")
                .prevents(Kind::Config);
            (Config::default(), finding)
        }
    }
}

/// What is set, and where. Not to what: secrets may be among it, and this is what is put into reports.
fn settings(loaded: &Loaded) -> Finding {
    let set: Vec<(&str, String)> = (loaded.rows.iter())
        .filter(|row| !matches!(row.origin, Origin::Default | Origin::Agents))
        .map(|row| (&*row.key, row.origin.to_string()))
        .collect();
    let path = loaded.path.display();
    let about = "configuration";
    let mut finding = match (&loaded.warnings[..], &set[..]) {
        ([], []) => Finding::new(about, State::Ok, "nothing is set"),
        ([], _) => {
            let named: Vec<String> = set.iter().map(|(key, origin)| format!("{key} ({origin})")).collect();
            Finding::new(about, State::Ok, named.join(", "))
        }
        (warnings, _) => Finding::new(about, State::Warning, warnings.join("; "))
            .remedy(format!("change or remove it in {path} or in the environment")),
    };
    let of_row = |(key, origin): &(&str, String)| json!({"key": key, "origin": origin});
    let set: Vec<Value> = set.iter().map(of_row).collect();
    finding.data = json!({"path": loaded.path, "set": set});
    finding
}

/// Where clinvk keeps its things, and whether locks hold there.
fn home(world: &World) -> Vec<Finding> {
    let path = world.home.display();
    let about = "home";
    if let Some(why) = &world.no_home {
        return vec![Finding::new(about, State::Problem, why).prevents(Kind::SessionStore)];
    }
    let meta = match fs::metadata(&world.home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![match can_be_made(&world.home) {
                true => {
                    Finding::new(about, State::Ok, format!("{path} is not there yet: the first run makes it"))
                }
                false => {
                    Finding::new(about, State::Problem, format!("{path} is not there, and cannot be made"))
                        .remedy("make it, or set CLINVK_HOME to a directory that you may write to")
                        .prevents(Kind::SessionStore)
                }
            }];
        }
        Err(error) => {
            return vec![
                Finding::new(about, State::Problem, format!("{path} cannot be used: {error}"))
                    .remedy("set CLINVK_HOME to another directory")
                    .prevents(Kind::SessionStore),
            ];
        }
        Ok(meta) => meta,
    };
    let mode = meta.permissions().mode() & 0o7777;
    let mut kept = match () {
        () if !meta.is_dir() => {
            return vec![
                Finding::new(about, State::Problem, format!("{path} is not a directory"))
                    .remedy("move it away, or set CLINVK_HOME to another directory")
                    .prevents(Kind::SessionStore),
            ];
        }
        () if meta.uid() != sys::effective_user() => Finding::new(
            about,
            State::Warning,
            format!("{path} belongs to another user (uid {})", meta.uid()),
        )
        .remedy("change its owner, or set CLINVK_HOME to a directory of your own"),
        () if mode & 0o077 != 0 => Finding::new(
            about,
            State::Warning,
            format!("{path} has mode {mode:04o}: others can look into it"),
        )
        .remedy(format!("chmod 700 '{path}'")),
        () => Finding::new(about, State::Ok, format!("{path}, mode {mode:04o}")),
    };
    kept.data = json!({"path": world.home, "mode": format!("{mode:04o}")});
    vec![kept, locks(&world.home)]
}

/// The nearest directory above it that is there can be written to.
fn can_be_made(home: &Path) -> bool {
    let there = home.ancestors().skip(1).find(|dir| dir.exists());
    there.is_some_and(|dir| dir.is_dir() && sys::can_write(dir))
}

/// Two who want the same lock: the second one must not get it.
fn locks(home: &Path) -> Finding {
    let path = home.join(format!("doctor-{}.lock", std::process::id()));
    let about = "locks";
    let tried = Lock::try_get(&path).and_then(|first| Ok((first, Lock::try_get(&path)?)));
    match tried {
        Ok((Tried::Held(first), second)) => {
            let excludes = matches!(second, Tried::Busy(_));
            // It is gone with us all the same, or at the next look.
            let _ = first.remove();
            match excludes {
                true => Finding::new(about, State::Ok, "hold, and files can be written"),
                false => Finding::new(
                    about,
                    State::Problem,
                    "do not hold on this file system: two runs could write the same session",
                )
                .remedy("set CLINVK_HOME to a directory of a local file system"),
            }
        }
        Ok((Tried::Busy(_), _)) => {
            Finding::new(about, State::Warning, format!("{} is held by another process", path.display()))
        }
        Err(error) => {
            Finding::new(about, State::Problem, format!("no lock can be had in {}: {error}", home.display()))
                .remedy("make room or change its permissions, or set CLINVK_HOME to another directory")
                .prevents(Kind::SessionStore)
        }
    }
}

fn directory(world: &World) -> Option<Finding> {
    let gone = world.cwd.as_os_str().is_empty() || !world.cwd.is_dir();
    gone.then(|| {
        Finding::new("working directory", State::Problem, "it is gone")
            .remedy("change to another one, or give one (`-w DIR`)")
            .prevents(Kind::InvalidRequest)
    })
}

/// Every backend that is there or was meant to be. Their programs are started at once.
fn backends(world: &World, config: &Config) -> Result<Vec<Finding>, Error> {
    let mut all = Told::all(world.clone(), config)?;
    all.retain(Told::is_of_interest);
    Ok(thread::scope(|scope| {
        let looks: Vec<_> = all.iter().map(|told| scope.spawn(|| backend(told, world))).collect();
        // A look that panicked has said so.
        looks.into_iter().filter_map(|look| look.join().ok()).collect()
    }))
}

fn backend(told: &Told, world: &World) -> Finding {
    let (name, backend, vendor) = (told.name(), &told.backend, told.backend.vendor());
    let asked = || {
        let (program, args) = (told.path.as_deref()?, backend.version_args()?);
        exec::version(program, args, world, VERSION_TAKES).and_then(|said| number(&said))
    };
    let version = told.why_not().map_or_else(|| told.version().or_else(asked), |_| None);
    let login = vendor.map(|vendor| trace(&vendor.traces, world));
    let is_needed = |finding: Finding, kind| match told.is_default {
        true => finding.prevents(kind),
        false => finding,
    };
    let install = told.remedy.map(|(install, _)| install);
    let mut finding = match (told.why_not(), vendor, &version) {
        (Some(why), ..) => {
            let state = if told.is_default { State::Problem } else { State::Note };
            let finding = Finding::new(name, state, why);
            let finding = match told.remedy.filter(|_| told.enabled) {
                Some((install, login)) => finding.remedy(format!("{install}; log in: {login}")),
                None => finding,
            };
            is_needed(finding, Kind::NotInstalled)
        }
        (None, Some(vendor), Some(version)) if older(version, vendor.oldest) => {
            let message = format!("{version} is too old: clinvk needs {} or newer", vendor.oldest);
            let state = if told.is_default { State::Problem } else { State::Warning };
            is_needed(Finding::new(name, state, message).remedy(vendor.install), Kind::NotInstalled)
        }
        (None, Some(vendor), _) if matches!(login, Some(None)) => {
            let message = format!("{}: no login is to be seen", self_and_version(told, version.as_deref()));
            let state = if told.is_default { State::Problem } else { State::Warning };
            is_needed(
                Finding::new(name, state, message).remedy(format!("log in: {}", vendor.login)),
                Kind::Login,
            )
        }
        (None, ..) => {
            let mut message = self_and_version(told, version.as_deref());
            if let Some(vendor) =
                vendor.filter(|vendor| version.as_ref().is_some_and(|version| older(vendor.newest, version)))
            {
                message += &format!(" (newer than {}, the last that was tested)", vendor.newest);
            }
            if let Some(Some(trace)) = &login {
                message += &format!(", login: {trace}");
            }
            Finding::new(name, State::Ok, message)
        }
    };
    let missing = TaskOption::ALL.iter().filter(|option| backend.honours(**option).is_err());
    finding.data = json!({
        "backend": name,
        "default": told.is_default,
        "available": told.why_not().is_none(),
        "path": told.path,
        "version": version,
        "oldest": vendor.map(|vendor| vendor.oldest),
        "tested": told.tested(),
        "login": login,
        "install": install,
        "not_honoured": missing.map(|option| option.word()).collect::<Vec<_>>(),
    });
    finding
}

fn self_and_version(told: &Told, version: Option<&str>) -> String {
    let path = told.path.as_deref().map(Path::display).map(|path| path.to_string()).unwrap_or_default();
    match version {
        Some(version) => format!("{version}, {path}"),
        None => path,
    }
}

/// The first number of a version in what a program says of it.
fn number(said: &str) -> Option<String> {
    let is_number =
        |word: &&str| word.contains('.') && word.starts_with(|letter: char| letter.is_ascii_digit());
    said.split_whitespace().map(|word| word.trim_start_matches('v')).find(is_number).map(str::to_owned)
}

/// What shows that a user of this program is logged in, if anything does.
fn trace(traces: &Traces, world: &World) -> Option<String> {
    let set = |name: &str| world.env.get(name).is_some_and(|value| !value.is_empty());
    if let Some(variable) = traces.variables.iter().find(|name| set(name)) {
        return Some((*variable).to_owned());
    }
    let given = world.env.get(traces.variable).filter(|home| !home.is_empty());
    let home = given.map_or_else(|| world.user_home.join(traces.home), |home| world.cwd.join(home));
    let has = |(file, text): &&(&str, &str)| {
        let path = home.join(file);
        let small = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST_TRACE);
        small
            && (text.is_empty()
                || fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)))
    };
    traces.files.iter().find(has).map(|(file, _)| home.join(file).display().to_string())
}

/// The server of this user's command lines, where it runs. It is not started for this.
fn own_server(world: &World) -> Option<Finding> {
    let socket = world.home.join(client::SOCKET);
    let server = Server::at(&format!("unix:{}", socket.display()), world).ok()?;
    let (kept, told) = kept(&server);
    let mut finding = Finding::new("server", State::Ok, format!("your own runs (`--server auto`){told}"));
    finding.data = json!({"server": client::AUTO, "kept": kept});
    Some(finding)
}

/// The programs that a server keeps, where it tells, and that in words.
fn kept(server: &Server) -> (Option<Value>, String) {
    let kept = server.kept();
    let told =
        kept.as_ref().and_then(Value::as_array).map(|all| format!("; programs that it keeps: {}", all.len()));
    (kept, told.unwrap_or_default())
}

/// The server that prompts go to.
fn server(name: &str, world: &World) -> Finding {
    let about = "server";
    let server = match Server::at(name, world) {
        Ok(server) => server,
        Err(error) => {
            return Finding::new(about, State::Problem, error.to_string())
                .remedy("start it (`clinvk serve`), or name none (`--server ''`)")
                .prevents(error.kind());
        }
    };
    let default = server.default_backend().unwrap_or_default().to_owned();
    let is_there = server.has_backend(&default);
    let (kept, told) = kept(&server);
    let message = format!("{name} answers; its default backend is {default}{told}");
    let mut finding = match is_there {
        true => Finding::new(about, State::Ok, message),
        false => Finding::new(
            about,
            State::Problem,
            format!("{name} answers, and its default backend `{default}` is not installed there"),
        )
        .remedy("name another one (`-b`), or install it there")
        .prevents(Kind::NotInstalled),
    };
    finding.data = json!({"server": name, "default_backend": default, "kept": kept});
    finding
}

fn leftovers(world: &World) -> Option<Finding> {
    let left = exec::leftovers(world);
    let named: Vec<String> = left.iter().map(|left| format!("{} ({})", left.pid, left.program)).collect();
    (!named.is_empty()).then(|| {
        let message = format!("left of runs whose clinvk was killed: {}", named.join(", "));
        Finding::new("processes", State::Warning, message).remedy("clinvk sessions fsck")
    })
}
