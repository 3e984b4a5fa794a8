//! A client's socket. Reads have a deadline for all of them together, writes one for each pause of the reader; neither
//! outlives the drain.

use crate::base::sys::{self, Watch};
use crate::exec::Cancel;
use crate::http::net::memory::Memory;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What waits in the kernel for a client that does not read: enough for a fast one, little enough to notice a slow one.
const SEND_BUFFER: i32 = 128 << 10;
/// A reader that takes nothing for so long has stalled, whatever the configuration would allow it.
const LONGEST_STALL: Duration = Duration::from_secs(30);
/// How often a client that says nothing is asked whether it is there.
const ARE_YOU_THERE: Duration = Duration::from_secs(15);
/// How long a reader may take once the drain's grace is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// The two moments of a drain.
pub(crate) struct Drain {
    /// A client that is silent now may go.
    pub(crate) asked: Cancel,
    /// A client that is still there has to go.
    pub(crate) over: Cancel,
}

/// A client's socket, of either family: std's calls for TCP are those for Unix sockets.
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    drain: Arc<Drain>,
    deadline: Option<Instant>,
    /// Nothing is under way: the beginning of a drain ends the waiting too.
    idle: bool,
    /// A body that has to keep up while others wait for the memory that it has.
    pace: Option<Pace>,
    stall: Duration,
}

impl Socket {
    /// Never blocks; a write may stall so long, zero is as long as ever.
    pub(crate) fn new(
        stream: Arc<TcpStream>,
        drain: Arc<Drain>,
        tcp: bool,
        stall: Duration,
    ) -> io::Result<Socket> {
        let stall = if stall.is_zero() { LONGEST_STALL } else { stall.min(LONGEST_STALL) };
        stream.set_nonblocking(true)?;
        sys::set_send_buffer(stream.as_fd(), SEND_BUFFER)?;
        if tcp {
            stream.set_nodelay(true)?;
            sys::set_tcp_user_timeout(stream.as_fd(), stall)?;
            sys::set_tcp_keepalive(stream.as_fd(), ARE_YOU_THERE)?;
        }
        Ok(Socket { stream, drain, deadline: None, idle: false, pace: None, stall })
    }

    /// The same socket, to watch.
    pub(crate) fn stream(&self) -> Arc<TcpStream> {
        self.stream.clone()
    }

    /// From now on all reads together may take so long; zero is for ever.
    pub(crate) fn read_within(&mut self, limit: Duration) {
        self.deadline = (!limit.is_zero()).then(|| Instant::now() + limit);
        (self.idle, self.pace) = (false, None);
    }

    /// The same for a body of that length. While other requests wait for memory it has to come as quickly as it must to
    /// be there in time.
    pub(crate) fn read_body_within(&mut self, limit: Duration, length: u64, memory: Arc<Memory>) {
        self.read_within(limit);
        let time = if limit.is_zero() { LONGEST_STALL } else { limit };
        self.pace = Some(Pace { memory, length, came: 0, since: Instant::now(), time });
    }

    /// The same, and the beginning of a drain is the end.
    pub(crate) fn idle_within(&mut self, limit: Duration) {
        self.read_within(limit);
        self.idle = true;
    }

    /// Writes all of it, or fails when the reader left or stalls.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut moved = Instant::now();
        while !bytes.is_empty() {
            match (&*self.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.await_room(moved)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until there is room, which there has not been since then.
    fn await_room(&self, since: Instant) -> io::Result<()> {
        let is_over = self.drain.over.is_thrown();
        let wait_limit = if is_over { self.stall.min(FAREWELL) } else { self.stall };
        let left = wait_limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let room = Watch::writable(self.stream.as_fd());
        // Once thrown it wakes at once, and for ever.
        if is_over {
            sys::poll(&mut [room], left)
        } else {
            sys::poll(&mut [room, self.drain.over.watch()], left)
        }
    }

    /// Says that nothing more will be said.
    pub(crate) fn end_writing(&self) {
        // A client that is gone already need not hear it.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// How quickly a body comes.
struct Pace {
    memory: Arc<Memory>,
    length: u64,
    came: u64,
    since: Instant,
    /// In so much time it has to be there.
    time: Duration,
}

impl Pace {
    /// How often it is looked at; before that no body is late.
    const LOOK: Duration = Duration::from_secs(2);

    fn is_too_slow(&self) -> bool {
        let took = self.since.elapsed();
        let expected = self.length as f64 * (took.as_secs_f64() / self.time.as_secs_f64());
        took >= Pace::LOOK && (self.came as f64) < expected && self.memory.is_wanted()
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_readable(|mut stream| stream.read(buffer))
    }
}

impl Socket {
    /// Waits until there is something to read, within the limit of reads, and leaves it there. 0 is the end.
    pub(crate) fn peek(&mut self) -> io::Result<usize> {
        self.when_readable(|stream| stream.peek(&mut [0]))
    }

    fn when_readable(&mut self, mut read: impl FnMut(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match read(&self.stream) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => {
                    if let (Some(pace), Ok(read)) = (&mut self.pace, &result) {
                        pace.came += *read as u64;
                    }
                    return result;
                }
            }
            let left = match self.deadline {
                None => Duration::MAX,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            let end = if self.idle { &self.drain.asked } else { &self.drain.over };
            let mut watches = [Watch::readable(self.stream.as_fd()), end.watch()];
            if self.pace.as_ref().is_some_and(Pace::is_too_slow) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sys::poll(&mut watches, if self.pace.is_some() { left.min(Pace::LOOK) } else { left })?;
            if watches[0].woke() {
                continue;
            }
            if watches[1].woke() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The client hears it now, although the watcher may still be looking.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
