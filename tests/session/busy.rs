//! A run holds its session until its end.

use super::{TOLD, waiting};
use crate::util::store::Home;
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_second_turn_is_refused_and_told_who_runs_the_first() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let id = home.ids()[0].clone();
    let error = format!("session `{id}` is busy: process {} runs it (`--wait` waits for it)", first.pid);
    home.clinvk(["resume", &id, "two"]).fails(4, &format!("clinvk: {error}\n"));
    let seen = home.clinvk(["-c", "-o", "json", "two"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    assert!(said["kind"] == "session_busy" && said["error"] == error && seen.status == 4, "{seen}");
    home.clinvk(["sessions", "delete", &id]).fails(4, &format!("clinvk: {error}\n"));
    assert_eq!(home.session(&id)["status"], "active");
    go.tell();
    first.ends("one\n", "", 0);
    assert_eq!(home.session(&id)["status"], "completed");
}

#[test]
fn listing_and_other_sessions_never_wait() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    home.clinvk(["-b", "echo", "two"]).prints("two\n");
    let found = home.json(["sessions", "list"]);
    let seen: Vec<_> =
        found["sessions"].as_array().unwrap().iter().map(|one| (&one["title"], &one["status"])).collect();
    assert_eq!(seen, [(&json!("two"), &json!("completed")), (&json!("one"), &json!("active"))]);
    assert_eq!(
        (home.list(&["--status", "active"]), home.list(&["--status", "error"])),
        (vec!["one".to_owned()], vec![])
    );
    go.tell();
    first.ends("one\n", "", 0);
}

#[test]
fn wait_waits_until_the_session_is_free_and_then_knows_the_turn_before() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let id = home.ids()[0].clone();
    let second = home.clinvk(["resume", "--wait", &id, "two"]).start();
    home.clinvk(["resume", "--wait=100ms", &id, "three"]).seen();
    go.tell();
    first.ends("one\n", "", 0);
    started.told();
    go.tell();
    // The program has no sessions of its own: it has to be told of the turn that ended while we waited.
    second.ends(TOLD, "", 0);
}

#[test]
fn wait_gives_up_when_its_time_is_over() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let seen = home.clinvk(["resume", "--wait=0", "--last", "two"]).seen();
    assert!(seen.status == 4 && seen.err.contains("is busy"), "{seen}");
    let sentence = "expected seconds or a duration such as 90s, 5m or 1h30m; 0 is not at all";
    home.clinvk(["resume", "--wait=soon", "--last", "two"])
        .fails(1, &format!("clinvk: `--wait soon`: {sentence}\n"));
    let seen = home.clinvk(["resume", "--wait=1s", "--last", "two"]).seen();
    assert!(seen.err.contains(&format!("process {} runs it", first.pid)) && seen.status == 4, "{seen}");
    go.tell();
    first.ends("one\n", "", 0);
}

#[test]
fn who_waits_can_be_interrupted() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let second = home.clinvk(["resume", "--wait", "--last", "two"]).start();
    crate::util::scene::until("the thread that hears signals", || {
        fs::read_dir(format!("/proc/{}/task", second.pid)).is_ok_and(|tasks| tasks.count() == 2)
    });
    second.signal(sys::SIGTERM);
    second.ends("", "clinvk: cancelled\n", 7);
    go.tell();
    first.ends("one\n", "", 0);
}

#[test]
fn a_session_whose_process_was_killed_is_neither_busy_nor_active() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    // So that there is an index, which has to have the other one too.
    let before = home.json(["-b", "echo", "before"])["session_id"].clone();
    let first = home.clinvk(["one"]).start();
    started.told();
    first.signal(sys::SIGKILL);
    assert_eq!(first.end().status, -sys::SIGKILL);
    let id = home.ids().into_iter().find(|id| before != *id.as_str()).unwrap();
    assert_eq!(home.session(&id)["status"], "active");
    assert_eq!(
        (home.list(&["--status", "active"]), home.list(&["--status", "error"])),
        (vec![], vec!["one".to_owned()])
    );
    let kept = home.session(&id);
    let why = "its run was killed, or could not save how it ended";
    assert!(kept["status"] == "error" && kept["last_error"] == why, "{kept}");
    // The first one's program has lost its clinvk, and goes on until it wants to say something.
    go.tell();
    go.tell();
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    let kept = home.session(&id);
    assert!(kept["status"] == "completed" && kept.get("last_error").is_none(), "{kept}");
}

#[test]
fn however_a_run_ends_its_session_says_why() {
    let hanging = || Home::with(json!({"backends": {"echo": {"hang": true}}}));
    let told = |home: &Home| {
        let kept = home.only();
        assert_eq!(home.turns(kept["id"].as_str().unwrap())[0]["error"], kept["last_error"], "{kept}");
        format!("{}: {}", kept["status"].as_str().unwrap(), kept["last_error"].as_str().unwrap())
    };
    for (signal, status) in [(sys::SIGINT, -sys::SIGINT), (sys::SIGTERM, 7), (sys::SIGHUP, 7)] {
        let home = hanging();
        let mut run = home.clinvk(["hi"]).start();
        run.says("hi");
        run.signal(signal);
        run.ends("hi\n", "clinvk: cancelled\n", status);
        assert_eq!(told(&home), "error: cancelled", "{signal}");
    }
    let home = hanging();
    home.clinvk(["--timeout", "300ms", "hi"]).is("hi\n", "clinvk: timed out after 300ms (--timeout)\n", 6);
    assert_eq!(told(&home), "error: timed out after 300ms (--timeout)");
    let home = hanging();
    let (read, write) = sys::pipe().unwrap();
    drop(read);
    home.clinvk(["hi"]).start_into(write).ends("", "", 0);
    assert_eq!(told(&home), "error: the reader of the output is gone");
}

#[test]
fn a_session_that_an_earlier_version_put_aside_counts_as_completed() {
    let home = Home::new();
    let id = home.begin("one");
    for path in [home.path(&id, "json"), home.dir().join("index.jsonl")] {
        let text = fs::read_to_string(&path).unwrap();
        let paused = text.replace(r#""status":"completed""#, r#""status":"paused"   "#);
        assert_ne!(paused, text);
        fs::write(path, paused).unwrap();
    }
    assert_eq!(home.list(&["--status", "completed"]), ["one"]);
    assert_eq!(home.fsck(&[]), [""; 0]);
    home.does(["resume", &id, "two"]);
    assert_eq!(home.session(&id)["status"], "completed");
}
