//! Starts programs. Until a child executes its program it runs in our memory, as after vfork: a fork copies the page
//! tables of a whole server, and turns the next write of each of its threads into a page fault.
#![allow(unsafe_code)]

use super::{OPEN_FILES_BEFORE, check, pipe, set_nonblocking, tag};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::Ordering;

/// What the child's part of a start needs of a stack; a script without `#!` has its arguments copied there besides.
const STACK: usize = 64 << 10;

/// A program as it is to be started: leader of a session and a group of its own, and without our terminal. In a group alone,
/// in the background of that terminal, a program that asks for a password there would be stopped for ever.
pub struct Program<'a> {
    /// A path, that is with a slash.
    pub(crate) path: &'a Path,
    pub(crate) args: &'a [String],
    pub(crate) env: BTreeMap<OsString, OsString>,
    /// Where it starts; ours, where there is none.
    pub(crate) dir: Option<OwnedFd>,
    pub(crate) tag: Option<u64>,
    /// What it reads; a pipe, where there is none.
    pub(crate) stdin: Option<OwnedFd>,
}

/// A program that was started. Its number is its own until it is reaped; our ends of its pipes never block.
pub struct Child {
    pub(crate) pid: i32,
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
}

impl Program<'_> {
    pub(crate) fn start(self) -> io::Result<Child> {
        let args = self.args.iter().map(|arg| CString::new(arg.as_str()));
        let args: Vec<CString> = args.collect::<Result<_, _>>()?;
        let path = CString::new(self.path.as_os_str().as_bytes())?;
        let variable = |(name, value): (&OsString, &OsString)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let env: Vec<CString> = self.env.iter().map(variable).collect::<Result<_, _>>()?;
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
        };
        let (stdin, our_stdin) = match self.stdin {
            Some(given) => (given, None),
            None => pipe().map(|(read, write)| (read, Some(write)))?,
        };
        let ((our_stdout, stdout), (our_stderr, stderr)) = (pipe()?, pipe()?);
        for end in [Some(&our_stdout), Some(&our_stderr), our_stdin.as_ref()].into_iter().flatten() {
            set_nonblocking(end.as_fd())?;
        }
        let argv = [vec![path.as_ptr()], pointers(&args)].concat();
        let pid = Start {
            path: path.as_ptr(),
            envp: pointers(&env),
            streams: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
            dir: self.dir.as_ref().map(AsRawFd::as_raw_fd),
            tag: self.tag,
            open_files: Some(OPEN_FILES_BEFORE.load(Ordering::Relaxed)).filter(|before| *before > 0),
            // SAFETY: a zeroed set of signals is a valid one.
            mask: unsafe { std::mem::zeroed() },
            error: None,
            argv,
        }
        .pid()?;
        let ours = |end: Option<OwnedFd>| end.map(File::from);
        let (stdout, stderr) = (Some(our_stdout), Some(our_stderr));
        Ok(Child { pid, stdin: ours(our_stdin), stdout: ours(stdout), stderr: ours(stderr) })
    }
}

/// All that the child's part of a start needs: it may allocate nothing, because another thread may have been doing that.
struct Start {
    path: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    streams: [RawFd; 3],
    dir: Option<RawFd>,
    tag: Option<u64>,
    /// How many descriptors it may have open, where we may have more: some walk through all that there may be, and `select`
    /// cannot name those from 1024 on.
    open_files: Option<u64>,
    /// The signals that are blocked in this thread, and so in the program.
    mask: libc::sigset_t,
    /// Why the program was not executed.
    error: Option<i32>,
}

impl Start {
    /// Returns once the program is executed, or why it is not.
    fn pid(mut self) -> io::Result<i32> {
        extern "C" fn run(start: *mut libc::c_void) -> libc::c_int {
            // SAFETY: it is the `Start` below, whose thread waits until the program is executed or this has returned.
            let start = unsafe { &mut *start.cast::<Start>() };
            let Err(error) = start.execute();
            start.error = error.raw_os_error();
            127
        }
        // Of 16 bytes each, as a stack has to be aligned.
        let size = STACK / 16 + self.argv.len();
        let mut stack: Vec<u128> = Vec::with_capacity(size);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: all pointers are to memory that lives through the calls. The child has a stack of its own, the rest of
        // our memory it has in common with us: `execute` says what it may do. No handler of ours runs in it, because
        // it begins with all signals blocked.
        let pid = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut self.mask);
            let top = stack.as_mut_ptr().add(size).cast();
            let pid = check(libc::clone(run, top, flags, ptr::from_mut(&mut self).cast()));
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut());
            pid?
        };
        match self.error {
            None => Ok(pid),
            Some(error) => {
                super::await_end(pid);
                super::reap(pid);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    /// Becomes the program. Runs in the child, beside our other threads and in their memory: system calls alone.
    fn execute(&self) -> io::Result<Infallible> {
        // SAFETY: every function is async-signal-safe; what is pointed to was made before and lives on.
        unsafe {
            for (ours, theirs) in self.streams.into_iter().zip(0..) {
                // Ours is none of the first three, which std keeps open: so its copy stays open in the program.
                check(libc::dup2(ours, theirs))?;
            }
            if let Some(dir) = self.dir {
                check(libc::fchdir(dir))?;
            }
            check(libc::setsid())?;
            if let Some(tag) = self.tag {
                // Where the system does not take it, it has none.
                let _ = set_limit(libc::RLIMIT_RTTIME as i32, tag::limit_of(tag));
            }
            if let Some(before) = self.open_files {
                set_limit(libc::RLIMIT_NOFILE as i32, before)?;
            }
            for signal in 1..=libc::SIGRTMAX() {
                let mut action: libc::sigaction = std::mem::zeroed();
                let known = libc::sigaction(signal, ptr::null(), &mut action) == 0;
                // What is ignored stays so (`nohup`), but for SIGPIPE, which std ignores for us.
                let stays = action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE;
                if known && action.sa_sigaction != libc::SIG_DFL && !stays {
                    libc::signal(signal, libc::SIG_DFL);
                }
            }
            check(libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut()))?;
            libc::execvpe(self.path, self.argv.as_ptr(), self.envp.as_ptr());
        }
        Err(io::Error::last_os_error())
    }
}

/// Sets the limit that counts, in the process that calls it.
fn set_limit(which: i32, value: libc::rlim_t) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit fills the struct, setrlimit only reads it.
    unsafe {
        check(libc::getrlimit(which as _, &mut limit))?;
        limit.rlim_cur = value;
        check(libc::setrlimit(which as _, &limit)).map(drop)
    }
}
