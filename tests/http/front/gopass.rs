//! The key source `server.api_keys_gopass_path` with the real gopass and gpg, as Debian has them, and a store of the
//! test's own. Run by `make check-real`.

use crate::exec::output;
use crate::util::scene::Scene;
use clinvk::config::Server;
use clinvk::http::front::keys::Keys;
use serde_json::json;
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOURCE: &str = "server.api_keys_gopass_path `work/clinvk`";
const PASSPHRASE: &str = "a passphrase of the test";
/// How often a server asks gopass again.
const ROUND: Duration = Duration::from_secs(300);

/// A home with a password store in it, and with a key that has a passphrase.
struct Store {
    scene: Scene,
}

impl Store {
    fn new() -> Store {
        let store = Store { scene: Scene::new() };
        fs::create_dir_all(store.scene.path("home/.gnupg")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(store.scene.path("home/.gnupg"), mode).unwrap();
        let user = "clinvk <clinvk@example.invalid>";
        store.gpg(&["--passphrase", PASSPHRASE, "--quick-generate-key", user, "default", "default", "never"]);
        store.does("gopass", &["init", "clinvk@example.invalid"]);
        // Only where it is installed is it asked, and then from the server's own environment.
        store
            .scene
            .fake("gopass", &format!("HOME='{}' exec /usr/bin/gopass \"$@\"", store.scene.text("home")));
        store
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.scene.path("home")).env("PATH", "/usr/bin:/bin");
        command.envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "test")));
        command.envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "t@example.invalid")));
        command.args(args).output().unwrap()
    }

    fn does(&self, program: &str, args: &[&str]) {
        let ran = self.run(program, args);
        assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn gpg(&self, args: &[&str]) {
        self.does("gpg", &[&["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"], args].concat());
    }

    fn secret_file(&self) -> String {
        fs::create_dir_all(self.scene.path("home/.password-store/work")).unwrap();
        self.scene.text("home/.password-store/work/clinvk.gpg")
    }

    fn keep(&self, secret: &str) {
        let (plain, kept) = (self.scene.file("secret", secret), self.secret_file());
        self.gpg(&["--recipient", "clinvk@example.invalid", "--output", &kept, "--encrypt", &plain]);
    }

    /// The user enters the passphrase, which the agent then knows.
    fn unlock(&self) {
        let (kept, nowhere) = (self.secret_file(), self.scene.text("nowhere"));
        self.gpg(&["--passphrase", PASSPHRASE, "--output", &nowhere, "--decrypt", &kept]);
    }

    /// The agent ends, and what it knew with it.
    fn lock(&self) {
        self.does("gpgconf", &["--kill", "gpg-agent"]);
    }

    fn load(&self) -> Result<Keys, String> {
        let server = Server { api_keys_gopass_path: "work/clinvk".to_owned(), ..Server::default() };
        let loaded = Keys::load(&server, &Arc::new(output::world(&self.scene)));
        loaded.map(|(keys, _)| keys).map_err(|error| error.to_string())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.run("gpgconf", &["--kill", "gpg-agent"]);
    }
}

fn found<const N: usize>(keys: &Keys, secrets: [&str; N]) -> [Option<String>; N] {
    secrets.map(|secret| keys.find(secret.as_bytes()).map(|key| key.name.clone()))
}

/// Whether gopass failed, in its own words or by time.
fn is_refused(said: &str) -> bool {
    said.starts_with(&format!("{SOURCE}: gopass ")) && said.len() > SOURCE.len() + 20
}

#[test]
#[ignore = "needs gopass and gpg, from Debian's packages `gopass` and `gnupg`"]
fn gopass_itself_is_asked_for_the_keys() {
    let store = Store::new();
    let refuses = |state: &str| {
        // It keeps refusing.
        for _ in 0..2 {
            let said = store.load().err().unwrap_or_else(|| panic!("{state}: a server without keys"));
            assert!(is_refused(&said), "{state}: {said}");
        }
    };
    refuses("nothing is kept");
    store.keep("ci=first-key\n# a comment\nsecond-key\n");
    store.unlock();
    let keys = store.load().unwrap();
    let (ci, key1) = (Some("ci".to_owned()), Some("key1".to_owned()));
    let known = [ci.clone(), key1];
    assert_eq!(found(&keys, ["first-key", "second-key"]), known);

    let mut now = Instant::now();
    keys.reload(now);
    let mut reload = || {
        now += ROUND;
        keys.reload(now)
    };
    let mut breaks = |state: &str, keys: &Keys| {
        let said = reload();
        assert!(said.len() == 1 && is_refused(&said[0]), "{state}: {said:?}");
        assert!(said[0].ends_with(": the last good API keys hold"), "{state}: {said:?}");
        assert_eq!(found(keys, ["first-key", "second-key"]), known, "{state}");
    };
    store.lock();
    breaks("locked", &keys);
    refuses("locked");
    store.unlock();
    fs::remove_file(store.secret_file()).unwrap();
    breaks("removed", &keys);
    refuses("removed");
    store.keep("ci=third-key\n");
    assert_eq!(reload(), [format!("{SOURCE}: 1 API keys were read")]);
    assert_eq!(found(&keys, ["first-key", "second-key", "third-key"]), [None, None, ci]);
    // Faults.md G3.
    store.keep("ci=\n");
    assert!(reload()[0].contains("there is no key behind `=`"));
    store.keep("\n");
    assert!(reload()[0].contains("there is no API key in it"));
    assert_eq!(found(&keys, ["third-key", "ci="]), [Some("ci".to_owned()), None]);
}

#[test]
#[ignore = "needs gopass and gpg, from Debian's packages `gopass` and `gnupg`"]
fn gopass_lets_a_server_start_only_with_keys() {
    let store = Store::new();
    store
        .scene
        .config(&json!({"default_backend": "echo", "server": {"api_keys_gopass_path": "work/clinvk"}}));
    store.keep("ci=first-key\n");
    store.lock();
    for _ in 0..2 {
        let seen = store.scene.clinvk(["serve", "--port", "0"]).seen();
        assert!(seen.status == 3 && seen.out.is_empty() && seen.err.contains(SOURCE), "locked: {seen}");
    }
    store.unlock();
    let server = store.scene.serve([]);
    let status = |key: &str| server.ask("GET", "/api/v1/backends").header("X-Api-Key", key).answer().status;
    assert_eq!((status("first-key"), status("ci=first-key"), status("")), (200, 401, 401));
    server.stop();
}
