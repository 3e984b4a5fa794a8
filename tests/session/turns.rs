//! What is seen of a session while another turn of it is in progress, or was killed: its own file is written when a turn ends.

use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::base::sys;
use serde_json::{Value, json};

/// A home with a session of one turn, which belongs to the program that waits in its next one; and its id.
fn with_a_turn() -> (Home, String) {
    let home = Home { scene: Scene::playing("tell started; await go; cat") };
    let id = home.json(["-b", "echo", "one"])["session_id"].as_str().unwrap().to_owned();
    home.json(["-b", "echo", "other"]);
    (home, id)
}

fn shown(home: &Home, id: &str) -> Value {
    home.json(["sessions", "show", id])
}

#[test]
fn a_session_that_goes_on_is_active_and_what_is_changed_meanwhile_stays() {
    let (home, id) = with_a_turn();
    let before = shown(&home, &id);
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let run = home.clinvk(["-b", "fake", "resume", &id, "two"]).start();
    started.told();
    let during = shown(&home, &id);
    assert!(
        during["status"] == "active" && during["last_used_at"].as_str() > before["last_used_at"].as_str(),
        "{during}"
    );
    assert_eq!(
        (home.list(&[]), home.list(&["--status", "active"])),
        (vec!["one".into(), "other".into()], vec!["one".to_owned()])
    );
    assert_eq!(home.list(&["--status", "completed"]), ["other"]);
    assert_eq!(home.fsck(&["--dry-run"]), [""; 0]);
    home.does(["sessions", "rename", &id, "new"]);
    home.does(["sessions", "tag", &id, "later"]);
    assert_eq!(home.fsck(&[]), [""; 0]);
    go.tell();
    let seen = run.end();
    assert!(seen.out.ends_with("two\n") && seen.status == 0, "{seen}");
    let after = home.session(&id);
    assert_eq!(
        (&after["title"], &after["tags"], &after["turn_count"], &after["status"], &after["backend"]),
        (&json!("new"), &json!(["later"]), &json!(2), &json!("completed"), &json!("fake"))
    );
    assert!(!home.path(&id, "next").exists());
    assert_eq!((home.list(&[]), home.fsck(&[])), (vec!["new".into(), "other".into()], vec![]));
}

#[test]
fn a_turn_that_was_killed_is_an_error_of_its_session_and_takes_nothing_from_it() {
    for looks in [&["sessions", "list"][..], &["sessions", "fsck"]] {
        let (home, id) = with_a_turn();
        let (mut started, _go) = (home.scene.fifo("started"), home.scene.fifo("go"));
        let run = home.clinvk(["-b", "fake", "resume", &id, "two"]).start();
        started.told();
        run.signal(sys::SIGKILL);
        assert_eq!(run.end().status, -sys::SIGKILL);
        home.clinvk(looks).seen();
        let after = home.session(&id);
        let why = "its run was killed, or could not save how it ended";
        assert!(
            after["status"] == "error" && after["last_error"] == why && after["turn_count"] == 1,
            "{looks:?}: {after}"
        );
        assert!(!home.path(&id, "next").exists(), "{looks:?}");
        // The program that has lost its clinvk is there for as long as it waits.
        let found = home.fsck(&[]);
        assert!(found.iter().all(|found| found.starts_with("process: ")), "{looks:?}: {found:?}");
        assert_eq!(
            (home.list(&["--status", "error"]), home.fsck(&[])),
            (vec!["one".into()], vec![]),
            "{looks:?}"
        );
        home.clinvk(["-b", "echo", "resume", &id, "two"]).prints("two\n");
        assert_eq!(home.session(&id)["status"], "completed");
    }
}

/// A power failure may leave a first turn without what its file had: it is told, and moved aside like all that is broken.
#[test]
fn an_empty_file_of_a_first_turn_stops_no_one() {
    let (home, id) = with_a_turn();
    for end in ["json", "next", "lock"] {
        std::fs::write(home.path(&id, end), "").unwrap();
    }
    assert_eq!(home.list(&[]), ["other"]);
    let seen = home.clinvk(["sessions", "show", &id]).seen();
    assert!(seen.err.contains("is broken") && seen.status == 4, "{seen}");
    home.clinvk(["sessions", "fsck"]).seen();
    assert_eq!((home.list(&[]), home.fsck(&[])), (vec!["other".to_owned()], vec![]));
    assert!(!home.path(&id, "next").exists());
}
