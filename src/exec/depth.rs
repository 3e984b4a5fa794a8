//! How many runs this process is inside of: an agent may start clinvk, which may start an agent, and so for ever. Each run's
//! program is told its depth in a variable.

use super::tree;
use crate::backend::DEPTH;
use crate::base::world::World;
use crate::model::error::Error;
use std::fs;
use std::iter;
use std::path::Path;

/// So many runs inside each other are allowed.
const DEEPEST: u32 = 3;

/// More than that would be a circle, made by processes that end while we look.
const MOST_ANCESTORS: usize = 1000;

/// The depth of a run that this process begins: 1 in a process that is in none. `outer`: how many runs it is inside of by the
/// word of a client.
///
/// # Errors
/// When that is too deep, or the variable has no number.
pub(crate) fn depth_of_run(world: &World, outer: u32) -> Result<u32, Error> {
    let own = world.env.get(DEPTH).map(|told| (told.clone(), 0));
    let (told, runs) = own.unwrap_or_else(|| of_ancestors(&world.exe));
    let Ok(told) = told.parse::<u32>() else {
        return Err(Error::Invalid(format!(
            "the variable {DEPTH} is `{told}`, and has to be a whole number"
        )));
    };
    match told.saturating_add(runs).max(outer) {
        depth if depth < DEEPEST => Ok(depth + 1),
        depth => Err(Error::Policy {
            rule: DEPTH.to_owned(),
            asked: format!("a run inside {depth} others"),
            allowed: format!("{DEEPEST} runs inside each other (an agent may be asking itself)"),
        }),
    }
}

/// What the nearest ancestor was told that was told something, and how many runs were begun since, each by a process of this
/// program: some agents start the servers of their tools with an environment of a few variables.
fn of_ancestors(exe: &Path) -> (String, u32) {
    let parent = |pid: i32| tree::process(pid).map(|process| process.parent).filter(|parent| *parent > 0);
    let mut runs = 0;
    for pid in iter::successors(parent(std::process::id() as i32), |pid| parent(*pid)).take(MOST_ANCESTORS) {
        runs += u32::from(fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|other| other == exe));
        if let Some(told) = tree::variable(pid, DEPTH) {
            return (told, runs);
        }
    }
    ("0".to_owned(), runs)
}
