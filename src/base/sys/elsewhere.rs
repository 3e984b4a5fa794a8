//! What stands in the place of what Linux alone has: less, where there is nothing like it. There the processes of a run
//! are those of its group.
#![allow(unsafe_code)]

use super::{Watch, check};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A directory has to be readable to go on from there.
pub(super) const OPEN_TO_PASS: libc::c_int = libc::O_RDONLY;

/// Only a connection that is closed altogether is known to be.
pub(super) const PEER_GONE: libc::c_short = 0;

pub(super) fn more_ending_signals() -> impl Iterator<Item = i32> {
    std::iter::empty()
}

/// The highest number of a signal that every system has.
pub(super) fn last_signal() -> i32 {
    31
}

/// Where this thread has the number of its last error.
pub(super) fn errno() -> *mut libc::c_int {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::__error() }
}

/// Bytes for the SIGHUP that have come: not every system has a semaphore for that.
static HANGUPS: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// To be called once, before the others.
pub(super) fn prepare_to_count_hangups() -> io::Result<()> {
    let (read, write) = super::pipe()?;
    // A handler never waits.
    super::set_nonblocking(write.as_fd())?;
    HANGUPS.set((read, write)).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))
}

/// One has come. Called by a signal's handler.
pub(super) fn count_hangup() {
    let Some((_, write)) = HANGUPS.get() else { return };
    // SAFETY: write is async-signal-safe; one byte that lives through it.
    unsafe { libc::write(write.as_raw_fd(), ptr::from_ref(&0_u8).cast(), 1) };
}

/// Waits until SIGHUP has come once or more since the last time. After `count_hangups`.
pub fn wait_for_hangup() {
    let Some((read, _)) = HANGUPS.get() else { return };
    let mut bytes = [0_u8; 512];
    // SAFETY: at most so many bytes are written to the array.
    while unsafe { libc::read(read.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) } <= 0 {}
}

/// Fills a part of it with random bytes; returns how many.
pub(super) fn random(bytes: &mut [u8]) -> io::Result<usize> {
    /// The most that can be had at once.
    const MOST: usize = 256;
    let part = bytes.len().min(MOST);
    // SAFETY: getentropy writes so many bytes to the slice.
    check(unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), part) })?;
    Ok(part)
}

/// The name by which this program was executed.
#[allow(clippy::disallowed_methods)] // the auxiliary vector says it on Linux
pub(crate) fn executed_as() -> Option<PathBuf> {
    std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1)
}

/// A pipe whose ends are closed on exec: both descriptors, the reading one first. What another thread starts at the very
/// moment may inherit it.
pub(super) fn pipe() -> io::Result<[RawFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: pipe writes two descriptors into the array, which are open then.
    unsafe {
        check(libc::pipe(ends.as_mut_ptr()))?;
        for end in ends {
            check(libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC))?;
        }
    }
    Ok(ends)
}

/// Orphans go to the first process of the system.
pub(crate) fn become_subreaper() {}

/// What the system keeps from other processes by itself is all there is.
pub(crate) fn hide_memory() {}

/// The system's own limit holds.
pub(crate) fn set_tcp_user_timeout(_: BorrowedFd<'_>, _: Duration) -> io::Result<()> {
    Ok(())
}

/// The system's own interval holds.
pub(super) fn set_keepalive_interval(_: BorrowedFd<'_>, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Which process listens on a Unix socket cannot be asked in one way.
pub(crate) fn peer(_: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

pub(super) fn set_tag(_: u64) {}

pub fn has_tag(_: i32, _: u64) -> bool {
    false
}

/// Has a new process do this, and returns its number and the error with which that came back, once it has or has executed
/// a program. To be called with all signals blocked, so that no handler of ours runs in it.
pub(super) fn start(child: &dyn Fn() -> io::Error) -> io::Result<(i32, Option<io::Error>)> {
    let (ours, theirs) = super::pipe()?;
    // SAFETY: the child does system calls alone, and ends itself.
    let pid = unsafe { check(libc::fork())? };
    if pid == 0 {
        let number = child().raw_os_error().unwrap_or(libc::EINVAL);
        // SAFETY: the number lives through the write; `_exit` runs nothing of ours.
        unsafe {
            libc::write(theirs.as_raw_fd(), ptr::from_ref(&number).cast(), size_of::<i32>());
            libc::_exit(127)
        }
    }
    drop(theirs);
    // The other end is closed when the program is executed.
    let mut number = Vec::new();
    File::from(ours).read_to_end(&mut number)?;
    let error = <[u8; 4]>::try_from(number).ok().map(i32::from_ne_bytes);
    Ok((pid, error.map(io::Error::from_raw_os_error)))
}

/// Waits for many descriptors that come and go.
pub struct Epoll {
    watched: Mutex<Vec<Watched>>,
    /// A byte comes when what is watched has changed.
    changed: OwnedFd,
    change: OwnedFd,
}

struct Watched {
    fd: RawFd,
    events: libc::c_short,
    number: u64,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        let (changed, change) = super::pipe()?;
        super::set_nonblocking(changed.as_fd())?;
        super::set_nonblocking(change.as_fd())?;
        Ok(Epoll { watched: Mutex::default(), changed, change })
    }

    /// From now on `wait` returns this number when the watch wakes, once.
    pub(crate) fn add(&self, watch: &Watch, number: u64) -> io::Result<()> {
        self.edit(|watched| watched.push(Watched { fd: watch.0.fd, events: watch.0.events, number }));
        Ok(())
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.edit(|watched| watched.retain(|one| one.fd != fd.as_raw_fd()));
        Ok(())
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<Watched>)) {
        change(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: one byte that lives through the write. A full pipe wakes the other thread as well.
        unsafe { libc::write(self.change.as_raw_fd(), ptr::from_ref(&0_u8).cast(), 1) };
    }

    /// Waits until one of them wakes.
    pub(crate) fn wait(&self) -> io::Result<u64> {
        loop {
            let mut watches = vec![Watch::readable(self.changed.as_fd())];
            let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let of = |one: &Watched| Watch(libc::pollfd { fd: one.fd, events: one.events, revents: 0 });
            watches.extend(watched.iter().map(of));
            drop(watched);
            super::poll(&mut watches, Duration::MAX)?;
            if watches[0].woke() {
                let mut bytes = [0_u8; 64];
                // SAFETY: at most so many bytes are written to the array.
                unsafe { libc::read(self.changed.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
            }
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let woke = |one: &Watched| watches[1..].iter().any(|watch| watch.woke() && watch.0.fd == one.fd);
            if let Some(index) = watched.iter().position(woke) {
                return Ok(watched.swap_remove(index).number);
            }
        }
    }
}
