//! The server that prompts go to, and the one of the user's command lines.

use super::{Finding, State};
use crate::base::json::json;
use crate::base::world::World;
use crate::client::{self, Server};
use crate::model::error::Kind;
use serde_json::Value;

/// The server of this user's command lines, where it runs. It is not started for this.
pub(super) fn own_server(world: &World) -> Option<Finding> {
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
pub(super) fn server(name: &str, world: &World) -> Finding {
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
