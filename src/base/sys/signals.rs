//! Signals that this process gets, and the one that it dies of.
#![allow(unsafe_code)]

use super::{check, os, pipe};
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// The signals that end a process which does not handle them and that a user may send. Those of its own faults are not
/// among them, nor SIGPIPE, which std ignores.
pub fn ending_signals() -> Vec<i32> {
    let named = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGABRT,
        libc::SIGXCPU,
        libc::SIGIO,
    ];
    named.into_iter().chain(os::more_ending_signals()).collect()
}

/// Sends a signal to this very thread's process; returns after a stop when it is continued.
pub fn raise(signal: i32) {
    // SAFETY: raise takes a plain integer.
    unsafe { libc::raise(signal) };
}

/// Dies of a signal as a process does that does not handle it. Returns where that does nothing: the first process of a
/// container is spared.
pub fn die_of(signal: i32) {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    raise(signal);
}

/// Where the signal handler writes.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);
/// The first signal that came and means the end; 0 while none has.
static CAME: AtomicI32 = AtomicI32::new(0);

/// The first signal that came through `signals_to_pipe` and means the end.
pub fn signal_that_came() -> Option<i32> {
    Some(CAME.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// From now on each of these signals is a byte with its number in the pipe whose reading end is returned. To be
/// called once a process. Signals are not blocked: a child would inherit the mask.
pub fn signals_to_pipe(signals: &[i32]) -> io::Result<OwnedFd> {
    extern "C" fn note(signal: libc::c_int) {
        let byte = signal as u8;
        if signal != libc::SIGTSTP {
            let _ = CAME.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
        }
        // SAFETY: write is async-signal-safe; the descriptor is never closed. errno is restored for the code that we interrupted.
        unsafe {
            let errno = *os::errno();
            libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), std::ptr::from_ref(&byte).cast(), 1);
            *os::errno() = errno;
        }
    }
    let (read, write) = pipe()?;
    SIGNAL_PIPE.store(write.into_raw_fd(), Ordering::Relaxed);
    signals.iter().try_for_each(|signal| handle(*signal, note))?;
    Ok(read)
}

/// Calls this, which is async-signal-safe, when the signal comes.
fn handle(signal: i32, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: a zeroed sigaction is a valid one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal, std::ptr::null(), &mut action))?;
        // The parent wants it so: `nohup`, or `&` in a script.
        if action.sa_sigaction == libc::SIG_IGN {
            return Ok(());
        }
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        check(libc::sigaction(signal, &action, std::ptr::null_mut())).map(drop)
    }
}

/// From now on SIGHUP ends nothing: `wait_for_hangup` returns. To be called once a process.
pub fn count_hangups() -> io::Result<()> {
    extern "C" fn count(_: libc::c_int) {
        // SAFETY: errno is that of this thread, which the handler interrupts.
        unsafe {
            let errno = *os::errno();
            os::count_hangup();
            *os::errno() = errno;
        }
    }
    os::prepare_to_count_hangups()?;
    handle(libc::SIGHUP, count)
}

/// A write beyond the limit of a file's size (`ulimit -f`) is an error from now on and does not kill us. A handler that
/// does nothing, because a child would inherit it if the signal were ignored.
pub fn survive_file_size_limit() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a zeroed sigaction is a valid one; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGXFSZ, &action, std::ptr::null_mut());
    }
}
