//! The acceptor: lets clients in, each on a thread of its own, as long as there is room; and the drain. The loop ends when it
//! is told to, and for no other reason.

use crate::base::sync::Current;
use crate::base::sys::{self, Watch};
use crate::exec::Cancel;
use crate::http::net::Service;
use crate::http::net::connection::{Connection, Peer};
use crate::http::net::listen::{Listen, Listener};
use crate::http::net::memory::Memory;
use crate::http::net::places::{Bounds, Places};
use crate::http::net::response;
use crate::http::net::socket::Drain;
use crate::http::net::watch::Watcher;
use crate::model::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long no client is let in after that failed: there is no descriptor or no memory, and only time brings some.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a client that was refused may take to read that.
const LAST_WORDS_TAKE: Duration = Duration::from_millis(500);
/// How many of them may do so at once.
const MOST_REJECTED: usize = 64;
/// What a client hears for whom there is no place.
pub(crate) const TOO_MANY: &str = "there are too many connections: try again in a second";
/// How long the connections may take to end when they are not waited for any more.
const HURRY: Duration = Duration::from_secs(1);
/// The stack of a client's thread: a whole run happens on it. One with the most deeply nested JSON that is read was seen to
/// need 63 KiB, and 255 KiB without optimisation.
const STACK: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 10 };

/// How long things may take, where zero is for ever, and how many clients there may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The head of a request, from its first byte; and a new client's silence before it.
    pub head: Duration,
    /// A connection on which nothing more happens.
    pub idle: Duration,
    /// The body of a request.
    pub read: Duration,
    /// A reader that takes nothing; never more than 30 s.
    pub write: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once; 0 is as many as of all.
    pub per_address: usize,
    /// What requests make us keep.
    pub memory: Arc<Memory>,
    /// A request that waits for room in it.
    pub wait: Duration,
    /// What is under way when the server shall stop.
    pub drain: Duration,
    /// Descriptors that are needed for other things than connections.
    pub descriptors: u64,
}

impl Limits {
    /// No more connections than there are descriptors for. Whatever else is done, a quarter of those is for connections.
    pub fn within_open_files(self) -> Limits {
        let open_files = match sys::raise_open_files() {
            Ok(open_files) => open_files,
            Err(error) => {
                log::warn!("cannot raise the limit of open files: {error}");
                return self;
            }
        };
        let room = open_files.saturating_sub(self.descriptors).max(open_files / 4);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if room >= self.connections {
            return self;
        }
        log::warn!(
            "a limit of {open_files} open files leaves room for {room} connections, not for {} \
             (server.max_connections): raise it, as by `ulimit -n`",
            self.connections
        );
        Limits { connections: room, ..self }
    }
}

/// What there is at the moment.
#[derive(Debug, Default)]
pub struct Gauges {
    connections: AtomicUsize,
    /// Some were opened or closed.
    changed: AtomicBool,
}

impl Gauges {
    /// Open connections, idle ones too.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// There are connections, or there were some since the last time that this was asked.
    pub(crate) fn was_used(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed) || self.connections() > 0
    }

    pub(crate) fn add(&self, connections: isize) {
        self.connections.fetch_add(connections as usize, Ordering::Relaxed);
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// What the threads of all clients share.
pub(crate) struct Shared {
    pub(crate) limits: Arc<Current<Limits>>,
    pub(crate) service: Arc<dyn Service>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) watcher: Arc<Watcher>,
}

/// Open listeners.
pub struct Acceptor {
    listeners: Vec<Listener>,
    gauges: Arc<Gauges>,
}

impl Acceptor {
    /// Binds all of them.
    pub fn open(listens: Vec<Listen>) -> Result<Acceptor, Error> {
        let listeners: Vec<Vec<Listener>> =
            listens.into_iter().map(Listen::open).collect::<Result<_, _>>()?;
        Ok(Acceptor { listeners: listeners.into_iter().flatten().collect(), gauges: Arc::default() })
    }

    /// Where clients can connect: `http://127.0.0.1:43121`, `http://[::1]:8080`, `unix:/path`.
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(|listener| listener.address.clone()).collect()
    }

    /// What there is at the moment.
    pub fn gauges(&self) -> Arc<Gauges> {
        self.gauges.clone()
    }

    /// Serves until a byte comes from `stop`, or its end; then drains: no new client is let in, idle connections are closed,
    /// the others end with their next answer, and after the grace what still runs is cancelled. Returns when no connection
    /// is left. With a second byte nothing has a grace any more.
    pub fn serve(
        self,
        limits: Arc<Current<Limits>>,
        service: Arc<dyn Service>,
        stop: OwnedFd,
    ) -> io::Result<()> {
        let switch = || Cancel::new().map_err(io::Error::other);
        let drain = Arc::new(Drain { asked: switch()?, over: switch()? });
        let (watcher, thread) = Watcher::start()?;
        let shared = Arc::new(Shared { limits, service, drain, watcher });
        let result = self.accept_all(&shared, &mut File::from(stop));
        shared.watcher.end();
        // It has nothing to wait for. Whether it panicked makes no difference now.
        let _ = thread.join();
        result
    }

    fn accept_all(self, shared: &Arc<Shared>, stop: &mut File) -> io::Result<()> {
        // Every connection holds the writing end: when the last one is gone, the reading end wakes.
        let (none_left, open_end) = sys::pipe()?;
        let open_end = Arc::new(open_end);
        let places = Places::new(self.gauges.clone());
        let mut rejected: Vec<RejectedConnection> = Vec::new();
        let (mut paused, mut failing) = (false, false);
        loop {
            let listeners = if paused { &[] } else { self.listeners.as_slice() };
            let mut watches = vec![Watch::readable(stop.as_fd())];
            watches.extend(listeners.iter().map(|listener| Watch::readable(listener.as_fd())));
            watches.extend(rejected.iter().map(|rejected| Watch::readable(rejected.stream.as_fd())));
            let wait_limit = if paused || !rejected.is_empty() { PAUSE } else { Duration::MAX };
            if let Err(error) = sys::poll(&mut watches, wait_limit) {
                log::warn!("cannot wait for clients: {error}");
                thread::sleep(PAUSE);
            }
            if watches[0].woke() {
                break;
            }
            paused = false;
            rejected.retain_mut(RejectedConnection::listen);
            for (listener, _) in listeners.iter().zip(&watches[1..]).filter(|(_, watch)| watch.woke()) {
                match listener.accept() {
                    Ok((stream, peer)) => {
                        failing = false;
                        rejected.extend(start_connection(stream, peer, shared, &places, &open_end));
                    }
                    // It left before it was accepted.
                    Err(error) if is_of_client(&error) => {}
                    // Its descriptor is free in a moment.
                    Err(error) if sys::is_shortage(&error) && places.make_room() => paused = true,
                    Err(error) => {
                        if !failing {
                            log::warn!("cannot let clients in: {error}");
                        }
                        (paused, failing) = (true, true);
                    }
                }
            }
            rejected.truncate(MOST_REJECTED);
        }
        self.drain(shared, stop, &none_left, open_end)
    }

    /// Lets all clients go. The listeners are closed at once.
    fn drain(
        self,
        shared: &Shared,
        stop: &mut File,
        none_left: &OwnedFd,
        open_end: Arc<OwnedFd>,
    ) -> io::Result<()> {
        drop(self);
        shared.drain.asked.throw();
        drop(open_end);
        let grace = shared.limits.get().drain;
        let mut end = (!grace.is_zero()).then(|| Instant::now() + grace);
        let mut is_over = false;
        // The byte that has woken us.
        let mut may_say_more = matches!(stop.read(&mut [0]), Ok(1..));
        loop {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            let mut watches = vec![Watch::readable(none_left.as_fd())];
            watches.extend(may_say_more.then(|| Watch::readable(stop.as_fd())));
            sys::poll(&mut watches, left)?;
            if watches[0].woke() {
                return Ok(());
            }
            if watches.get(1).is_some_and(Watch::woke) {
                may_say_more = matches!(stop.read(&mut [0]), Ok(1..));
                if may_say_more {
                    // The second time takes away the grace of the runs, too.
                    shared.watcher.throw_all();
                    (end, may_say_more) = (Some(Instant::now() + HURRY), false);
                    is_over = over(shared);
                }
            } else if end.is_some_and(|end| Instant::now() >= end) {
                if is_over {
                    return Ok(());
                }
                end = None;
                is_over = over(shared);
            }
        }
    }
}

/// Gives a client its thread, or tells it why not.
fn start_connection(
    stream: TcpStream,
    peer: Peer,
    shared: &Arc<Shared>,
    places: &Arc<Places>,
    open_end: &Arc<OwnedFd>,
) -> Option<RejectedConnection> {
    let stream = Arc::new(stream);
    let address = match peer {
        Peer::Ip(address) => Some(address).filter(|address| !shared.service.is_of_many(*address)),
        Peer::Unix => None,
    };
    let Limits { connections: all, per_address, .. } = *shared.limits.get();
    if let Some(place) = places.take(Bounds { all, per_address }, address, &stream, open_end) {
        let (own, shared) = (stream.clone(), shared.clone());
        let serve = move || match Connection::new(own, peer, place, shared) {
            Ok(connection) => connection.serve(),
            // It is gone already.
            Err(error) => log::debug!("a client left before it had a thread: {error}"),
        };
        // Not joined: its place says when it is over.
        let started = thread::Builder::new().name("client".to_owned()).stack_size(STACK).spawn(serve);
        match started {
            Ok(_) => return None,
            Err(error) => log::warn!("no thread for a client: {error}"),
        }
    }
    RejectedConnection::new(stream)
}

/// The grace is over: nothing is waited for any more.
fn over(shared: &Shared) -> bool {
    shared.watcher.throw_all();
    shared.drain.over.throw();
    true
}

/// Nothing that a server can do anything about.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

/// A client for whom there is no room. It has been told, and may take a moment to hear it: closed at once, with its
/// request unread, the connection would take the answer away.
struct RejectedConnection {
    stream: Arc<TcpStream>,
    until: Instant,
    left: usize,
}

impl RejectedConnection {
    /// Tells it, as far as that is possible without waiting.
    fn new(stream: Arc<TcpStream>) -> Option<RejectedConnection> {
        stream.set_nonblocking(true).ok()?;
        let words = response::last_words(503, TOO_MANY);
        stream.as_ref().write_all(&words).ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        Some(RejectedConnection { stream, until: Instant::now() + LAST_WORDS_TAKE, left: 256 << 10 })
    }

    /// Drops what it says. False when it need not be listened to any longer.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 4 << 10];
        loop {
            match self.stream.as_ref().read(&mut buffer) {
                Ok(read @ 1..) if read < self.left => self.left -= read,
                Err(error) if is_of_client(&error) => return Instant::now() < self.until,
                _ => return false,
            }
        }
    }
}
