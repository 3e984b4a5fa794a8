//! `map --shard` and `--merge`: a list that several machines work on, with nothing in common but a directory.

use super::parallel::{ACTOR, asked, field, object};
use crate::util::scene::Scene;
use clinvk::base::sys;
use serde_json::Value;
use std::fs;

const LIST: &str = "a\nb\nc\nd\ne\n";

/// Works on one part of the list.
fn shard(scene: &Scene, shard: &str) -> i32 {
    let out = format!("out/{}", &shard[..1]);
    scene.clinvk(["map", "-q", "{}", "--shard", shard, "--resume", &out]).stdin(LIST).seen().status
}

fn items(out: &str) -> Vec<String> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["item"].as_str().unwrap().to_owned();
    out.lines().map(line).collect()
}

#[test]
fn shards_are_the_whole_list_each_item_once_and_are_merged_in_its_order() {
    let scene = Scene::playing(ACTOR);
    for part in ["3/3", "1/3", "2/3", "1/3"] {
        assert_eq!(shard(&scene, part), 0);
    }
    let mut asked = asked(&scene);
    asked.sort();
    assert_eq!(asked, ["a", "b", "c", "d", "e"]);
    let seen = scene.clinvk(["map", "--merge", "out/1", "out/2", "out/3", "--output-dir", "all"]).seen();
    assert!(items(&seen.out) == ["a", "b", "c", "d", "e"] && seen.status == 0, "{seen}");
    assert!(seen.err.starts_with("Total: 5 items, 5 completed, 0 failed"), "{seen}");
    // What was merged is a folder of results like any other: nothing is run again.
    let seen = scene.clinvk(["map", "-q", "{}", "--resume", "all", "--json"]).stdin(LIST).seen();
    assert!(object(&seen)["resumed"] == 5, "{seen}");
    let whole = scene.clinvk(["map", "-q", "--merge", "all", "--json"]).seen();
    assert_eq!(field(&object(&whole)["results"], "item"), ["a", "b", "c", "d", "e"], "{whole}");
}

#[test]
fn a_shard_may_be_printed_as_one_object() {
    let scene = Scene::playing(ACTOR);
    let mut all = Vec::new();
    for part in ["1/2", "2/2"] {
        let seen = scene.clinvk(["map", "-q", "{}", "--shard", part, "--json", "-P", "3"]).stdin(LIST).seen();
        let results = object(&seen)["results"].clone();
        all.extend(results.as_array().unwrap().iter().map(|result| result["index"].as_u64().unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4]);
}

#[test]
fn what_is_missing_is_said_behind_what_is_there() {
    let scene = Scene::playing(ACTOR);
    assert_eq!((shard(&scene, "1/3"), shard(&scene, "3/3")), (0, 0));
    let seen = scene.clinvk(["map", "-q", "--merge", "out/1", "out/3"]).seen();
    assert_eq!(seen.err, "clinvk: this is not all: shard 2/3 is in none of the folders\n", "{seen}");
    assert!(seen.status == 1 && !seen.out.is_empty(), "{seen}");
    // A clinvk that was killed leaves a summary that says so.
    let summary = scene.path("work/out/1/summary.json");
    let text = fs::read_to_string(&summary).unwrap().replace("finished", "running");
    fs::write(&summary, text).unwrap();
    let seen = scene.clinvk(["map", "-q", "--merge", "out/1", "out/3"]).seen();
    let why = "`out/1` is not finished: end it with `--resume` and the same list (and 1 more)";
    assert_eq!(seen.err, format!("clinvk: this is not all: {why}\n"), "{seen}");
    assert_eq!(shard(&scene, "1/3"), 0);
    // A part of very many.
    let seen =
        scene.clinvk(["map", "{}", "--shard", "7/99999999999", "--output-dir", "part"]).stdin(LIST).seen();
    let empty = "clinvk: no item of the list falls to shard 7/99999999999: nothing was run\n";
    assert_eq!(seen.err, empty, "{seen}");
    let seen = scene.clinvk(["map", "-q", "--merge", "part"]).seen();
    let why = "shard 1/99999999999 is in none of the folders (and 99999999997 more)";
    assert_eq!(seen.err, format!("clinvk: this is not all: {why}\n"), "{seen}");
}

#[test]
fn a_failure_stays_one_with_its_reason_until_another_folder_has_it_done() {
    let scene = Scene::playing(ACTOR);
    let map = |list: &str, out: &str| {
        scene.clinvk(["map", "-q", "{}", "--output-dir", out]).stdin(list).seen().status
    };
    assert_eq!(map("a\nfail\n", "one"), 1);
    let said = scene.clinvk(["map", "-q", "--merge", "one"]).seen();
    let kept: Value = serde_json::from_str(said.out.lines().nth(1).unwrap()).unwrap();
    assert!(kept["status"] == "failed" && kept["kind"] == "crash" && said.status == 1, "{said}");
    assert!(kept["error"].as_str().is_some_and(|error| !error.is_empty()), "{said}");
    // Another list.
    assert_eq!(map("a\nb\n", "two"), 0);
    let said = scene.clinvk(["map", "-q", "--merge", "one", "two"]).seen();
    let why = "clinvk: `one/00002.json` and `two/00002.json` answer two prompts: they are not of one list\n";
    assert!(said.status == 1 && said.err == why, "{said}");
}

#[test]
fn what_left_no_result_or_was_not_come_to_is_missing_and_what_another_list_left_is_none_of_it() {
    let scene = Scene::playing(ACTOR);
    let map = |list: &[u8], args: &[&str]| {
        scene.clinvk(["map", "-q", "{}", "-P", "1"]).args(args).stdin(list).seen();
    };
    map(b"a\nb\nc\n", &["--output-dir", "out"]);
    map(b"a\n\xff\n", &["--output-dir", "out"]);
    let seen = scene.clinvk(["map", "-q", "--merge", "out"]).seen();
    let why = "clinvk: this is not all: item 2 has failed in `out`, and left no result\n";
    assert!(items(&seen.out) == ["a"] && seen.err == why && seen.status == 1, "{seen}");
    // Another one could ask it.
    map(b"a\nb\n", &["--output-dir", "more"]);
    let seen = scene.clinvk(["map", "-q", "--merge", "out", "more"]).seen();
    assert!(items(&seen.out) == ["a", "b"] && seen.status == 0, "{seen}");
    map(b"fail\nb\n", &["--output-dir", "stopped", "--fail-fast"]);
    let seen = scene.clinvk(["map", "-q", "--merge", "stopped"]).seen();
    assert!(seen.err.starts_with("clinvk: this is not all: `stopped` is not finished"), "{seen}");
    // A list that cannot be read to its end.
    let long = [b"a\n".to_vec(), vec![b'x'; (16 << 20) + (1 << 17)]].concat();
    map(&long, &["--output-dir", "broken"]);
    let seen = scene.clinvk(["map", "-q", "--merge", "broken"]).seen();
    assert!(seen.err.starts_with("clinvk: this is not all: `broken` is not finished"), "{seen}");
}

#[test]
fn shards_and_folders_that_make_no_sense_are_errors() {
    let scene = Scene::playing(ACTOR);
    fs::create_dir_all(scene.path("work/torn")).unwrap();
    scene.file("work/torn/summary.json", r#"{"status": "finished", "results": [{"file": "00001.json"}]}"#);
    scene.file("work/torn/00001.json", r#"{"digest": "x"}"#);
    for (args, error) in [
        (
            &["--shard", "0/4", "{}"][..],
            "`--shard 0/4`: expected a number from 1 and how many there are: 2/4",
        ),
        (&["--shard", "5/4", "{}"], "`--shard 5/4`: expected a number from 1 and how many there are: 2/4"),
        (&["--merge"], "`--merge` needs folders with results: `clinvk map --merge out/*`"),
        (&["--merge", "gone"], "cannot read `gone/summary.json`: No such file or directory (os error 2)"),
        (&["--merge", "torn"], "`torn/00001.json` is no result of `map`"),
        (
            &["--merge", "torn", "--output-dir", "./torn"],
            "`--output-dir ./torn` is one of the folders that are merged: name another one",
        ),
        (&["--merge", "torn", "-b", "echo"], "`--merge` runs nothing: `--backend` has no meaning beside it"),
        (
            &["--merge", "torn", "--shard", "1/2"],
            "`--merge` runs nothing: `--shard` has no meaning beside it",
        ),
    ] {
        let args = [&["map"][..], args].concat();
        scene.clinvk(args).is("", &format!("clinvk: {error}\n"), 1);
    }
}

#[test]
fn a_reader_of_a_merge_that_leaves_has_what_it_wanted() {
    let scene = Scene::playing(ACTOR);
    assert_eq!(shard(&scene, "1/1"), 0);
    let (read, write) = sys::pipe().unwrap();
    drop(read);
    scene.clinvk(["map", "-q", "--merge", "out/1"]).start_into(write).ends("", "", 0);
}
