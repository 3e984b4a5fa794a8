//! A disk that is full: the answer is printed all the same, and nothing is left half.

use crate::util::run::Run;
use crate::util::store::Home;
use clinvk::session::Store;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// A file system of its own for the sessions, gone with it.
pub struct Mounted(PathBuf);

impl Mounted {
    /// `None`: mounting is not permitted here.
    pub fn mount(args: &[&str], at: PathBuf) -> Option<Mounted> {
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount").args(args).arg(&at).output().unwrap();
        done.status.success().then_some(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The binary, whose files may not be longer than so many bytes.
fn limited(home: &Home, bytes: usize, args: &[&str]) -> Run {
    assert!(bytes % 512 == 0);
    let line = format!("ulimit -f {}; exec \"$@\"", bytes / 512);
    home.scene.program("sh").args(["-c", &line, "sh", env!("CARGO_BIN_EXE_clinvk")]).args(args)
}

#[test]
fn when_nothing_can_be_written_the_answer_is_printed() {
    let home = Home::new();
    let id = home.begin("one");
    let before = home.files();
    let seen = limited(&home, 0, &["two"]).seen();
    assert!(
        seen.out == "two\n" && seen.err.contains("File too large (os error 27)") && seen.status == 4,
        "{seen}"
    );
    let seen = limited(&home, 0, &["resume", &id, "two"]).seen();
    assert!(seen.out.is_empty() && seen.err.contains("File too large") && seen.status == 4, "{seen}");
    assert!(home.files() == before, "{:?}", home.files().keys());
    assert_eq!((home.list(&[]), home.fsck(&[])), (vec!["one".to_owned()], vec![]));
    home.clinvk(["resume", &id, "two"]).prints("two\n");
}

#[test]
fn when_only_the_turn_cannot_be_written_nothing_before_it_is_lost() {
    let home = Home::new();
    let id = home.begin("one");
    let long = "x".repeat(20_000);
    let seen = limited(&home, 8192, &["resume", &id, &long]).seen();
    assert!(
        seen.out.len() == 20_001 && seen.err.contains("turns.jsonl`: File too large") && seen.status == 4,
        "{seen}"
    );
    let turns = home.turns(&id);
    assert!(turns.len() == 1 && turns[0]["prompt"] == "one", "{turns:?}");
    assert_eq!((home.session(&id)["status"].clone(), home.fsck(&[])), (json!("completed"), vec![]));
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    assert_eq!(home.turns(&id).len(), 2);
}

#[test]
fn a_full_disk_loses_nothing_and_leaves_nothing_half() {
    let home = Home::new();
    let Some(disk) = Mounted::mount(&["-t", "tmpfs", "-o", "size=256k", "none"], home.dir()) else {
        // Where nothing can be mounted, the two tests above are what there is.
        assert!(fs::metadata("/proc/self").is_ok_and(|_| !is_root()), "root, and a mount is not permitted");
        return;
    };
    let ids = [home.begin("one"), home.begin("two")];
    let before = ids.each_ref().map(|id| (home.session(id), home.turns(id)));
    let filler = disk.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    for format in ["text", "json"] {
        let seen = home.clinvk(["-o", format, "three"]).seen();
        assert!(
            seen.out.contains("three") && seen.err.contains("No space left on device") && seen.status == 4,
            "{seen}"
        );
    }
    let long = "y ".repeat(30_000);
    let seen = home.clinvk(["resume", &ids[0], &long]).seen();
    assert!(seen.err.contains("No space left on device") && seen.status == 4, "{seen}");
    assert_eq!(home.list(&[]).len(), 2);
    fs::remove_file(&filler).unwrap();
    let after = ids.each_ref().map(|id| (home.session(id)["turn_count"].clone(), home.turns(id)));
    assert_eq!(after, before.map(|(session, turns)| (session["turn_count"].clone(), turns)));
    let left: Vec<String> = home.files().into_keys().filter(|name| name.ends_with("tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
    home.clinvk(["resume", &ids[0], "more"]).prints("more\n");
    home.begin("four");
    assert_eq!(home.list(&[]), ["four", "one", "two"]);
    home.fsck(&[]);
    assert_eq!(home.fsck(&[]), [""; 0]);
}

pub fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

#[test]
fn a_look_at_a_full_disk_leaves_nothing() {
    let name = "session::full_disk::a_look_at_a_full_disk_leaves_nothing";
    crate::util::run::alone(name, "trap '' XFSZ; ulimit -f 0", || {
        // A scene has files of its own, which it could not write.
        let home = std::env::temp_dir().join(format!("clinvk-look-{}", std::process::id()));
        let problem = Store::at(&home).look().unwrap_err().to_string();
        let names = fs::read_dir(home.join("sessions")).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.collect();
        fs::remove_dir_all(home).unwrap();
        assert!(problem.contains("File too large") && names == ["store.lock"], "{problem}: {names:?}");
    });
}
