//! `--output-dir` and `--resume`: no result is lost, and nothing is run twice that has succeeded. `map`: a list that is
//! worked on while it is read.

use super::parallel::{ACTOR, asked, field, object, parallel};
use crate::util::run::Seen;
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

/// The files of a folder, parsed.
fn kept(scene: &Scene, dir: &str) -> BTreeMap<String, Value> {
    let entries = fs::read_dir(scene.path(dir)).unwrap().flatten();
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let files = files.filter(|(name, _)| name != ".lock");
    files.map(|(name, path)| (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())).collect()
}

#[test]
fn each_result_is_a_file_when_it_ends_and_a_summary_says_how_it_went() {
    let scene = Scene::playing(ACTOR);
    let mut go = scene.fifo("go");
    let plan = json!({"output_dir": "out/deep", "max_parallel": 2, "tasks": [
        {"prompt": "a"}, {"prompt": "await go", "id": "b/ü"}, {"prompt": "fail"},
    ]});
    let run = parallel(&scene, &plan, &["--json"]).start();
    until("the third file", || scene.path("work/out/deep/00003.json").exists());
    let so_far = kept(&scene, "work/out/deep");
    assert_eq!(so_far.keys().collect::<Vec<_>>(), ["00001.json", "00003.json", "summary.json"]);
    assert!(so_far["summary.json"]["status"] == "running" && so_far["summary.json"]["total_tasks"] == 3);
    go.tell();
    let seen = run.end();
    let files = kept(&scene, "work/out/deep");
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["00001.json", "00003.json", "summary.json", "task-b%2F%C3%BC.json"]
    );
    // A file is what was printed, and how it is known again.
    let mut file = files["00001.json"].clone();
    assert!(file.as_object_mut().unwrap().remove("digest").is_some());
    assert_eq!(file, object(&seen)["results"][0], "{seen}");
    let summary = &files["summary.json"];
    assert!(
        summary["status"] == "finished" && summary["completed"] == 2 && summary["failed"] == 1,
        "{summary}"
    );
    assert_eq!(field(&summary["results"], "file"), ["00001.json", "task-b%2F%C3%BC.json", "00003.json"]);
    let mode = |name: &str| fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("work/out/deep"), mode("work/out/deep/00001.json")), (0o700, 0o600));
}

#[test]
fn after_a_kill_nothing_is_lost_and_nothing_that_succeeded_runs_again() {
    let scene = Scene::playing(ACTOR);
    let (mut go, _up) = (scene.fifo("go"), scene.fifo("up"));
    let plan = json!({"max_parallel": 1, "tasks": [
        {"prompt": "a", "id": "a"}, {"prompt": "fail"}, {"prompt": "await go"},
        {"prompt": "d after {{a.output}}", "depends_on": ["a"]},
    ]});
    let run = parallel(&scene, &plan, &["--output-dir", "out"]).start();
    until("the third task", || asked(&scene).len() == 3);
    run.signal(sys::SIGKILL);
    assert_eq!(run.end().status, -sys::SIGKILL);
    go.tell();
    until("the end of what was killed", || scene.processes().is_empty());

    go.tell();
    let seen = parallel(&scene, &plan, &["--json", "--resume", "out"]).seen();
    let said = object(&seen);
    assert_eq!(
        field(&said["results"], "status"),
        ["completed", "failed", "completed", "completed"],
        "{seen}"
    );
    assert_eq!(field(&said["results"], "output"), ["a", "", "went", "d after a"], "{seen}");
    assert!(
        said["resumed"] == 1 && said["completed"] == 3 && said["results"][0]["resumed"] == true,
        "{seen}"
    );
    assert_eq!(asked(&scene), ["a", "fail", "await go", "fail", "await go", "d after a"]);

    // Once more: only what failed.
    let again = object(&parallel(&scene, &plan, &["--json", "--resume", "out"]).seen());
    assert!(again["resumed"] == 3 && asked(&scene).len() == 7, "{again}");
    assert_eq!(kept(&scene, "work/out").len(), 5);
}

#[test]
fn a_task_that_was_changed_runs_again_and_one_that_moved_does_not() {
    let scene = Scene::playing(ACTOR);
    let run = |tasks: Value, args: &[&str]| {
        let seen =
            parallel(&scene, &json!({"tasks": tasks}), &[&["--json", "--resume", "out"], args].concat())
                .seen();
        field(&object(&seen)["results"], "resumed")
    };
    let (no, yes) = (Value::Null, json!(true));
    let tasks = json!([{"prompt": "a"}, {"prompt": "b", "id": "b"}, {"prompt": "c", "id": "c"}]);
    assert_eq!(run(tasks.clone(), &[]), [no.clone(), no.clone(), no.clone()]);
    // A longer limit or other tags are no other question.
    assert_eq!(
        run(tasks, &["--timeout", "1h", "--tag", "t", "--retry", "3"]),
        [yes.clone(), yes.clone(), yes.clone()]
    );
    let moved = json!([{"id": "c", "prompt": "c"}, {"prompt": "b", "id": "b", "system_prompt": "x"}, {"prompt": "a"}]);
    scene.config(&json!({"default_backend": "fake", "backends": {
        "fake": {"command": [scene.text("bin/fake")], "system_args": ["{system}"]},
    }}));
    assert_eq!(run(moved, &[]), [yes, no.clone(), no]);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_before_anything_runs() {
    let scene = Scene::playing(ACTOR);
    let mut go = scene.fifo("go");
    let plan = json!({"tasks": [{"prompt": "await go"}]});
    let run = parallel(&scene, &plan, &["--output-dir", "out"]).start();
    until("the task", || asked(&scene).len() == 1);
    let error = format!("clinvk: `ROOT/work/out` is in use by process {}\n", run.pid);
    parallel(&scene, &plan, &["--resume", "out"]).fails(1, &error);
    go.tell();
    assert_eq!(run.end().status, 0);
    scene.file("work/file", "");
    let error = "clinvk: cannot create `ROOT/work/file`: File exists (os error 17)\n";
    parallel(&scene, &plan, &["--output-dir", "file"]).fails(1, error);
    let error =
        "clinvk: `--resume` and `--output-dir` name two directories: results are kept where they were\n";
    parallel(&scene, &plan, &["--output-dir", "a", "--resume", "b"]).fails(1, error);
    fs::create_dir(scene.path("work/closed")).unwrap();
    fs::set_permissions(scene.path("work/closed"), PermissionsExt::from_mode(0o555)).unwrap();
    fs::set_permissions(scene.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let seen = parallel(&scene, &plan, &["--output-dir", "closed"]).by_nobody().seen();
    assert!(seen.err.contains("cannot open `ROOT/work/closed/.lock`") && seen.status == 1, "{seen}");
    assert_eq!(asked(&scene).len(), 1);
}

#[test]
fn a_result_that_cannot_be_kept_stops_the_batch() {
    let scene = Scene::playing(ACTOR);
    let mut go = scene.fifo("go");
    let plan = json!({"max_parallel": 1, "tasks": [{"prompt": "await go"}, {"prompt": "b"}]});
    let run = parallel(&scene, &plan, &["--json", "--output-dir", "out"]).start();
    until("the task", || asked(&scene).len() == 1);
    // Nothing can be put in the place of a directory that has something in it.
    fs::create_dir_all(scene.path("work/out/00001.json/x")).unwrap();
    go.tell();
    let seen = run.end();
    assert!(
        seen.err.starts_with("clinvk: cannot write `ROOT/work/out/00001.json`: ") && seen.status == 1,
        "{seen}"
    );
    // What was paid for is printed all the same.
    let said = object(&seen);
    assert!(
        said["results"][0]["output"] == "went" && said["skipped"] == 1 && asked(&scene).len() == 1,
        "{seen}"
    );
}

/// The results of a map: item and output.
#[track_caller]
fn mapped(seen: &Seen) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let result: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {seen}"));
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        (text("item"), text("output"))
    };
    let mut pairs: Vec<_> = seen.out.lines().map(pair).collect();
    pairs.sort();
    pairs
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(item, output)| ((*item).to_owned(), (*output).to_owned())).collect()
}

#[test]
fn a_prompt_is_run_for_each_item_of_a_list() {
    let scene = Scene::playing(ACTOR);
    let seen =
        scene.clinvk(["map", "-q", "{n}: {base} in {}", "-P", "3"]).stdin("a/x.txt\r\n\n{}\nno end").seen();
    let expected = [("a/x.txt", "1: x in a/x.txt"), ("no end", "3: no end in no end"), ("{}", "2: {} in {}")];
    assert!(mapped(&seen) == pairs(&expected) && seen.status == 0 && seen.err.is_empty(), "{seen}");
    scene.file("work/list", "one\ntwo\0three\0");
    let seen = scene.clinvk(["map", "-q", "-0", "--file", "list", "-I", "@", "<@> {}"]).seen();
    assert_eq!(mapped(&seen), pairs(&[("one\ntwo", "<one\ntwo> {}"), ("three", "<three> {}")]), "{seen}");
}

#[test]
fn an_item_is_worked_on_before_the_list_ends() {
    let scene = Scene::playing(ACTOR);
    let (read, write) = sys::pipe().unwrap();
    let mut list = File::from(write);
    let mut run = scene.clinvk(["map", "-q", "{}", "-P", "4"]).stdin_from(read).start();
    for item in ["first", "second"] {
        writeln!(list, "{item}").unwrap();
        run.says(&format!("\"output\":\"{item}\""));
    }
    drop(list);
    let seen = run.end();
    assert!(mapped(&seen).len() == 2 && seen.status == 0, "{seen}");
}

#[test]
fn a_signal_ends_the_wait_for_the_next_item() {
    let scene = Scene::playing(ACTOR);
    let (read, write) = sys::pipe().unwrap();
    let mut list = File::from(write);
    let mut run = scene.clinvk(["map", "{}", "-P", "4"]).stdin_from(read).start();
    writeln!(list, "first").unwrap();
    run.says("\"output\":\"first\"");
    run.signal(sys::SIGINT);
    let seen = run.end();
    assert!(seen.status == -sys::SIGINT && mapped(&seen).len() == 1, "{seen}");
    assert!(
        seen.err.ends_with(" s)\n") && seen.err.contains("\nTotal: 1 items, 1 completed, 0 failed ("),
        "{seen}"
    );
}

#[test]
fn a_map_goes_on_where_it_was_broken_off() {
    let scene = Scene::playing(ACTOR);
    let run = |list: &str| scene.clinvk(["map", "-q", "{}", "--resume", "out"]).stdin(list).seen();
    assert_eq!(run("a\nfail\nc\n").status, 1);
    let seen = run("a\nfail\nc\nd\n");
    let resumed = seen.out.lines().filter(|line| line.contains("\"resumed\":true")).count();
    assert!(resumed == 2 && mapped(&seen).len() == 4, "{seen}");
    let mut asked = asked(&scene);
    asked.sort();
    assert_eq!(asked, ["a", "c", "d", "fail", "fail"]);
    assert!(kept(&scene, "work/out")["summary.json"]["resumed"] == 2);
}

#[test]
fn an_item_that_is_no_text_fails_alone_and_an_empty_list_is_no_failure() {
    let scene = Scene::playing(ACTOR);
    let seen = scene.clinvk(["map", "-q", "{}"]).stdin(b"a\n\xff\nb\n").seen();
    let said: Vec<Value> = seen.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bad = said.iter().find(|result| result["index"] == 1).unwrap();
    assert!(
        bad["error"] == "item 2 is not valid UTF-8: `\u{fffd}`" && said.len() == 3 && seen.status == 1,
        "{seen}"
    );
    scene.clinvk(["map", "{}"]).stdin("\n\n").is("", "clinvk: the list is empty: nothing was run\n", 0);
}

#[test]
fn a_map_that_makes_no_sense_is_an_error() {
    let scene = Scene::playing(ACTOR);
    for (args, error) in [
        (&["map"][..], "there is no prompt: `clinvk map 'Summarise {}'`"),
        (&["map", "a", "b {}"], "the prompt has 2 words: put it in quotes"),
        (&["map", "the same"], "the prompt has no `{}`: it would be the same for every item"),
        (&["map", "-I", "", "{}"], "what stands for the item (`-I`) is empty"),
        (&["map", "{}", "-f", "gone"], "cannot read `gone`: No such file or directory (os error 2)"),
        (&["map", "{}", "-o", "text"], "`map` prints JSON, a line for each item"),
        (&["map", "{}", "-P", "0"], "`--max-parallel 0`: expected a whole number from 1 to 1024, found 0"),
    ] {
        scene.clinvk(args).stdin("a\n").fails(1, &format!("clinvk: {error}\n"));
    }
    assert_eq!(asked(&scene), [""; 0]);
}
