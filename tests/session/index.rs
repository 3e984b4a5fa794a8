//! The index is a cache: whatever becomes of it or of the files behind its back, a listing has every session (faults.md
//! F13), and no line of it is slow to read (F1).

use crate::util::store::Home;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    let files = format!("{}/.", from.display());
    assert!(Command::new("cp").args(["-a", &files]).arg(to).status().unwrap().success());
}

/// F13: an older index that is whole, put back in every way there is; and files that came from elsewhere. Each row does
/// something to the directory; `backup` has it as it was after the fourth session, of nine.
#[test]
fn an_older_index_hides_nothing() {
    type Does = fn(&Home, &Path);
    let rows: &[(&str, Does)] = &[
        ("its content", |home, backup| {
            fs::write(home.dir().join("index.jsonl"), fs::read(backup.join("index.jsonl")).unwrap()).unwrap();
        }),
        ("its file, time and all", |home, backup| {
            fs::remove_file(home.dir().join("index.jsonl")).unwrap();
            let file = backup.join("index.jsonl");
            assert!(Command::new("cp").arg("-a").arg(file).arg(home.dir()).status().unwrap().success());
        }),
        ("a backup of all over what is there", |home, backup| copy(backup, &home.dir())),
        ("the whole folder, with the newer files back in it", |home, backup| {
            let newer = home.scene.path("tmp/newer");
            fs::rename(home.dir(), &newer).unwrap();
            copy(backup, &home.dir());
            for entry in fs::read_dir(&newer).unwrap().flatten() {
                if !home.dir().join(entry.file_name()).exists() {
                    fs::rename(entry.path(), home.dir().join(entry.file_name())).unwrap();
                }
            }
        }),
    ];
    for (row, does) in rows {
        for first in [&["sessions", "list"][..], &["another"], &["sessions", "clean", "--older-than", "1w"]] {
            let home = Home::new();
            let backup = home.scene.path("tmp/backup");
            fs::create_dir(&backup).unwrap();
            let mut ids: BTreeSet<String> = (0..4).map(|number| home.begin(&format!("s{number}"))).collect();
            copy(&home.dir(), &backup);
            ids.extend((4..9).map(|number| home.begin(&format!("s{number}"))));
            does(&home, &backup);
            // Whoever comes first, a reader or a writer.
            home.does(first);
            let listed = home.json(["sessions", "list", "-n", "100"]);
            let listed = listed["sessions"].as_array().unwrap().iter();
            let listed: BTreeSet<String> =
                listed.map(|session| session["id"].as_str().unwrap().to_owned()).collect();
            assert!(ids.is_subset(&listed), "{row}, {first:?}: {} of {}", listed.len(), ids.len());
            assert_eq!(home.fsck(&[]), [""; 0], "{row}, {first:?}");
        }
    }
}

/// F13: an older index of the same sessions does not bring back their older names and order.
#[test]
fn an_older_index_of_the_same_sessions_is_seen() {
    let home = Home::new();
    let (one, _) = (home.begin("one"), home.begin("two"));
    let older = fs::read(home.dir().join("index.jsonl")).unwrap();
    home.does(["resume", &one, "again"]);
    home.does(["sessions", "tag", &one, "new"]);
    fs::write(home.dir().join("index.jsonl"), older).unwrap();
    assert_eq!(home.list(&[]), ["one", "two"]);
    assert_eq!(home.list(&["--tag", "new"]), ["one"]);
}

/// F13: nothing of that is looked for while nothing has happened: a listing writes nothing.
#[test]
fn a_listing_leaves_the_store_as_it_is() {
    let home = Home::new();
    let ids = [home.begin("one"), home.begin("two")];
    home.does(["resume", &ids[0], "again"]);
    home.does(["sessions", "delete", &ids[1]]);
    let before = home.files();
    assert_eq!(home.list(&[]), ["one"]);
    assert!(before == home.files());
}

/// F1: a line as an earlier version wrote it, whose title has 30 MB, is read in linear time, also when it has been renamed
/// since; and it does not stay: one change makes the index small again.
#[test]
fn a_line_of_30_megabytes_is_read_at_once_and_does_not_stay() {
    let home = Home::new();
    let (long, _) = (home.begin("long"), home.begin("other"));
    // As long as the session file may be that is still read.
    let mut session: Value = serde_json::from_slice(&fs::read(home.path(&long, "json")).unwrap()).unwrap();
    session["title"] = json!("T".repeat(30_000_000));
    fs::write(home.path(&long, "json"), session.to_string()).unwrap();
    let index = home.dir().join("index.jsonl");
    let text = fs::read_to_string(&index).unwrap();
    let mut line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    line["id"] = json!(long);
    line["title"] = session["title"].clone();
    fs::write(&index, format!("{text}{line}\n")).unwrap();
    assert_eq!(home.json(["sessions", "list"])["total"], 2);
    assert!(home.fsck(&[]).len() <= 1);
    home.does(["sessions", "rename", &long, "short"]);
    assert_eq!(home.list(&["-n", "5"]), ["other", "short"]);
    let length = fs::metadata(&index).unwrap().len();
    assert!(length < 10_000, "{length}");
}
