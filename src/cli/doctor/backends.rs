//! The backends: whether their programs are there, which they are, and whether a login is to be seen.

use super::super::backends::Told;
use super::{Finding, State};
use crate::backend::{Traces, older};
use crate::base::json::{self, json};
use crate::base::world::World;
use crate::config::Config;
use crate::exec;
use crate::model::error::{Error, Kind};
use crate::model::task::TaskOption;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How long a program may take to say its version.
const VERSION_TAKES: Duration = Duration::from_secs(5);
/// Most bytes of a file in which a login is looked for.
const LONGEST_TRACE: u64 = 4 << 20;

/// Every backend that is there or was meant to be. Their programs are started at once.
pub(super) fn backends(world: &World, config: &Config) -> Result<Vec<Finding>, Error> {
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
    let all = TaskOption::ALL;
    let missing: Vec<_> = all.iter().filter(|option| backend.honours(**option).is_err()).collect();
    let (known, is_tested) = tested(told, version.as_deref());
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
            message += &format!(", options: {} of {} ({known})", all.len() - missing.len(), all.len());
            if let Some(Some(trace)) = &login {
                message += &format!(", login: {trace}");
            }
            Finding::new(name, State::Ok, message)
        }
    };
    finding.data = json!({
        "backend": name,
        "default": told.is_default,
        "available": told.why_not().is_none(),
        "path": told.path.as_deref().map(json::path),
        "version": version,
        "oldest": vendor.map(|vendor| vendor.oldest),
        "tested_first": vendor.map(|vendor| vendor.first),
        "tested": told.tested(),
        "is_tested": is_tested,
        "login": login,
        "install": install,
        "not_honoured": missing.iter().map(|option| option.word()).collect::<Vec<_>>(),
    });
    finding
}

/// How it is known what it can do, since no program tells that without a conversation; and whether our own table was seen
/// to hold for this very version, where that can be said.
fn tested(told: &Told, version: Option<&str>) -> (String, Option<bool>) {
    let Some(last) = told.tested() else { return (told.known_by().to_owned(), None) };
    let first = told.backend.vendor().map_or(last, |vendor| vendor.first);
    let range = if first == last { last.to_owned() } else { format!("{first} to {last}") };
    let is_tested = version.map(|version| !older(version, first) && !older(last, version));
    let this = match is_tested {
        Some(true) => "this one",
        Some(false) => "not this one",
        None => "which this is it does not say",
    };
    (format!("from the table, tested with {range}: {this}"), is_tested)
}

fn self_and_version(told: &Told, version: Option<&str>) -> String {
    let path = told.path.as_deref().map(Path::display).map(|path| path.to_string()).unwrap_or_default();
    match (told.launched(), version) {
        (Some(launched), _) => format!("{launched}: its version and login are not asked for there"),
        (None, Some(version)) => format!("{version}, {path}"),
        (None, None) => path,
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
