//! One run of a program in a scene: what it is given, what it prints, how it ends. Nothing hangs: after `PATIENCE` it is
//! killed, and the test fails with what it saw.

use super::scene::PATIENCE;
use clinvk::base::sys;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

/// What standard input is.
enum Stdin {
    Bytes(Vec<u8>),
    Silent,
    Other(Stdio),
}

/// A run that is being prepared.
pub struct Run {
    command: Command,
    stdin: Stdin,
    root: String,
}

impl Run {
    /// Nothing on standard input. `root` becomes `ROOT` in what it prints.
    pub fn new(command: Command, root: &Path) -> Run {
        Run { command, stdin: Stdin::Other(Stdio::null()), root: root.to_str().unwrap().to_owned() }
    }

    /// More arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Run {
        self.command.args(args);
        self
    }

    /// A variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Run {
        self.command.env_remove(name);
        self
    }

    /// In another directory.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Run {
        self.command.current_dir(dir);
        self
    }

    /// These bytes on standard input, and its end.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Run {
        self.stdin = Stdin::Bytes(bytes.as_ref().to_vec());
        self
    }

    /// A pipe on which nothing ever comes.
    pub fn silent_stdin(mut self) -> Run {
        self.stdin = Stdin::Silent;
        self
    }

    /// Something else as standard input.
    pub fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Run {
        self.stdin = Stdin::Other(stdin.into());
        self
    }

    /// As a user who may not read everything. Whoever is no superuser is one already.
    pub fn by_nobody(mut self) -> Run {
        if is_superuser() {
            self.command.uid(65_534).gid(65_534);
        }
        self
    }

    /// On a file system whose locks exclude nobody: flock(2) says yes and does nothing, here and in all that it starts.
    #[allow(unsafe_code)]
    pub fn without_exclusion(mut self) -> Run {
        let step = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let answer = libc::BPF_RET | libc::BPF_K;
        let mut filter = [
            // The number of the call is the first thing that is there of it.
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_flock as u32),
            step(answer, 0, libc::SECCOMP_RET_ERRNO),
            step(answer, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filtered = move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            // SAFETY: prctl reads the program, which lives until then.
            let said = unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                    | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
            };
            if said == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec it makes two system calls and nothing else.
        unsafe { self.command.pre_exec(filtered) };
        self
    }

    /// Starts it and listens to all that it prints.
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped());
        self.spawn()
    }

    /// Starts it with this as standard output.
    pub fn start_into(mut self, stdout: impl Into<Stdio>) -> Running {
        self.command.stdout(stdout);
        self.spawn()
    }

    fn spawn(self) -> Running {
        let Run { mut command, stdin, root } = self;
        let (stdio, bytes) = match stdin {
            Stdin::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Stdin::Silent => (Stdio::piped(), None),
            Stdin::Other(stdio) => (stdio, None),
        };
        let mut child = command.stdin(stdio).stderr(Stdio::piped()).spawn().unwrap();
        // It keeps descriptors that were handed to the child.
        drop(command);
        let pid = child.id() as i32;
        let (tell, heard) = mpsc::channel();
        let mut stdin = child.stdin.take();
        if let Some((mut pipe, bytes)) = bytes.and_then(|bytes| Some((stdin.take()?, bytes))) {
            // Who does not read all of it may be right.
            thread::spawn(move || _ = pipe.write_all(&bytes));
        }
        let mut open = 1;
        listen(child.stderr.take().unwrap(), tell.clone(), Heard::Err);
        if let Some(stdout) = child.stdout.take() {
            listen(stdout, tell.clone(), Heard::Out);
            open += 1;
        }
        thread::spawn(move || _ = tell.send(Heard::Exit(child.wait().unwrap())));
        Running { pid, heard, open, stdin, out: Vec::new(), err: Vec::new(), status: None, root }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn seen(self) -> Seen {
        self.start().end()
    }

    /// It prints this, nothing on standard error, and its status is 0.
    #[track_caller]
    pub fn prints(self, out: &str) {
        self.is(out, "", 0);
    }

    /// It prints nothing but this error, with this status.
    #[track_caller]
    pub fn fails(self, status: i32, err: &str) {
        self.is("", err, status);
    }

    /// It prints this and ends so.
    #[track_caller]
    pub fn is(self, out: &str, err: &str, status: i32) {
        self.start().ends(out, err, status);
    }
}

enum Heard {
    Out(Vec<u8>),
    Err(Vec<u8>),
    Closed,
    Exit(ExitStatus),
}

fn listen(mut from: impl Read + Send + 'static, tell: Sender<Heard>, wrap: fn(Vec<u8>) -> Heard) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if tell.send(wrap(buffer[..read].to_vec())).is_err() {
                return;
            }
        }
        let _ = tell.send(Heard::Closed);
    });
}

/// A run that is under way.
pub struct Running {
    /// Its number.
    pub pid: i32,
    heard: Receiver<Heard>,
    open: usize,
    stdin: Option<std::process::ChildStdin>,
    out: Vec<u8>,
    err: Vec<u8>,
    status: Option<i32>,
    root: String,
}

impl Running {
    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        sys::kill(self.pid, signal).unwrap();
    }

    /// Waits until it has printed this on standard output.
    #[track_caller]
    pub fn says(&mut self, text: &str) {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        self.hear(|running| holds(&running.out));
    }

    /// Writes to its standard input, which was silent so far.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("it is open").write_all(bytes).unwrap();
    }

    /// Ends its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits for so many lines on standard output, and returns the last of them.
    #[track_caller]
    pub fn line(&mut self, number: usize) -> String {
        let count = |out: &[u8]| out.iter().filter(|byte| **byte == b'\n').count();
        self.hear(|running| count(&running.out) >= number);
        self.said().lines().nth(number - 1).unwrap().to_owned()
    }

    /// What it has printed so far on standard output.
    pub fn said(&self) -> String {
        self.so_far().out
    }

    /// Waits until it has said this on standard error.
    #[track_caller]
    pub fn warns(&mut self, text: &str) {
        self.hear(|running| String::from_utf8_lossy(&running.err).contains(text));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Seen {
        self.hear(|running| running.status.is_some() && running.open == 0);
        self.so_far()
    }

    /// It prints this in all, and ends so.
    #[track_caller]
    pub fn ends(self, out: &str, err: &str, status: i32) {
        let seen = self.end();
        let expected = Seen { out: out.to_owned(), err: err.to_owned(), status };
        assert!(seen == expected, "expected {expected}\nsaw {seen}");
    }

    #[track_caller]
    fn hear(&mut self, enough: impl Fn(&Running) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(self) {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Heard::Out(bytes)) => self.out.extend(bytes),
                Ok(Heard::Err(bytes)) => self.err.extend(bytes),
                Ok(Heard::Closed) => self.open -= 1,
                Ok(Heard::Exit(status)) => {
                    self.status = status.code().or(status.signal().map(|signal| -signal));
                }
                Err(why) => {
                    let _ = sys::kill(self.pid, sys::SIGKILL);
                    panic!("nothing more came ({why}): saw {}", self.so_far());
                }
            }
        }
    }

    fn so_far(&self) -> Seen {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.root, "ROOT");
        Seen { out: text(&self.out), err: text(&self.err), status: self.status.unwrap_or(i32::MIN) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = sys::kill(self.pid, sys::SIGKILL);
        }
    }
}

/// What was seen of a run: a negative status is a signal's number.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The exit status.
    pub status: i32,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| match text.char_indices().nth(4000) {
            Some((end, _)) => format!("{:?} and more, {} bytes in all", &text[..end], text.len()),
            None => format!("{text:?}"),
        };
        write!(f, "status {}\n  out {}\n  err {}", self.status, short(&self.out), short(&self.err))
    }
}

/// A file as standard input or output.
pub fn file(path: impl AsRef<Path>) -> File {
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Whether the tests are run by root, whom no permission stops.
pub fn is_superuser() -> bool {
    sys::effective_user() == 0
}

/// Runs the test of that name in a process of its own, after this line of shell.
pub fn alone(name: &str, first: &str, body: impl FnOnce()) {
    if std::env::var_os("CLINVK_TEST_ALONE").is_some() {
        return body();
    }
    let out = Command::new("/bin/sh")
        .args(["-c", &format!("{first}\nexec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("CLINVK_TEST_ALONE", "1")
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}
