//! Directories and files as what they are, not as what a name leads to at the moment.
#![allow(unsafe_code)]

use super::{check, os};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// Opens a directory by an absolute path none of whose names is a link: what is opened has this very path, whatever
/// becomes of the names later. One that cannot be entered is an error.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let mut names = path.components();
    if names.next() != Some(Component::RootDir) || names.clone().any(|name| name == Component::ParentDir) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not an absolute path without links"));
    }
    let mut dir = open_at(libc::AT_FDCWD, OsStr::new("/"))?;
    // A name is found only in a directory that may be entered: with the last one, that holds for the path's own end.
    for name in names.map(Component::as_os_str).chain([OsStr::new(".")]) {
        dir = open_at(dir.as_raw_fd(), name)?;
    }
    Ok(dir)
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    Read,
    /// It is made where it is not there, and keeps what is in it.
    Write,
}

/// Opens a regular file by an absolute path none of whose names is a link, as `open_directory` does. Anything else is an
/// error.
pub fn open_file_at(path: &Path, access: FileAccess) -> io::Result<File> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a file's path"));
    };
    let (dir, name) = (open_directory(parent)?, CString::new(name.as_bytes())?);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let flags = match access {
        FileAccess::Read => flags | libc::O_RDONLY,
        FileAccess::Write => flags | libc::O_WRONLY | libc::O_CREAT,
    };
    let mode: libc::mode_t = 0o666;
    // SAFETY: the name lives through the call; what comes back is fresh and has no other owner.
    let file = unsafe {
        File::from_raw_fd(check(libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode as libc::c_uint))?)
    };
    regular(file)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Opens a regular file for reading. Anything else is an error: a pipe without a writer would be waited for.
pub fn open_file(path: &Path) -> io::Result<File> {
    regular(File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?)
}

fn open_at(dir: i32, name: &OsStr) -> io::Result<OwnedFd> {
    let name = CString::new(name.as_bytes())?;
    let flags = os::OPEN_TO_PASS | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name lives through the call; what comes back is fresh and has no other owner.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::openat(dir, name.as_ptr(), flags))?)) }
}
