//! Runs that go on alone on a server: `--no-wait`, `runs`, `wait`, `cancel`.

use super::same::masked;
use crate::util::run::{Run, Seen};
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};

fn own(scene: &Scene, args: &[&str]) -> Run {
    scene.clinvk(args).env("CLINVK_SERVER", "auto")
}

/// The id that it prints.
#[track_caller]
fn id(run: Run) -> String {
    let seen = run.seen();
    assert!(seen.status == 0 && seen.err.is_empty(), "{seen}");
    let id = seen.out.strip_suffix('\n').unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{seen}");
    id
}

/// The runs of that server.
fn runs(scene: &Scene) -> Vec<Value> {
    let seen = own(scene, &["runs", "--json"]).seen();
    let told: Value = serde_json::from_str(&seen.out).unwrap();
    told["runs"].as_array().unwrap().clone()
}

#[test]
fn who_waits_for_a_run_sees_what_it_would_have_printed() {
    let scene = Scene::new();
    let lines = r#"say '{"think":"hm"}'; say '{"text":"a "}'; say '{"text":"b\n","in":5,"out":7}'"#;
    scene.config(&json!({"default_backend": "echo", "unified_flags": {"fallback": []}, "backends": {
        "lines": {
            "command": [scene.fake("lines", lines)],
            "output": "jsonl",
            "fields": {"text": "text", "thinking": "think", "input_tokens": "in", "output_tokens": "out"},
        },
        "bad": {"command": [scene.fake("bad", "say half; echo 'it broke' >&2; exit 9")]},
        "gone": {"command": ["no-such-program"]},
        "slow": {"command": [scene.fake("slow", "printf half; \"$here/sleep\" 1000")]},
    }}));
    let server = scene.serve([]);
    let url = format!("http://{}", server.address);
    for args in [
        &["hello"][..],
        &["-b", "lines", "--show-tokens", "x"],
        &["-b", "bad", "x"],
        &["-b", "gone", "x"],
        &["-b", "slow", "--timeout", "300ms", "x"],
        &["--fallback", "echo", "-b", "gone", "x"],
        &["--lenient", "--image", "p.gif", "x"],
    ] {
        scene.file("work/p.gif", "GIF89a-picture");
        for format in ["text", "json", "stream-json"] {
            let here = masked(scene.clinvk(args).args(["-o", format]).seen());
            for place in [&*url, "auto"] {
                let at = |run: Run| run.env("CLINVK_SERVER", place);
                let begun = at(scene.clinvk(args).args(["--no-wait"])).seen();
                // What is known of it before it begins is said before.
                assert_eq!(begun.status, 0, "{args:?} {begun}");
                let show: &[&str] = if args.contains(&"--show-tokens") { &["--show-tokens"] } else { &[] };
                let wait = scene.clinvk(["wait", &begun.out[..12], "-o", format]).args(show);
                let seen = masked(at(wait).seen());
                assert!(seen == here, "{args:?} {format} {place}: expected {here}\nsaw {seen}");
            }
        }
    }
}

#[test]
fn a_run_goes_on_when_who_waits_for_it_leaves() {
    let scene = Scene::playing("printf 'one '; tell up; await go; printf two");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let id = id(own(&scene, &["--no-wait", "x"]));
    up.told();
    let listed = own(&scene, &["runs"]).seen();
    let row: Vec<&str> = listed.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], [&id[..12], "fake", "running"], "{listed}");
    let mut waits = own(&scene, &["wait", &id]).start();
    waits.says("one ");
    waits.signal(sys::SIGTERM);
    let left = waits.end();
    assert!(left.status == 7 && left.err.contains("goes on"), "{left}");
    assert_eq!(runs(&scene)[0]["state"], "running");
    let mut waits = own(&scene, &["wait", &id]).start();
    waits.says("one ");
    go.tell();
    waits.ends("one two\n", "", 0);
    // And again, for a while.
    own(&scene, &["wait", &id]).prints("one two\n");
    own(&scene, &["cancel", &id]).prints(&format!("{id} was over\n"));
}

#[test]
fn a_cancelled_run_is_gone_and_its_session_goes_on() {
    let scene = Scene::playing(
        "read -r word; [ -e \"$here/on\" ] || { printf half; tell up; \"$here/sleep\" 1000 & wait; }; say done",
    );
    let mut up = scene.fifo("up");
    let id = id(own(&scene, &["--no-wait", "x"]));
    up.told();
    let waits = own(&scene, &["wait", &id]).start();
    own(&scene, &["cancel", &id[..8]]).prints(&format!("cancelled {id}\n"));
    // It is gone by then, and holds its session no more.
    scene.file("bin/on", "");
    own(&scene, &["-c", "again"]).prints("done\n");
    waits.ends("half\n", "clinvk: cancelled\n", 7);
    let server: Vec<String> = scene.processes().into_values().collect();
    assert_eq!(server.len(), 1, "{server:?}");
    let sessions = scene.clinvk(["sessions", "list", "--json"]).seen();
    let sessions: Value = serde_json::from_str(&sessions.out).unwrap();
    assert_eq!((&sessions["total"], &sessions["sessions"][0]["status"]), (&json!(1), &json!("completed")));
}

#[test]
fn a_run_of_another_client_is_cancelled_too() {
    let scene = Scene::playing("printf half; tell up; \"$here/sleep\" 1000 & wait");
    let mut up = scene.fifo("up");
    let mut run = own(&scene, &["x"]).start();
    up.told();
    run.says("half");
    let id = runs(&scene)[0]["id"].as_str().unwrap().to_owned();
    own(&scene, &["cancel", "--json", &id]).seen();
    let seen = run.end();
    assert!(seen.status == 7 && seen.out == "half\n", "{seen}");
    assert_eq!(runs(&scene), Vec::<Value>::new());
}

#[test]
fn a_turn_can_be_queued_behind_the_one_that_goes_on() {
    let scene = Scene::playing("tell up; await go; say done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let first = id(own(&scene, &["--no-wait", "x"]));
    up.told();
    let busy = id(own(&scene, &["-c", "--no-wait", "y"]));
    let seen = own(&scene, &["wait", &busy]).seen();
    assert!(seen.status == 4 && seen.err.contains("is busy"), "{seen}");
    let second = id(own(&scene, &["-c", "--wait", "--no-wait", "y"]));
    go.tell();
    own(&scene, &["wait", &first]).prints("done\n");
    up.told();
    go.tell();
    own(&scene, &["wait", &second]).prints("done\n");
}

#[test]
fn an_answer_that_is_longer_than_the_log_of_its_events_is_whole() {
    let scene = Scene::playing("for word in 1 2 3 4 5; do head -c 2000000 /dev/zero | tr '\\0' $word; done");
    let id = id(own(&scene, &["--no-wait", "x"]));
    let seen = own(&scene, &["wait", &id]).seen();
    let whole: String = ["1", "2", "3", "4", "5"].map(|word| word.repeat(2_000_000)).concat() + "\n";
    assert!(seen.status == 0 && seen.out == whole, "{} bytes, {}", seen.out.len(), seen.err);
}

#[test]
fn who_waits_and_reads_slowly_has_the_whole_answer_all_the_same() {
    let play = "head -c 200000 /dev/zero | tr '\\0' 0; await more; \
                for word in 1 2 3 4 5; do head -c 2000000 /dev/zero | tr '\\0' $word; done";
    let scene = Scene::playing(play);
    let (mut more, mut go) = (scene.fifo("more"), scene.fifo("go"));
    let id = id(own(&scene, &["--no-wait", "x"]));
    let line = format!(
        "'{}' wait {id} | {{ head -c 1000; read -r _ <'{}'; cat; }}",
        env!("CARGO_BIN_EXE_clinvk"),
        scene.text("bin/go")
    );
    let waits = scene.program("/bin/sh").args(["-c", &line]).env("CLINVK_SERVER", "auto");
    let mut waits = waits.start();
    waits.says(&"0".repeat(1000));
    more.tell();
    until("the run is over", || runs(&scene)[0]["state"] != "running");
    go.tell();
    let seen = waits.end();
    let words = ["1", "2", "3", "4", "5"].map(|word| word.repeat(2_000_000)).concat();
    let whole = "0".repeat(200_000) + &words + "\n";
    assert!(seen.status == 0 && seen.out == whole, "{} bytes, {}", seen.out.len(), seen.err);
}

#[test]
fn without_a_server_it_is_said_what_to_do() {
    let scene = Scene::playing("cat");
    for (args, what) in [
        (&["runs"][..], "`runs`"),
        (&["wait", "x"], "`wait`"),
        (&["cancel", "x"], "`cancel`"),
        (&["--no-wait", "x"], "`--no-wait`"),
        (&["resume", "--last", "--no-wait", "x"], "no session"),
    ] {
        let seen = scene.clinvk(args).seen();
        let is_said = seen.err.contains(what) && (what == "no session" || seen.err.contains("--server auto"));
        assert!(seen.status != 0 && is_said, "{args:?} {seen}");
    }
    for (args, err) in [
        (&["wait", "nosuch"][..], "clinvk: no run `nosuch`: it is over, or was never there\n"),
        (&["cancel", ""], "clinvk: no run ``: it is over, or was never there\n"),
        (&["wait"], "clinvk: `wait` needs the id of a run: `clinvk runs` lists them\n"),
    ] {
        own(&scene, args).fails(1, err);
    }
    let Seen { out, .. } = own(&scene, &["runs"]).seen();
    assert_eq!(out, "ID  BACKEND  STATE  SINCE  SECONDS  SESSION\n");
    until("the server", || scene.processes().len() == 1);
}
