//! The thread that notices clients that left while a run works for them: a run writes nothing for minutes, and only a
//! write would tell.

use crate::base::sync::lock;
use crate::base::sys::{Epoll, Watch};
use crate::exec::Cancel;
use std::collections::BTreeMap;
use std::io;
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
    pub(crate) fn watch(self, stream: &TcpStream) -> Watch {
        match self {
            Leaving::Silence => Watch::peer_gone(stream.as_fd()),
            Leaving::Disconnection => Watch::other_side_gone(stream.as_fd()),
        }
    }
}

/// Whom it watches.
pub(crate) struct Watcher {
    clients: Mutex<Clients>,
    epoll: Epoll,
    ended: Cancel,
}

#[derive(Default)]
struct Clients {
    /// By number of the exchange: a descriptor's number may be another client's by the time that it wakes.
    watched: BTreeMap<u64, (Arc<TcpStream>, Arc<Cancel>)>,
    next: u64,
    /// The drain's grace is over: nothing is waited for any more.
    over: bool,
}

/// The number of the thread's own end.
const ENDED: u64 = u64::MAX;

impl Watcher {
    /// Starts the thread. It ends with `end`.
    pub(crate) fn start() -> io::Result<(Arc<Watcher>, JoinHandle<()>)> {
        let (epoll, ended) = (Epoll::new()?, Cancel::new().map_err(io::Error::other)?);
        epoll.add(&ended.watch(), ENDED)?;
        let watcher = Arc::new(Watcher { clients: Mutex::default(), epoll, ended });
        let own = watcher.clone();
        let thread = thread::Builder::new().name("watcher".to_owned()).spawn(move || own.watch())?;
        Ok((watcher, thread))
    }

    /// Throws this switch when that client leaves, as long as the result lives.
    pub(crate) fn add(
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
        if let Err(error) = self.epoll.add(&leaving.watch(&stream), number) {
            log::warn!("cannot watch a client: {error}");
        }
        clients.watched.insert(number, (stream, cancel.clone()));
        Watched { watcher: self.clone(), number, cancel }
    }

    /// Throws every switch, those of later clients too.
    pub(crate) fn throw_all(&self) {
        let mut clients = lock(&self.clients);
        clients.over = true;
        clients.watched.values().for_each(|(_, cancel)| cancel.throw());
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        self.ended.throw();
    }

    fn watch(&self) {
        loop {
            match self.epoll.wait() {
                Ok(ENDED) => return,
                Ok(number) => {
                    if let Some((_, cancel)) = lock(&self.clients).watched.get(&number) {
                        cancel.throw();
                    }
                }
                Err(error) => {
                    log::warn!("cannot watch the clients: {error}");
                    thread::sleep(Duration::from_millis(50));
                }
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
    pub(crate) fn cancel(&self) -> &Arc<Cancel> {
        &self.cancel
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((stream, _)) = lock(&self.watcher.clients).watched.remove(&self.number) {
            // Its next request is watched anew. What was never watched need not be taken out.
            let _ = self.watcher.epoll.remove(stream.as_fd());
        }
    }
}
