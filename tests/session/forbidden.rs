//! Files that may not be read or written.

use crate::util::run::{Run, is_superuser};
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

pub const NOBODY: u32 = 65_534;

/// Runs as somebody who owns nothing in the home.
pub fn as_nobody(home: &Home, args: &[&str]) -> Run {
    home.clinvk(args).by_nobody()
}

/// To the user as whom `as_nobody` runs: without a superuser that is the one who owns it.
pub fn give_to_nobody(home: &Home) {
    if !is_superuser() {
        return;
    }
    chown(home.dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    home.files().keys().for_each(|name| chown(home.dir().join(name), Some(NOBODY), Some(NOBODY)).unwrap());
}

/// What a home looks like whose owner is another; for whoever is no superuser, one that may not be written.
pub fn protect(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn in_a_home_that_may_not_be_written_the_answer_is_printed() {
    let home = Home::new();
    protect(home.scene.path("home/.clinvk"), 0o555);
    let error = "cannot create `ROOT/home/.clinvk/sessions`: Permission denied (os error 13)";
    as_nobody(&home, &["hi"]).is("hi\n", &format!("clinvk: session: {error}\n"), 4);
    let seen = as_nobody(&home, &["-o", "json", "hi"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let warned = said["warnings"] == json!([format!("the session was not saved: {error}")]);
    assert!(said["content"] == "hi" && said["session_id"].is_null() && warned && seen.status == 4, "{seen}");
    as_nobody(&home, &["--ephemeral", "hi"]).prints("hi\n");
    protect(home.scene.path("home/.clinvk"), 0o755);
}

#[test]
fn a_store_that_may_only_be_read_is_read() {
    let home = Home::new();
    let id = home.begin("one");
    home.files().keys().for_each(|name| protect(home.dir().join(name), 0o444));
    protect(home.dir(), 0o555);
    let seen = as_nobody(&home, &["sessions", "list", "--json"]).seen();
    assert!(seen.out.contains(&id) && seen.err.is_empty() && seen.status == 0, "{seen}");
    as_nobody(&home, &["sessions", "show", "--turns", &id]).seen();
    let locked =
        format!("cannot open `ROOT/home/.clinvk/sessions/{id}.lock`: Permission denied (os error 13)");
    as_nobody(&home, &["resume", &id, "two"]).fails(4, &format!("clinvk: {locked}\n"));
    as_nobody(&home, &["sessions", "delete", &id]).fails(4, &format!("clinvk: {locked}\n"));
    let seen = as_nobody(&home, &["two"]).seen();
    assert!(
        seen.out == "two\n" && seen.err.starts_with("clinvk: session: cannot open `") && seen.status == 4,
        "{seen}"
    );
    protect(home.dir(), 0o700);
}

#[test]
fn a_dead_run_in_a_store_that_may_only_be_read_is_told_all_the_same() {
    let home = Home::new();
    let id = home.begin("one");
    home.edit(&id, json!({"status": "active"}));
    // This makes the index, and looks at no session.
    assert_eq!(home.clinvk(["sessions", "show", "nobody"]).seen().status, 4);
    let store = home.dir();
    home.files().keys().for_each(|name| protect(store.join(name), 0o444));
    protect(&store, 0o555);
    let seen = as_nobody(&home, &["sessions", "list", "--status", "error", "--json"]).seen();
    assert!(seen.out.contains(&id) && seen.err.is_empty() && seen.status == 0, "{seen}");
    assert_eq!(home.session(&id)["status"], "active");
    protect(&store, 0o700);
}

#[test]
fn a_store_that_may_not_be_read_is_no_empty_one() {
    let home = Home::new();
    home.begin("one");
    let config = home.scene.file("work/config.json", "{}");
    for dir in [home.dir(), home.scene.path("home/.clinvk")] {
        protect(&dir, 0o000);
        let seen = as_nobody(&home, &["sessions", "list", "--config", &config]).seen();
        assert!(seen.out.is_empty() && seen.err.contains("Permission denied") && seen.status == 4, "{seen}");
        protect(&dir, 0o755);
    }
}

#[test]
fn a_session_that_may_not_be_read_hides_no_other_one() {
    let home = Home::new();
    let (id, _) = (home.begin("one"), home.begin("two"));
    give_to_nobody(&home);
    protect(home.path(&id, "json"), 0o000);
    let error =
        format!("cannot read `ROOT/home/.clinvk/sessions/{id}.json`: Permission denied (os error 13)");
    let seen = as_nobody(&home, &["sessions", "list", "--json"]).seen();
    assert!(
        seen.out.contains("two") && seen.err == format!("clinvk: {error}\n") && seen.status == 0,
        "{seen}"
    );
    for args in [&["resume", &id, "x"][..], &["sessions", "show", &id], &["sessions", "tag", &id, "x"]] {
        as_nobody(&home, args).fails(4, &format!("clinvk: {error}\n"));
    }
    as_nobody(&home, &["sessions", "fsck"])
        .prints(&format!("unreadable: {error}: left alone\n1 findings, 0 repaired\n"));
    assert!(home.path(&id, "json").exists());
}
