//! What stands in the place of a file of the store and is none: pipes, links, devices, directories, files too large to be
//! read. Nothing hangs, nothing is followed, nobody else is stopped (faults.md G8, F11, F12, F1).

use crate::util::store::Home;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// What is put in a file's place, and what it leads to where it is a link.
const STRANGE: &[&str] =
    &["pipe", "link to a file", "link to a device", "link to nothing", "socket", "directory"];

fn put(home: &Home, what: &str, path: &Path) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    match what {
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "link to a file" => symlink(home.scene.file("tmp/target", "precious"), path).unwrap(),
        "link to a device" => symlink("/dev/zero", path).unwrap(),
        "link to nothing" => symlink(home.scene.path("tmp/nothing"), path).unwrap(),
        "socket" => {
            // A socket's path may not be as long.
            let short =
                std::env::temp_dir().join(format!("clinvk-{}", clinvk::base::world::random_id().unwrap()));
            drop(UnixListener::bind(&short).unwrap());
            assert!(Command::new("mv").arg(&short).arg(path).status().unwrap().success());
        }
        "directory" => fs::create_dir(path).unwrap(),
        other => panic!("{other}"),
    }
}

/// G8, F11: whatever stands in whichever place: every command ends, the others' sessions are there, what a link leads to
/// is as it was, and `fsck` makes the store whole again.
#[test]
fn what_is_no_file_is_neither_waited_for_nor_followed() {
    for what in STRANGE {
        for end in ["json", "json.tmp", "lock", "turns.jsonl", "index.jsonl", "index.jsonl.tmp", "store.lock"]
        {
            let home = Home::new();
            let (id, other) = (home.begin("one"), home.begin("two"));
            let path = match end {
                "json" | "json.tmp" | "lock" | "turns.jsonl" => home.path(&id, end),
                of_store => home.dir().join(of_store),
            };
            put(&home, what, &path);
            let scene = format!("{what} at {end}");
            for args in [
                &["sessions", "list"][..],
                &["sessions", "show", "--turns", &id],
                &["sessions", "rename", &id, "new"],
                &["sessions", "list", "--search", "nowhere"],
                &["resume", &id, "x"],
                &["three"],
                &["sessions", "fsck", "--dry-run"],
                &["sessions", "fsck"],
            ] {
                let seen = home.clinvk(args).seen();
                // Whatever is said, it has ended by itself.
                assert!([0, 4].contains(&seen.status), "{scene}: {args:?}: {seen}");
            }
            assert_eq!(home.fsck(&[]), [""; 0], "{scene}");
            assert_eq!(home.json(["sessions", "show", &other])["title"], "two", "{scene}");
            assert!(home.list(&[]).contains(&"two".to_owned()), "{scene}");
            home.does(["four"]);
            home.does(["resume", &other, "x"]);
            let target = fs::read_to_string(home.scene.path("tmp/target")).unwrap_or("precious".to_owned());
            assert_eq!(target, "precious", "{scene}");
            assert!(!home.scene.path("tmp/nothing").exists(), "{scene}");
        }
    }
    assert!(fs::metadata("/dev/zero").unwrap().file_type().is_char_device());
}

/// F12: a session that makes no sense goes by its whole id, on the command line and over HTTP; not by less, and never by
/// the way.
#[cfg(feature = "serve")]
#[test]
fn a_broken_session_is_deleted_by_its_whole_id() {
    for what in ["{", "pipe", "link to a file"] {
        let home = Home::new();
        let server = home.scene.serve([]);
        let ids = [home.begin("one"), home.begin("two")];
        for (number, id) in ids.iter().enumerate() {
            match what {
                "{" => fs::write(home.path(id, "json"), what).unwrap(),
                strange => put(&home, strange, &home.path(id, "json")),
            }
            home.clinvk(["sessions", "clean", "--all"]).seen();
            let seen = home.clinvk(["sessions", "delete", &id[..12]]).seen();
            assert_eq!(seen.status, 4, "{seen}");
            assert!(home.path(id, "json").symlink_metadata().is_ok(), "{what}");
            if number == 0 {
                assert_eq!(home.does(["sessions", "delete", id]), format!("deleted {id}\n"));
            } else {
                let answer = server.ask("DELETE", &format!("/api/v1/sessions/{id}")).answer();
                assert!(
                    answer.status == 200 && answer.json() == json!({"deleted": true, "id": id}),
                    "{answer}"
                );
            }
            let left: Vec<String> = home.files().into_keys().filter(|name| name.starts_with(id)).collect();
            assert_eq!(left, [""; 0], "{what}");
        }
        assert_eq!(home.list(&[]), [""; 0]);
        let target = fs::read_to_string(home.scene.path("tmp/target")).unwrap_or("precious".to_owned());
        assert_eq!(target, "precious");
    }
}

/// F1: a session file of 200 MB is told of and stops nobody, not even where the index has to be made anew.
#[test]
fn a_session_file_that_is_too_large_stops_no_one() {
    let home = Home::new();
    let (large, other) = (home.begin("large"), home.begin("other"));
    // Without its bytes on the disk.
    fs::OpenOptions::new().write(true).open(home.path(&large, "json")).unwrap().set_len(200 << 20).unwrap();
    for index_is_there in [true, false] {
        if !index_is_there {
            fs::remove_file(home.dir().join("index.jsonl")).unwrap();
        }
        home.clinvk(["next"]).prints("next\n");
        let listing = home.json(["sessions", "list"]);
        assert!(listing["sessions"].as_array().unwrap().iter().any(|session| session["id"] == *other));
        let seen = home.clinvk(["sessions", "list"]).seen();
        let told = seen.err.contains("it has more than 33554432 bytes, which are not read");
        assert!(seen.status == 0 && told == index_is_there, "{seen}");
    }
    let seen = home.clinvk(["sessions", "show", &large]).seen();
    assert!(seen.status == 4 && seen.err.contains("it has more than 33554432 bytes"), "{seen}");
    let found = home.fsck(&[]);
    assert!(
        found.len() == 2 && found[0].starts_with("corrupt: ") && found[0].contains("moved to"),
        "{found:?}"
    );
}

/// G8's siblings: what lies in a folder of results, and beside the configuration.
#[test]
fn results_and_configuration_are_not_written_through_what_is_no_file() {
    for what in STRANGE {
        let home = Home::new();
        let results = home.scene.path("work/results");
        for name in ["00001.json", "00001.json.tmp", "summary.json.tmp", ".lock"] {
            let _ = fs::remove_dir_all(&results);
            fs::create_dir(&results).unwrap();
            put(&home, what, &results.join(name));
            let tasks = "{\"tasks\": [{\"prompt\": \"x\"}]}";
            let run = home.clinvk(["parallel", "--resume=results"]).stdin(tasks);
            let seen = run.seen();
            // A directory, or what is no lock's file, cannot be replaced; all else is.
            let is_kept = name == ".lock" || *what == "directory";
            assert_eq!(seen.status, i32::from(is_kept), "{what} at {name}: {seen}");
        }
        for name in ["config.json.tmp", "config.json.lock"] {
            let path = home.scene.path("home/.clinvk").join(name);
            put(&home, what, &path);
            let seen = home.clinvk(["config", "set", "output.show_tokens", "true"]).seen();
            let is_kept = name == "config.json.lock" || *what == "directory";
            assert_eq!(seen.status == 0, !is_kept, "{what} at {name}: {seen}");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        let target = fs::read_to_string(home.scene.path("tmp/target")).unwrap_or("precious".to_owned());
        assert_eq!(target, "precious", "{what}");
        assert!(!home.scene.path("tmp/nothing").exists(), "{what}");
    }
}
