//! A scene: directories of its own, fake programs, and the real binary run in them. What a run printed and how it ended
//! is compared together (`run`).

use super::run::Run;
use clinvk::base::sys::{self, Watch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// After this whatever a test waits for will never come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Directories of a test's own, gone with it.
pub struct Scene {
    root: PathBuf,
}

impl Scene {
    /// An empty home, a work directory, and `bin`, where fakes live.
    pub fn new() -> Scene {
        default_signals();
        // No scene's name begins with another's, of a test that was killed neither: processes are found by it.
        let root = place().join(format!("clinvk-scene-{}", clinvk::base::world::random_id().unwrap()));
        let scene = Scene { root };
        for dir in ["home", "work", "bin", "tmp"] {
            fs::create_dir_all(scene.path(dir)).unwrap();
        }
        // With this name in its arguments it is found even when it has thrown its environment away.
        symlink("/bin/sleep", scene.path("bin/sleep")).unwrap();
        scene
    }

    /// A scene with a declared backend `fake` that takes and prints text, and does this.
    pub fn playing(play: &str) -> Scene {
        Scene::declaring(json!({}), play)
    }

    /// A scene with a declared backend `fake` that has these keys besides its command, and does this.
    pub fn declaring(keys: Value, play: &str) -> Scene {
        let scene = Scene::new();
        let program = scene.fake("fake", play);
        let mut declared = json!({"command": [program]});
        declared.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        scene.config(&json!({"default_backend": "fake", "backends": {"fake": declared}}));
        scene
    }

    /// A path in the scene.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// Writes the configuration.
    pub fn config(&self, config: &Value) -> &Scene {
        fs::create_dir_all(self.path("home/.clinvk")).unwrap();
        self.file("home/.clinvk/config.json", config.to_string());
        self
    }

    /// Changes the configuration.
    pub fn edit_config(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.path("home/.clinvk/config.json")).unwrap();
        let mut config = serde_json::from_str(&text).unwrap();
        change(&mut config);
        self.config(&config);
    }

    /// A fake program that does this. Returns its path.
    pub fn fake(&self, name: &str, play: &str) -> String {
        let link = self.path("bin").join(name);
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/fake"), &link).unwrap();
        self.file(&format!("bin/{name}.play"), play);
        link.to_str().unwrap().to_owned()
    }

    /// A FIFO beside the fakes, for `tell` and `await`.
    pub fn fifo(&self, name: &str) -> Fifo {
        let path = self.path("bin").join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Open on both sides, so that nobody waits for an open.
        Fifo { file: fs::OpenOptions::new().read(true).write(true).open(&path).unwrap(), path }
    }

    /// The real binary with these arguments.
    pub fn clinvk<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Run {
        self.program(env!("CARGO_BIN_EXE_clinvk")).args(args)
    }

    /// Another program, in the same surroundings.
    pub fn program(&self, program: &str) -> Run {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.text("bin")));
        command.env("TMPDIR", self.path("tmp")).env("SHELL", "/bin/sh").current_dir(self.path("work"));
        Run::new(command, &self.root)
    }

    /// Every process that has this scene in its environment or its arguments: pid and command line.
    pub fn processes(&self) -> BTreeMap<i32, String> {
        let root = self.root.to_str().unwrap();
        let mut found = BTreeMap::new();
        for pid in fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        {
            let part = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let line = part("cmdline");
            if [&part("environ"), &line].iter().any(|text| String::from_utf8_lossy(text).contains(root)) {
                found.insert(pid, String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        found
    }

    /// No process of this scene is there any more.
    #[track_caller]
    pub fn is_deserted(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// Where scenes are: in memory where there is enough of it, because every session is written to the disk three times a turn.
pub fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if fs2::available_space(memory).is_ok_and(|free| free > 2 << 30) {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in self.processes().keys() {
            let _ = sys::kill(*pid, sys::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Whoever runs the tests in the background of a script ignores some signals, and all children would: undone.
#[allow(unsafe_code)]
fn default_signals() {
    for signal in [sys::SIGHUP, sys::SIGINT, sys::SIGQUIT, sys::SIGTERM, sys::SIGTSTP] {
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Whether a process is stopped: itself, or (`D`) behind a child that was stopped between vfork and exec.
pub fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 'D']))
}

/// Waits until something is so that nobody can tell us: what the kernel does in its own time.
#[track_caller]
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One direction between a test and its fake.
pub struct Fifo {
    file: fs::File,
    path: PathBuf,
}

impl Fifo {
    /// The fake's `await` returns.
    pub fn tell(&mut self) {
        self.file.write_all(b"\n").unwrap();
    }

    /// Waits for the fake's `tell`, and returns its word.
    #[track_caller]
    pub fn told(&mut self) -> String {
        let mut word = Vec::new();
        while !word.ends_with(b"\n") {
            let mut watch = [Watch::readable(self.file.as_fd())];
            sys::poll(&mut watch, PATIENCE).unwrap();
            assert!(watch[0].woke(), "nobody told {}", self.path.display());
            let mut byte = [0];
            self.file.read_exact(&mut byte).unwrap();
            word.push(byte[0]);
        }
        String::from_utf8(word).unwrap().trim_end().to_owned()
    }
}
