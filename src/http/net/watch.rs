//! The thread that notices clients who left while somebody works for them: a run writes nothing for minutes, and only a
//! write would tell.

use crate::base::sync::lock;
use crate::base::sys::{self, Watch};
use crate::exec::Cancel;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a client leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The end of what it says: it would have said more on this connection, and cannot.
    Silence,
    /// The end of the connection alone: it may have said all that it had to say.
    Disconnection,
}

impl Leaving {
    pub fn watch(self, stream: &TcpStream) -> Watch {
        match self {
            Leaving::Silence => Watch::peer_gone(stream.as_fd()),
            Leaving::Disconnection => Watch::other_side_gone(stream.as_fd()),
        }
    }
}

/// Whom it watches.
pub(crate) struct Watcher {
    clients: Mutex<Clients>,
    /// Wakes the thread: there is somebody new, or it shall end.
    wake: File,
}

#[derive(Default)]
struct Clients {
    /// By number of the exchange: a descriptor's number may be somebody else's by the time that it wakes.
    watched: BTreeMap<u64, (Arc<TcpStream>, Leaving, Arc<Cancel>)>,
    next: u64,
    /// The drain's grace is over: nobody waits for anything any more.
    over: bool,
    ended: bool,
}

impl Watcher {
    /// Starts the thread. It ends with `end`.
    pub fn start() -> io::Result<(Arc<Watcher>, JoinHandle<()>)> {
        let (read, write) = sys::pipe()?;
        sys::set_nonblocking(read.as_fd())?;
        sys::set_nonblocking(write.as_fd())?;
        let watcher = Arc::new(Watcher { clients: Mutex::default(), wake: File::from(write) });
        let own = watcher.clone();
        let thread = thread::Builder::new()
            .name("watcher".to_owned())
            .spawn(move || own.watch(&mut File::from(read)))?;
        Ok((watcher, thread))
    }

    /// Throws this switch when that client leaves, as long as the result lives.
    pub fn add(
        self: &Arc<Watcher>,
        stream: Arc<TcpStream>,
        leaving: Leaving,
        cancel: Arc<Cancel>,
    ) -> Watched {
        let mut clients = lock(&self.clients);
        if clients.over {
            cancel.throw();
        }
        let number = clients.next;
        clients.next += 1;
        clients.watched.insert(number, (stream, leaving, cancel.clone()));
        drop(clients);
        self.wake();
        Watched { watcher: self.clone(), number, cancel }
    }

    /// Throws every switch, those of later clients too.
    pub fn throw_all(&self) {
        let mut clients = lock(&self.clients);
        clients.over = true;
        clients.watched.values().for_each(|(.., cancel)| cancel.throw());
    }

    /// Ends the thread.
    pub fn end(&self) {
        lock(&self.clients).ended = true;
        self.wake();
    }

    fn wake(&self) {
        // When there is no room it has been told often enough.
        let _ = (&self.wake).write(b"\n");
    }

    fn watch(&self, woken: &mut File) {
        let mut watches = Vec::new();
        let mut numbers = Vec::new();
        loop {
            let clients = lock(&self.clients);
            if clients.ended {
                return;
            }
            watches.clear();
            numbers.clear();
            let here = clients.watched.iter().filter(|(_, (.., cancel))| !cancel.is_thrown());
            for (number, (stream, leaving, _)) in here {
                watches.push(leaving.watch(stream));
                numbers.push(*number);
            }
            drop(clients);
            watches.push(Watch::readable(woken.as_fd()));
            if let Err(error) = sys::poll(&mut watches, Duration::MAX) {
                log::warn!("cannot watch the clients: {error}");
                thread::sleep(Duration::from_millis(50));
            }
            // Whatever woke it, one look around answers all of it.
            let _ = woken.read(&mut [0; 64]);
            let clients = lock(&self.clients);
            let gone = watches.iter().zip(&numbers).filter(|(watch, _)| watch.woke());
            for (.., cancel) in gone.filter_map(|(_, number)| clients.watched.get(number)) {
                cancel.throw();
            }
        }
    }
}

/// A client is watched as long as this lives.
pub(crate) struct Watched {
    watcher: Arc<Watcher>,
    number: u64,
    cancel: Arc<Cancel>,
}

impl Watched {
    pub fn cancel(&self) -> &Arc<Cancel> {
        &self.cancel
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.watcher.clients).watched.remove(&self.number);
    }
}
