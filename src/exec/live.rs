//! The runs that are under way in this process, from the start of a child to the last of its tree; and the clock that
//! stands still while the process is suspended.

use super::tree::{self, OtherRuns, Owned, Tree};
use crate::base::sync::{lock, read, write};
use crate::base::sys::{self, Child, Program};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// The runs that are under way in this process, for `suspend`.
static LIVE: Mutex<Vec<Arc<Mutex<Tree>>>> = Mutex::new(Vec::new());
/// Held together by those that start a child, and alone by those that look for orphans: then every child of ours is on the
/// list of those that are owned. A start may wait for the processor, and must not hold up the others.
static STARTS: RwLock<()> = RwLock::new(());
/// The time for which this process was suspended counts for no time limit.
static SUSPENDED: Mutex<Suspended> = Mutex::new(Suspended { before: Duration::ZERO, since: None });

/// How long this process has been suspended before, and since when it is now.
#[derive(Clone, Copy)]
struct Suspended {
    before: Duration,
    since: Option<Instant>,
}

/// Stops the trees of all runs and then this process, as a terminal's Ctrl-Z means it; goes on when it is continued.
pub fn suspend() {
    let _alone = without_starts();
    let live = lock(&LIVE);
    let all = |signal| {
        for tree in live.iter() {
            lock(tree).signal_all(signal);
        }
    };
    all(sys::SIGSTOP);
    // Noted before the stop: a run that wakes up first must not find the time gone.
    let since = Instant::now();
    lock(&SUSPENDED).since = Some(since);
    sys::raise(sys::SIGSTOP);
    let mut suspended = lock(&SUSPENDED);
    *suspended = Suspended { before: suspended.before + since.elapsed(), since: None };
    drop(suspended);
    all(sys::SIGCONT);
}

/// Reaps what others left to us and has ended. To be called now and then: a run takes its own with it at its end, and until
/// then what it left behind would pile up, as would what is handed to the first process of a container.
pub fn reap_orphans() {
    if sys::ended_child().is_some() {
        let _alone = without_starts();
        tree::reap_orphans();
    }
}

fn with_other_starts() -> RwLockReadGuard<'static, ()> {
    read(&STARTS)
}

/// As long as the result lives no child is being started.
fn without_starts() -> RwLockWriteGuard<'static, ()> {
    write(&STARTS)
}

/// A clock that stands still while this process is suspended.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    since: Instant,
    suspended_before: Duration,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Clock {
        Clock { since: Instant::now(), suspended_before: suspended() }
    }

    /// The time that a run has had.
    pub(crate) fn ran(&self) -> Duration {
        self.since.elapsed().saturating_sub(suspended() - self.suspended_before)
    }
}

fn suspended() -> Duration {
    let Suspended { before, since } = *lock(&SUSPENDED);
    before + since.map_or(Duration::ZERO, |since| since.elapsed())
}

/// Starts a program; says what is missing where the system's word would be that the program is.
fn spawn(program: Program<'_>) -> io::Result<(Child, Owned)> {
    let path = program.path;
    tree::prepare();
    let child = program.start().map_err(|error| match (error.kind(), what_it_needs(path)) {
        (ErrorKind::NotFound, Some(missing)) => io::Error::new(ErrorKind::NotFound, missing),
        _ => error,
    })?;
    let owned = Owned::new(child.pid);
    Ok((child, owned))
}

/// What a program that is there may need and not have.
fn what_it_needs(program: &Path) -> Option<String> {
    let mut start = Vec::new();
    // The kernel reads no more of it either.
    File::open(program).ok()?.take(256).read_to_end(&mut start).ok()?;
    if start.starts_with(b"\x7fELF") {
        return Some(
            "the loader that it names is not there: it was made for another system or C library".to_owned(),
        );
    }
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.trim_matches([' ', '\t']).split([' ', '\t']).next()?;
    // A carriage return is part of the name, and is to be seen.
    let shown = interpreter.escape_debug();
    (!Path::new(interpreter).exists()).then(|| format!("its interpreter `{shown}` is not there"))
}

/// A run's tree, on the list of those under way.
pub(super) struct Live {
    tree: Arc<Mutex<Tree>>,
    _owned: Option<Owned>,
}

impl Live {
    /// Starts the child. It is on the lists before any other run can look around for orphans.
    pub(crate) fn start(program: Program<'_>, marker: &str) -> io::Result<(Child, Live)> {
        let _together = with_other_starts();
        let (child, owned) = spawn(program)?;
        let live = Live::of(Tree::new(Some(child.pid), marker), Some(owned));
        Ok((child, live))
    }

    /// A run in a program that is not its own: what is started for it is its tree.
    pub(crate) fn without_child(marker: &str) -> Live {
        Live::of(Tree::new(None, marker), None)
    }

    fn of(tree: Tree, owned: Option<Owned>) -> Live {
        let tree = Arc::new(Mutex::new(tree));
        lock(&LIVE).push(tree.clone());
        Live { tree, _owned: owned }
    }

    /// Starts a program for the child, as a part of the run.
    pub(crate) fn start_terminal(&self, program: Program<'_>) -> io::Result<(Child, Owned)> {
        let _together = with_other_starts();
        let (child, owned) = spawn(program)?;
        self.tree().add_terminal(child.pid);
        Ok((child, owned))
    }

    /// Kills such a program, where it has not ended, and reaps it.
    pub(crate) fn end_terminal(&self, pid: i32) {
        self.tree().kill_terminal(pid);
        self.tree().remove_terminal(pid);
        tree::reap(pid);
    }

    /// Starts a child that belongs to no run, and that none takes for an orphan of its own.
    pub(crate) fn start_apart(program: Program<'_>) -> io::Result<(Child, Owned)> {
        let _together = with_other_starts();
        spawn(program)
    }

    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }

    /// Kills what is left, the child too, where it has one. The child is reaped only after its group had its last signal:
    /// until then the number is ours.
    pub(crate) fn end(&mut self, child: Option<i32>) {
        if let Some(child) = child {
            if sys::exited(child).is_none() {
                self.tree().signal_all(sys::SIGKILL);
            }
            self.tree().signal_group(sys::SIGKILL);
            // It has ended or was killed: this waits for the kernel only.
            tree::reap(child);
            self.tree().child_is_reaped();
        }
        lock(&LIVE).retain(|tree| !Arc::ptr_eq(tree, &self.tree));
        // Each round finds at least the children of what the round before killed; a fork bomb has to be beaten too.
        for _ in 0..200 {
            // One system call when nothing was ever left behind, and a few when only other runs are under way.
            if !sys::has_children() || tree::nobody_is_orphaned() {
                return;
            }
            // Held, so that no other run starts while every orphan counts as this one's.
            let starts = without_starts();
            // A child that was being started is owned by now.
            if tree::nobody_is_orphaned() {
                return;
            }
            // The first process of a container is handed the orphans of all: there only the marker tells.
            let is_alone = lock(&LIVE).is_empty() && std::process::id() != 1;
            let others = if is_alone { OtherRuns::None } else { OtherRuns::MayBe };
            if !self.tree().sweep(others) {
                return;
            }
            drop(starts);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
