//! `compare`: who is asked, what is printed, and whether the answers agree.

use super::parallel::{field, object};
use crate::util::run::Seen;
use crate::util::scene::Scene;
use clinvk::base::sys;
use serde_json::json;
use std::fs;

/// Backends that answer what the map says, whatever they are asked; `$1` is the model.
fn scene(answers: &[(&str, &str)]) -> Scene {
    let scene = Scene::new();
    let mut backends = serde_json::Map::new();
    for name in ["claude", "codex", "gemini"] {
        backends.insert(name.to_owned(), json!({"program": format!("/nowhere/{name}")}));
    }
    for (name, play) in answers {
        let program = scene.fake(name, &format!("cat >/dev/null; {play}"));
        backends.insert((*name).to_owned(), json!({"command": [program, "{model}"], "model": "small"}));
    }
    scene.config(&json!({"default_backend": "echo", "backends": backends}));
    scene
}

/// `compare -q --backends` with these.
fn compare(scene: &Scene, backends: &str, args: &[&str]) -> Seen {
    scene.clinvk(["compare", "-q", "--backends", backends, "hi"]).args(args).seen()
}

#[test]
fn answers_stand_under_their_headings_in_the_order_that_was_asked_for() {
    let scene = scene(&[
        ("one", "await go; say first"),
        ("two", "say second; echo 'no luck' >&2; exit 9"),
        ("three", "say third; tell go"),
    ]);
    let _go = scene.fifo("go");
    let seen = compare(&scene, "one,two:large,three", &[]);
    let text: Vec<&str> = seen.out.lines().map(|line| line.split(" (").next().unwrap()).collect();
    let failed = "failed: the backend ended with exit status 9: no luck";
    let expected = ["== one", "first", "", "== two:large", "second", failed, "", "== three", "third", ""];
    assert!(text == expected && seen.status == 1 && seen.err.is_empty(), "{seen}");
}

#[test]
fn json_has_the_names_of_0_2_and_one_backend_may_be_asked_for_two_models() {
    let scene = scene(&[("one", "say \"$1\"")]);
    let seen = compare(&scene, "one,one:large", &["--json"]);
    let said = object(&seen);
    assert!(said["prompt"] == "hi" && said["backends"] == json!(["one", "one"]), "{seen}");
    assert!(said["total_duration_seconds"].is_f64() && seen.status == 0, "{seen}");
    assert_eq!(field(&said["results"], "model"), ["small", "large"], "{seen}");
    assert_eq!(field(&said["results"], "output"), ["small", "large"], "{seen}");
    for name in ["backend", "duration_seconds", "exit_code", "usage", "session_id", "status"] {
        assert!(said["results"][0].get(name).is_some(), "{name}: {seen}");
    }
    let flagged = object(&compare(&scene, "one,one:large", &["--json", "-m", "given"]));
    assert_eq!(field(&flagged["results"], "output"), ["given", "large"]);
}

#[test]
fn one_that_is_named_and_not_installed_fails_and_of_all_it_is_left_out() {
    let scene = scene(&[("one", "say a")]);
    let said = object(&compare(&scene, "one,codex", &["--json"]));
    assert!(
        said["results"][1]["kind"] == "not_installed" && said["results"][0]["status"] == "completed",
        "{said}"
    );
    let seen = scene.clinvk(["compare", "--json", "--all-backends", "hi"]).seen();
    assert_eq!(object(&seen)["backends"], json!(["one"]), "{seen}");
    for name in ["claude", "codex", "gemini"] {
        let warning = format!("clinvk: backend `{name}` is not installed: it is left out\n");
        assert!(seen.err.contains(&warning) && seen.status == 0, "{seen}");
    }
    let error = "backend `claude` is not installed: `/nowhere/claude` is not an executable file";
    let seen = self::scene(&[]).clinvk(["compare", "-q", "--all-backends", "hi"]).seen();
    assert!(seen.err.starts_with(&format!("clinvk: {error}: ")) && seen.status == 2, "{seen}");
    assert_eq!(compare(&scene, "claude,codex", &[]).status, 2);
}

#[test]
fn one_after_the_other_is_one_at_a_time() {
    let count = "echo \"$$ in\" >>\"$here/log\"; say a; echo \"$$ out\" >>\"$here/log\"";
    let scene = scene(&[("one", count), ("two", count), ("three", count)]);
    assert_eq!(compare(&scene, "one,two,three", &["--sequential"]).status, 0);
    let log = fs::read_to_string(scene.path("bin/log")).unwrap();
    let steps: Vec<&str> = log.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(steps, ["in", "out", "in", "out", "in", "out"]);
}

#[test]
fn in_a_race_the_first_answer_counts_and_nothing_is_left_of_the_others() {
    let stubborn = "trap '' INT TERM; daemon; tell up; while :; do \"$here/sleep\" 1000; done";
    let scene = scene(&[("slow", stubborn), ("bad", "exit 9"), ("quick", "await up; say done")]);
    let _up = scene.fifo("up");
    let seen = compare(&scene, "slow,bad,quick", &["--race", "--json"]);
    scene.is_deserted();
    let said = object(&seen);
    let statuses = field(&said["results"], "status");
    // Whether the bad one had ended before the answer came is chance.
    assert!(statuses[0] == "cancelled" && statuses[1] != "completed" && statuses[2] == "completed", "{seen}");
    assert!(
        said["winner"] == "quick" && said["results"][0]["error"] == "stopped because quick answered first",
        "{seen}"
    );
    assert_eq!(seen.status, 0, "{seen}");
    let seen = compare(&scene, "slow,quick", &["--race"]);
    assert!(seen.out == "done\n" && seen.status == 0 && seen.err.is_empty(), "{seen}");
    let seen = compare(&scene, "bad", &["--race"]);
    assert!(seen.out.starts_with("== bad (") && seen.status == 1, "{seen}");
}

#[test]
fn whether_answers_agree_is_the_exit_status_and_who_differs_is_told() {
    let scene = scene(&[
        ("one", "say 'I think: '; say yes"),
        ("two", "say yes; say"),
        ("three", "say no"),
        ("bad", "echo 'no luck' >&2; exit 9"),
    ]);
    let seen = compare(&scene, "one,two", &["--agree"]);
    assert!(seen.status == 0 && seen.err.is_empty(), "{seen}");
    let seen = compare(&scene, "one,three,two", &["--agree", "--json"]);
    assert!(object(&seen)["agree"] == false && seen.status == 1, "{seen}");
    assert_eq!(seen.err, "clinvk: three differs from one, two\n");
    let seen = compare(&scene, "one,two,bad", &["--agree"]);
    let error = "clinvk: bad has no answer: failed: the backend ended with exit status 9: no luck\n";
    assert!(seen.err == error && seen.status == 1, "{seen}");
}

#[test]
fn the_prompt_is_put_together_as_always() {
    let scene = Scene::new();
    let cat = scene.fake("cat", "exec /bin/cat");
    scene.config(&json!({"backends": {"cat": {"command": [cat]}}}));
    scene.file("work/a.txt", "a\n");
    let args = ["compare", "--backends", "cat", "--json", "-q", "look", "--file", "a.txt"];
    let said = object(&scene.clinvk(args).stdin("piped").seen());
    assert_eq!(said["results"][0]["output"], "look\n\npiped\n\n<file name=\"a.txt\">\na\n</file>");
    let fallback = scene.clinvk(["compare", "--backends", "cat", "--fallback", "echo", "x"]).seen();
    assert!(fallback.status == 1 && fallback.err.contains("no flag of `compare`"), "{fallback}");
}

#[test]
fn a_signal_stops_a_comparison() {
    let scene = scene(&[("slow", "tell up; exec \"$here/sleep\" 1000"), ("quick", "say done; tell up")]);
    let mut up = scene.fifo("up");
    let run = scene.clinvk(["compare", "-q", "--agree", "--backends", "slow,quick", "hi"]).start();
    up.told();
    up.told();
    run.signal(sys::SIGINT);
    let seen = run.end();
    scene.is_deserted();
    assert!(
        seen.out.contains("\ncancelled\n") && seen.out.contains("\ndone\n") && seen.status == -sys::SIGINT,
        "{seen}"
    );
    assert!(seen.err.is_empty(), "{seen}");
}

#[test]
fn a_comparison_that_makes_no_sense_is_an_error() {
    let scene = scene(&[("one", "say a")]);
    for (args, error) in [
        (&["x"][..], "who is asked? give `--backends a,b` or `--all-backends`"),
        (&["--backends", ",", "x"], "there is no backend to ask"),
        (&["--backends", "one,one", "x"], "`one` is named twice"),
        (
            &["--backends", "one", "--all-backends", "x"],
            "`--backends` and `--all-backends` exclude each other",
        ),
        (&["--backends", "one", "--race", "--agree", "x"], "`--race` and `--agree` exclude each other"),
        (&["--backends", "one"], "there is no prompt: give one as an argument or on standard input"),
    ] {
        scene.clinvk([&["compare"], args].concat()).fails(1, &format!("clinvk: {error}\n"));
    }
}
