//! Starts programs.
#![allow(unsafe_code)]

use super::{OPEN_FILES_BEFORE, check, os, pipe, set_nonblocking};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

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
        let argv: Vec<CString> = [path].into_iter().chain(args).collect();
        let pid = Start {
            envp: pointers(&env),
            streams: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
            dir: self.dir.as_ref().map(AsRawFd::as_raw_fd),
            tag: self.tag,
            open_files: OPEN_FILES_BEFORE.get().copied(),
            // SAFETY: a zeroed set of signals is a valid one.
            mask: unsafe { std::mem::zeroed() },
            argv: pointers(&argv),
            script: [vec![SHELL.as_ptr()], pointers(&argv)].concat(),
        }
        .pid()?;
        let ours = |end: Option<OwnedFd>| end.map(File::from);
        let (stdout, stderr) = (Some(our_stdout), Some(our_stderr));
        Ok(Child { pid, stdin: ours(our_stdin), stdout: ours(stdout), stderr: ours(stderr) })
    }
}

/// What executes a script that does not say by what it is executed.
const SHELL: &CStr = c"/bin/sh";

/// All that the child's part of a start needs: it may allocate nothing, because another thread may have been doing that.
struct Start {
    argv: Vec<*const libc::c_char>,
    /// The same for the shell, which executes a script without `#!`.
    script: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    streams: [RawFd; 3],
    dir: Option<RawFd>,
    tag: Option<u64>,
    /// How many descriptors it may have open, where we may have more: some walk through all that there may be, and `select`
    /// cannot name those from 1024 on.
    open_files: Option<libc::rlim_t>,
    /// The signals that are blocked in this thread, and so in the program.
    mask: libc::sigset_t,
}

impl Start {
    /// Returns once the program is executed, or why it is not.
    fn pid(mut self) -> io::Result<i32> {
        let start = |start: &Start| {
            os::start(&|| match start.execute() {
                Err(error) => error,
            })
        };
        // SAFETY: a zeroed set of signals is a valid one, and both sets live through the calls.
        let started = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut self.mask);
            let started = start(&self);
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut());
            started
        };
        match started? {
            (pid, None) => Ok(pid),
            (pid, Some(error)) => {
                super::await_end(pid);
                super::reap(pid);
                Err(error)
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
                os::set_tag(tag);
            }
            if let Some(before) = self.open_files {
                set_limit(libc::RLIMIT_NOFILE as i32, before)?;
            }
            for signal in 1..=os::last_signal() {
                let mut action: libc::sigaction = std::mem::zeroed();
                let known = libc::sigaction(signal, ptr::null(), &mut action) == 0;
                // What is ignored stays so (`nohup`), but for SIGPIPE, which std ignores for us.
                let stays = action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE;
                if known && action.sa_sigaction != libc::SIG_DFL && !stays {
                    libc::signal(signal, libc::SIG_DFL);
                }
            }
            check(libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut()))?;
            libc::execve(self.argv[0], self.argv.as_ptr(), self.envp.as_ptr());
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::ENOEXEC) {
                libc::execve(self.script[0], self.script.as_ptr(), self.envp.as_ptr());
            }
            Err(error)
        }
    }
}

/// Sets the limit that counts, in the process that calls it.
pub(super) fn set_limit(which: i32, value: libc::rlim_t) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit fills the struct, setrlimit only reads it.
    unsafe {
        check(libc::getrlimit(which as _, &mut limit))?;
        limit.rlim_cur = value;
        check(libc::setrlimit(which as _, &limit)).map(drop)
    }
}
