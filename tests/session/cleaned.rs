//! What `sessions clean` takes, and what it never does.

use super::waiting;
use crate::util::store::Home;
use serde_json::json;
use std::fs;

/// Sessions that were used so many hours ago.
fn aged(home: &Home, hours: &[u64]) {
    for age in hours {
        let id = home.begin(&format!("{age}h"));
        let now = clinvk::base::world::now();
        home.edit(&id, json!({"last_used_at": clinvk::base::time::timestamp((now.0 - age * 3600, now.1))}));
    }
}

#[test]
fn clean_takes_what_is_as_old_as_said() {
    let table: [(&[&str], &[&str]); 10] = [
        (&["--older-than", "12h"], &["1h"]),
        (&["--older-than", "2d"], &["1h", "13h"]),
        (&["--older-than", "2w"], &["1h", "13h", "200h"]),
        (&["--older-than", "90m"], &["1h"]),
        // session.retention_days is 30.
        (&[], &["1h", "13h", "200h", "400h"]),
        (&["--status", "completed"], &["1h", "13h", "200h", "400h"]),
        (&["--all", "--status", "completed"], &[]),
        (&["--status", "error"], &["1h", "13h", "200h", "400h", "1000h"]),
        (&["--older-than", "12h", "--search", "400h"], &["1h", "13h", "200h", "1000h"]),
        (&["--all"], &[]),
    ];
    for (args, left) in table {
        let home = Home::new();
        aged(&home, &[1, 13, 200, 400, 1000]);
        let before = home.files();
        let would = home.does([&["sessions", "clean", "--dry-run"], args].concat());
        let gone = 5 - left.len();
        assert!(would.ends_with(&format!("would delete {gone} sessions\n")), "{args:?}: {would}");
        // But for the index, which the listing has made.
        assert!(
            home.files()
                .iter()
                .all(|(name, content)| name == "index.jsonl" || before.get(name) == Some(content))
        );
        assert_eq!(
            home.does([&["sessions", "clean"], args].concat()),
            format!("deleted {gone} sessions\n"),
            "{args:?}"
        );
        assert_eq!(home.list(&[]), left, "{args:?}");
    }
}

#[test]
fn clean_here_leaves_other_directories_alone() {
    let home = Home::new();
    home.begin("here");
    home.clinvk(["there"]).dir(home.scene.path("tmp")).prints("there\n");
    home.clinvk(["sessions", "clean", "--all", "--here"]).prints("deleted 1 sessions\n");
    assert_eq!(home.list(&[]), ["there"]);
}

#[test]
fn a_retention_of_0_is_for_ever() {
    let home = Home::with(json!({"session": {"retention_days": 0}}));
    aged(&home, &[100_000]);
    home.clinvk(["sessions", "clean"])
        .prints("nothing is cleaned: session.retention_days is 0, which is for ever\n");
    assert_eq!(home.list(&[]), ["100000h"]);
}

#[test]
fn clean_leaves_a_session_alone_that_is_running() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let seen = home.clinvk(["sessions", "clean", "--all"]).seen();
    assert!(seen.out == "deleted 0 sessions\n" && seen.err.contains("is busy") && seen.status == 0, "{seen}");
    go.tell();
    first.ends("one\n", "", 0);
    assert_eq!(home.list(&[]), ["one"]);
}

#[test]
fn what_does_not_parse_is_never_cleaned_away() {
    let home = Home::new();
    let (broken, whole) = (home.begin("one"), home.begin("two"));
    let file = home.scene.path(&format!("home/.clinvk/sessions/{broken}.json"));
    fs::write(&file, "{broken").unwrap();
    let seen = home.clinvk(["sessions", "clean", "--all"]).seen();
    assert!(seen.out.contains("deleted 1 sessions") && seen.err.contains("is broken"), "{seen}");
    let turns = home.scene.path(&format!("home/.clinvk/sessions/{broken}.turns.jsonl"));
    let gone = home.scene.path(&format!("home/.clinvk/sessions/{whole}.json"));
    assert_eq!((file.exists(), turns.exists(), gone.exists()), (true, true, false));
}
