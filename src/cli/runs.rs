//! `clinvk runs`, `wait` and `cancel`: what goes on on a server, and what was detached there.

use super::flags::{Name, Typed};
use super::{complain, print, prompt, say, say_either, say_json, signals, table};
use crate::base::json::json;
use crate::base::printable;
use crate::base::world::World;
use crate::client::{self, Server};
use crate::config::Config;
use crate::engine::site::NO_SERVER;
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use serde_json::Value;
use std::sync::Arc;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let world = Arc::new(world);
    let server = server(typed, &world, config)?;
    match (typed.command, typed.operands.first()) {
        ("runs", _) => list(typed, &server),
        ("wait", Some(id)) => wait(typed, &world, config, &server, id),
        (_, Some(id)) => {
            let (id, was_there) = server.cancel_run(id)?;
            let text = if was_there { format!("cancelled {id}\n") } else { format!("{id} was over\n") };
            say_either(typed, json!({"id": id, "cancelled": was_there}), &text)
        }
        (command, None) => {
            Err(Error::Invalid(format!("`{command}` needs the id of a run: `clinvk runs` lists them")))
        }
    }
}

/// The server that is asked: the user's own also inside of a run, which may look at what else goes on.
fn server(typed: &Typed, world: &Arc<World>, config: &Config) -> Result<Arc<Server>, Error> {
    match typed.value(Name::Server).unwrap_or(&config.client.server) {
        "" => Err(Error::Invalid(format!("`{}`: {NO_SERVER}", typed.command))),
        client::AUTO => prompt::own(typed, world).map(|(server, _)| server),
        server => Server::at(server, world).map(Arc::new),
    }
}

fn list(typed: &Typed, server: &Server) -> Result<u8, Error> {
    let runs = server.runs()?;
    if typed.has(Name::Json) {
        return say_json(&json!({"runs": runs}));
    }
    let text = |value: &Value| printable::safe(value.as_str().unwrap_or_default());
    let short = |value: &Value| text(value).chars().take(12).collect::<String>();
    let mut rows = vec![["ID", "BACKEND", "STATE", "SINCE", "SECONDS", "SESSION"].map(str::to_owned)];
    rows.extend(runs.iter().map(|run| {
        let state = if run["kind"].is_null() { &run["state"] } else { &run["kind"] };
        [
            short(&run["id"]),
            text(&run["backend"]),
            text(state),
            table::minute(&text(&run["since"])),
            format!("{:.0}", run["seconds"].as_f64().unwrap_or_default()),
            short(&run["session_id"]),
        ]
    }));
    say(&table::aligned(&rows))
}

/// Prints what a run has said and says, as if it was run here.
fn wait(typed: &Typed, world: &World, config: &Config, server: &Server, id: &str) -> Result<u8, Error> {
    let format = prompt::output_format(typed)?.unwrap_or(config.output.format);
    let cancel = Arc::new(Cancel::new()?);
    signals::watch(cancel.clone())?;
    match server.join_run(id, Control::with(cancel)) {
        Ok(joined) => {
            joined.facts().warnings.iter().for_each(|warning| log::warn!("{warning}"));
            prompt::print(typed, &world.env, config, format, joined)
                .map(|printed| printed.status_with(|| server.installed()))
        }
        Err(error) => {
            print::refusal(format, None, &error);
            Ok(complain(&error))
        }
    }
}
