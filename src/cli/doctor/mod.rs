//! `clinvk doctor`: whether a prompt can run here, and what stands in its way. Starts the backends' programs for their
//! versions and nothing else; the network is asked only for a server that is named.

mod backends;
mod home;
mod server;

use super::flags::Typed;
use super::prompt::{self, Where};
use super::{exit, say_either, table, version};
use crate::base::json::{self, json};
use crate::base::printable;
use crate::base::world::World;
use crate::config::{Config, Loaded, Origin};
use crate::model::error::{Error, Kind};
use serde_json::Value;
use std::path::Path;

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
    let mut findings = home::home(&world);
    findings.push(configuration);
    findings.extend(directory(&world));
    let mut backends = backends::backends(&world, &config)?;
    let place = prompt::place(typed, &world, &config)?;
    if let Where::At(_) = place {
        // They are those of over there that are asked.
        backends.iter_mut().for_each(|finding| finding.prevents = None);
    }
    findings.extend(backends);
    findings.extend(match place {
        Where::At(name) => Some(server::server(name, &world)),
        Where::Auto => Some(server::own_server(&world).unwrap_or_else(|| {
            Finding::new("server", State::Ok, "none of your own runs: the next run starts it")
        })),
        Where::Here => server::own_server(&world),
    });
    findings.extend(home::sessions(&world));
    findings.extend(home::leftovers(&world));
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
    finding.data = json!({"path": json::path(&loaded.path), "set": set});
    finding
}

fn directory(world: &World) -> Option<Finding> {
    let gone = world.cwd.as_os_str().is_empty() || !world.cwd.is_dir();
    gone.then(|| {
        Finding::new("working directory", State::Problem, "it is gone")
            .remedy("change to another one, or give one (`-w DIR`)")
            .prevents(Kind::InvalidRequest)
    })
}
