//! Programs that outlive the runs in them. One thread holds each: it hears the program and passes on what is said, as the
//! backend's `Mux` says. A run in it has pipes of its own and talks through them as to a program that it started.

mod hub; // the thread of one

use super::conversation::Conversation;
use super::live::Live;
use super::pipes::{Outbox, Pipes};
use super::terminals::ClientTools;
use super::{Control, Files, Partner, Report, marker, tree};
use crate::backend::{Dialogue, Launch, Mux, Seat};
use crate::base::sync::{lock, wait};
use crate::base::sys::{self, Exit};
use crate::base::world::World;
use crate::model::error::Error;
use crate::model::event::Listener;
use hub::Hub;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a kept program is started with.
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) launch: Launch,
    pub(crate) marker: String,
    pub(crate) world: Arc<World>,
    pub(crate) mux: Box<dyn Mux>,
    /// After this a program that was asked to end is killed.
    pub(crate) grace: Duration,
}

/// A program that outlives the runs in it.
pub(crate) struct Kept {
    pid: i32,
    shared: Arc<Shared>,
}

/// What a run leaves in a program.
pub(crate) struct Left {
    /// The vendor's id of the conversation that a further run can go on with there.
    pub(crate) conversation: Option<String>,
}

/// What the thread of a program and the runs in it have in common.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    mux: Mutex<Box<dyn Mux>>,
    /// Wakes the thread.
    wake: (File, File),
}

#[derive(Default)]
struct State {
    /// What the thread has to do.
    orders: Vec<Order>,
    last_seat: Seat,
    /// The runs in it.
    seats: usize,
    /// Runs whose part is over, until they have looked.
    over: BTreeMap<Seat, Over>,
    /// What the last turn started has not ended yet.
    unsettled: bool,
    /// It takes no further run, and why.
    spoilt: Option<String>,
    /// What it or a turn in it does has to end before that turn's run is over.
    is_stopped: bool,
    /// It is gone, and all that it set going.
    ended: Option<Exit>,
}

/// How a run's part in a program ended.
struct Over {
    exit: Exit,
    /// The vendor's id of the conversation that can go on.
    conversation: Option<String>,
}

enum Order {
    Enter {
        seat: Seat,
        conversation: Option<String>,
        ends: Ends,
    },
    /// The run's program is to be stopped, and there is but this one.
    Expel(Seat),
    End,
}

/// The other ends of a run's pipes.
struct Ends {
    stdin: File,
    /// Gone where the run does not read any more: it is about to leave.
    stdout: Option<File>,
    stderr: File,
}

impl Shared {
    fn order(&self, order: Order) {
        lock(&self.state).orders.push(order);
        self.wake();
    }

    fn wake(&self) {
        // A full pipe wakes it as well.
        let _ = (&self.wake.1).write(&[0]);
    }
}

impl Kept {
    /// Starts a program, on a thread that is its own until it has ended.
    ///
    /// # Errors
    /// As `exec::run`.
    pub(crate) fn start(start: Start) -> Result<Kept, Error> {
        let wake = pipe().map_err(|error| Error::System { what: "make a pipe", error })?;
        let Start { program, launch, marker, world, mux, grace } = start;
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), mux: Mutex::new(mux), wake });
        let (tell, started) = std::sync::mpsc::sync_channel(1);
        let of_thread = shared.clone();
        let thread = move || {
            let started = Files::write(&launch, &world)
                .and_then(|files| Ok((files, super::start(&program, &launch, &marker, &world)?)));
            let (files, (pid, pipes, mut live)) = match started {
                Ok(started) => started,
                Err(error) => return drop(tell.send(Err(error))),
            };
            // Who started it waits for this.
            let _ = tell.send(Ok(pid));
            let exit = Hub::new(pid, pipes, &launch, &of_thread, &live, grace).hold();
            live.end(Some(pid));
            drop(files);
            of_thread.close(exit);
        };
        let thread = std::thread::Builder::new().name("kept".to_owned()).spawn(thread);
        thread.map_err(|error| Error::System { what: "start a thread", error })?;
        let pid =
            started.recv().map_err(|_| Error::Internal("a kept program was not started".to_owned()))??;
        Ok(Kept { pid, shared })
    }

    /// The program's number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs in it what would else be run in a program of its own: as `exec::run`. `conversation`: the one that it holds and
    /// that goes on.
    pub(crate) fn run(
        &self,
        conversation: Option<&str>,
        launch: &Launch,
        world: &World,
        dialogue: &mut dyn Dialogue,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<(Report, Left), Error> {
        let marker = marker(world)?;
        let (pipes, ends) =
            pipes().map_err(|error| Error::System { what: "make the pipes of a run", error })?;
        let seat = self.enter(conversation, ends);
        let mut live = Live::without_child(&marker);
        let tools = ClientTools::new(launch, &marker, world, &live);
        let seated = Seated { shared: &self.shared, seat, live: &live };
        let result = Conversation::new(pipes, launch, dialogue, control, listener, &seated, tools).hold();
        live.end(None);
        let left = self.leave(seat);
        let report = result.map_err(|error| Error::System { what: "listen to a program", error })?;
        Ok((report, left))
    }

    fn enter(&self, conversation: Option<&str>, ends: Ends) -> Seat {
        let mut state = lock(&self.shared.state);
        state.last_seat += 1;
        let seat = state.last_seat;
        match state.ended {
            Some(exit) => _ = state.over.insert(seat, Over { exit, conversation: None }),
            None => {
                state.seats += 1;
                let conversation = conversation.map(str::to_owned);
                // At once with the look whether it has ended: an order that comes behind the end is not obeyed.
                state.orders.push(Order::Enter { seat, conversation, ends });
                drop(state);
                self.shared.wake();
            }
        }
        seat
    }

    /// The run has had its end. Where it was stopped by force, what it set going in the program is gone before this returns,
    /// unless another run is in there.
    fn leave(&self, seat: Seat) -> Left {
        let mut state = lock(&self.shared.state);
        let conversation = state.over.remove(&seat).and_then(|over| over.conversation);
        while state.is_stopped && state.seats == 0 && state.ended.is_none() {
            state = wait(&self.shared.changed, state);
        }
        Left { conversation }
    }

    /// Why it takes no run now, or not any more.
    pub(crate) fn standing(&self) -> Standing {
        let state = lock(&self.shared.state);
        match (&state.spoilt, state.ended) {
            (_, Some(_)) => Standing::Ended,
            (Some(why), None) => Standing::Spoilt(why.clone()),
            // Its thread looks only now and then.
            (None, None) if sys::exited(self.pid).is_some() => Standing::Ended,
            (None, None) if state.unsettled => Standing::Unsettled,
            (None, None) => Standing::Good,
        }
    }

    /// Whether a run can go on in it with the conversation of that vendor's id.
    pub(crate) fn holds(&self, conversation: &str) -> bool {
        lock(&self.shared.mux).holds(conversation)
    }

    /// Whether a run that begins in it can load that session of the vendor's.
    pub(crate) fn can_load(&self, session: &str) -> bool {
        lock(&self.shared.mux).can_load(session)
    }

    /// The memory that it and what is below it has in use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        tree::memory(self.pid)
    }

    /// Asks it to end, when the last run in it is over.
    pub(crate) fn end(&self) {
        self.shared.order(Order::End);
    }

    /// Whether nothing of it is left.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.shared.state).ended.is_some()
    }

    /// Waits until it is gone.
    pub(crate) fn await_end(&self) {
        let mut state = lock(&self.shared.state);
        while state.ended.is_none() {
            state = wait(&self.shared.changed, state);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end();
    }
}

/// What can be expected of a kept program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    /// What the last turn started has not ended yet.
    Unsettled,
    /// It takes no further run, for this reason.
    Spoilt(String),
    Ended,
}

impl Shared {
    /// The program is gone.
    fn close(&self, exit: Exit) {
        let mut state = lock(&self.state);
        for order in std::mem::take(&mut state.orders) {
            if let Order::Enter { seat, .. } = order {
                state.over.insert(seat, Over { exit, conversation: None });
            }
        }
        (state.ended, state.seats) = (Some(exit), 0);
        drop(state);
        self.changed.notify_all();
    }
}

/// A run's part in a kept program, as its conversation sees it.
struct Seated<'a> {
    shared: &'a Shared,
    seat: Seat,
    /// What was started for the run.
    live: &'a Live,
}

impl Partner for Seated<'_> {
    fn remember(&self) {
        self.live.tree().remember();
    }

    fn signal(&self, _signal: i32) {
        self.shared.order(Order::Expel(self.seat));
    }

    fn kill(&self) {
        self.live.tree().signal_all(sys::SIGKILL);
        self.shared.order(Order::Expel(self.seat));
    }

    fn exited(&self) -> Option<Exit> {
        lock(&self.shared.state).over.get(&self.seat).map(|over| over.exit)
    }
}

/// A pipe neither of whose ends blocks.
fn pipe() -> io::Result<(File, File)> {
    let (read, write) = sys::pipe()?;
    sys::set_nonblocking(read.as_fd())?;
    sys::set_nonblocking(write.as_fd())?;
    Ok((read.into(), write.into()))
}

/// Pipes for a run, and their other ends.
fn pipes() -> io::Result<(Pipes, Ends)> {
    let ((their_stdin, stdin), (stdout, their_stdout), (stderr, their_stderr)) = (pipe()?, pipe()?, pipe()?);
    let ends = Ends { stdin: their_stdin, stdout: Some(their_stdout), stderr: their_stderr };
    let outbox = Outbox::default();
    Ok((Pipes { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr), outbox }, ends))
}
