//! `chain`: steps that use each other's answers, conversations and directories.

use super::parallel::{ACTOR, asked, field, object};
use crate::util::run::Run;
use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;

/// `chain -q` with this.
fn chain(scene: &Scene, chain: &Value, args: &[&str]) -> Run {
    scene.file("work/chain.json", chain.to_string());
    scene.clinvk(["chain", "-q", "-f", "chain.json"]).args(args)
}

#[test]
fn steps_use_the_answers_of_those_before_and_the_last_answer_is_printed() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"steps": [
        {"name": "one", "prompt": "<{{input}}>"},
        {"prompt": "{{previous}}{{ steps.one.output }} {{{{previous}}"},
        {"name": "three", "prompt": "{{steps.2.output}}|{{previous}}"},
    ]});
    let two = "<{{input}} {{{{><{{input}} {{{{> {{previous}}";
    chain(&scene, &plan, &[]).stdin("{{input}} {{{{").prints(&format!("{two}|{two}\n"));
    let seen = chain(&scene, &plan, &["--json", "--input", "I"]).seen();
    let said = object(&seen);
    let facts = ["total_steps", "completed_steps", "failed_step"].map(|name| &said[name]);
    assert_eq!(facts, [3, 3, 0].map(|count| json!(count)).each_ref(), "{seen}");
    assert_eq!(field(&said["results"], "step"), [1, 2, 3], "{seen}");
    assert_eq!(field(&said["results"], "name"), ["one", "2", "three"], "{seen}");
    assert_eq!(said["results"][0]["output"], "<I>", "{seen}");
    assert!(said["total_duration_seconds"].is_f64() && seen.status == 0 && seen.err.is_empty(), "{seen}");
}

#[test]
fn what_is_wrong_with_a_chain_is_said_before_anything_runs() {
    let scene = Scene::playing(ACTOR);
    let steps = |steps: Value| json!({"steps": steps}).to_string();
    for (text, error) in [
        ("{\"steps\": [{]}".to_owned(), "standard input:1:13: `steps`: key must be a string"),
        ("{\"step\": []}".to_owned(), "standard input:1:7: unknown field `step`: did you mean `steps`?"),
        ("{}".to_owned(), "standard input: there are no steps"),
        (
            steps(json!([{"name": "a"}])),
            "standard input:1:23: `steps`: a step has either a `prompt` or a `prompt_file`",
        ),
        (steps(json!([{"prompt": " "}])), "standard input: step `1`: there is no prompt"),
        (
            steps(json!([{"name": "a", "prompt": "a"}, {"name": "a", "prompt": "b"}])),
            "standard input: step `a`: another step has this name",
        ),
        (
            steps(json!([{"name": "a", "prompt": "{{previous}}"}])),
            "standard input: step `a`: `{{previous}}`: there is no step before the first",
        ),
        (
            steps(json!([{"name": "a", "prompt": "{{steps.b.output}}"}, {"name": "b", "prompt": "b"}])),
            "standard input: step `a`: `{{steps.b.output}}`: step `b` comes no sooner than this one",
        ),
        (
            steps(json!([{"name": "first", "prompt": "a"}, {"prompt": "{{steps.frist.output}}"}])),
            "standard input: step `2`: `{{steps.frist.output}}`: there is no step `frist`: did you mean `first`?",
        ),
        (
            steps(json!([{"prompt": "{{inptu}}"}])),
            "standard input: step `1`: `{{inptu}}`: unknown variable: there are `{{input}}`, `{{previous}}` and \
             `{{steps.NAME.output}}`, and `{{{{` is a literal `{{`",
        ),
        (
            steps(json!([{"prompt": "a {{input"}])),
            "standard input: step `1`: `{{input` has no `}}` behind it: a literal `{{` is `{{{{`",
        ),
        (
            steps(json!([{"prompt": "{{input}}"}])),
            "`{{input}}` is used, and there is none: give it on standard input or by `--input`",
        ),
    ] {
        scene.clinvk(["chain"]).stdin(text).fails(1, &format!("clinvk: {error}\n"));
    }
    let plan = json!({"steps": [{"name": "begin", "prompt": "a"}]});
    for (args, error) in [
        (&["--from", "begin"][..], "`--from` needs the answers of the steps before: `--output-dir DIR`"),
        (&["--from", "2", "--output-dir", "out"], "unknown step `2`: known are begin"),
    ] {
        chain(&scene, &plan, args).fails(1, &format!("clinvk: {error}\n"));
    }
    assert_eq!(asked(&scene), [""; 0]);
}

#[test]
fn a_step_that_fails_is_the_last_unless_the_chain_goes_on() {
    let scene = Scene::playing(ACTOR);
    let mut plan = json!({"steps": [
        {"prompt": "a"}, {"name": "bad", "prompt": "fail"}, {"prompt": "c {{previous}}."},
    ]});
    let error = "clinvk: step 2 (`bad`), fake: failed: the backend ended with exit status 9: no luck\n";
    chain(&scene, &plan, &[]).fails(1, error);
    let said = object(&chain(&scene, &plan, &["--json"]).seen());
    let facts = ["total_steps", "completed_steps", "failed_step"].map(|name| &said[name]);
    assert_eq!(facts, [3, 1, 2].map(|count| json!(count)).each_ref(), "{said}");
    assert_eq!(field(&said["results"], "status"), ["completed", "failed"]);
    plan["stop_on_failure"] = json!(false);
    let seen = chain(&scene, &plan, &["--json"]).seen();
    let said = object(&seen);
    assert_eq!(field(&said["results"], "output"), ["a", "", "c ."], "{seen}");
    assert!(said["failed_step"] == 2 && said["completed_steps"] == 2 && seen.status == 1, "{seen}");
}

#[test]
fn a_chain_goes_on_from_a_step() {
    let scene = Scene::playing(ACTOR);
    let mut plan = json!({"steps": [
        {"name": "a", "prompt": "a"}, {"name": "b", "prompt": "fail"}, {"name": "c", "prompt": "{{steps.a.output}}{{previous}}"},
    ]});
    let keep = ["--output-dir", "out"];
    assert_eq!(chain(&scene, &plan, &keep).seen().status, 1);
    plan["steps"][1]["prompt"] = json!("b");
    chain(&scene, &plan, &[&keep[..], &["--from", "b"]].concat()).prints("ab\n");
    assert_eq!(asked(&scene), ["a", "fail", "b", "ab"]);
    // By number, too.
    chain(&scene, &plan, &[&keep[..], &["--from", "3"]].concat()).prints("ab\n");
    assert_eq!(asked(&scene).len(), 5);
    fs::remove_file(scene.path("work/out/step-a.json")).unwrap();
    chain(&scene, &plan, &[&keep[..], &["--from", "c"]].concat())
        .fails(1, "clinvk: step `a` has no answer to go on from\n");
}

#[test]
fn steps_may_share_a_directory() {
    let scene = Scene::playing("cat >/dev/null; basename \"$PWD\"");
    fs::create_dir(scene.path("work/sub")).unwrap();
    let mut plan = json!({"steps": [{"prompt": "a", "workdir": "sub"}, {"prompt": "b"}, {"prompt": "c", "workdir": "."}, {"prompt": "d"}]});
    let dirs = |plan: &Value| field(&object(&chain(&scene, plan, &["--json"]).seen())["results"], "output");
    assert_eq!(dirs(&plan), ["sub", "work", "work", "work"]);
    plan["pass_working_dir"] = json!(true);
    assert_eq!(dirs(&plan), ["sub", "sub", "work", "work"]);
}

#[test]
fn steps_on_the_same_backend_may_continue_one_conversation() {
    // What it is asked, in which session of its own.
    let play =
        "p=$(cat); id=${1-new-$$}; say \"{\\\"s\\\":\\\"$id\\\",\\\"t\\\":\\\"$p in ${1-a new one}\\\"}\"";
    let home = Home::new();
    let program = home.scene.fake("talker", play);
    let talker = json!({
        "command": [program], "output": "jsonl", "fields": {"text": "t", "session": "s"}, "resume_args": ["{session}"],
    });
    home.scene.config(
        &json!({"default_backend": "talker", "backends": {"talker": talker, "cat": {"command": ["cat"]}}}),
    );
    let plan = json!({"pass_session": true, "steps": [
        {"prompt": "a"}, {"prompt": "b", "backend": "cat"}, {"prompt": "c"}, {"prompt": "d", "backend": "cat"},
    ]});
    let outputs = |args: &[&str]| {
        let seen = chain(&home.scene, &plan, &[&["--json"], args].concat()).seen();
        let said = object(&seen);
        assert_eq!(said["completed_steps"], 4, "{seen}");
        field(&said["results"], "output")
            .iter()
            .map(|output| output.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let said = outputs(&[]);
    assert!(said[0] == "a in a new one" && said[2].starts_with("c in new-"), "{said:?}");
    // One that cannot continue is told what was said before.
    assert!(said[3].contains("b") && said[3].ends_with('d') && said[3] != "d", "{said:?}");
    assert_eq!(home.ids(), [""; 0], "they end with the chain");
    outputs(&["--keep-sessions"]);
    assert_eq!(home.ids().len(), 2);
    assert_eq!(home.list(&[]).len(), 2);
}

#[test]
fn five_megabytes_of_an_answer_are_passed_on() {
    let scene = Scene::playing("if [ \"$1\" ]; then bytes 5000000; else wc -c; fi");
    scene.config(&json!({"default_backend": "fake", "backends": {
        "fake": {"command": [scene.text("bin/fake")]}, "large": {"command": [scene.text("bin/fake"), "large"]},
    }}));
    let plan =
        json!({"steps": [{"prompt": "x", "backend": "large"}, {"prompt": "<{{previous}}>{{previous}}"}]});
    chain(&scene, &plan, &[]).prints("10000002\n");
}

#[test]
fn a_signal_stops_a_chain() {
    let scene = Scene::playing(ACTOR);
    let mut up = scene.fifo("up");
    let plan = json!({"steps": [{"prompt": "a"}, {"name": "b", "prompt": "hang"}, {"prompt": "c"}]});
    let run = chain(&scene, &plan, &["--json"]).start();
    up.told();
    run.signal(sys::SIGTERM);
    let seen = run.end();
    scene.is_deserted();
    let said = object(&seen);
    assert_eq!(field(&said["results"], "status"), ["completed", "cancelled"], "{seen}");
    assert!(said["failed_step"] == 2 && seen.status == 7, "{seen}");
    assert_eq!(seen.err, "clinvk: step 2 (`b`), fake: cancelled\n");
    assert_eq!(asked(&scene), ["a", "hang"]);
}

#[test]
fn the_input_is_waited_for_only_where_it_is_used() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"steps": [{"prompt": "a"}]});
    chain(&scene, &plan, &[]).silent_stdin().prints("a\n");
    let plan = json!({"steps": [{"prompt": "{{input}}"}], "input": "of the chain"});
    chain(&scene, &plan, &[]).silent_stdin().prints("of the chain\n");
    chain(&scene, &plan, &["--input", "of the flag"]).silent_stdin().prints("of the flag\n");
    let plan = json!({"steps": [{"prompt_file": "p.txt"}]});
    scene.file("work/p.txt", "<{{input}}>");
    chain(&scene, &plan, &[]).stdin("piped\n").prints("<piped\n>\n");
    // Options in front of it are those that the step does not say.
    scene.file("work/p.txt", "---\n{\"backend\": \"echo\", \"tags\": [\"t\"]}\n---\n<{{input}}>");
    let plan = json!({"steps": [{"prompt_file": "p.txt"}, {"prompt_file": "p.txt", "backend": "fake"}]});
    let seen = chain(&scene, &plan, &["--input", "I", "--json"]).seen();
    let results = object(&seen)["results"].clone();
    assert_eq!(field(&results, "backend"), ["echo", "fake"], "{seen}");
    assert_eq!(field(&results, "output"), ["<I>", "<I>"], "{seen}");
    scene.file("work/p.txt", "---\n{\"modle\": 1}\n---\n");
    let broken = "clinvk: p.txt:2:8: unknown field `modle`: did you mean `model`?\n";
    chain(&scene, &plan, &[]).fails(1, broken);
}

#[test]
fn a_dry_run_of_a_chain_says_every_step() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"steps": [{"prompt": "a"}, {"prompt": "b {{previous}}"}]});
    let seen = chain(&scene, &plan, &["--dry-run"]).seen();
    assert!(seen.out.matches("# Would execute:\n").count() == 2 && seen.status == 0, "{seen}");
    assert!(seen.out.contains("'b {{previous}}'") && asked(&scene).is_empty(), "{seen}");
}
