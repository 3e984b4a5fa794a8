//! Says what is left of runs whose clinvk was killed.

use crate::base::world::World;
use crate::exec;

/// Warns of it, if there is any.
pub(crate) fn warn(world: &World) {
    let left = exec::leftovers(world);
    let pids: Vec<String> = left.iter().map(|left| left.pid.to_string()).collect();
    if let [first, others @ ..] = &pids[..] {
        let (who, are) = if others.is_empty() { ("process", "is") } else { ("processes", "are") };
        let numbers = others.iter().fold(first.clone(), |numbers, pid| format!("{numbers}, {pid}"));
        log::warn!(
            "{who} {numbers} {are} left of a run whose clinvk was killed: `clinvk sessions fsck` ends what is left"
        );
    }
}
