//! All unsafe code: thin wrappers around libc, each with its argument. Knows nothing of clinvk.
#![allow(unsafe_code)]

mod controls;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
mod place;
mod signals;
mod spawn;
mod streams;

pub(crate) use controls::{ShownControls, hide_controls};
#[cfg(not(target_os = "linux"))]
use elsewhere as os;
#[cfg(target_os = "linux")]
use linux as os;
pub use os::{Epoll, has_tag, wait_for_hangup};
pub(crate) use os::{become_subreaper, executed_as, peer};
#[cfg(feature = "serve")]
pub(crate) use os::{hide_memory, set_tcp_user_timeout};
pub use place::{FileAccess, open_directory, open_file, open_file_at};
pub use signals::{
    count_hangups, die_of, ending_signals, raise, signal_that_came, signals_to_pipe, survive_file_size_limit,
};
pub use spawn::{Child, Program};
pub use streams::{Stdout, Waiting, stdout_was_closed};

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// There is no such kind of address here.
pub use libc::EAFNOSUPPORT;
pub use libc::{EISDIR, ELOOP, ENXIO, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
pub use libc::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP};
pub(crate) use libc::{major, minor};

/// Turns libc's -1 into the error behind it.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The system had nothing left to give: no descriptor, process or memory. It may have in a moment.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM))
}

/// Fills it with random bytes, for which no descriptor is needed.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match os::random(&mut bytes[done..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => done += got?,
        }
    }
    Ok(())
}

/// The home directory that the user database has for this user, where it has one.
pub(crate) fn home_of_user() -> Option<PathBuf> {
    /// More than any line of the database.
    const LINE: usize = 64 << 10;
    let mut line: Vec<libc::c_char> = vec![0; LINE];
    let (mut user, mut found) = (std::mem::MaybeUninit::<libc::passwd>::uninit(), std::ptr::null_mut());
    // SAFETY: all pointers are to memory that lives through the call, and `LINE` is the length of the buffer.
    let result =
        unsafe { libc::getpwuid_r(libc::getuid(), user.as_mut_ptr(), line.as_mut_ptr(), LINE, &mut found) };
    if result != 0 || found.is_null() {
        return None;
    }
    // SAFETY: `found` is `user`, which was filled; its directory is a string in `line`, which is still there.
    let dir = unsafe { CStr::from_ptr((*found).pw_dir) };
    Some(PathBuf::from(OsStr::from_bytes(dir.to_bytes()))).filter(|dir| dir.is_absolute())
}

/// Sends a signal to one process.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes plain integers and touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Whether there is a process of that number, ours or not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let is_none = |error: io::Error| error.raw_os_error() == Some(libc::ESRCH);
    i32::try_from(pid).is_ok_and(|pid| pid > 0 && !kill(pid, 0).is_err_and(is_none))
}

/// Sends a signal to a process group.
pub fn kill_group(group: i32, signal: i32) -> io::Result<()> {
    kill(-group, signal)
}

/// Whether this process may write to that file or directory.
pub(crate) fn can_write(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: access reads a string that ends with NUL.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) == 0 }
}

/// Does something whose new files are for their user alone. So are those that other threads make meanwhile.
pub fn in_private<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: umask takes and gives a number, and cannot fail.
    let before = unsafe { libc::umask(0o177) };
    let done = act();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    done
}

/// The user whose rights this process has.
pub fn effective_user() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Lets large blocks go back to the system when they are freed. Left to itself glibc keeps what threads once used: each
/// has an arena of its own, and a large block that was freed makes it hold on to those that follow.
pub(crate) fn keep_little_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers, and there are no other threads yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}

/// Gives back to the system what was freed between blocks that are still used. Only glibc needs to be told.
pub(crate) fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer and may be called by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this status.
    Code(i32),
    Signal(i32),
}

/// Whether a child of ours has ended, without reaping it: its pid stays its own.
pub(crate) fn exited(pid: i32) -> Option<Exit> {
    // SAFETY: a zeroed siginfo_t is a valid one, and waitid writes into it alone.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` lives through the call.
    let result = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) };
    // SAFETY: waitid filled the SIGCHLD fields, or left the zeroes.
    let (child, status) = unsafe { (info.si_pid(), info.si_status()) };
    match result {
        0 if child == pid && info.si_code == libc::CLD_EXITED => Some(Exit::Code(status)),
        0 if child == pid => Some(Exit::Signal(status)),
        _ => None,
    }
}

/// Waits until a child of ours has ended, without reaping it.
pub(crate) fn await_end(pid: i32) {
    loop {
        // SAFETY: as in `exited`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` lives through the call.
        let result = check(unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) });
        if !result.is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            return;
        }
    }
}

/// Whether this process has any child at all, ended or not.
pub(crate) fn has_children() -> bool {
    // SAFETY: as in `exited`; WNOWAIT leaves whatever is found as it is.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` lives through the call.
    unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) == 0 }
}

/// One of the children that have ended and were not reaped, whichever thread started it: which is the system's choice.
pub(crate) fn ended_child() -> Option<i32> {
    // SAFETY: a zeroed siginfo_t is a valid one.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` lives through the call, which fills the SIGCHLD fields or leaves the zeroes.
    let (result, pid) = unsafe { (libc::waitid(libc::P_ALL, 0, &mut info, flags), info.si_pid()) };
    (result == 0 && pid > 0).then_some(pid)
}

/// Reaps one ended child that std does not own: an orphan that was handed to us.
pub(crate) fn reap(pid: i32) {
    // SAFETY: a null status is allowed; WNOHANG never blocks.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

/// Undoes what some parents leave us with: where SIGCHLD is ignored, no child can be waited for.
pub(crate) fn hear_of_ended_children() {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Takes a variable out of the environment, and its value out of the block that the process was started with: that stays
/// in /proc/PID/environ, where every process of the same user can read it. To be called while there is one thread.
pub(crate) fn wipe_variable(name: &CStr) {
    // SAFETY: `name` ends with NUL, and no other thread changes the environment.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return;
    }
    // SAFETY: the value ends with NUL and stands where the kernel, or setenv, has put it: in memory of ours that can be
    // written. The bytes are not read again, so only volatile writes are sure to be done.
    unsafe {
        for at in 0..libc::strlen(value) {
            value.add(at).write_volatile(0);
        }
        libc::unsetenv(name.as_ptr());
    }
}

/// How many descriptors a process of ours may have open where that was not raised.
static OPEN_FILES_BEFORE: OnceLock<libc::rlim_t> = OnceLock::new();

/// As many descriptors as the system lets us have; returns how many. Children get what we had before.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit fills the struct.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let _ = OPEN_FILES_BEFORE.set(limit.rlim_cur);
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: setrlimit only reads the struct.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    }
    // It is signed on some systems.
    #[allow(clippy::unnecessary_cast)]
    Ok(limit.rlim_cur as u64)
}

/// Lets so many clients wait until they are accepted: std's 128 lose the others of a burst.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: plain integers; the descriptor is open for the length of the call.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Whether clients can connect to this descriptor.
pub(crate) fn is_listening(fd: BorrowedFd<'_>) -> bool {
    let (mut value, mut size) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    let to = std::ptr::from_mut(&mut value).cast();
    // SAFETY: at most `size` bytes are written into `value`.
    let got =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ACCEPTCONN, to, &mut size) };
    got == 0 && value != 0
}

/// Bounds what waits in the kernel for a client that does not read.
pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)
}

/// The system asks now and then whether the other side of a silent TCP connection is still there: one that has closed it
/// altogether, and not only for writing, says no after a minute.
pub(crate) fn set_tcp_keepalive(fd: BorrowedFd<'_>, every: Duration) -> io::Result<()> {
    os::set_keepalive_interval(fd, every)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)
}

/// No program that is started from now on has one of the descriptors that this process was given, but for the first three.
pub(crate) fn keep_descriptors() -> io::Result<()> {
    for entry in std::fs::read_dir("/dev/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if fd > libc::STDERR_FILENO {
            // SAFETY: fcntl with a plain flag; a descriptor that is not open any more is an error and no harm.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    let (from, size) = (std::ptr::from_ref(&value).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: `value` lives through the call, and `size` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, from, size) }).map(drop)
}

/// Takes over descriptors that our parent left open for us, from this one on. Nothing the second time, nor when
/// one of them is not open.
pub(crate) fn take_inherited(first: RawFd, count: RawFd) -> Option<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    let take = |fd| {
        // SAFETY: fcntl with a plain flag; a descriptor that is not open is an error and no harm.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
        // SAFETY: it is open, the caller says that it is ours, and `TAKEN` sees to it that it has no other owner.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    (first..first.checked_add(count)?).map(take).collect()
}

/// Reads and writes on this descriptor of ours never block.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fcntl on a descriptor that is open for the length of the call.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, O_NONBLOCK) }).map(drop)
}

/// A pipe whose ends are closed on exec: (read, write).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = os::pipe()?;
    // SAFETY: both are fresh and have no other owner.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// So many bytes can be written at once to a pipe that has room at all (PIPE_BUF).
pub(crate) const PIPE_ROOM: usize = 4096;

/// What to wait for on a descriptor, and what came.
#[repr(transparent)]
pub struct Watch(libc::pollfd);

impl Watch {
    /// Never wakes: in the place of a descriptor that is not there.
    pub(crate) fn nothing() -> Watch {
        Watch(libc::pollfd { fd: -1, events: 0, revents: 0 })
    }

    /// Wakes when there is something to read, or the other side is gone.
    pub fn readable(fd: BorrowedFd<'_>) -> Watch {
        Watch(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
    }

    /// Wakes when there is room to write, or the other side is gone.
    pub(crate) fn writable(fd: BorrowedFd<'_>) -> Watch {
        Watch(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 })
    }

    /// Wakes only when the other side of this pipe or connection is gone.
    pub(crate) fn other_side_gone(fd: BorrowedFd<'_>) -> Watch {
        Watch(libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 })
    }

    /// Wakes when the other side of this connection will say no more.
    pub(crate) fn peer_gone(fd: BorrowedFd<'_>) -> Watch {
        Watch(libc::pollfd { fd: fd.as_raw_fd(), events: os::PEER_GONE, revents: 0 })
    }

    /// It wakes now, without any waiting.
    pub(crate) fn is_awake(&mut self) -> bool {
        poll(std::slice::from_mut(self), Duration::ZERO).is_ok() && self.woke()
    }

    /// Something came.
    pub fn woke(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until one of the watches wakes or the time is over.
pub fn poll(watches: &mut [Watch], timeout: Duration) -> io::Result<()> {
    // Rounded up: a wait of 0.4 ms must not become a busy loop.
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as libc::c_int;
    // SAFETY: Watch is a transparent pollfd; the pointer and the length are those of the slice.
    match check(unsafe { libc::poll(watches.as_mut_ptr().cast(), watches.len() as libc::nfds_t, millis) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        // An interrupted poll may leave what came in the slice undefined: nothing is believed.
        Err(_) => {
            watches.iter_mut().for_each(|watch| watch.0.revents = 0);
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// The standard error as a descriptor to watch.
pub(crate) fn stderr_fd() -> BorrowedFd<'static> {
    const STDERR: RawFd = 2;
    // SAFETY: as for `stdout_fd`.
    unsafe { BorrowedFd::borrow_raw(STDERR) }
}

/// The standard output as a descriptor to watch.
pub(crate) fn stdout_fd() -> BorrowedFd<'static> {
    const STDOUT: RawFd = 1;
    // SAFETY: std keeps descriptors 0 to 2 open for the life of the process (it opens /dev/null in their place).
    unsafe { BorrowedFd::borrow_raw(STDOUT) }
}

/// From now on what is written to standard output, or to standard error, goes to that file.
pub(crate) fn redirect(stream: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open for the length of the call; who reads the stream's old file sees that it is closed.
    check(unsafe { libc::dup2(to.as_raw_fd(), stream.as_raw_fd()) }).map(drop)
}

/// Rows and columns of the terminal on standard error; 24 and 80 where it does not know.
pub(crate) fn terminal_size() -> (usize, usize) {
    // SAFETY: a zeroed winsize is a valid one.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes a winsize, and `size` lives through the call.
    let result = unsafe { libc::ioctl(2, libc::TIOCGWINSZ, &mut size) };
    let known = |number: libc::c_ushort, otherwise| match number {
        known @ 1.. if result == 0 => known.into(),
        _ => otherwise,
    };
    (known(size.ws_row, 24), known(size.ws_col, 80))
}
