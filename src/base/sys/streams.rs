//! The standard streams as this process was given them.
#![allow(unsafe_code)]

use super::{Watch, poll, stdout_fd};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Standard output as it is: what is written is written, and no descriptor is needed for it.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: write reads at most so many bytes of the slice.
        let written = unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stdout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        stdout_fd()
    }
}

/// A stream that is waited for, whether or not another program has set it to O_NONBLOCK: one that shares a pipe or a terminal
/// with us sets it for us, too.
pub struct Waiting<T>(pub T);

impl<T> Waiting<T> {
    fn until(
        &mut self,
        watch: impl Fn(&T) -> Watch,
        mut act: impl FnMut(&mut T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match act(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [watch(&self.0)], Duration::MAX)?;
                }
                done => return done,
            }
        }
    }
}

impl<T: Read + AsFd> Read for Waiting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until(|stream| Watch::readable(stream.as_fd()), |stream| stream.read(buffer))
    }
}

impl<T: Write + AsFd> Write for Waiting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until(|stream| Watch::writable(stream.as_fd()), |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether standard output was closed when this process was started. What is written to it since then is lost without an
/// error, because std has opened /dev/null in its place.
pub fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

/// Run before std does that. The C library calls what is in this section before `main`.
#[used]
// SAFETY: the section holds functions of this type.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: fcntl with a plain flag; a descriptor that is not open is an error and no harm.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}
