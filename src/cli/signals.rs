//! Signals: the first asks whatever runs to stop, the second takes away its grace; Ctrl-Z stops and continues the whole
//! tree of a command-line run. What means no request to stop ends us all the same, once nothing is left.

use super::exit;
use crate::base::sys;
use crate::exec::{self, Cancel};
use crate::model::error::{Error, Kind};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{io, thread};

/// From now on each of these signals is a byte in this pipe.
pub(crate) fn pipe_of(signals: &[i32]) -> Result<OwnedFd, Error> {
    sys::survive_file_size_limit();
    sys::signals_to_pipe(signals).map_err(|error| Error::System { what: "listen for signals", error })
}

/// From now on signals throw this switch.
pub(crate) fn watch(cancel: Arc<Cancel>) -> Result<(), Error> {
    hear(move |signal| match signal {
        sys::SIGTSTP => exec::suspend(),
        _ => cancel.throw(),
    })
}

/// From now on this hears of each signal: of those that mean the end, and of Ctrl-Z.
pub(crate) fn hear(mut act: impl FnMut(i32) + Send + 'static) -> Result<(), Error> {
    let mut signals = File::from(pipe_of(&[sys::ending_signals(), vec![sys::SIGTSTP]].concat())?);
    let listen = move || {
        let mut signal = [0];
        while signals.read_exact(&mut signal).is_ok() {
            act(signal[0].into());
        }
    };
    // Never joined: it waits for signals until the process ends.
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(listen);
    thread.map(drop).map_err(|error| Error::System { what: "listen for signals", error })
}

/// Dies of the signal that ended the command, where its parent has to see that: a shell leaves its loop only when a program
/// died of Ctrl-C. To be called last: returns where the exit status says it all.
pub(crate) fn pass_on(status: u8) {
    let Some(signal) = sys::signal_that_came() else { return };
    let is_to_be_seen = match signal {
        sys::SIGINT => status == exit::status(Kind::Cancelled, 0),
        // They ask a program to stop, and it did.
        sys::SIGHUP | sys::SIGQUIT | sys::SIGTERM => false,
        _ => true,
    };
    if is_to_be_seen {
        // What cannot be written now could not be on the way out.
        let _ = io::stdout().flush();
        sys::die_of(signal);
    }
}
