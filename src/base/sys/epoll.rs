//! Waits for many descriptors that come and go, without a list of them that is made anew for each wait.
#![allow(unsafe_code)]

use super::{Watch, check};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

pub struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: what comes back is fresh and owned by nothing else.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) }))
    }

    /// From now on `wait` returns this number when the watch wakes, once.
    pub(crate) fn add(&self, watch: &Watch, number: u64) -> io::Result<()> {
        // The events have the same bits as those of poll.
        let events = u32::from(watch.0.events as u16) | libc::EPOLLONESHOT as u32;
        self.control(libc::EPOLL_CTL_ADD, watch.0.fd, &mut libc::epoll_event { events, u64: number })
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), ptr::null_mut())
    }

    fn control(&self, what: i32, fd: i32, event: *mut libc::epoll_event) -> io::Result<()> {
        // SAFETY: the event is null or lives through the call, which only reads it.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, fd, event) }).map(drop)
    }

    /// Waits until one of them wakes.
    pub(crate) fn wait(&self) -> io::Result<u64> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: one event is written, and there is room for it.
            match check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, -1) }) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(1) => return Ok(event.u64),
                _ => {}
            }
        }
    }
}
