//! Files at paths where a mistake, or another user, may have put a pipe, a device or a link in a file's place: only what is
//! a file itself is opened (or what `open_linked` is led to), and nothing waits for the other side of a pipe.

use crate::base::sys;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Opens a regular file. A link is none, whatever it leads to.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    regular(options.custom_flags(sys::O_NOFOLLOW | sys::O_NONBLOCK).open(path))
}

/// Opens a regular file, or one that a link leads to: its user may keep it elsewhere.
pub(crate) fn open_linked(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true).custom_flags(sys::O_NONBLOCK).open(path))
}

fn regular(opened: io::Result<File>) -> io::Result<File> {
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
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

/// How often a file is opened anew that is replaced each time while it is read.
const REPLACED: usize = 8;

/// What is in a regular file of at most so many bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    for _ in 0..REPLACED {
        match read_as_it_is(path, most) {
            // On NFS a file is gone as soon as another host has put a new one in its place.
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {}
            read => return read,
        }
    }
    read_as_it_is(path, most)
}

fn read_as_it_is(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path, OpenOptions::new().read(true))?;
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_long(most));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    read_into(&mut bytes, file, most).map(|()| bytes)
}

/// Reads all that comes, which is at most so many bytes.
pub(crate) fn read_into(bytes: &mut Vec<u8>, from: impl Read, most: u64) -> io::Result<()> {
    from.take(most.saturating_add(1)).read_to_end(bytes)?;
    if bytes.len() as u64 > most { Err(too_long(most)) } else { Ok(()) }
}

fn too_long(most: u64) -> io::Error {
    let sentence = format!("it has more than {most} bytes, which are not read");
    io::Error::new(io::ErrorKind::FileTooLarge, sentence)
}

/// A new file. What a crash, or another user, left of that name is removed and never written through.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
    }
}

/// Puts a file in place of another in one step: a reader, or a crash, sees the old text or the new one. No other process
/// or thread does this to the same path meanwhile.
pub(crate) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    let mut new = create(&temporary)?;
    let write = new.write_all(text).and_then(|()| new.sync_all()).and_then(|()| fs::rename(&temporary, path));
    write.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// The path with more at its end.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The directory that a file is in.
pub(crate) fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in a file's directory would outlive a power failure.
pub(crate) fn sync_names(file: &Path) -> io::Result<()> {
    File::open(directory(file))?.sync_all()
}
