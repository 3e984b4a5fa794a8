//! What Linux alone has. What stands in its place elsewhere is in `elsewhere`, with the same names.
#![allow(unsafe_code)]

use super::{Watch, check, set_option};
use std::cell::UnsafeCell;
use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

// The unwinder of a panic is in the program: to load it as a library of its own would take an eighth of the time in which a
// short command is over, and a panic is rare. musl links all of it so in any case.
#[cfg(target_env = "gnu")]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

/// A directory is opened to go on from there, for which it need not be readable.
pub(super) const OPEN_TO_PASS: libc::c_int = libc::O_PATH;

/// What `poll` says when the other side of a connection will say no more.
pub(super) const PEER_GONE: libc::c_short = libc::POLLRDHUP;

/// Signals that end a process which does not handle them, and that no other system has.
pub(super) fn more_ending_signals() -> impl Iterator<Item = i32> {
    [libc::SIGPWR, libc::SIGSTKFLT].into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

/// The highest number of a signal.
pub(super) fn last_signal() -> i32 {
    libc::SIGRTMAX()
}

/// Where this thread has the number of its last error.
pub(super) fn errno() -> *mut libc::c_int {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::__errno_location() }
}

/// How many SIGHUP have come that no thread has seen. A semaphore costs no descriptor.
static HANGUPS: Semaphore = Semaphore(UnsafeCell::new(MaybeUninit::zeroed()));

struct Semaphore(UnsafeCell<MaybeUninit<libc::sem_t>>);

// SAFETY: a semaphore is made to be used by several threads.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    fn ptr(&self) -> *mut libc::sem_t {
        self.0.get().cast()
    }
}

/// To be called once, before the others.
pub(super) fn prepare_to_count_hangups() -> io::Result<()> {
    // SAFETY: no other thread uses it yet.
    check(unsafe { libc::sem_init(HANGUPS.ptr(), 0, 0) }).map(drop)
}

/// One has come. Called by a signal's handler.
pub(super) fn count_hangup() {
    // SAFETY: sem_post is async-signal-safe, and the semaphore is there before the handler.
    unsafe { libc::sem_post(HANGUPS.ptr()) };
}

/// Waits until SIGHUP has come once or more since the last time. After `count_hangups`.
pub fn wait_for_hangup() {
    // SAFETY: the semaphore is initialised and lives as long as the process.
    unsafe {
        while libc::sem_wait(HANGUPS.ptr()) != 0 {}
        while libc::sem_trywait(HANGUPS.ptr()) == 0 {}
    }
}

/// Fills a part of it with random bytes; returns how many.
pub(super) fn random(bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: getrandom writes at most so many bytes to the slice.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        -1 => Err(io::Error::last_os_error()),
        got => Ok(got as usize),
    }
}

/// The name by which this program was executed: a path, relative to where that was done.
pub(crate) fn executed_as() -> Option<PathBuf> {
    // SAFETY: the auxiliary vector has the address of a string that lives as long as the process.
    let name = unsafe {
        let address = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        (!address.is_null()).then(|| CStr::from_ptr(address))?
    };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// A pipe whose ends are closed on exec: both descriptors, the reading one first.
pub(super) fn pipe() -> io::Result<[RawFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: pipe2 writes two descriptors into the array.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok(ends)
}

/// Makes orphans of our descendants our children, so that none can get away.
pub(crate) fn become_subreaper() {
    // SAFETY: prctl with this option takes one integer.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// Keeps what is in our memory from other processes of the same user: none may trace us, read our memory or what /proc has
/// of it, and there is no core dump. A program that we start is as open as any.
pub(crate) fn hide_memory() {
    // SAFETY: prctl with this option takes one integer.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}

/// A TCP connection whose other side does not take what was sent to it ends after so long.
pub(crate) fn set_tcp_user_timeout(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let millis = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis)
}

/// How often the system asks whether the other side of a silent TCP connection is still there.
pub(super) fn set_keepalive_interval(fd: BorrowedFd<'_>, every: Duration) -> io::Result<()> {
    let secs = libc::c_int::try_from(every.as_secs()).unwrap_or(libc::c_int::MAX);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, secs)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, secs)
}

/// The process on the other side of a Unix socket when that began to listen: its number, and its user.
pub(crate) fn peer(fd: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let to = ptr::from_mut(&mut peer).cast();
    // SAFETY: at most `size` bytes are written into `peer`.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, to, &mut size) })?;
    Ok((peer.pid, peer.uid))
}

/// Where the tag stands: in a limit that is handed down, that is hardly ever needed or set, the processor time of
/// real-time scheduling. With this bit in it, it is longer than any machine lives, so that it limits nothing.
const TAG: libc::rlim_t = 1 << (libc::rlim_t::BITS - 2);

fn limit_of(tag: u64) -> libc::rlim_t {
    TAG | (tag as libc::rlim_t & (TAG - 1))
}

/// Gives this process a tag that all its descendants have from it, whatever they do with their environment, session and
/// parents. Where the system does not take it, it has none.
pub(super) fn set_tag(tag: u64) {
    let _ = super::spawn::set_limit(libc::RLIMIT_RTTIME as i32, limit_of(tag));
}

/// Whether a process has this tag, as far as we may look.
pub fn has_tag(pid: i32, tag: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit nothing is changed; the old one is written into the struct.
    let got = unsafe { libc::prlimit(pid, libc::RLIMIT_RTTIME, ptr::null(), &mut limit) };
    got == 0 && limit.rlim_cur == limit_of(tag)
}

/// What the child's part of a start needs of a stack.
const STACK: usize = 64 << 10;

/// Has a new process do this, and returns its number and the error with which that came back, once it has or has executed
/// a program. Until then the process runs in our memory, as after vfork: a fork copies the page tables of a whole server, and
/// turns the next write of each of its threads into a page fault. To be called with all signals blocked, so that no handler
/// of ours runs in it.
pub(super) fn start(child: &dyn Fn() -> io::Error) -> io::Result<(i32, Option<io::Error>)> {
    struct Part<'a> {
        child: &'a dyn Fn() -> io::Error,
        error: Option<io::Error>,
    }
    extern "C" fn run(part: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the `Part` below, whose thread waits until the program is executed or this has returned.
        let part = unsafe { &mut *part.cast::<Part<'_>>() };
        part.error = Some((part.child)());
        127
    }
    // Of 16 bytes each, as a stack has to be aligned.
    let size = STACK / 16;
    let mut stack: Vec<u128> = Vec::with_capacity(size);
    let mut part = Part { child, error: None };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: all pointers are to memory that lives through the call. The child has a stack of its own, the rest of our
    // memory it has in common with us: the caller's part does system calls alone.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(size).cast();
        check(libc::clone(run, top, flags, ptr::from_mut(&mut part).cast()))?
    };
    Ok((pid, part.error))
}

/// Waits for many descriptors that come and go, without a list of them that is made anew for each wait.
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
