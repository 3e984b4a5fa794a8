//! What `sessions fsck` finds and repairs.

use super::processes::{Bare, begin, blank};
use crate::util::store::Home;
use clinvk::session;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;

/// What was wrong, in one store, at once.
fn broken() -> (Home, Vec<String>) {
    let home = Home::new();
    let ids: Vec<String> = (0..7).map(|number| home.begin(&format!("s{number}"))).collect();
    home.does(["sessions", "delete", &ids[6]]);
    // An orphan and a missing one in the index, and lines in it that make no sense or are older than the file.
    fs::remove_file(home.path(&ids[0], "json")).unwrap();
    let copy = "0".repeat(32);
    let text = fs::read_to_string(home.path(&ids[1], "json")).unwrap().replace(&ids[1], &copy);
    fs::write(home.path(&copy, "json"), text).unwrap();
    let text = fs::read_to_string(home.path(&ids[1], "json")).unwrap().replace("s1", "other");
    fs::write(home.path(&ids[1], "json"), text).unwrap();
    let mut index = fs::OpenOptions::new().append(true).open(home.dir().join("index.jsonl")).unwrap();
    index.write_all(b"senseless\n{\"id\":\"half").unwrap();
    // Half a turn, and a whole one without its line end.
    let append = |id: &str, text: &[u8]| {
        let turns = home.path(id, "turns.jsonl");
        fs::write(&turns, [fs::read(&turns).unwrap(), text.to_vec()].concat()).unwrap();
    };
    append(&ids[2], b"{\"time\":\"\xe6\x97");
    let turns = fs::read(home.path(&ids[3], "turns.jsonl")).unwrap();
    append(&ids[3], turns.trim_ascii_end());
    // Temporary files, a session that nobody runs, one that makes no sense, with an earlier one of its kind.
    fs::write(home.path(&ids[1], "json.tmp"), "half").unwrap();
    fs::write(home.dir().join("index.jsonl.tmp"), "half").unwrap();
    let text = fs::read_to_string(home.path(&ids[4], "json")).unwrap().replace("\"completed\"", "\"active\"");
    fs::write(home.path(&ids[4], "json"), text).unwrap();
    fs::write(home.path(&ids[5], "json"), "broken").unwrap();
    fs::write(home.path(&ids[5], "json.corrupt"), "earlier").unwrap();
    (home, ids)
}

#[test]
fn fsck_finds_and_repairs_everything_once() {
    let (home, ids) = broken();
    let before = home.files();
    let would = home.fsck(&["--dry-run"]);
    assert!(home.files() == before);
    let found = home.fsck(&[]);
    let kinds = |found: &[String]| -> Vec<String> {
        let mut kinds: Vec<String> =
            found.iter().map(|found| found.split(':').next().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    };
    let index = ["corrupt", "index", "index", "index", "index", "index"];
    let others = ["stale", "temporary", "temporary", "torn", "torn"];
    assert_eq!(kinds(&found), [&index[..], &["orphan", "orphan"], &others].concat(), "{found:#?}");
    // And while the corrupt one is in its place, its turns are no orphan.
    assert_eq!(kinds(&would), [&index[..], &["orphan"], &others].concat(), "{would:#?}");
    for problem in [
        "the index has 2 lines without a session: made anew",
        "the index has 1 sessions missing: made anew",
        "the index has 2 lines that are not as their session is: made anew",
        "the index has 1 lines that make no sense: made anew",
        "the index has 1 half line at its end: made anew",
    ] {
        assert!(found.iter().any(|found| found.ends_with(problem)), "{problem}: {found:#?}");
    }
    // faults.md F14: what would be done is not told as if it were.
    for would in would {
        assert!(would.contains(": would be "), "{would}");
    }
    assert_eq!(home.fsck(&[]), [""; 0]);
    let titles: BTreeSet<String> = home.list(&[]).into_iter().collect();
    let expected: BTreeSet<String> = ["other", "s1", "s2", "s3", "s4"].map(str::to_owned).into();
    assert_eq!(titles, expected);
    let read =
        |id: &str, end: &str| String::from_utf8_lossy(&fs::read(home.path(id, end)).unwrap()).into_owned();
    let kept =
        [read(&ids[5], "json.corrupt"), read(&ids[5], "json.corrupt.2"), read(&ids[2], "turns.jsonl.torn")];
    assert_eq!(kept, ["earlier", "broken", "{\"time\":\"\u{fffd}"]);
    assert_eq!((home.turns(&ids[2]).len(), home.turns(&ids[3]).len()), (1, 2));
    assert!(home.path(&ids[0], "turns.jsonl.orphan").exists() && !home.path(&ids[0], "lock").exists());
    assert_eq!(home.session(&ids[4])["status"], "error");
    let modes: Vec<_> = home.files().into_keys().filter(|name| name.ends_with(".torn")).collect();
    let mode = fs::metadata(home.dir().join(&modes[0])).unwrap().permissions().mode() & 0o777;
    assert_eq!(format!("{mode:o}"), "600");
}

#[test]
fn fsck_leaves_alone_what_others_are_working_on() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    begin(&store, blank('b')).unwrap();
    let mut writer = home.process("write", "x");
    let mut heard = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut found = Vec::new();
    for _ in 0..15 {
        // Some of its work is between two looks.
        heard.by_ref().map_while(Result::ok).filter(|line| line.starts_with("ack")).nth(5).unwrap();
        found.extend(session::fsck(&store, false, &mut |_| {}).findings);
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(found, []);
}
