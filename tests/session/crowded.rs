//! Many writers at once.

use super::full_disk::{Mounted, is_root};
use super::processes::{Bare, Dice, KEEP, begin, blank, count, everything, turn};
use crate::util::store::Home;
use clinvk::model::error::Error;
use clinvk::session::{self, Filter, Session, Store};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

#[test]
fn four_processes_with_1000_increments_each_make_4000() {
    let home = Bare::new();
    begin(&home.store(), blank('a')).unwrap();
    home.processes(4, "count", "1000");
    assert_eq!(home.store().load(&"a".repeat(32)).unwrap().metadata["n"], 4000);
}

#[test]
fn eight_processes_save_turns_of_50_shared_sessions() {
    let home = Bare::new();
    let store = home.store();
    for _ in 0..50 {
        begin(&store, Session { id: clinvk::base::world::random_id().unwrap(), ..blank('0') }).unwrap();
    }
    home.processes(8, "turns", "60");
    let found = everything(&store).sessions;
    let counted: u64 = found.iter().map(|session| session.turn_count).sum();
    let prompts: Vec<String> = found
        .iter()
        .flat_map(|session| store.turns(&session.id).unwrap())
        .map(|turn| turn.prompt.to_string())
        .collect();
    let different = prompts.iter().collect::<BTreeSet<_>>().len();
    assert_eq!((found.len(), counted, prompts.len(), different), (50, 50 + 480, 50 + 480, 1 + 480));
    assert_eq!(session::fsck(&store, true, &mut |_| {}).findings, []);
}

/// Whoever has the session counts in a file that nothing else protects. Now and then somebody deletes the session, and
/// its lock's file with it.
pub fn exclude(store: &Store, counter: &Path, times: usize) {
    let (id, mut dice) = ("c".repeat(32), Dice::new());
    for _ in 0..times {
        let run = loop {
            // Without patience, because who waits looks again so seldom that nothing ever goes wrong.
            let taken = match store.resume(&id, Some(Duration::ZERO), Arc::new(|| Ok(())), "", KEEP) {
                Err(Error::SessionNotFound { .. }) => store.begin(blank('c'), Arc::new(|| Ok(())), "", KEEP),
                taken => taken,
            };
            match taken {
                Ok(run) => break run,
                Err(Error::SessionBusy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let number: u64 = fs::read_to_string(counter).unwrap().parse().unwrap();
        thread::yield_now();
        fs::write(counter, (number + 1).to_string()).unwrap();
        drop(run);
        if dice.below(2) == 0 {
            match store.delete(&id, &Filter::default()) {
                Ok(_) | Err(Error::SessionBusy { .. } | Error::SessionNotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn deleting_a_session_with_its_lock_never_lets_two_in() {
    let home = Bare::new();
    fs::write(home.0.join("counter"), "0").unwrap();
    home.processes(4, "exclude", "400");
    assert_eq!(fs::read_to_string(home.0.join("counter")).unwrap(), "1600");
}

#[test]
fn a_process_that_saves_leaves_what_others_have_saved_in_the_index() {
    let home = Bare::new();
    let long_lived = home.store();
    begin(&long_lived, blank('a')).unwrap();
    assert_eq!(everything(&long_lived).sessions.len(), 1);
    for _ in 0..5 {
        home.clinvk(&["hi"]).prints("hi\n");
    }
    turn(&long_lived, &"a".repeat(32), "more").unwrap();
    begin(&home.store(), blank('b')).unwrap();
    assert_eq!((everything(&long_lived).sessions.len(), everything(&home.store()).sessions.len()), (7, 7));
}

#[test]
fn a_list_is_whole_while_the_index_is_compacted() {
    let home = Bare::new();
    let store = home.store();
    for digit in ['a', 'b', 'c'] {
        begin(&store, blank(digit)).unwrap();
    }
    let journal = home.0.join("sessions/index.jsonl");
    let mut writer = home.process("count", "3000");
    let (mut lists, mut smallest, mut largest) = (0, u64::MAX, 0);
    while writer.try_wait().unwrap().is_none() {
        let found = everything(&store);
        assert_eq!((found.sessions.len(), found.problems.len()), (3, 0));
        let length = fs::metadata(&journal).unwrap().len();
        (lists, smallest, largest) = (lists + 1, smallest.min(length), largest.max(length));
    }
    let length = fs::metadata(&journal).unwrap().len();
    assert!(
        writer.wait().unwrap().success() && lists > 10 && length < 300_000,
        "{lists} lists, {smallest} to {largest}, {length}"
    );
    assert_eq!(store.load(&"a".repeat(32)).unwrap().metadata["n"], 3000);
}

#[test]
fn a_session_that_was_used_since_it_was_chosen_is_not_deleted() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    let old = Filter { before: Some("2020-01-01".to_owned()), ..Filter::default() };
    let deleted = [&old, &Filter::default()].map(|only| store.delete(&"a".repeat(32), only).unwrap());
    assert_eq!(deleted, [false, true]);
    let gone = store.delete(&"a".repeat(32), &old);
    assert!(matches!(gone, Err(Error::SessionNotFound { .. })), "{gone:?}");
}

#[test]
fn a_number_that_nobody_has_is_not_told_as_the_holder() {
    let home = Bare::new();
    home.clinvk(&["one"]).prints("one\n");
    let id = home.store().ids().unwrap().remove(0);
    let lock = fs::File::create(home.0.join(format!("sessions/{id}.lock"))).unwrap();
    (&lock).write_all(b"2147483646\n").unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    let error = format!("clinvk: session `{id}` is busy (`--wait` waits for it)\n");
    home.clinvk(&["resume", &id, "two"]).fails(4, &error);
    fs2::FileExt::unlock(&lock).unwrap();
    home.clinvk(&["resume", &id, "two"]).prints("two\n");
}

#[test]
fn two_homes_on_one_directory_are_one_store() {
    for bind in [false, true] {
        let home = Home::new();
        home.begin("first");
        let other = home.scene.path("other");
        fs::create_dir(&other).unwrap();
        let mounted = if bind {
            let from = home.dir().to_str().unwrap().to_owned();
            let mounted = Mounted::mount(&["--bind", &from], other.join("sessions"));
            assert!(mounted.is_some() || !is_root(), "root, and a mount is not permitted");
            mounted
        } else {
            symlink(home.dir(), other.join("sessions")).unwrap();
            None
        };
        if bind && mounted.is_none() {
            continue;
        }
        let there =
            |args: &[&str]| home.clinvk(args).env("CLINVK_HOME", &other).env("CLINVK_BACKEND", "echo");
        let stores = [Store::at(home.dir().parent().unwrap()), Store::at(&other)];
        let id = home.ids()[0].clone();
        thread::scope(|scope| {
            for store in &stores {
                for _ in 0..2 {
                    scope.spawn(|| (0..25).for_each(|_| count(store, &id)));
                }
            }
        });
        there(&["second"]).prints("second\n");
        home.begin("third");
        let seen = there(&["sessions", "list", "--json"]).seen();
        let found: Value = serde_json::from_str(&seen.out).unwrap();
        let titles: Vec<_> =
            found["sessions"].as_array().unwrap().iter().map(|session| &session["title"]).collect();
        assert_eq!(titles, ["third", "second", "first"]);
        assert_eq!(
            (home.list(&[]), home.session(&id)["metadata"]["n"].clone()),
            (vec!["third".into(), "second".into(), "first".into()], json!(100))
        );
        let held = stores[1].resume(&id, None, Arc::new(|| Ok(())), "x", KEEP).unwrap();
        let seen = home.clinvk(["resume", &id, "x"]).seen();
        assert!(
            seen.err.contains(&format!("process {} runs it", std::process::id())) && seen.status == 4,
            "{seen}"
        );
        drop(held);
        drop(mounted);
    }
}

#[test]
fn threads_of_one_process_are_many_writers_too() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| count(&store, &"a".repeat(32))));
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(everything(&store).sessions.len(), 1)));
            scope.spawn(|| {
                (0..10).for_each(|number| turn(&store, &"a".repeat(32), &format!("{number}")).unwrap())
            });
        }
    });
    let kept = store.load(&"a".repeat(32)).unwrap();
    assert_eq!(
        (&kept.metadata["n"], kept.turn_count, store.turns(&kept.id).unwrap().len()),
        (&json!(400), 41, 41)
    );
}
