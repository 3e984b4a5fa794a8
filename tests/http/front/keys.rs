//! The server's API keys: where they come from, and what becomes of them.

use crate::exec::output::world;
use crate::util::scene::Scene;
use clinvk::config::{KeyPolicy, Server};
use clinvk::http::front::keys::{Key, Keys, presented};
use clinvk::http::front::rate::Rate;
use clinvk::model::error::Kind;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// A scene with a key file, and a server that reads it.
struct Fixture {
    scene: Scene,
    server: Server,
    variable: Option<&'static str>,
    path: Option<String>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { scene: Scene::new(), server: Server::default(), variable: None, path: None }
    }

    fn with_file(text: &str) -> Fixture {
        let mut fixture = Fixture::new();
        fixture.server.api_keys_file = "keys".to_owned();
        fixture.write(text);
        fixture
    }

    fn with_gopass(play: &str) -> Fixture {
        let mut fixture = Fixture::new();
        fixture.server.api_keys_gopass_path = "work/clinvk".to_owned();
        fixture.scene.fake("gopass", play);
        fixture
    }

    fn with_variable(text: &'static str) -> Fixture {
        Fixture { variable: Some(text), ..Fixture::new() }
    }

    fn write(&self, text: &str) {
        self.scene.file("home/keys.new", text);
        self.mode("keys.new", 0o600);
        fs::rename(self.scene.path("home/keys.new"), self.scene.path("home/keys")).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        let path = self.scene.path("home").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Result<(Keys, Vec<String>), String> {
        let mut world = world(&self.scene);
        if let Some(text) = self.variable {
            world.env.insert("CLINVK_API_KEYS".to_owned(), text.to_owned());
        }
        if let Some(path) = &self.path {
            world.env.insert("PATH".to_owned(), path.clone());
        }
        let root = format!("{}/", self.scene.text("home"));
        let loaded = Keys::load(&self.server, &Arc::new(world));
        loaded.map_err(|error| {
            assert_eq!(error.kind(), Kind::Config);
            error.to_string().replace(&root, "")
        })
    }

    fn keys(&self) -> Keys {
        self.load().unwrap().0
    }

    /// What reloading says, without the directory.
    fn reload(&self, keys: &Keys, now: Instant) -> Vec<String> {
        let root = format!("{}/", self.scene.text("home"));
        keys.reload(now).into_iter().map(|line| line.replace(&root, "")).collect()
    }
}

fn name(keys: &Keys, secret: &str) -> Option<String> {
    keys.find(secret.as_bytes()).map(|key| key.name.clone())
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn without_a_source_there_are_no_keys() {
    let (keys, warnings) = Fixture::new().load().unwrap();
    assert!(keys.is_empty() && keys.find(b"").is_none() && warnings.is_empty());
}

#[test]
fn keys_come_from_all_sources() {
    let mut fixture = Fixture::with_file("# ours\n\nci=from-file-1\r\n  from-file-2  \nci = from-file-3\n");
    fixture.variable = Some(" from-env-1 ,cd=from-env-2,, ");
    fixture.server.api_keys_gopass_path = "work/clinvk".to_owned();
    fixture.scene.fake(
        "gopass",
        r#"[ "$*" = "show --noparsing --unsafe work/clinvk" ] && printf 'RnJvbSBhIHRlc3QsIDE2IA==\nci=from-file-1\n'"#,
    );
    let keys = fixture.keys();
    assert!(!keys.is_empty());
    for (secret, found) in [
        ("from-env-1", some("key1")),
        ("from-env-2", some("cd")),
        ("from-file-1", some("ci")),
        ("from-file-2", some("key2")),
        ("from-file-3", some("ci")),
        ("RnJvbSBhIHRlc3QsIDE2IA==", some("key3")),
        ("from-file-", None),
        ("from-file-11", None),
        ("ci=from-file-1", None),
        ("FROM-FILE-1", None),
        ("", None),
    ] {
        assert_eq!(name(&keys, secret), found, "{secret}");
    }
}

#[test]
fn a_source_that_yields_no_key_keeps_the_server_from_starting() {
    let file = "server.api_keys_file `keys`: ";
    let mode = |mode| {
        let fixture = Fixture::with_file("good-enough\n");
        fixture.mode("keys", mode);
        fixture
    };
    let foreign = Fixture::with_file("good-enough\n");
    // Only root can give a file away; else it is as good as missing.
    let given = chown(foreign.scene.path("home/keys"), Some(65_534), None).is_ok();
    let mut directory = Fixture::new();
    directory.server.api_keys_file = ".".to_owned();
    let missing = Fixture::with_file("");
    fs::remove_file(missing.scene.path("home/keys")).unwrap();
    let gopass = "server.api_keys_gopass_path `work/clinvk`: ";
    let path = |path: &str| {
        let mut fixture = Fixture::with_gopass("echo good-enough");
        fixture.server.api_keys_gopass_path = path.to_owned();
        fixture
    };
    let mut absent = Fixture::new();
    absent.server.api_keys_gopass_path = "work/clinvk".to_owned();
    // The system may have one.
    absent.path = Some(absent.scene.text("bin"));
    let nothing = "there is no API key in it";
    for (fixture, sentence) in [
        (Fixture::with_variable(""), format!("CLINVK_API_KEYS: {nothing}")),
        (Fixture::with_variable(" , ,"), format!("CLINVK_API_KEYS: {nothing}")),
        (
            Fixture::with_variable("good-enough,short"),
            "CLINVK_API_KEYS: key 2: a key has at least 8 characters".to_owned(),
        ),
        (
            Fixture::with_variable("ci=short"),
            "CLINVK_API_KEYS: key 1: a key has at least 8 characters".to_owned(),
        ),
        (Fixture::with_file(""), format!("{file}{nothing}")),
        (Fixture::with_file("\n# good-enough\n \n"), format!("{file}{nothing}")),
        (
            Fixture::with_file("good-enough\n\nnot good enough\n"),
            format!("{file}line 3: a key has printable ASCII characters only, and no space"),
        ),
        (
            Fixture::with_file("Half-Secret=good-enough\n"),
            format!(
                "{file}line 1: what is in front of `=` is no name: small letters, digits and `_`, with a letter \
                 first, and not `key` with a number"
            ),
        ),
        (
            Fixture::with_file("one=good-enough\ntwo=good-enough\n"),
            format!("{file}one and the same key has two names: `one` and `two`"),
        ),
        (
            Fixture::with_file("one=good-enough\ngood-enough\n"),
            format!("{file}one and the same key has two names: `one` and no name"),
        ),
        (mode(0o640), format!("{file}others can use it: `chmod 600 keys`")),
        (mode(0o604), format!("{file}others can use it: `chmod 600 keys`")),
        (mode(0o620), format!("{file}others can use it: `chmod 600 keys`")),
        (missing, format!("{file}cannot be read: No such file or directory (os error 2)")),
        (directory, "server.api_keys_file `.`: is not a file".to_owned()),
        (Fixture::with_gopass("true"), format!("{gopass}{nothing}")),
        (
            Fixture::with_gopass("echo good-enough; echo one >&2; echo 'no secret' >&2; exit 11"),
            format!("{gopass}gopass failed: no secret"),
        ),
        (
            Fixture::with_gopass("echo good-enough; kill -9 $$"),
            format!("{gopass}gopass failed: and says nothing on standard error"),
        ),
        (Fixture::with_gopass(r"printf 'good-enough\377'"), format!("{gopass}what gopass says is not UTF-8")),
        (
            Fixture::with_gopass("echo 'Secret: work/clinvk'"),
            format!("{gopass}line 1: a key has printable ASCII characters only, and no space"),
        ),
        (absent, format!("{gopass}gopass cannot be asked: `gopass` is not on PATH")),
        (
            Fixture::with_gopass("echo 'Error: locked.' >&2; echo >&2; exit 1"),
            format!("{gopass}gopass failed: Error: locked."),
        ),
    ] {
        assert_eq!(fixture.load().map(|_| ()), Err(sentence));
    }
    if given {
        assert_eq!(foreign.load().map(|_| ()), Err(format!("{file}belongs to another user")));
    }
    for wrong in ["-o", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "a\nb", "./a"] {
        let said = path(wrong).load().map(|_| ());
        let rule = "is no path of a secret such as `work/clinvk`";
        assert_eq!(said, Err(format!("server.api_keys_gopass_path `{wrong}`: {rule}")));
    }
    assert!(path("a/b c").load().is_ok());
}

/// faults.md G3: `CLINVK_API_KEYS="production=$UNSET"` was a server whose key is `production=`.
#[test]
fn a_name_without_a_key_and_a_variable_that_nothing_replaced_keep_the_server_from_starting() {
    let unset = "there is no key behind `=`, and a key without a name ends in `=` only as Base64 of 16 bytes or \
                 more";
    let variable = "a key is the name of a variable that nothing has replaced by its value";
    let base64 = "pHk4Vn2yQw7fJz0LrT5cXbGmSd9uEo1KiAaB3CeD8Fg=";
    for (text, problem) in [
        ("production=", Some(unset)),
        ("production= ", Some(unset)),
        ("production==", Some(unset)),
        ("name_of_a_key_of_our_own=", Some(unset)),
        ("PRODUCTION_KEY_OF_CLINVK=", Some(unset)),
        ("Production=", Some(unset)),
        ("========", Some(unset)),
        ("========================", Some(unset)),
        ("good-enough====", Some(unset)),
        ("pHk4Vn2yQw7fJz0LrT5cXbG====", Some(unset)),
        ("good.enough.And.LonGer.==", Some(unset)),
        ("production=${API_KEY}", Some(variable)),
        ("production=$API_KEY_2", Some(variable)),
        ("${API_KEY}", Some(variable)),
        (base64, None),
        ("production=good-enough", None),
        ("production=good-enough==", None),
        ("production==good-enough", None),
        ("production=$ecret-enough", None),
        ("production=$Ab1Cd2Ef3", None),
    ] {
        let in_gopass = Fixture::with_gopass("cat \"$here/secret\"");
        in_gopass.scene.file("bin/secret", format!("{text}\n"));
        for (source, part, fixture) in [
            ("CLINVK_API_KEYS", "key", Fixture::with_variable(text)),
            ("server.api_keys_file `keys`", "line", Fixture::with_file(&format!("{text}\n"))),
            ("server.api_keys_gopass_path `work/clinvk`", "line", in_gopass),
        ] {
            let sentence = problem.map(|problem| format!("{source}: {part} 1: {problem}"));
            assert_eq!(fixture.load().err(), sentence, "{text}");
        }
    }
    assert_eq!(name(&Fixture::with_variable(base64).keys(), base64), some("key1"));
    // One that is good does not make up for it.
    assert!(Fixture::with_variable("ci=good-enough,production=").load().is_err());
    // Neither does it become one while the server runs.
    let fixture = Fixture::with_file("production=good-enough\n");
    let (keys, start) = (fixture.keys(), Instant::now());
    keys.reload(start);
    fixture.write("production=\n");
    let said = format!("server.api_keys_file `keys`: line 1: {unset}: the last good API keys hold");
    assert_eq!(fixture.reload(&keys, start + 5 * SECOND), [said]);
    assert_eq!([name(&keys, "good-enough"), name(&keys, "production=")], [some("production"), None]);
}

#[test]
fn one_good_source_does_not_make_up_for_a_bad_one() {
    let mut fixture = Fixture::with_variable("good-enough");
    assert!(fixture.load().is_ok());
    fixture.server.api_keys_file = "none".to_owned();
    assert!(fixture.load().is_err());
}

#[test]
fn a_request_has_its_key_in_either_header() {
    let keys = Fixture::with_variable("good-enough").keys();
    for (x_api_key, authorization, is_good) in [
        (None, None, false),
        (Some("good-enough"), None, true),
        (Some(" good-enough "), None, true),
        (None, Some("Bearer good-enough"), true),
        (None, Some("bearer   good-enough "), true),
        (None, Some("BEARER good-enough"), true),
        (Some("wrong"), Some("Bearer good-enough"), true),
        (Some("good-enough"), Some("Bearer wrong"), true),
        (Some("good-enough"), Some("Basic wrong"), true),
        (Some("wrong"), Some("Bearer wrong"), false),
        (Some(""), Some("Bearer "), false),
        (None, Some("Basic good-enough"), false),
        (None, Some("good-enough"), false),
        (None, Some("Bearergood-enough"), false),
        (None, Some("Bearer"), false),
        (Some("Bearer good-enough"), None, false),
    ] {
        let mut given = presented(authorization.map(str::as_bytes), x_api_key.map(str::as_bytes));
        let found = given.any(|secret| keys.find(secret).is_some());
        assert_eq!(found, is_good, "{x_api_key:?} {authorization:?}");
    }
}

#[test]
fn a_named_key_has_its_own_rules_and_a_name_that_is_nobodys_is_a_warning() {
    let mut fixture = Fixture::with_file("ci=good-enough\nother-key\n");
    let own = KeyPolicy { admin: true, rate_limit_rps: 3, max_runs: 2, ..KeyPolicy::default() };
    fixture.server.keys.insert("ci".to_owned(), own);
    fixture.server.keys.insert("cd".to_owned(), KeyPolicy::default());
    let (keys, warnings) = fixture.load().unwrap();
    assert_eq!(warnings, ["`server.keys.cd`: there is no API key of that name"]);
    let [ci, other] = ["good-enough", "other-key"].map(|secret| keys.find(secret.as_bytes()).unwrap());
    assert_eq!((ci.admin, ci.rate, ci.max_runs), (true, Some(Rate { rps: 3, burst: 20 }), 2));
    assert_eq!((other.admin, other.rate, other.max_runs), (false, None, 0));
    assert_ne!(ci.policy, other.policy);

    fixture.server.keys.insert(
        "ci".to_owned(),
        KeyPolicy { allowed_workdir_prefixes: vec!["/proc/none".to_owned()], ..KeyPolicy::default() },
    );
    let said = fixture.load().map(|_| ()).unwrap_err();
    assert!(
        said.starts_with("server.keys.ci.allowed_workdir_prefixes: `/proc/none` cannot be used"),
        "{said}"
    );
}

#[test]
fn what_a_key_without_a_name_owns_stays_its_own_when_another_goes() {
    let fixture = Fixture::with_file("first-key\nsecond-key\nci=named-key\n");
    let keys = fixture.keys();
    let find = |secret: &str| -> Arc<Key> { keys.find(secret.as_bytes()).unwrap() };
    let (first, second, named) = (find("first-key"), find("second-key"), find("named-key"));
    assert_ne!(first.owner, second.owner);
    assert_eq!((named.owner.as_str(), second.name.as_str()), ("ci", "key2"));
    fixture.write("second-key\nci=new-secret\n");
    let start = Instant::now();
    keys.reload(start);
    keys.reload(start + 5 * SECOND);
    let (later, renewed) = (find("second-key"), find("new-secret"));
    assert_eq!((later.name.as_str(), &later.owner), ("key1", &second.owner));
    assert_eq!(renewed.owner, "ci");
    assert!(keys.find(b"first-key").is_none() && keys.find(b"named-key").is_none());
}

#[test]
fn a_file_that_changes_is_read_again_but_not_at_once() {
    let fixture = Fixture::with_file("first-key\n");
    let (keys, start) = (fixture.keys(), Instant::now());
    let reload = |secs: u32| fixture.reload(&keys, start + secs * SECOND);
    assert_eq!(reload(0), Vec::<String>::new());
    fixture.write("second-key\nci=third-key\n");
    assert_eq!(reload(4), Vec::<String>::new());
    assert_eq!((name(&keys, "first-key"), name(&keys, "second-key")), (some("key1"), None));
    assert_eq!(reload(5), ["server.api_keys_file `keys`: 2 API keys were read"]);
    let found = ["first-key", "second-key", "third-key"].map(|secret| name(&keys, secret));
    assert_eq!(found, [None, some("key1"), some("ci")]);
    assert_eq!(reload(100), Vec::<String>::new());
}

#[test]
fn a_file_that_breaks_keeps_the_last_good_keys_and_says_so_once() {
    let fixture = Fixture::with_file("first-key\n");
    let (keys, start) = (fixture.keys(), Instant::now());
    let mut secs = 0;
    let mut reload = || {
        secs += 5;
        fixture.reload(&keys, start + secs * SECOND)
    };
    reload();
    let breaks: [(&dyn Fn(), &str); 4] = [
        (&|| fixture.write("# nothing\n"), "there is no API key in it"),
        (&|| fixture.mode("keys", 0o644), "others can use it: `chmod 600 keys`"),
        (
            &|| fixture.write("one=second-key\ntwo=second-key\n"),
            "one and the same key has two names: `one` and `two`",
        ),
        (
            &|| fs::remove_file(fixture.scene.path("home/keys")).unwrap(),
            "cannot be read: No such file or directory (os error 2)",
        ),
    ];
    for (break_it, problem) in breaks {
        break_it();
        let said = format!("server.api_keys_file `keys`: {problem}: the last good API keys hold");
        assert_eq!(reload(), [said]);
        assert_eq!(reload(), Vec::<String>::new());
        assert_eq!((name(&keys, "first-key"), name(&keys, "second-key")), (some("key1"), None), "{problem}");
    }
    fixture.write("first-key\n");
    assert_eq!(reload(), ["server.api_keys_file `keys`: 1 API keys were read"]);
    assert_eq!(reload(), Vec::<String>::new());
}

#[test]
fn gopass_is_asked_again_every_five_minutes() {
    let fixture = Fixture::with_gopass(r#"echo asked >>"$here/asked"; cat "$here/secret""#);
    fixture.scene.file("bin/secret", "first-key\n");
    let (keys, start) = (fixture.keys(), Instant::now());
    let reload = |secs: u32| fixture.reload(&keys, start + secs * SECOND);
    let asked = || fs::read_to_string(fixture.scene.path("bin/asked")).unwrap().lines().count();
    let gopass = "server.api_keys_gopass_path `work/clinvk`";
    reload(0);
    fixture.scene.file("bin/secret", "second-key\n");
    assert_eq!((reload(299), asked()), (vec![], 1));
    assert_eq!((reload(300), asked()), (vec![format!("{gopass}: 1 API keys were read")], 2));
    assert_eq!((name(&keys, "first-key"), name(&keys, "second-key")), (None, some("key1")));
    fs::remove_file(fixture.scene.path("bin/secret")).unwrap();
    let said = reload(600);
    assert!(said.len() == 1 && said[0].starts_with(&format!("{gopass}: gopass failed: ")), "{said:?}");
    assert!(said[0].ends_with(": the last good API keys hold"), "{said:?}");
    assert_eq!((reload(900), asked()), (vec![], 4));
    assert_eq!(name(&keys, "second-key"), some("key1"));
}

#[test]
fn what_did_not_fit_to_another_source_is_tried_again_when_that_has_changed() {
    let mut fixture = Fixture::with_gopass(r#"cat "$here/secret""#);
    fixture.scene.file("bin/secret", "old=shared-key\n");
    fixture.server.api_keys_file = "keys".to_owned();
    fixture.write("first-key\n");
    let (keys, start) = (fixture.keys(), Instant::now());
    let reload = |secs: u32| fixture.reload(&keys, start + secs * SECOND).len();
    reload(0);
    fixture.write("new=shared-key\n");
    assert_eq!((reload(5), name(&keys, "first-key")), (1, some("key1")));
    fixture.scene.file("bin/secret", "other-key\n");
    reload(300);
    assert_eq!((reload(305), name(&keys, "shared-key")), (1, some("new")));
}

#[test]
fn no_secret_is_in_what_is_logged() {
    let keys = Fixture::with_variable("ci=very-secret,also-secret").keys();
    for secret in ["very-secret", "also-secret"] {
        let text = format!("{:?}", keys.find(secret.as_bytes()).unwrap());
        assert!(!text.contains("secret") && text.contains("Policy"), "{text}");
    }
}
