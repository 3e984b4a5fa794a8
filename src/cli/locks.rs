//! Whether locks exclude where clinvk keeps its things, found by trying with two processes: this one holds a lock, and this
//! very program, started once more, tries to get it. What another host of the same file system sees is not tried.

use crate::base::lock::{Lock, Tried};
use crate::base::world::{World, random_id};
use crate::exec;
use crate::model::error::Error;
use std::io;
use std::time::Duration;

/// The hidden command that is the second process.
pub(super) const COMMAND: &str = "try-lock";

/// What the second process says when the lock is not to be had.
const BUSY: &str = "busy";

/// How long the second process may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is wrong where they do not.
pub(super) const DO_NOT_EXCLUDE: &str =
    "two processes had the same lock at once, so two runs could write the same session";
/// What to do about it.
pub(super) const REMEDY: &str =
    "set CLINVK_HOME to a directory of a local file system, or mount this one with locks";

/// Whether a lock of one process keeps another one out. The home has to be there.
pub(super) fn exclude(world: &World) -> Result<bool, Error> {
    // A process of another host may have our number.
    let name = format!("locks-{}.lock", random_id()?);
    let fail = |error| Error::Store { verb: "take a lock in", path: world.home.clone(), error };
    let lock = Lock::get(&world.home.join(&name)).map_err(fail)?;
    let tried = exec::output(&[&*world.exe.to_string_lossy(), COMMAND, &name], world, LIMIT);
    let removed = lock.remove();
    let said =
        tried.map_err(|error| Error::System { what: "start a second process to try a lock", error })?;
    removed.map_err(fail)?;
    match said.ended.code {
        Some(0) => Ok(said.out == BUSY.as_bytes()),
        _ => Err(fail(io::Error::other(said.ended.stderr))),
    }
}

/// The second process: tries to get the lock of that name, and says what came of it.
pub(super) fn try_once(name: &str, out: &mut dyn io::Write) -> Result<u8, Error> {
    let path = World::read()?.home()?.join(name);
    let fail = |error| Error::Store { verb: "open", path: path.clone(), error };
    let word = match Lock::try_get(&path).map_err(fail)? {
        Tried::Busy(_) => BUSY,
        Tried::Held(_) => "held",
    };
    out.write_all(word.as_bytes()).map_err(fail)?;
    Ok(0)
}
