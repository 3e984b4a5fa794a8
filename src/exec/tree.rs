//! The processes of a run: found, stopped and reaped. Tool children start sessions of their own, so the process
//! group is not the tree; what counts is descent, the marker in the environment, and a tag that outlives both.

use crate::base::sync::lock;
use crate::base::sys;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

/// One process, as /proc has it. The start time tells it from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    group: i32,
    pub(crate) started: u64,
    /// It has ended, and was not reaped.
    pub(crate) zombie: bool,
}

/// The children that std owns: everything else that ends as our child is an orphan to be reaped by us.
static OWNED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Keeps a pid from being reaped as an orphan while its `Child` lives.
pub(super) struct Owned(i32);

impl Owned {
    pub(crate) fn new(pid: i32) -> Owned {
        lock(&OWNED).push(pid);
        Owned(pid)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut owned = lock(&OWNED);
        // One entry only: the number may already be that of another run's child.
        if let Some(index) = owned.iter().position(|pid| *pid == self.0) {
            owned.swap_remove(index);
        }
    }
}

/// Whether there is a /proc to find processes in.
pub(super) fn sees_processes() -> bool {
    Path::new("/proc/self").exists()
}

/// Every process there is. Empty where there is no /proc.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

pub(super) fn process(pid: i32) -> Option<Process> {
    // Room for more than the fields that count: all of it comes with the first read.
    let mut stat = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let stat = String::from_utf8_lossy(&stat[..length]);
    // The second field is the program's name in brackets and may contain anything; the last bracket ends it (proc(5)).
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Process { pid, parent, group, started, zombie })
}

/// What was below this process before its first run, by pid and start: a shell that becomes clinvk by `exec` leaves its
/// background jobs to us.
static PREEXISTING: OnceLock<HashSet<(i32, u64)>> = OnceLock::new();

fn is_stranger(process: &Process) -> bool {
    PREEXISTING.get().is_some_and(|preexisting| preexisting.contains(&(process.pid, process.started)))
}

/// Makes what ends below us ours to hear of, and remembers what was here before the first run. To be called before each.
pub(super) fn prepare() {
    PREEXISTING.get_or_init(|| {
        sys::hear_of_ended_children();
        sys::become_subreaper();
        let all = if sys::has_children() { processes() } else { Vec::new() };
        below(std::process::id() as i32, &all).iter().map(|process| (process.pid, process.started)).collect()
    });
}

/// The processes that became our children when their own parents ended: neither a run's child, which is owned, nor
/// one that was here before, nor one that another part of this program started, which leaves it in our group.
fn orphans(all: &[Process]) -> Vec<Process> {
    let me = std::process::id() as i32;
    let our_group = all.iter().find(|process| process.pid == me).map(|process| process.group);
    let owned = lock(&OWNED);
    let is_orphan = |process: &&Process| {
        process.parent == me
            && Some(process.group) != our_group
            && !owned.contains(&process.pid)
            && !is_stranger(process)
    };
    all.iter().filter(is_orphan).copied().collect()
}

/// Held while a child of ours is reaped, and while the list of our children is read: the kernel passes over some when
/// others go meanwhile.
static REAPING: Mutex<()> = Mutex::new(());

/// Reaps a child that has ended.
pub(super) fn reap(child: i32) {
    sys::await_end(child);
    let _reaping = lock(&REAPING);
    sys::reap(child);
}

/// Whether no process has become our child by losing its parent: then there is nothing to be looked for. The kernel hands
/// orphans to the first thread of a subreaper, so that its list has them all; reading that is cheap, where reading
/// every process at the end of each of many runs is not. Where there is no such list nothing is certain.
pub(super) fn nobody_is_orphaned() -> bool {
    let me = std::process::id();
    let children = {
        let _reaping = lock(&REAPING);
        fs::read_to_string(format!("/proc/{me}/task/{me}/children"))
    };
    let Ok(children) = children else { return false };
    let owned = lock(&OWNED);
    let is_known =
        |pid: i32| owned.contains(&pid) || process(pid).is_some_and(|process| is_stranger(&process));
    children.split_ascii_whitespace().filter_map(|word| word.parse().ok()).all(is_known)
}

/// The descendants of a process, nearest first.
fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            found.push(*child);
            open.push(child.pid);
        }
    }
    found
}

/// The memory that a process and what is below it has in use, in bytes.
pub(super) fn memory(pid: i32) -> u64 {
    let resident = |pid: i32| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let all = below(pid, &processes());
    all.iter().map(|process| process.pid).chain([pid]).filter_map(resident).sum::<u64>() << 10
}

/// The markers of runs, with colons between them, in the environment that a process was started with.
pub(super) fn markers(pid: i32) -> Option<String> {
    variable(pid, crate::backend::MARKER)
}

/// A variable in the environment that a process was started with.
pub(super) fn variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    let mut entries = environ.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    entries.find_map(|entry| entry.strip_prefix(&prefix)).map(str::to_owned)
}

/// The tag of all that a run sets going. What throws its environment away and leaves its parent, as daemons do, has it
/// still; only what starts another clinvk, or sets that very limit, has not.
pub(super) fn tag(marker: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    marker.hash(&mut hasher);
    hasher.finish()
}

/// Other runs that are under way in this process.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum OtherRuns {
    None,
    MayBe,
}

/// The tree of one run: its child, and everything that the child set going.
pub(super) struct Tree {
    /// The child and leader of its group, until it is reaped: after that the number may be another process's.
    child: Option<i32>,
    /// The programs that were started for the child, leaders of their groups too, until they are reaped.
    terminals: Vec<i32>,
    marker: String,
    remembered: HashSet<Process>,
}

impl Tree {
    pub(crate) fn new(child: Option<i32>, marker: &str) -> Tree {
        Tree { child, terminals: Vec::new(), marker: marker.to_owned(), remembered: HashSet::new() }
    }

    /// Finds what belongs to this run now, and keeps in mind what belonged to it before: once the child is gone its
    /// descendants are the orphans of all processes. Where no other run is under way every orphan is this one's; else
    /// never "all descendants of clinvk", because those of other runs are among them.
    fn find(&mut self, others: OtherRuns) -> Vec<Process> {
        let all = processes();
        let mut found: HashSet<Process> = HashSet::new();
        if others == OtherRuns::None {
            for orphan in orphans(&all) {
                found.insert(orphan);
                found.extend(below(orphan.pid, &all));
            }
        } else {
            let mine = below(std::process::id() as i32, &all).into_iter();
            found.extend(mine.filter(|process| self.has_set_going(process.pid)));
        }
        // Still the same processes, perhaps with other parents.
        let still = |now: &&Process| {
            self.remembered.iter().any(|was| was.pid == now.pid && was.started == now.started)
        };
        let roots: Vec<Process> = all.iter().filter(still).copied().collect();
        let leaders = self.child.into_iter().chain(self.terminals.iter().copied());
        for root in roots.iter().map(|process| process.pid).chain(leaders) {
            found.extend(below(root, &all));
        }
        found.extend(roots);
        let owned = lock(&OWNED);
        found.retain(|process| !owned.contains(&process.pid));
        self.remembered = found.clone();
        found.into_iter().collect()
    }

    /// Whether a process has something of this run that it can have from its ancestors alone.
    fn has_set_going(&self, pid: i32) -> bool {
        sys::has_tag(pid, tag(&self.marker))
            || markers(pid).is_some_and(|markers| markers.split(':').any(|marker| marker == self.marker))
    }

    /// Remembers the tree as it is, before the first signal scatters it.
    pub(crate) fn remember(&mut self) {
        self.find(OtherRuns::MayBe);
    }

    /// Whether something of it runs in another group than the child, `leader` of its own: there a program starts the commands
    /// of its tools, and not the servers that it keeps for itself.
    pub(crate) fn has_strays(&mut self, leader: i32) -> bool {
        self.find(OtherRuns::MayBe).iter().any(|process| !process.zombie && process.group != leader)
    }

    /// A signal to the child's group.
    pub(crate) fn signal_group(&self, signal: i32) {
        // A group whose members are all gone needs no signal.
        let _ = self.child.map(|child| sys::kill_group(child, signal));
    }

    /// A signal to the group and to everything found outside of it.
    pub(crate) fn signal_all(&mut self, signal: i32) {
        self.signal_group(signal);
        for terminal in &self.terminals {
            let _ = sys::kill_group(*terminal, signal);
        }
        for process in self.find(OtherRuns::MayBe) {
            let _ = sys::kill(process.pid, signal);
        }
    }

    /// A program was started for the child.
    pub(crate) fn add_terminal(&mut self, pid: i32) {
        self.terminals.push(pid);
    }

    /// Kills a program that was started for the child, and everything below it.
    pub(crate) fn kill_terminal(&self, pid: i32) {
        let below = below(pid, &processes());
        let _ = sys::kill_group(pid, sys::SIGKILL);
        for process in below {
            let _ = sys::kill(process.pid, sys::SIGKILL);
        }
    }

    /// That program is about to be reaped.
    pub(crate) fn remove_terminal(&mut self, pid: i32) {
        self.terminals.retain(|terminal| *terminal != pid);
    }

    /// The child has been reaped.
    pub(crate) fn child_is_reaped(&mut self) {
        self.child = None;
    }

    /// Kills whatever is left of the run, and says whether anything was.
    pub(crate) fn sweep(&mut self, others: OtherRuns) -> bool {
        let left: Vec<Process> = self.find(others).into_iter().filter(|process| !process.zombie).collect();
        for process in &left {
            let _ = sys::kill(process.pid, sys::SIGKILL);
        }
        reap_orphans();
        !left.is_empty()
    }
}

/// Reaps by pid the orphans that were handed to us and have ended: `waitpid(-1)` would steal std's children. The first
/// process of a container reaps whatever std does not own: no other process does it.
pub(super) fn reap_orphans() {
    let (all, me) = (processes(), std::process::id() as i32);
    let handed_to_us = match me {
        1 => {
            let owned = lock(&OWNED);
            let is_nobodys = |process: &&Process| process.parent == me && !owned.contains(&process.pid);
            all.iter().filter(is_nobodys).copied().collect()
        }
        _ => orphans(&all),
    };
    for orphan in handed_to_us.iter().filter(|orphan| orphan.zombie) {
        let _reaping = lock(&REAPING);
        sys::reap(orphan.pid);
    }
}
