//! A store that can be written only in part: who looks after it is told all, and the server says so (faults.md F10, E6, F14).

use super::forbidden::{as_nobody, give_to_nobody, protect};
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;

/// F10: what cannot be repaired is told with all else, and the status says that something is left.
#[test]
fn fsck_tells_all_that_it_finds_when_it_cannot_repair() {
    let home = Home::new();
    let ids = [home.begin("one"), home.begin("two"), home.begin("three")];
    fs::write(home.path(&ids[0], "json"), "{").unwrap();
    fs::write(home.path(&ids[1], "json"), "{").unwrap();
    fs::write(home.path(&ids[2], "json.tmp"), "").unwrap();
    give_to_nobody(&home);
    protect(home.dir(), 0o500);
    let text = as_nobody(&home, &["sessions", "fsck"]).seen();
    let json = as_nobody(&home, &["sessions", "fsck", "--json"]).seen();
    protect(home.dir(), 0o700);
    for end in ["json", "json.tmp"] {
        assert!(text.out.contains(&format!("{}.{end}", ids[if end == "json" { 0 } else { 2 }])), "{text}");
    }
    assert_eq!(text.out.matches("could not be moved aside: ").count(), 2, "{text}");
    assert_eq!(text.out.matches("could not be removed: ").count(), 1, "{text}");
    assert!(text.out.ends_with("findings, 0 repaired\n") && text.status == 4, "{text}");
    assert!(text.err.starts_with("clinvk: cannot ") && text.err.contains("Permission denied"), "{text}");
    let json: Value = serde_json::from_str(&json.out).unwrap_or_else(|error| panic!("{error}: {json}"));
    let repaired: Vec<&Value> =
        json["findings"].as_array().unwrap().iter().map(|found| &found["repaired"]).collect();
    assert!(repaired.len() >= 3 && repaired.iter().all(|repaired| **repaired == json!(false)), "{json}");
    assert_eq!(json["repaired"], false);
}

/// E6, F14: `repaired` is true when something was, and a dry run says what would be.
#[test]
fn repaired_means_that_something_was_repaired() {
    let home = Home::new();
    let look = |args: &[&str]| home.json([&["sessions", "fsck"], args].concat());
    let clean = json!({"findings": [], "repaired": false});
    assert_eq!(look(&[]), clean);
    let id = home.begin("one");
    assert_eq!((look(&[]), look(&["--dry-run"])), (clean.clone(), clean.clone()));
    fs::write(home.path(&id, "json.tmp"), "").unwrap();
    let found = |end: &str, repaired: bool| {
        let finding = format!("`{id}.json.tmp` was left by a writer that died: {end}");
        json!({
            "findings": [{"kind": "temporary", "finding": finding, "repaired": repaired}],
            "repaired": repaired,
        })
    };
    assert_eq!(look(&["--dry-run"]), found("would be removed", false));
    assert_eq!((look(&[]), look(&[])), (found("removed", true), clean));
}

/// F10: /health is not ok while a turn could not be saved, also where a few bytes still could.
#[cfg(feature = "serve")]
#[test]
fn health_says_when_nothing_more_can_be_saved() {
    let home = Home::new();
    home.begin("one");
    // 32 KiB for each file: as full as a disk with that much left.
    let limited = home.scene.program("sh").args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
    let mut process = limited.args([env!("CARGO_BIN_EXE_clinvk"), "serve", "--port", "0"]).start();
    process.says("Press Ctrl+C to stop\n");
    let said = process.said();
    let address =
        said.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
    let server = crate::util::http::Server { process, address };
    let answer = server.get("/health");
    let health = answer.json();
    assert_eq!((answer.status, &health["status"]), (503, &json!("unhealthy")), "{answer}");
    assert_eq!(health["session_store"]["available"], false, "{answer}");
    assert!(health["session_store"]["error"].as_str().unwrap().contains("cannot write"), "{answer}");
    let left: Vec<String> = home.files().into_keys().filter(|name| name.ends_with(".tmp")).collect();
    assert_eq!(left, [""; 0]);
    server.stop();
}
