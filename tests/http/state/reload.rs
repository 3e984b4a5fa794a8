//! SIGHUP: the configuration and the API keys are read again, and nothing that is under way is lost.

use crate::engine::pool;
use crate::util::http::Server;
use crate::util::scene::{Scene, until};
use clinvk::base::sys::{self, SIGHUP};
use serde_json::{Value, json};
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A declared backend that says this.
fn says(scene: &Scene, name: &str, text: &str) -> Value {
    json!({"command": [scene.fake(name, &format!("cat >/dev/null; printf '{text}'"))]})
}

/// What a prompt to that backend answers.
fn output(server: &Server, backend: &str) -> Value {
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "backend": backend}));
    json!([answer.status, answer.json()["output"]])
}

fn key_file(scene: &Scene, name: &str, text: &str) {
    let path = scene.file(&format!("home/.clinvk/{name}"), text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn backends_come_change_and_go_on_connections_that_are_open() {
    let scene = Scene::playing("cat >/dev/null; printf old");
    let other = scene.fake("other", "cat >/dev/null; printf new");
    let second = says(&scene, "second", "second");
    let mut server = scene.serve([]);
    let mut open = server.ask("GET", "/api/v1/backends/second").send();
    let head = open.head();
    assert_eq!((head.status, output(&server, "fake")), (404, json!([200, "old"])), "{head}");
    open.rest(&head);
    scene.edit_config(|config| {
        config["backends"]["fake"]["command"] = json!([other]);
        config["backends"]["second"] = second;
        config["default_backend"] = json!("second");
    });
    server.process.signal(SIGHUP);
    server.process.warns("config.json was read again");
    server.ask("GET", "/api/v1/backends/second").send_on(&mut open);
    let head = open.head();
    assert_eq!(head.status, 200, "{head}");
    assert_eq!(output(&server, "fake"), json!([200, "new"]));
    assert_eq!(server.post("/api/v1/prompt", &json!({"prompt": "x"})).json()["output"], "second");
    scene.edit_config(|config| {
        config["default_backend"] = json!("echo");
        config["backends"].as_object_mut().unwrap().remove("second");
    });
    server.process.signal(SIGHUP);
    until("it is gone", || output(&server, "second")[0] == 404);
    assert_eq!(server.stop().status, 0);
}

#[test]
fn keys_and_what_they_may_are_those_of_the_new_configuration() {
    let scene = Scene::playing("cat >/dev/null; printf x");
    key_file(&scene, "first", "alice=alice-secret\nbob=bob-secret\n");
    key_file(&scene, "second", "alice=alice-secret\ncarol=carol-secret\n");
    scene.edit_config(|config| config["server"] = json!({"api_keys_file": "first"}));
    let mut server = scene.serve([]);
    let status = |server: &Server, key: &str| {
        let ask = server.ask("POST", "/api/v1/prompt").header("X-Api-Key", &format!("{key}-secret"));
        ask.json(&json!({"prompt": "x", "ephemeral": true})).answer().status
    };
    let statuses = |server: &Server| ["alice", "bob", "carol"].map(|key| status(server, key));
    assert_eq!(statuses(&server), [200, 200, 401]);
    scene.edit_config(|config| {
        let keys = json!({"alice": {"allowed_backends": ["echo"]}, "bob": {"max_runs": 1}});
        config["server"] = json!({"api_keys_file": "second", "keys": keys});
    });
    server.process.signal(SIGHUP);
    server.process.warns("was read again");
    assert_eq!(statuses(&server), [403, 401, 200]);
    server.process.warns("`server.keys.bob`: there is no API key of that name");
}

#[test]
fn what_is_under_way_goes_on_with_what_it_began_with() {
    let scene = Scene::playing("tell up; await go; printf done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let mut server = scene.serve([]);
    let mut asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
    let detached = json!({"prompt": "x", "detach": true});
    let first = |server: &Server| {
        server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "once").json(&detached).answer()
    };
    let run = first(&server).json()["run_id"].as_str().unwrap().to_owned();
    up.told();
    up.told();
    scene.config(
        &json!({"default_backend": "echo", "backends": {"fake": {"enabled": false, "command": ["x"]}}}),
    );
    server.process.signal(SIGHUP);
    server.process.warns("was read again");
    assert_eq!(output(&server, "fake")[0], 404);
    let running = server.get("/api/v1/runs").json();
    assert_eq!(running["runs"].as_array().map(Vec::len), Some(2), "{running}");
    go.tell();
    go.tell();
    let head = asked.head();
    let answer: Value = serde_json::from_str(&asked.rest(&head)).unwrap();
    assert_eq!(json!([head.status, answer["output"], answer["backend"]]), json!([200, "done", "fake"]));
    until("the other one is over, too", || {
        server.get(&format!("/api/v1/runs/{run}")).json()["result"]["output"] == "done"
    });
    assert_eq!(first(&server).json()["run_id"], json!(run), "a request that is sent again is known");
    // An answer is known before its place is free.
    until("all places are free", || server.get("/health").json()["slots"]["used"] == 0);
    assert_eq!(server.stop().status, 0);
    scene.is_deserted();
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_the_log_says_why() {
    let scene = Scene::playing("cat >/dev/null; printf good");
    key_file(&scene, "keys", "alice=alice-secret\n");
    scene.edit_config(|config| config["server"] = json!({"api_keys_file": "keys"}));
    let good = fs::read_to_string(scene.path("home/.clinvk/config.json")).unwrap();
    let with = |change: fn(&mut Value)| {
        let mut config: Value = serde_json::from_str(&good).unwrap();
        config["default_backend"] = json!("echo");
        change(&mut config);
        config.to_string()
    };
    let bad = [
        ("{".to_owned(), "config.json:1:1: not valid JSON"),
        (with(|config| config["server"]["prot"] = json!(1)), "unknown key `server.prot`"),
        (with(|config| config["server"]["api_keys_file"] = json!("missing")), "server.api_keys_file"),
        (with(|config| config["server"]["default_workdir"] = json!("/not-there")), "/not-there"),
        (with(|config| config["server"]["trusted_proxies"] = json!(["nowhere"])), "nowhere"),
        (with(|config| config["server"] = json!({})), "without API keys only this machine may be let in"),
    ];
    let mut server = scene.serve(["--host", "0.0.0.0"]);
    for (text, why) in &bad {
        scene.file("home/.clinvk/config.json", text);
        server.process.signal(SIGHUP);
        server.process.warns(why);
    }
    fs::remove_file(scene.path("home/.clinvk/config.json")).unwrap();
    server.process.signal(SIGHUP);
    server.process.warns("config.json: there is no such file: the configuration stays as it was");
    // A pipe without a writer, as `--config <(...)` is one by now: the thread would wait for it, and not read what comes later.
    let fifo = scene.path("home/.clinvk/config.json");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    server.process.signal(SIGHUP);
    server.process.warns("config.json`: it is no regular file: the configuration stays as it was");
    let ask = || server.ask("POST", "/api/v1/prompt").json(&json!({"prompt": "x"}));
    assert_eq!(ask().answer().status, 401);
    let answer = ask().header("X-Api-Key", "alice-secret").answer();
    assert_eq!(answer.json()["output"], "good", "{answer}");
    let seen = server.stop();
    let said = |words: &str| seen.err.matches(words).count();
    assert_eq!(
        (said("the configuration stays as it was"), said("was read again")),
        (bad.len() + 2, 0),
        "{seen}"
    );
}

#[test]
fn the_bounds_are_those_of_the_new_configuration_for_what_waits_too() {
    let scene = Scene::playing("tell up; await go; printf done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let bounds =
        |runs| json!({"max_runs": runs, "queue_timeout_secs": 3600, "max_request_body_bytes": 50 * runs});
    scene.edit_config(|config| config["server"] = bounds(1));
    let mut server = scene.serve([]);
    let body = json!({"prompt": "x", "ephemeral": true});
    let mut asked = [0, 1].map(|_| server.post_stream("/api/v1/prompt", &body));
    up.told();
    until("the other one waits", || server.get("/health").json()["queue"]["waiting"] == 1);
    let long = json!({"prompt": "x", "title": "t".repeat(50)});
    assert_eq!(server.post("/api/v1/prompt", &long).status, 413);
    scene.edit_config(|config| config["server"] = bounds(2));
    server.process.signal(SIGHUP);
    // It has its turn although no run has ended.
    up.told();
    server.process.warns("was read again");
    assert_eq!(server.get("/health").json()["slots"], json!({"used": 2, "total": 2}));
    assert_eq!(server.post("/api/v1/prompt", &long).status, 400, "it is read now");
    go.tell();
    go.tell();
    asked.iter_mut().for_each(|asked| assert_eq!(asked.head().status, 200));
}

#[test]
fn what_a_client_has_used_up_it_does_not_get_again() {
    let scene = Scene::new();
    let rate = |burst| json!({"rate_limit_enabled": true, "rate_limit_rps": 1, "rate_limit_burst": burst});
    scene.config(&json!({"server": rate(40)}));
    let mut server = scene.serve([]);
    while server.get("/live").status == 200 {}
    scene.config(&json!({"server": rate(41)}));
    server.process.signal(SIGHUP);
    server.process.warns("was read again");
    let left = (0..40).take_while(|_| server.get("/live").status == 200).count();
    assert!(left < 40, "{left}");
}

#[test]
fn where_it_listens_stays_and_the_log_says_so() {
    let scene = Scene::new();
    let mut server = scene.serve([]);
    scene.config(&json!({"default_backend": "echo", "server": {"host": "::1", "port": 1, "socket": "s"}}));
    server.process.signal(SIGHUP);
    server.process.warns("was read again");
    assert_eq!(output(&server, "echo"), json!([200, "x"]));
    let seen = server.stop();
    let said = |key: &str| seen.err.matches(&format!("`{key}` has changed")).count();
    // The flag wins over the port, now as when it was started.
    assert_eq!(["server.host", "server.port", "server.socket"].map(said), [1, 0, 1], "{seen}");
}

#[test]
fn a_hundred_times_under_load_no_request_is_lost_and_nothing_is_left() {
    let scene = pool::scene(json!({"max": 1}), pool::LOOP);
    let server = scene.serve([]);
    let open_files = || fs::read_dir(format!("/proc/{}/fd", server.process.pid)).unwrap().count();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    pool::pid(&server, "x");
    let before = open_files();
    thread::scope(|scope| {
        for backend in ["fake", "echo"].repeat(2) {
            let (over, answered) = (&over, &answered);
            let body = json!({"prompt": "x", "backend": backend, "ephemeral": true});
            let ask = server.ask("POST", "/api/v1/prompt").json(&body);
            scope.spawn(move || {
                let mut open = ask.clone().send();
                loop {
                    let head = open.head();
                    let rest = open.rest(&head);
                    assert_eq!(head.status, 200, "{head}{rest}");
                    answered.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    ask.clone().send_on(&mut open);
                }
            });
        }
        for time in 0..100 {
            let so_far = answered.load(Ordering::SeqCst);
            // As editors and `clinvk config set` do it: in one step.
            let path = scene.path("home/.clinvk/config.json");
            let text = fs::read_to_string(&path).unwrap();
            let mut config: Value = serde_json::from_str(&text).unwrap();
            config["server"] = json!({"max_runs": 4 + time % 3});
            scene.file("home/.clinvk/new", config.to_string());
            fs::rename(scene.path("home/.clinvk/new"), path).unwrap();
            sys::kill(server.process.pid, SIGHUP).unwrap();
            until("requests are answered", || answered.load(Ordering::SeqCst) > so_far);
        }
        over.store(true, Ordering::SeqCst);
    });
    until("the last one was read", || server.get("/health").json()["slots"]["total"] == 4);
    until("no descriptor is left", || open_files() <= before);
    let seen = server.stop();
    assert!(seen.status == 0 && !seen.err.contains("the configuration stays as it was"), "{seen}");
    scene.is_deserted();
}

#[test]
fn programs_that_are_kept_end_with_the_runs_in_them_and_others_take_their_place() {
    let play = "while read -r line; do case $line in *wait*) tell up; await go ;; esac; answer; done";
    let scene = pool::scene(json!({}), play);
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let mut server = scene.serve([]);
    let first = pool::pid(&server, "x");
    let mut asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "wait", "ephemeral": true}));
    up.told();
    server.process.signal(SIGHUP);
    server.process.warns("was read again");
    let second = pool::pid(&server, "x");
    assert_ne!(second, first);
    let told = server.get("/api/v1/pool").json();
    let fake = told["backends"].as_array().unwrap().iter().find(|of| of["name"] == "fake").unwrap();
    assert_eq!((&fake["runs"]["started"], &fake["ended"]), (&json!(2), &json!({"reload": 1})), "{told}");
    go.tell();
    let head = asked.head();
    let answer: Value = serde_json::from_str(&asked.rest(&head)).unwrap();
    assert_eq!(answer["content"], json!(first.to_string()), "{answer}");
    until("it is gone", || !scene.processes().contains_key(&first));
    assert_eq!(pool::pid(&server, "x"), second);
    server.process.signal(SIGHUP);
    assert_eq!(server.stop().status, 0);
    scene.is_deserted();
}

/// A terminal: its own side, and the one of the programs in it.
#[allow(unsafe_code)]
fn terminal() -> (fs::File, fs::File) {
    let flags = libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a fresh descriptor gets its one owner; the name is written within its bounds, with a NUL behind it.
    let (own, name) = unsafe {
        let own = fs::File::from_raw_fd(libc::posix_openpt(libc::O_RDWR | flags));
        let mut name = [0; 64];
        let named = libc::unlockpt(own.as_raw_fd()) + libc::ptsname_r(own.as_raw_fd(), name.as_mut_ptr(), 64);
        assert_eq!(named, 0);
        (own, CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned())
    };
    let theirs = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();
    (own, theirs)
}

#[test]
fn a_server_that_was_started_from_a_terminal_ends_when_that_is_closed() {
    let scene = Scene::playing("cat >/dev/null; printf done");
    let (own, theirs) = terminal();
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let run = scene.program("setsid").args(["-c", clinvk, "serve", "--port", "0"]).stdin_from(theirs);
    let mut server = Server::of(run.start());
    server.process.signal(SIGHUP);
    server.process.warns("was read again");
    assert_eq!(output(&server, "fake"), json!([200, "done"]));
    drop(own);
    let seen = server.process.end();
    assert!(seen.status == 0 && seen.err.contains("SIGHUP: the terminal was closed"), "{seen}");
    scene.is_deserted();
}
