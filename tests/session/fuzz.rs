//! Files of a store, changed by chance: nothing panics, nothing that was whole is lost, and `fsck` comes to an end.

use super::processes::{Bare, begin, blank, everything, turn};
use crate::util::fuzz::{self, Bytes, Chance};
use clinvk::session::{self, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Each is a store that is written, repaired and used: 20,000 take 39 s of a debug build, and as many waits for the disk.
const STORES: u64 = 1000;

type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// What was whole of the changed file.
fn whole_lines(before: &[u8], now: &[u8]) -> Vec<Vec<u8>> {
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    let before = lines(before);
    lines(now).into_iter().filter(|line| line.ends_with(b"\n") && before.contains(line)).collect()
}

fn check(store: &Store, dir: &Path, before: &Files, name: &str, changed: &[u8]) -> Result<(), String> {
    let other = "b".repeat(32);
    let is_intact = |when: &str| {
        let turns = store.turns(&other).map_err(|error| format!("{when}: {error}"))?;
        let session = store.load(&other).map_err(|error| format!("{when}: {error}"))?;
        let is_so = turns.len() == 3 && session.turn_count == 3;
        if is_so { Ok(()) } else { Err(format!("{when}: the other session has {} turns", turns.len())) }
    };
    let id = "a".repeat(32);
    let _ = (everything(store), store.load(&id).map(drop), store.turns(&id).map(drop));
    is_intact("as it was")?;
    // A reader may make the index anew, and no dry run does.
    let read = files(dir);
    let seen = session::fsck(store, true, &mut |_| {});
    if files(dir) != read {
        return Err("a dry run changed something".to_owned());
    }
    let repaired = session::fsck(store, false, &mut |_| {});
    is_intact("after fsck")?;
    let after = files(dir);
    if name.ends_with(".turns.jsonl") {
        let all: Vec<u8> = after.values().flatten().copied().collect();
        for line in whole_lines(&before[name], changed) {
            if !all.windows(line.len()).any(|part| part == line) {
                return Err(format!("lost: {}", String::from_utf8_lossy(&line)));
            }
        }
    }
    if name.ends_with(".json") && store.load(&id).is_err() && !after.values().any(|bytes| bytes == changed) {
        return Err("what cannot be read is gone".to_owned());
    }
    let again = session::fsck(store, false, &mut |_| {});
    let last = session::fsck(store, true, &mut |_| {});
    let told = |report: &session::Report| format!("{:?}", report.findings);
    if told(&again) != told(&last) {
        return Err(format!(
            "fsck: {}, then {}, then {}, then {}",
            told(&seen),
            told(&repaired),
            told(&again),
            told(&last)
        ));
    }
    let listed = everything(store);
    let is_there = |id: &str| listed.sessions.iter().any(|session| session.id == id);
    if !is_there(&other) || (store.load(&id).is_ok() && !is_there(&id)) {
        return Err(format!("fsck left an index without one: {listed:?}"));
    }
    turn(store, &other, "more").map_err(|error| format!("a further turn: {error}"))
}

#[test]
fn whatever_is_in_a_file_of_a_store_nothing_else_is_lost() {
    let home = Bare::new();
    let (store, dir) = (home.store(), home.0.join("sessions"));
    for digit in ['a', 'b'] {
        begin(&store, blank(digit)).unwrap();
        for number in 0..2 {
            turn(&store, &digit.to_string().repeat(32), &format!("turn {number}")).unwrap();
        }
    }
    everything(&store);
    let before = files(&dir);
    let names: Vec<String> = ["json", "json", "turns.jsonl", "turns.jsonl", "next"]
        .map(|end| format!("{}.{end}", "a".repeat(32)))
        .to_vec();
    let names: Vec<String> = names.into_iter().chain(["index.jsonl".to_owned()]).collect();
    let draw = |chance: &mut Chance| {
        let name = names[chance.below(names.len())].clone();
        let from = before.get(&name).or(before.get(&names[0])).unwrap();
        let text = String::from_utf8(from.clone()).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let change = |chance: &mut Chance, line: &mut String| *line = fuzz::json_text(chance, line, &[]);
        let lines = fuzz::list(chance, &lines, &lines, change).join("\n");
        let end = if chance.one_in(4) { "" } else { "\n" };
        let bytes = (lines + end).into_bytes();
        let bytes = if chance.one_in(4) {
            fuzz::bytes(chance, &bytes, fuzz::JSON_WORDS, fuzz::JSON_WORDS)
        } else {
            bytes
        };
        (name, Bytes(bytes))
    };
    fuzz::target("files of a store", STORES, draw, |(name, Bytes(bytes)), _| {
        for name in files(&dir).into_keys() {
            fs::remove_file(dir.join(name)).unwrap();
        }
        before.iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
        fs::write(dir.join(name), bytes).unwrap();
        check(&store, &dir, &before, name, bytes)
    });
}
