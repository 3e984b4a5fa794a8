//! How a session is found by its id or a part of it.

use super::no_session;
use crate::util::store::Home;
use serde_json::json;
use std::fs;

#[test]
fn the_id_that_is_printed_is_the_id_that_resume_takes() {
    let home = Home::new();
    let id = home.begin("hi");
    for word in [
        id.clone(),
        id[..8].to_owned(),
        id.to_uppercase(),
        id[..9].to_uppercase(),
        "echo".into(),
        "ech".into(),
    ] {
        let answer = home.json(["resume", &word, "more"]);
        assert_eq!(answer["session_id"], id, "{word}: {answer}");
    }
    assert_eq!(home.session(&id)["turn_count"], 7);
}

#[test]
fn the_whole_id_of_a_backend_is_meant_even_when_it_begins_another() {
    let home = Home::new();
    let (one, two) = (home.begin("one"), home.begin("two"));
    home.edit(&one, json!({"backend_session_id": "thread-1"}));
    home.edit(&two, json!({"backend_session_id": "thread-12"}));
    let found = home.json(["sessions", "show", "thread-1"]);
    assert_eq!(found["id"], one, "{found}");
    let seen = home.clinvk(["sessions", "show", "thread-"]).seen();
    assert!(seen.err.starts_with("clinvk: `thread-` means 2 sessions: ") && seen.status == 4, "{seen}");
}

#[test]
fn an_id_that_the_backend_gave_up_is_nobodys() {
    let home = Home::new();
    let id = home.begin("one");
    home.does(["resume", &id, "-b", "cat", "two"]);
    home.clinvk(["sessions", "show", "echo"]).fails(4, &no_session("echo"));
}

#[test]
fn ids_that_are_none_are_not_found() {
    let home = Home::new();
    let id = home.begin("hi");
    let long = "a".repeat(10_000);
    let cut = "a".repeat(79) + "…";
    let outside = format!("../sessions/{id}");
    let table = [
        ("", ""),
        ("/", "/"),
        ("..", ".."),
        ("../config", "../config"),
        (&outside, &outside),
        (&format!("{id}/"), &format!("{id}/")),
        (&format!("{id}0"), &format!("{id}0")),
        ("/etc/passwd", "/etc/passwd"),
        ("%", "%"),
        ("\"", "\""),
        (&long, &cut),
    ];
    for (word, told) in table {
        home.clinvk(["resume", word, "x"]).fails(4, &no_session(told));
        home.clinvk(["sessions", "show", word]).fails(4, &no_session(told));
    }
}

#[test]
fn a_prefix_of_several_is_refused() {
    let home = Home::new();
    // Seventeen ids: at least two begin with the same digit.
    let mut ids: Vec<String> = (0..17).map(|_| home.begin("hi")).collect();
    ids.sort();
    let twins = ids.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap();
    let common = twins[0].bytes().zip(twins[1].bytes()).take_while(|(a, b)| a == b).count();
    let seen = home.clinvk(["resume", &twins[0][..common], "x"]).seen();
    let named = twins.iter().all(|id| seen.err.contains(id.as_str()));
    assert!(seen.err.contains("` means ") && named && seen.status == 4, "{seen}");
}

#[test]
fn a_copied_session_file_is_not_taken_for_the_session_that_it_names() {
    let home = Home::new();
    let (id, copy) = (home.begin("hi"), "0".repeat(32));
    fs::copy(home.path(&id, "json"), home.path(&copy, "json")).unwrap();
    let seen = home.clinvk(["sessions", "rename", &copy, "other"]).seen();
    assert!(seen.err.contains(&format!("is broken: it has the id `{id}`")) && seen.status == 4, "{seen}");
    assert_eq!(home.session(&id)["title"], "hi");
}

#[test]
fn delete_wants_eight_characters_and_finds_all_before_the_first_is_gone() {
    let home = Home::new();
    let (one, two) = (home.begin("one"), home.begin("two"));
    let short =
        format!("clinvk: `{}` is too short to delete by: give at least 8 characters of the id\n", &one[..7]);
    home.clinvk(["sessions", "delete", &one[..7]]).fails(1, &short);
    home.clinvk(["sessions", "delete", &two, &one[..7]]).fails(1, &short);
    home.clinvk(["sessions", "delete", &two, "ffffffffffff"]).fails(4, &no_session("ffffffffffff"));
    assert_eq!(home.list(&[]), ["two", "one"]);
    home.clinvk(["sessions", "delete", &one, &one[..8]]).prints(&format!("deleted {one}\n"));
    assert_eq!(home.list(&[]), ["two"]);
    home.clinvk(["sessions", "delete", &two[..8]]).prints(&format!("deleted {two}\n"));
    let left: Vec<String> = home.files().into_keys().collect();
    assert_eq!(left, ["index.jsonl", "store.lock"]);
}
