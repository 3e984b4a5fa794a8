//! The home of clinvk: whether it is ours, whether locks hold there, and what runs and writers that were killed have left.

use super::super::sessions::progress;
use super::{Finding, State};
use crate::base::json::{self, json};
use crate::base::sys;
use crate::base::world::World;
use crate::cli::locks;
use crate::exec;
use crate::model::error::Kind;
use crate::session::{self, Store};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Where clinvk keeps its things, and whether locks hold there.
pub(super) fn home(world: &World) -> Vec<Finding> {
    let path = world.home.display();
    let about = "home";
    if let Some(why) = &world.no_home {
        return vec![Finding::new(about, State::Problem, why).prevents(Kind::SessionStore)];
    }
    let meta = match fs::metadata(&world.home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![match can_be_made(&world.home) {
                true => {
                    Finding::new(about, State::Ok, format!("{path} is not there yet: the first run makes it"))
                }
                false => {
                    Finding::new(about, State::Problem, format!("{path} is not there, and cannot be made"))
                        .remedy("make it, or set CLINVK_HOME to a directory that you may write to")
                        .prevents(Kind::SessionStore)
                }
            }];
        }
        Err(error) => {
            return vec![
                Finding::new(about, State::Problem, format!("{path} cannot be used: {error}"))
                    .remedy("set CLINVK_HOME to another directory")
                    .prevents(Kind::SessionStore),
            ];
        }
        Ok(meta) => meta,
    };
    let mode = meta.permissions().mode() & 0o7777;
    let mut kept = match () {
        () if !meta.is_dir() => {
            return vec![
                Finding::new(about, State::Problem, format!("{path} is not a directory"))
                    .remedy("move it away, or set CLINVK_HOME to another directory")
                    .prevents(Kind::SessionStore),
            ];
        }
        () if meta.uid() != sys::effective_user() => Finding::new(
            about,
            State::Warning,
            format!("{path} belongs to another user (uid {})", meta.uid()),
        )
        .remedy("change its owner, or set CLINVK_HOME to a directory of your own"),
        () if mode & 0o077 != 0 => Finding::new(
            about,
            State::Warning,
            format!("{path} has mode {mode:04o}: others can look into it"),
        )
        .remedy(format!("chmod 700 '{path}'")),
        () => Finding::new(about, State::Ok, format!("{path}, mode {mode:04o}")),
    };
    kept.data = json!({"path": json::path(&world.home), "mode": format!("{mode:04o}")});
    vec![kept, exclusion(world)]
}

/// The nearest directory above it that is there can be written to.
fn can_be_made(home: &Path) -> bool {
    let there = home.ancestors().skip(1).find(|dir| dir.exists());
    there.is_some_and(|dir| dir.is_dir() && sys::can_write(dir))
}

/// Two processes that want the same lock: the second one must not get it, on whichever host it is.
fn exclusion(world: &World) -> Finding {
    let about = "locks";
    match locks::problem(world) {
        Ok(None) => Finding::new(about, State::Ok, "hold between processes, and files can be written"),
        Ok(Some(problem)) => Finding::new(about, State::Problem, problem).remedy(locks::REMEDY),
        Err(error) => Finding::new(about, State::Problem, error.to_string())
            .remedy("make room or change its permissions, or set CLINVK_HOME to another directory")
            .prevents(Kind::SessionStore),
    }
}

/// What is wrong with the sessions. Nothing is repaired, and nothing written.
pub(super) fn sessions(world: &World) -> Option<Finding> {
    let about = "sessions";
    let mut count = 0;
    let mut told = progress("reading sessions");
    let report = session::fsck(&Store::at(&world.home), true, &mut |done| {
        count = done;
        told(done);
    });
    let mut kinds = BTreeMap::<&str, usize>::new();
    report.findings.iter().for_each(|finding| *kinds.entry(finding.kind).or_default() += 1);
    let mut finding = match (&report.failure, &report.findings[..]) {
        (Some(error), _) => Finding::new(about, State::Problem, format!("cannot be looked through: {error}"))
            .remedy("clinvk sessions fsck --dry-run"),
        (None, []) if count == 0 => return None,
        (None, []) => Finding::new(about, State::Ok, format!("{count} kept, and nothing is wrong with them")),
        (None, [first, ..]) => {
            let told: Vec<String> = kinds.iter().map(|(kind, number)| format!("{kind}: {number}")).collect();
            let message = format!("{} (such as: {})", told.join(", "), first.sentence);
            Finding::new(about, State::Warning, message).remedy("clinvk sessions fsck")
        }
    };
    finding.data = json!({"sessions": count, "wrong": kinds});
    Some(finding)
}

/// Processes of runs.
pub(super) fn leftovers(world: &World) -> Option<Finding> {
    let left = exec::leftovers(world);
    let named: Vec<String> = left.iter().map(|left| format!("{} ({})", left.pid, left.program)).collect();
    (!named.is_empty()).then(|| {
        let message = format!("left of runs whose clinvk was killed: {}", named.join(", "));
        Finding::new("processes", State::Warning, message).remedy("clinvk sessions fsck")
    })
}
