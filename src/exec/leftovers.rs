//! What is left of a clinvk that was killed: processes that carry the marker of a run whose owner is gone. The marker names
//! the owner, so that nothing has to be kept anywhere while a run goes on.

use super::tree::{self, Process};
use crate::backend::MARKER;
use crate::base::sha256::hex;
use crate::base::sys;
use crate::base::world::{self, World};
use crate::model::error::Error;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The marker of a new run: 32 random digits, and where it can be said whose it is.
pub fn marker(world: &World) -> Result<String, Error> {
    let id = world::random_id()?;
    Ok(Owner::of_this_process(&world.home).map_or(id.clone(), |owner| format!("{id}-{}", owner.words())))
}

/// Whose a run is. A number means a process only in its own namespace and with its own start; and a home's runs are no
/// other home's business.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: i32,
    started: u64,
    namespace: u64,
    home: String,
}

impl Owner {
    fn of_this_process(home: &Path) -> Option<Owner> {
        /// The number, the start and the namespace of this process: they never change.
        static OURS: OnceLock<Option<(i32, u64, u64)>> = OnceLock::new();
        let look = || {
            let Process { pid, started, .. } = tree::process(std::process::id() as i32)?;
            Some((pid, started, fs::metadata("/proc/self/ns/pid").ok()?.ino()))
        };
        let (pid, started, namespace) = (*OURS.get_or_init(look))?;
        let home = hex(home.as_os_str().as_bytes())[..8].to_owned();
        Some(Owner { pid, started, namespace, home })
    }

    fn words(&self) -> String {
        format!("{}-{}-{}-{}", self.pid, self.started, self.namespace, self.home)
    }

    fn of_marker(marker: &str) -> Option<Owner> {
        let mut words = marker.split('-').skip(1);
        let owner = Owner {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
            namespace: words.next()?.parse().ok()?,
            home: words.next()?.to_owned(),
        };
        words.next().is_none().then_some(owner)
    }

    /// There is no such process any more. One that cannot be looked at may be it.
    fn is_gone(&self) -> bool {
        match tree::process(self.pid) {
            Some(process) => process.started != self.started || process.zombie,
            None => !sys::is_alive(self.pid as u32),
        }
    }
}

/// A process that is left of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its number.
    pub(crate) pid: i32,
    /// Its program. What it was started with may be a prompt.
    pub(crate) program: String,
    started: u64,
}

/// The processes of our user that are left of runs of this home whose clinvk was killed. Reads the environment of each
/// process of that user once.
pub fn leftovers(world: &World) -> Vec<Leftover> {
    let Some(me) = Owner::of_this_process(&world.home) else { return Vec::new() };
    let own = world.env.get(MARKER).map(String::as_str).unwrap_or_default();
    let is_left = |process: &Process| {
        fs::metadata(format!("/proc/{}", process.pid)).is_ok_and(|meta| meta.uid() == sys::effective_user())
            && tree::markers(process.pid).is_some_and(|markers| is_left(&markers, &me, own))
    };
    let left = tree::processes().into_iter().filter(is_left);
    left.map(|Process { pid, started, .. }| Leftover { pid, started, program: program(pid) }).collect()
}

/// Whether no owner of these markers is there any more, as far as one in that place can tell. A run inside a run has more
/// than one, and we may be part of one ourselves.
fn is_left(markers: &str, me: &Owner, own: &str) -> bool {
    let is_dead = |marker: &str| {
        let is_ours = own.split(':').any(|own| own == marker);
        !is_ours
            && Owner::of_marker(marker)
                .is_some_and(|owner| owner.namespace == me.namespace && owner.is_gone())
    };
    let innermost = markers.rsplit(':').next().and_then(Owner::of_marker);
    innermost.is_some_and(|owner| owner.home == me.home) && markers.split(':').all(is_dead)
}

/// How long killed processes are waited for. One that waits for a disk takes longer, and goes then.
const GOING: Duration = Duration::from_secs(2);

/// Kills them, as far as they are still the same, and waits until they are gone.
pub fn end_leftovers(leftovers: &[Leftover]) {
    let is_there = |left: &Leftover| {
        tree::process(left.pid).is_some_and(|process| process.started == left.started && !process.zombie)
    };
    for left in leftovers.iter().filter(|left| is_there(left)) {
        let _ = sys::kill(left.pid, sys::SIGKILL);
    }
    let since = Instant::now();
    while since.elapsed() < GOING && leftovers.iter().any(is_there) {
        thread::sleep(Duration::from_millis(1));
    }
}

fn program(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(line.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_owner_left_in_this_place_is_left() {
        let me = Owner::of_this_process(Path::new("/home/me/.clinvk")).unwrap();
        let of = |owner: &Owner| format!("{}-{}", "0".repeat(32), owner.words());
        let dead = of(&Owner { started: me.started + 1, ..me.clone() });
        let elsewhere = of(&Owner { started: 1, namespace: me.namespace + 1, ..me.clone() });
        let of_another = of(&Owner { started: 1, home: "ffffffff".to_owned(), ..me.clone() });
        let live = of(&me);
        assert_eq!(Owner::of_marker(&live), Some(me.clone()));
        let (nested, outlived) = (format!("{dead}:{dead}"), format!("{live}:{dead}"));
        for (markers, own, left) in [
            (&*dead, "", true),
            (&nested, "", true),
            (&format!("{of_another}:{dead}"), "", true),
            (&live, "", false),
            // The outer clinvk takes it with its own.
            (&outlived, "", false),
            (&format!("{dead}:{live}"), "", false),
            (&elsewhere, "", false),
            (&of_another, "", false),
            (&format!("{elsewhere}:{dead}"), "", false),
            // Of clinvk 0.2, or of another program.
            ("outer", "", false),
            (&"0".repeat(32), "", false),
            ("", "", false),
            // We are in it ourselves.
            (&dead, &dead, false),
            (&nested, &outlived, false),
        ] {
            assert_eq!(is_left(markers, &me, own), left, "{markers} for {own:?}");
        }
    }
}
