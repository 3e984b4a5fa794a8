//! A home with sessions: made by the real binary, looked at as files.

use super::run::Run;
use super::scene::Scene;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

/// A scene whose default backend is `echo`, and in which `cat` shows what a backend is really told.
pub struct Home {
    /// Its directories.
    pub scene: Scene,
}

impl Home {
    /// An empty one.
    pub fn new() -> Home {
        Home::with(json!({}))
    }

    /// With these sections in its configuration.
    pub fn with(sections: Value) -> Home {
        let scene = Scene::new();
        let mut config = json!({"default_backend": "echo", "backends": {"cat": {"command": ["cat"]}}});
        config.as_object_mut().unwrap().extend(sections.as_object().unwrap().clone());
        scene.config(&config);
        Home { scene }
    }

    /// The real binary.
    pub fn clinvk<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Run {
        self.scene.clinvk(args)
    }

    /// Runs a command that has to succeed without a word on standard error, and returns what it printed.
    #[track_caller]
    pub fn does<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> String {
        let seen = self.clinvk(args).seen();
        assert!(seen.status == 0 && seen.err.is_empty(), "{seen}");
        seen.out
    }

    /// The same with `-o json` or `--json`, parsed.
    #[track_caller]
    pub fn json<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Value {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let format: &[&str] = if args[0] == "sessions" { &["--json"] } else { &["-o", "json"] };
        let seen = self.clinvk(args).args(format).seen();
        assert!(seen.status == 0, "{seen}");
        serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"))
    }

    /// Begins a session, and returns its id.
    #[track_caller]
    pub fn begin(&self, prompt: &str) -> String {
        self.json([prompt])["session_id"].as_str().unwrap().to_owned()
    }

    /// Where the sessions are.
    pub fn dir(&self) -> PathBuf {
        self.scene.path("home/.clinvk/sessions")
    }

    /// A file of a session.
    pub fn path(&self, id: &str, end: &str) -> PathBuf {
        self.dir().join(format!("{id}.{end}"))
    }

    /// A session as its file has it, with `ROOT` for the scene's directory.
    #[track_caller]
    pub fn session(&self, id: &str) -> Value {
        let text = fs::read_to_string(self.path(id, "json")).unwrap();
        serde_json::from_str(&text.replace(self.scene.text("").trim_end_matches('/'), "ROOT")).unwrap()
    }

    /// What `sessions export` prints, to the letter.
    #[track_caller]
    pub fn export(&self, id: &str) -> String {
        let path = self.scene.path("tmp/export.json");
        self.clinvk(["sessions", "export", id]).start_into(fs::File::create(&path).unwrap()).ends("", "", 0);
        fs::read_to_string(path).unwrap()
    }

    /// The only session as its file has it.
    #[track_caller]
    pub fn only(&self) -> Value {
        let ids = self.ids();
        assert_eq!(ids.len(), 1);
        self.session(&ids[0])
    }

    /// Every id that has a file.
    pub fn ids(&self) -> Vec<String> {
        self.files().keys().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect()
    }

    /// Changes a session behind clinvk's back, and throws the index away.
    pub fn edit(&self, id: &str, changes: Value) {
        let mut session: Value = serde_json::from_slice(&fs::read(self.path(id, "json")).unwrap()).unwrap();
        session.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        fs::write(self.path(id, "json"), session.to_string()).unwrap();
        let _ = fs::remove_file(self.dir().join("index.jsonl"));
    }

    /// The turns of a session, as their file has them.
    pub fn turns(&self, id: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(id, "turns.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The titles of a list, in its order.
    #[track_caller]
    pub fn list(&self, args: &[&str]) -> Vec<String> {
        let found = self.json([&["sessions", "list"], args].concat());
        let sessions = found["sessions"].as_array().unwrap();
        sessions.iter().map(|session| session["title"].as_str().unwrap().to_owned()).collect()
    }

    /// Every file of the store.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let content = |entry: &fs::DirEntry| fs::read(entry.path()).unwrap_or_default();
        entries.map(|entry| (entry.file_name().into_string().unwrap(), content(&entry))).collect()
    }

    /// The findings of `fsck`, as `kind: finding`.
    #[track_caller]
    pub fn fsck(&self, args: &[&str]) -> Vec<String> {
        let found = self.json([&["sessions", "fsck"], args].concat());
        let findings = found["findings"].as_array().unwrap();
        let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
        findings.iter().map(|found| format!("{}: {}", word(found, "kind"), word(found, "finding"))).collect()
    }
}
