//! Runs one child process: its group and tree, its pipes, its time limits. One thread and one `poll` a run: the
//! child's three pipes and the cancel switch are waited for together, so nothing queues and no thread outlives a run.
//! Knows dialogues, but no backend by name.
#![allow(clippy::disallowed_methods)] // the one place that starts processes

mod background;
mod conversation;
mod depth;
mod kept; // programs that outlive the runs in them
mod leftovers;
mod lines;
mod live;
mod output;
mod overlay;
mod pipes;
mod terminals;
mod tree;

pub(crate) use background::{is_this_program, start_in_background};
pub(crate) use depth::depth_of_run;
pub(crate) use kept::{Kept, Left, Standing, Start};
pub use leftovers::{Leftover, end_leftovers, leftovers, marker};
pub use live::{Clock, reap_orphans, suspend};
pub(crate) use output::version;
pub use output::{Printed, output};

use crate::backend::{Dialogue, Ended, Launch, MARKER, StopSignal};
use crate::base::logging::DIALOGUE;
use crate::base::sync::lock;
use crate::base::sys;
use crate::base::sys::{Exit, Program};
use crate::base::world::World;
use crate::model::error::{Error, Failure, Limit};
use crate::model::event::Listener;
use conversation::Conversation;
use live::Live;
use pipes::Pipes;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use terminals::ClientTools;

/// Variables that no child may see: our own keys, and what systemd says of the sockets that it gave to us alone.
pub(crate) const NEVER_INHERITED: &[&str] = &[
    "CLINVK_API_KEY",
    "CLINVK_API_KEYS",
    "CLINVK_API_KEYS_GOPASS_PATH",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The limits of a run and the switch that stops it.
#[derive(Clone)]
pub struct Control {
    /// The whole run may take so long; zero is for ever.
    pub wall: Duration,
    /// The program may be silent for so long; zero is for ever.
    pub stall: Duration,
    /// The first piece of the answer may take so long; zero is for ever.
    pub first_byte: Duration,
    /// The vendor's program may take so long to start, and its model so long to give a sign of life; zero is for ever.
    pub connect: Duration,
    /// After this a child that was asked to stop is killed.
    pub grace: Duration,
    /// The listener hears the program's own lines too.
    pub lines: bool,
    /// Stops the run from outside.
    pub cancel: Arc<Cancel>,
}

impl Control {
    /// No limits, a grace of two seconds, and this switch.
    pub fn with(cancel: Arc<Cancel>) -> Control {
        let (wall, stall, first_byte, connect) = Default::default();
        Control { wall, stall, first_byte, connect, grace: Duration::from_secs(2), lines: false, cancel }
    }
}

/// A switch that stops runs. Once thrown it stays so; throwing it again takes away the grace.
pub struct Cancel {
    thrown: AtomicBool,
    hurry: AtomicBool,
    read: OwnedFd,
    write: Mutex<Option<OwnedFd>>,
    /// Those that are thrown with this one.
    branches: Mutex<Vec<Weak<Cancel>>>,
}

impl Cancel {
    /// A switch that is not thrown.
    ///
    /// # Errors
    /// When the system gives no pipe.
    pub fn new() -> Result<Cancel, Error> {
        let (read, write) = sys::pipe().map_err(|error| Error::System { what: "make a pipe", error })?;
        Ok(Cancel {
            thrown: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
            read,
            write: Mutex::new(Some(write)),
            branches: Mutex::default(),
        })
    }

    /// Another switch for a part of the runs: thrown with this one, and by itself without it.
    pub(crate) fn branch(&self) -> Result<Arc<Cancel>, Error> {
        let branch = Arc::new(Cancel::new()?);
        let mut branches = lock(&self.branches);
        branches.retain(|branch| branch.strong_count() > 0);
        branches.push(Arc::downgrade(&branch));
        // Under the lock: a thread that throws this one either has done so by now or will find the branch.
        for _ in 0..u8::from(self.is_thrown()) + u8::from(self.is_urgent()) {
            branch.throw();
        }
        Ok(branch)
    }

    /// Stops every run that has this switch; the second time without grace.
    pub fn throw(&self) {
        let branches = lock(&self.branches);
        if self.thrown.swap(true, Ordering::SeqCst) {
            self.hurry.store(true, Ordering::SeqCst);
        }
        // A closed writing end makes the reading end readable for every run at once, and for ever.
        lock(&self.write).take();
        for branch in branches.iter().filter_map(Weak::upgrade) {
            branch.throw();
        }
    }

    /// Waits so long, or until it is thrown; says whether it is.
    pub(crate) fn wait(&self, wait_limit: Duration) -> bool {
        if !self.is_thrown() {
            // A wait that fails is a short one: a thread that waits for long looks again.
            let _ = sys::poll(&mut [self.watch()], wait_limit);
        }
        self.is_thrown()
    }

    pub fn is_thrown(&self) -> bool {
        self.thrown.load(Ordering::SeqCst)
    }

    /// Wakes when it is thrown, and from then on at once.
    pub fn watch(&self) -> sys::Watch {
        sys::Watch::readable(self.read.as_fd())
    }

    /// It was thrown twice.
    pub fn is_urgent(&self) -> bool {
        self.hurry.load(Ordering::SeqCst)
    }
}

/// Why a run is over.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// The dialogue said so.
    Finished(Result<(), Failure>),
    /// A time limit passed.
    TimedOut(Limit, Duration),
    /// The cancel switch was thrown.
    Cancelled,
    /// The listener does not want any more.
    ReaderGone,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Why it is over.
    pub stop: Stop,
    /// How the child ended, once it did.
    pub ended: Ended,
}

/// The program that a conversation is held with, and what it set going.
trait Partner {
    /// Remembers the tree as it is, before the first signal scatters it.
    fn remember(&self);

    /// Lets it know that it has to stop.
    fn signal(&self, signal: i32);

    fn kill(&self);

    /// How it ended, once it did.
    fn exited(&self) -> Option<Exit>;
}

/// Runs `program` as `launch` says, lets `dialogue` talk to it and `listener` hear it. Returns when the child and
/// all that it set going are gone. The result is heard as soon as it is known, while the child may still be flushing.
///
/// # Errors
/// When its directory is not there by the path without links that was checked, the child's files cannot be written, or the
/// program cannot be started.
pub fn run(
    program: &Path,
    launch: &Launch,
    marker: &str,
    world: &World,
    dialogue: &mut dyn Dialogue,
    control: &Control,
    listener: &mut dyn Listener,
) -> Result<Report, Error> {
    let _files = Files::write(launch, world)?;
    let (pid, pipes, mut live) = start(program, launch, marker, world)?;
    let tools = ClientTools::new(launch, marker, world, &live);
    let alone = Alone { pid, live: &live };
    let result = Conversation::new(pipes, launch, dialogue, control, listener, &alone, tools).hold();
    live.end(Some(pid));
    result.map_err(|error| Error::System { what: "listen to a program", error })
}

/// Starts a launch's program in its directory, where all that it is to reach is there: its number, and our ends of its pipes.
fn start(program: &Path, launch: &Launch, marker: &str, world: &World) -> Result<(i32, Pipes, Live), Error> {
    let dir = open_directory(&launch.dir)?;
    launch.reach.iter().try_for_each(|dir| open_directory(dir).map(drop))?;
    let args = launch.words(marker);
    let started = as_program(program, &args, launch, dir, marker, world);
    let opening = opening(launch, &started);
    let fail = |error| Error::Start { program: program.display().to_string(), error };
    let (child, live) = Live::start(started, marker).map_err(fail)?;
    let (pid, dir) = (child.pid, launch.dir.display());
    // Not the environment: keys are in it.
    log::debug!(target: DIALOGUE, "started pid {pid} in {dir}: {} {args:?}", program.display());
    Ok((pid, Pipes::of(child, opening), live))
}

/// A program that has one run and ends with it.
struct Alone<'a> {
    pid: i32,
    live: &'a Live,
}

impl Partner for Alone<'_> {
    fn remember(&self) {
        self.live.tree().remember();
    }

    fn signal(&self, signal: i32) {
        self.live.tree().signal_group(signal);
    }

    fn kill(&self) {
        self.live.tree().signal_all(sys::SIGKILL);
    }

    fn exited(&self) -> Option<Exit> {
        sys::exited(self.pid)
    }
}

/// The signal that a program gets first when it has to stop.
fn stop_signal(launch: &Launch) -> i32 {
    match launch.stop {
        StopSignal::Interrupt => sys::SIGINT,
        StopSignal::Terminate => sys::SIGTERM,
    }
}

/// A directory by the path that was checked. Where a name in it has become a link since, it is refused.
fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    sys::open_directory(path).map_err(|error| Error::File {
        verb: "use directory",
        path: path.to_owned(),
        error,
    })
}

fn as_program<'a>(
    path: &'a Path,
    args: &'a [String],
    launch: &Launch,
    dir: OwnedFd,
    marker: &str,
    world: &World,
) -> Program<'a> {
    let mut env = world.inherited(launch.unset.iter().map(String::as_str));
    let mut set = |name: &str, value: &str| _ = env.insert(name.into(), value.into());
    launch.env.iter().for_each(|(name, value)| set(name, value));
    match world.env.get(MARKER).filter(|outer| !outer.is_empty()) {
        None => set(MARKER, marker),
        Some(outer) => set(MARKER, &format!("{outer}:{marker}")),
    }
    Program { path, args, env, dir: Some(dir), tag: Some(tree::tag(marker)), stdin: None }
}

/// What a launcher's shell has to know: what is set for the run, and what it is to have besides of its environment.
fn opening(launch: &Launch, program: &Program<'_>) -> String {
    let set = launch.env.iter().map(|(name, _)| name.as_str()).chain([MARKER]);
    let more = launch.start.iter().flat_map(|start| start.env.iter().map(String::as_str));
    let names: BTreeSet<&str> = set.chain(more).collect();
    let variable = |name| Some((name, program.env.get(OsStr::new(name))?.to_str()?));
    launch.opening(names.into_iter().filter_map(variable))
}

/// The files of a launch: written 0600 in a directory of their own, gone when this is dropped.
struct Files<'a>(&'a Launch);

impl Files<'_> {
    fn write<'a>(launch: &'a Launch, world: &World) -> Result<Files<'a>, Error> {
        let files = Files(launch);
        for file in &launch.files {
            let fail = |error| Error::File { verb: "write", path: file.path.clone(), error };
            if let Some(dir) = file.path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
            }
            let mut open = fs::OpenOptions::new();
            let mut out = open.write(true).create_new(true).mode(0o600).open(&file.path).map_err(fail)?;
            out.write_all(file.text.as_bytes()).map_err(fail)?;
        }
        if let Some(overlay) = &launch.overlay {
            overlay::make(overlay, world)?;
        }
        Ok(files)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        // What a launcher's shell has made may be here, too: what removes it there has ended with the run then.
        let start = self.0.start.as_ref();
        let made_there = start.iter().flat_map(|start| &start.files);
        for dir in self.0.files.iter().chain(made_there).filter_map(|file| file.path.parent()) {
            // Gone already when two files share it; anything else is a warning, because it leaves something behind.
            match fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warn!("cannot remove `{}`: {error}", dir.display());
                }
                _ => {}
            }
        }
        let made_there = start.and_then(|start| start.overlay.as_ref());
        for overlay in self.0.overlay.iter().chain(made_there) {
            overlay::remove(overlay);
        }
    }
}
