//! Sessions on disk.

mod bounds;
mod busy;
mod changed;
mod cleaned;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod clocks;
mod crowded;
mod disk;
mod files;
mod forbidden;
mod found;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod faults;
mod fsck;
mod full_disk;
mod fuzz;
mod index;
mod kept;
mod killed;
mod limits;
mod lists;
mod processes;
mod replayed;
mod resumed;
mod senseless;
mod shown;
mod turns;
mod waits;

use crate::util::run::Run;
use crate::util::scene::Scene;
use crate::util::store::Home;

/// A home whose backend `fake` waits: it tells `started` and repeats the prompt when it is told to `go`.
fn waiting() -> Home {
    Home { scene: Scene::playing("tell started; await go; cat") }
}

fn no_session(word: &str) -> String {
    format!("clinvk: no session `{word}`: `clinvk sessions list` shows what there is\n")
}

const TOLD: &str =
    "This is our conversation so far:\n\nUser:\none\n\nAssistant:\none\n\nNow the user says:\n\ntwo\n";

/// The binary on a terminal, where somebody types this.
fn typing(home: &Home, line: &str, typed: &str) -> Run {
    let line = line.replace("clinvk", &format!("'{}'", env!("CARGO_BIN_EXE_clinvk")));
    home.scene.program("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(typed)
}
