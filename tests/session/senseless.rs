//! Files that make no sense are named and kept.

use crate::util::store::Home;
use serde_json::json;
use std::fs;

#[test]
fn a_truncated_or_deleted_or_senseless_index_is_made_anew() {
    let home = Home::new();
    let index = home.dir().join("index.jsonl");
    let mut titles: Vec<String> = Vec::new();
    type Breaks<'a> = &'a dyn Fn(&[u8]);
    let break_it: [Breaks<'_>; 8] = [
        &|_| fs::remove_file(&index).unwrap(),
        &|text| fs::write(&index, &text[..text.len() / 2]).unwrap(),
        &|text| fs::write(&index, &text[..text.len() - 1]).unwrap(),
        // Cut between two lines.
        &|text| {
            let end = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
            fs::write(&index, &text[..=end]).unwrap();
        },
        &|text| fs::write(&index, &text[..10]).unwrap(),
        &|_| fs::write(&index, "").unwrap(),
        &|text| fs::write(&index, vec![0; text.len()]).unwrap(),
        &|_| {
            fs::remove_file(&index).unwrap();
            fs::create_dir(&index).unwrap();
            fs::write(index.join("x"), "x").unwrap();
        },
    ];
    for (number, break_it) in break_it.into_iter().enumerate() {
        home.begin(&format!("before {number}"));
        let text = fs::read(&index).unwrap();
        titles.insert(0, format!("before {number}"));
        break_it(&text);
        assert_eq!(home.list(&["-n", "99"]), titles, "listed: {number}");
        let _ = fs::remove_dir_all(&index);
        fs::write(&index, fs::read(&index).unwrap_or(text.clone())).unwrap();
        break_it(&fs::read(&index).unwrap());
        home.begin(&format!("after {number}"));
        titles.insert(0, format!("after {number}"));
        assert_eq!(home.list(&["-n", "99"]), titles, "saved: {number}");
        break_it(&fs::read(&index).unwrap());
        home.clinvk(["-c", "x"]).prints("x\n");
        assert_eq!(home.fsck(&[]), [""; 0], "{number}");
    }
}

#[test]
fn a_session_file_that_makes_no_sense_is_named_and_kept() {
    let home = Home::new();
    let (id, _) = (home.begin("one"), home.begin("two"));
    for content in ["", "{", "[]", "{\"id\": 1}", "\u{0}\u{0}\u{0}"] {
        fs::write(home.path(&id, "json"), content).unwrap();
        let start = format!("clinvk: session file `ROOT/home/.clinvk/sessions/{id}.json` is broken: ");
        let end = " (`clinvk sessions fsck` moves it aside)\n";
        for args in [&["resume", &id, "x"][..], &["resume", &id[..9], "x"], &["sessions", "show", &id]] {
            let seen = home.clinvk(args).seen();
            assert!(
                seen.err.starts_with(&start) && seen.err.ends_with(end) && seen.status == 4,
                "{args:?}: {seen}"
            );
        }
        let seen = home.clinvk(["sessions", "list"]).seen();
        assert!(seen.err.starts_with(&start) && seen.out.contains("two") && seen.status == 0, "{seen}");
        assert_eq!(fs::read_to_string(home.path(&id, "json")).unwrap(), content);
    }
}

#[test]
fn a_newest_session_that_makes_no_sense_is_not_passed_over_in_silence() {
    let home = Home::new();
    home.begin("one");
    let id = home.begin("two");
    fs::write(home.path(&id, "json"), "{").unwrap();
    let seen = home.clinvk(["-c", "x"]).seen();
    assert!(seen.err.contains("is broken") && seen.out.is_empty() && seen.status == 4, "{seen}");
    home.does(["sessions", "fsck"]);
    home.clinvk(["-c", "x"]).prints("x\n");
    assert_eq!(home.list(&[]), ["one"]);
}

#[test]
fn directories_where_files_should_be_are_named_and_moved_aside() {
    let home = Home::new();
    let (id, _) = (home.begin("one"), home.begin("two"));
    for end in ["turns.jsonl", "json"] {
        fs::remove_file(home.path(&id, end)).unwrap();
        fs::create_dir(home.path(&id, end)).unwrap();
        fs::write(home.path(&id, end).join("inside"), "x").unwrap();
        let seen = home.clinvk(["resume", &id, "x"]).seen();
        assert!(seen.err.contains("it is no regular file") && seen.status == 4, "{end}: {seen}");
        let found = home.fsck(&[]);
        assert!(found.iter().any(|found| found.starts_with("corrupt: ")), "{found:?}");
        assert_eq!(fs::read(home.path(&id, &format!("{end}.corrupt/inside"))).unwrap(), b"x");
        assert_eq!(home.fsck(&[]), [""; 0], "{end}");
    }
    assert_eq!(home.list(&[]), ["two"]);
}

#[test]
fn a_file_where_the_store_should_be_is_named() {
    let home = Home::new();
    fs::write(home.dir(), "x").unwrap();
    let seen = home.clinvk(["hi"]).seen();
    assert!(
        seen.out == "hi\n"
            && seen.err.contains("cannot create `ROOT/home/.clinvk/sessions`")
            && seen.status == 4,
        "{seen}"
    );
}

#[test]
fn a_clock_that_went_back_hides_nothing() {
    let home = Home::new();
    let id = home.begin("from the future");
    home.edit(
        &id,
        json!({"created_at": "2999-01-01T00:00:00.000Z", "last_used_at": "2999-01-01T00:00:00.000Z"}),
    );
    assert_eq!(home.list(&[]), ["from the future"]);
    home.begin("now");
    assert_eq!(home.list(&[]), ["now", "from the future"]);
    assert_eq!(home.json(["-c", "x"])["session_id"], home.json(["sessions", "list"])["sessions"][0]["id"]);
    home.clinvk(["sessions", "clean"]).prints("deleted 0 sessions\n");
    home.does(["resume", &id, "x"]);
    assert_eq!((home.list(&["--since", "1h"]).len(), home.fsck(&[])), (2, vec![]));
}
