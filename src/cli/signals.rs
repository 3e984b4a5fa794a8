//! Signals of a command-line run: the first asks the run to stop, the second takes away its grace; Ctrl-Z stops and
//! continues the whole tree.

use crate::base::sys;
use crate::exec::{self, Cancel};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{io, thread};

/// From now on each signal that means a server's end is a byte in this pipe.
///
/// # Errors
/// When no pipe can be had.
pub fn stop_pipe() -> io::Result<OwnedFd> {
    sys::survive_file_size_limit();
    sys::signals_to_pipe(&[sys::SIGINT, sys::SIGTERM])
}

/// From now on signals throw this switch.
///
/// # Errors
/// When no pipe or no thread can be had.
pub fn watch(cancel: Arc<Cancel>) -> io::Result<()> {
    sys::survive_file_size_limit();
    let read = sys::signals_to_pipe(&[sys::SIGINT, sys::SIGTERM, sys::SIGHUP, sys::SIGQUIT, sys::SIGTSTP])?;
    let listen = move || {
        let mut signals = File::from(read);
        let mut signal = [0];
        while signals.read_exact(&mut signal).is_ok() {
            match i32::from(signal[0]) {
                sys::SIGTSTP => exec::suspend(),
                _ => cancel.throw(),
            }
        }
    };
    // Never joined: it waits for signals until the process ends.
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}
