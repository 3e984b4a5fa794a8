//! Whether locks exclude where clinvk keeps its things, found by trying with two processes: this one holds a lock, and this
//! very program, started once more, tries to get it. What another host of the same file system sees is not tried: of NFS the
//! options say where its locks are.

use crate::base::lock::{Lock, Tried};
use crate::base::mounts;
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
const DO_NOT_EXCLUDE: &str =
    "two processes had the same lock at once, so two runs could write the same session";
/// What is wrong where they exclude the processes of this host alone.
const OF_ONE_HOST: &str = "locks of this NFS mount are this host's alone (`local_lock`, `nolock`), so a run of another \
                           host could write the same session";
/// What to do about either.
pub(super) const REMEDY: &str =
    "set CLINVK_HOME to a directory of a local file system, or mount this one with locks";

/// What is wrong with the locks in the home, which has to be there; none where each keeps all other processes out.
pub(super) fn problem(world: &World) -> Result<Option<&'static str>, Error> {
    if !exclude(world)? {
        return Ok(Some(DO_NOT_EXCLUDE));
    }
    let options = mounts::options(&world.home).unwrap_or_default();
    Ok(are_of_one_host(&options).then_some(OF_ONE_HOST))
}

/// Whether a file system with these options asks no file server for flock(2).
fn are_of_one_host(options: &str) -> bool {
    // What NFS says of itself, also where it was mounted with `nolock`.
    options.split(',').any(|option| matches!(option, "local_lock=flock" | "local_lock=all"))
}

/// Whether a lock of one process keeps another one out.
fn exclude(world: &World) -> Result<bool, Error> {
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

#[cfg(test)]
mod tests {
    use super::are_of_one_host;

    /// As Linux 6.1 says them: of a mount with `nolock`, with `local_lock=flock`, with `local_lock=posix`, of version 3 and of
    /// version 4 without any; and of a file system of this machine.
    #[test]
    fn locks_that_no_file_server_knows_are_seen_by_the_options_of_the_mount() {
        let mounts = [
            "rw,vers=3,hard,nolock,proto=tcp,timeo=600,mountproto=udp,local_lock=all,addr=10.1.0.1",
            "rw,vers=3,hard,proto=tcp,timeo=600,mountproto=udp,local_lock=flock,addr=10.1.0.1",
            "rw,vers=3,hard,proto=tcp,timeo=600,mountproto=udp,local_lock=posix,addr=10.1.0.1",
            "rw,vers=3,hard,proto=tcp,timeo=600,mountproto=udp,local_lock=none,addr=10.1.0.1",
            "rw,vers=4.2,hard,proto=tcp,timeo=600,clientaddr=10.1.0.2,local_lock=none,addr=10.1.0.1",
            "rw,discard,errors=remount-ro",
        ];
        assert_eq!(mounts.map(are_of_one_host), [true, true, false, false, false, false]);
    }
}
