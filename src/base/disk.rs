//! Files at paths where a mistake, or another user, may have put a pipe, a device or a link in a file's place: only what is
//! a file itself is opened, and nothing waits for the other side of a pipe.

use crate::base::sys;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file. A link is none, whatever it leads to.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(sys::O_NOFOLLOW | sys::O_NONBLOCK).open(path);
    match opened.and_then(|file| Ok((file.metadata()?.is_file(), file))) {
        Ok((true, file)) => Ok(file),
        Ok((false, _)) => Err(no_file()),
        // A link; a pipe without a reader, a socket; a directory.
        Err(error) if matches!(error.raw_os_error(), Some(sys::ELOOP | sys::ENXIO | sys::EISDIR)) => {
            Err(no_file())
        }
        Err(error) => Err(error),
    }
}

/// Whether an error says that there is something else in a file's place.
pub fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

/// What is in a regular file of at most so many bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path, OpenOptions::new().read(true))?;
    let length = file.metadata()?.len();
    let too_long = || {
        io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes, which are not read"),
        )
    };
    if length > most {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_long()) } else { Ok(bytes) }
}

/// Puts a file in place of another in one step: a reader, or a crash, sees the old text or the new one. No other process uses
/// the temporary name at that time; what a crash, or another user, left there is removed and never written through.
pub fn replace(path: &Path, temporary: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        new.write_all(text)?;
        new.sync_all()?;
        fs::rename(temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(temporary);
    })
}
