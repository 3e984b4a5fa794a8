//! `parallel`: what is printed, in which order, what is refused before anything runs, and what stops it.

use crate::util::run::{Run, Seen};
use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;

/// Does what its prompt says: the first word is the play's, the rest its argument.
pub const ACTOR: &str = r#"
    prompt=$(cat)
    printf '%s\n' "$prompt" >>"$here/asked"
    case $prompt in
        'fail'*) echo "no luck" >&2; exit 9 ;;
        'await '*) await "${prompt#await }"; printf 'went' ;;
        'hang'*) tell up $$; "$here/sleep" 1000 & "$here/sleep" 1000 ;;
        'stubborn'*) trap '' INT TERM HUP QUIT; daemon; tell up $$; while :; do "$here/sleep" 1000; done ;;
        *) printf '%s' "$prompt" ;;
    esac
"#;

/// What a fake was asked, in order.
pub fn asked(scene: &Scene) -> Vec<String> {
    let text = fs::read_to_string(scene.path("bin/asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// `parallel` with this plan, quietly.
pub fn parallel(scene: &Scene, plan: &Value, args: &[&str]) -> Run {
    scene.clinvk(["parallel", "-q", "-f", "-"]).args(args).stdin(plan.to_string())
}

/// The only JSON object on standard output.
#[track_caller]
pub fn object(seen: &Seen) -> Value {
    serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

/// One field of all results.
pub fn field(results: &Value, name: &str) -> Vec<Value> {
    results.as_array().unwrap().iter().map(|result| result[name].clone()).collect()
}

/// Durations become `N`.
fn untimed(text: &str) -> String {
    let timed = |word: &str| word.trim_end_matches(['s', ')']).trim_start_matches('(').parse::<f64>().is_ok();
    let one = |word: &str| if word.contains('.') && timed(word) { "N".to_owned() } else { word.to_owned() };
    let line = |line: &str| line.split_whitespace().map(one).collect::<Vec<_>>().join(" ");
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn answers_come_in_the_order_of_the_tasks_with_a_table_and_a_total() {
    let scene = Scene::playing(ACTOR);
    let (mut one, mut two) = (scene.fifo("one"), scene.fifo("two"));
    let plan = json!({"tasks": [
        {"prompt": "await one", "name": "first"},
        {"prompt": "fail now", "id": "second"},
        {"prompt": "await two"},
    ]});
    let mut run = scene.clinvk(["parallel", "--file", "-"]).stdin(plan.to_string()).start();
    run.says("Running 3 tasks (max 3 parallel)...\n\n");
    two.tell();
    one.tell();
    let seen = run.end();
    let failed = "failed: the backend ended with exit status 9: no luck";
    let expected = format!(
        "Running 3 tasks (max 3 parallel)...\n\n[1] went\n[2] {failed}\n[3] went\n\n# BACKEND STATUS DURATION TASK\n\
         1 fake completed N first\n2 fake failed N second\n3 fake completed N await two\n\n\
         Total: 3 tasks, 2 completed, 1 failed N s)\n"
    );
    assert!(untimed(&seen.out) == expected && seen.status == 1, "expected {expected}\nsaw {seen}");
    for line in ["[1] fake: started\n", "[2] fake: failed: the backend ended", "[3] fake: completed in "] {
        assert!(seen.err.contains(line), "{line}: {seen}");
    }
}

#[test]
fn without_aggregate_output_there_is_only_the_table() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"tasks": [{"prompt": "a"}]});
    let seen = parallel(&scene, &plan, &[]).env("CLINVK_PARALLEL_AGGREGATE_OUTPUT", "false").seen();
    let expected = "# BACKEND STATUS DURATION TASK\n1 fake completed N a\n\nTotal: 1 tasks, 1 completed, 0 failed N s)\n";
    assert!(untimed(&seen.out) == expected && seen.err.is_empty() && seen.status == 0, "{seen}");
}

#[test]
fn json_has_the_names_of_0_2_and_ours() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"tasks": [
        {"prompt": "a", "id": "x", "name": "n", "tags": ["t"], "meta": {"k": [1]}, "output_format": "text", "verbose": true},
        {"prompt": "fail"},
    ]});
    let seen = parallel(&scene, &plan, &["--json"]).seen();
    let said = object(&seen);
    let totals =
        ["total_tasks", "completed", "failed", "cancelled", "skipped", "resumed"].map(|name| &said[name]);
    assert_eq!(totals, [2, 1, 1, 0, 0, 0].map(|count| json!(count)).each_ref(), "{seen}");
    assert!(said["total_duration_seconds"].is_f64() && seen.status == 1 && seen.err.is_empty(), "{seen}");
    let mut first = said["results"][0].clone();
    assert!(first["duration_seconds"].take().is_f64(), "{seen}");
    assert!(first["usage"].take()["total_tokens"].is_u64(), "{seen}");
    assert_eq!(
        first,
        json!({
            "index": 0, "task_id": "x", "task_name": "n", "backend": "fake", "model": null, "status": "completed",
            "output": "a", "content": "a", "duration_seconds": null, "exit_code": 0, "kind": null, "error": null,
            "session_id": null, "backend_session_id": null, "usage": null, "cost": null, "attempts": 1, "tried": [], "warnings": [], "permission_denials": 0, "tags": ["t"], "meta": {"k": [1]},
        })
    );
    let second = &said["results"][1];
    assert!(second["index"] == 1 && second["exit_code"] == 9 && second["kind"] == "crash", "{seen}");
    assert!(second["error"].as_str().unwrap().contains("no luck"), "{seen}");
}

#[test]
fn each_result_is_a_line_when_it_ends() {
    let scene = Scene::playing(ACTOR);
    let (mut one, _two) = (scene.fifo("one"), scene.fifo("two"));
    let lines = "{\"prompt\": \"await one\"}\n\n{\"prompt\": \"b\"}\n";
    let mut run = scene.clinvk(["parallel", "-q", "--jsonl"]).stdin(lines).start();
    // The second is told before the first may end.
    run.says("\"output\":\"b\"");
    one.tell();
    let seen = run.end();
    let index = |line: &str| serde_json::from_str::<Value>(line).unwrap()["index"].clone();
    let order: Vec<Value> = seen.out.lines().map(index).collect();
    assert!(order == [1, 0] && seen.status == 0 && seen.err.is_empty(), "{seen}");
}

#[test]
fn what_is_wrong_with_a_plan_is_said_before_anything_runs() {
    let scene = Scene::playing(ACTOR);
    for (plan, error) in [
        ("{\"tasks\": [\n  {\"prompt\": \"a\"},\n]}", "standard input:3:1: expected value"),
        ("{\"tasks\": [{\"prompt\": \"a\"}", "standard input:1:26: EOF while parsing a list"),
        ("{\"prompt\": \"a\"}\n{\"prompt\": \n", "standard input:3:0: `prompt`: EOF while parsing a value"),
        (
            "{\"tasks\": [{\"promt\": \"a\"}]}",
            "standard input:1:19: `tasks`: unknown field `promt`: did you mean `prompt`?",
        ),
        (
            "{\"prompt\": \"a\"}\n{\"promt\": 1}",
            "standard input:2:8: unknown field `promt`: did you mean `prompt`?",
        ),
        ("{\"task\": []}", "standard input:1:7: unknown field `task`: did you mean `tasks`?"),
        (
            "{\"tasks\": [{\"prompt\": \"a\"}], \"fail_fats\": 1}",
            "standard input:1:40: unknown field `fail_fats`: did you mean `fail_fast`?",
        ),
        (
            "{\"tasks\": [{\"prompt\": \"a\", \"approval_mode\": \"nome\"}]}",
            "standard input:1:51: `tasks`: `approval_mode`: unknown word `nome`: did you mean `none`?",
        ),
        ("{\"tasks\": []}", "standard input: there are no tasks"),
        ("", "standard input: there are no tasks"),
        ("[]", "standard input:1: expected an object with `tasks`, or one task a line"),
        ("{\"prompt\": \"a\"}\n\n{\"backend\": \"fake\"}\n", "standard input:3: a task without a prompt"),
        ("{\"tasks\": [{\"prompt\": \" \"}]}", "standard input:1:27: `tasks`: a task without a prompt"),
        (
            "{\"prompt\": \"a\", \"prompt_file\": \"b\"}",
            "standard input:1: a task has a `prompt` or a `prompt_file`, not both",
        ),
        (
            "{\"prompt\": \"a\", \"id\": \"x\"}\n{\"prompt\": \"b\", \"id\": \"x\"}",
            "standard input: two tasks have the id `x`",
        ),
        (
            "{\"prompt\": \"a\", \"id\": \"first\"}\n{\"prompt\": \"b\", \"depends_on\": [\"frist\"]}",
            "standard input: task 2 depends on `frist`, and no task has that id: did you mean `first`?",
        ),
        (
            "{\"prompt\": \"a\", \"id\": \"x\", \"depends_on\": [\"x\"]}",
            "standard input: task `x` depends on itself",
        ),
        (
            "{\"prompt\": \"a\", \"id\": \"x\", \"depends_on\": [\"z\"]}\n{\"prompt\": \"a\", \"id\": \"y\", \"depends_on\": [\"x\"]}\n\
             {\"prompt\": \"a\", \"id\": \"z\", \"depends_on\": [\"y\"]}\n{\"prompt\": \"a\", \"depends_on\": [\"z\"]}",
            "standard input: tasks depend on each other: x -> z -> y -> x",
        ),
        (
            "{\"prompt\": \"a\", \"id\": \"x\"}\n{\"prompt\": \"b {{x.output}}\"}",
            "standard input: task 2: uses the output of `x`, which is not in its `depends_on`",
        ),
        (
            "{\"prompt\": \"a\", \"id\": \"x\"}\n{\"prompt\": \"b {{y}}\", \"id\": \"b\", \"depends_on\": [\"x\"]}",
            "standard input: task `b`: `{{y}}`: unknown variable: `{{ID.output}}` is the answer of a dependency, and \
             `{{{{` a literal `{{`",
        ),
        ("{\"tasks\": [{\"prompt\": \"a\"}], \"detach\": true}", "`detach` is for the server alone"),
    ] {
        scene.clinvk(["parallel"]).stdin(plan).fails(1, &format!("clinvk: {error}\n"));
    }
    assert_eq!(asked(&scene), [""; 0]);
}

#[test]
fn the_most_at_once_is_bounded_and_the_flag_comes_before_the_file_before_the_configuration() {
    let scene = Scene::playing(ACTOR);
    let expected = "expected a whole number from 1 to 1024";
    for word in ["0", "-1", "1025", "many"] {
        let seen = scene.clinvk(["parallel", "--max-parallel", word]).stdin("{\"prompt\": \"a\"}").seen();
        let error = format!("clinvk: `--max-parallel {word}`: {expected}");
        assert!(seen.err.starts_with(&error) && seen.status == 1 && seen.out.is_empty(), "{seen}");
        if word != "many" {
            let plan = format!("{{\"max_parallel\": {word}, \"tasks\": [{{\"prompt\": \"a\"}}]}}");
            let seen = scene.clinvk(["parallel"]).stdin(plan).seen();
            let error = format!("`max_parallel`: {expected}, found {word}\n");
            assert!(seen.err.ends_with(&error) && seen.status == 1 && seen.out.is_empty(), "{seen}");
        }
    }
    let plan = |extra: &str| format!("{{{extra} \"tasks\": [{{\"prompt\": \"a\"}}]}}");
    for (args, plan, most) in [
        (&["-P", "5"][..], plan("\"max_parallel\": 6,"), 5),
        (&[], plan("\"max_parallel\": 6,"), 6),
        (&[], plan(""), 7),
    ] {
        let run = scene.clinvk(["parallel"]).args(args).stdin(plan).env("CLINVK_PARALLEL_MAX_WORKERS", "7");
        let seen = run.seen();
        assert!(seen.out.starts_with(&format!("Running 1 tasks (max {most} parallel)...\n")), "{seen}");
    }
}

#[test]
fn no_more_run_at_once_than_were_asked_for_and_no_fewer() {
    // Each counts those that are there with it; two of them cannot end before the other has begun.
    let scene = Scene::playing(
        "cat >/dev/null; : >\"$here/now.$$\"; ls \"$here\" | grep -c '^now' >>\"$here/counts\"; \
         tell up; await go; rm \"$here/now.$$\"",
    );
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let tasks: Vec<Value> = (0..6).map(|n| json!({"prompt": n.to_string()})).collect();
    let run = parallel(&scene, &json!({"tasks": tasks}), &["-P", "2"]).start();
    up.told();
    for _ in 0..5 {
        up.told();
        go.tell();
    }
    go.tell();
    assert_eq!(run.end().status, 0);
    let counts = fs::read_to_string(scene.path("bin/counts")).unwrap();
    assert_eq!(counts.lines().max(), Some("2"), "{counts}");
}

#[test]
fn many_at_once_need_more_open_files_than_a_shell_allows() {
    let scene = Scene::playing("cat >/dev/null; tell up; await go; ulimit -n");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let tasks: Vec<Value> = (0..12).map(|n| json!({"prompt": n.to_string()})).collect();
    scene.file("work/plan", json!({"tasks": tasks}).to_string());
    let line = "ulimit -Sn 40; exec \"$0\" parallel -q --json -P 12 -f plan";
    let run = scene.program("sh").args(["-c", line, env!("CARGO_BIN_EXE_clinvk")]).start();
    (0..12).for_each(|_| _ = up.told());
    (0..12).for_each(|_| go.tell());
    // What runs has the limit that it would have had without us.
    assert_eq!(field(&object(&run.end())["results"], "output"), ["40"; 12]);
}

#[test]
fn the_first_failure_ends_all_and_nothing_is_left_of_a_stubborn_one() {
    let scene = Scene::playing(&ACTOR.replace("no luck", "$(await up)"));
    let _up = scene.fifo("up");
    let plan = json!({"fail_fast": true, "max_parallel": 2, "tasks": [
        {"prompt": "stubborn"}, {"prompt": "fail once the other is up", "id": "bad"}, {"prompt": "never"},
    ]});
    let seen = parallel(&scene, &plan, &["--json"]).seen();
    scene.is_deserted();
    let said = object(&seen);
    assert_eq!(field(&said["results"], "status"), ["cancelled", "failed", "skipped"], "{seen}");
    let error = "stopped because `bad` failed";
    assert!(said["results"][0]["error"] == error && said["results"][2]["error"] == error, "{seen}");
    let totals = ["total_tasks", "completed", "failed", "cancelled", "skipped"].map(|name| &said[name]);
    assert_eq!(totals, [3, 0, 1, 1, 1].map(|count| json!(count)).each_ref(), "{seen}");
    assert!(seen.status == 1 && !asked(&scene).contains(&"never".to_owned()), "{seen}");
}

#[test]
fn what_a_task_leaves_behind_is_gone_when_it_ends_whoever_else_runs() {
    let scene = Scene::playing(
        r#"case $(cat) in
            first) (setsid sh -c "echo >'$here/up'; exec '$here/sleep' 1000" >/dev/null 2>&1 &); await up; say a ;;
            *) await go; say b ;;
        esac"#,
    );
    let _up = scene.fifo("up");
    let mut go = scene.fifo("go");
    let mut run = scene
        .clinvk(["parallel", "-q", "--jsonl"])
        .stdin("{\"prompt\":\"second\"}{\"prompt\":\"first\"}")
        .start();
    run.says("\"output\":\"a\"");
    // clinvk and the other task; before its `exec` the one left behind is a shell with `sleep` in its arguments.
    let left: Vec<String> = scene.processes().into_values().filter(|line| line.contains("sleep")).collect();
    assert!(left.is_empty(), "{left:?}");
    go.tell();
    assert_eq!(run.end().status, 0);
}

#[test]
fn a_task_waits_for_its_dependencies_and_gets_their_answers_as_they_are() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"tasks": [
        {"id": "sum", "prompt": "<{{left.output}}|{{ right.output }}> {{{{ }}", "depends_on": ["left", "right"]},
        {"id": "left", "prompt": "{{right.outputs}} {{{{"},
        {"id": "right", "prompt": "R", "depends_on": ["left"]},
        {"prompt": "{ {{x}} {{{{ {{sum"},
    ]});
    let seen = parallel(&scene, &plan, &["--json", "-P", "4"]).seen();
    let said = object(&seen);
    assert_eq!(
        field(&said["results"], "output"),
        ["<{{right.outputs}} {{{{|R> {{ }}", "{{right.outputs}} {{{{", "R", "{ {{x}} {{{{ {{sum"],
        "{seen}"
    );
    let asked = asked(&scene);
    let place = |prompt: &str| asked.iter().position(|asked| asked == prompt).unwrap();
    assert!(place("{{right.outputs}} {{{{") < place("R"), "{asked:?}");
}

#[test]
fn whoever_depends_on_a_failure_is_not_started() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"tasks": [
        {"id": "a", "prompt": "fail"}, {"id": "b", "prompt": "b", "depends_on": ["a"]},
        {"id": "c", "prompt": "c", "depends_on": ["b", "d"]}, {"id": "d", "prompt": "d"},
    ]});
    let seen = parallel(&scene, &plan, &["--json"]).seen();
    let said = object(&seen);
    assert_eq!(field(&said["results"], "status"), ["failed", "skipped", "skipped", "completed"], "{seen}");
    assert_eq!(said["results"][1]["error"], "not started: task `a` did not complete");
    assert!(
        said["skipped"] == 2 && said["failed"] == 1 && said["completed"] == 1 && seen.status == 1,
        "{seen}"
    );
    assert_eq!(asked(&scene).len(), 2);
}

#[test]
fn ten_thousand_tasks_are_read_and_ordered() {
    let scene = Scene::playing(ACTOR);
    let task = |n: usize| match n {
        0 => json!({"id": "0", "prompt": "0"}),
        n => json!({"id": n.to_string(), "prompt": n.to_string(), "depends_on": [(n - 1).to_string()]}),
    };
    let plan = json!({"tasks": (0..10_000).map(task).collect::<Vec<_>>()});
    let seen = parallel(&scene, &plan, &["--json", "--dry-run", "-P", "8"]).seen();
    let said = object(&seen);
    let results = said["results"].as_array().unwrap();
    assert!(
        said["completed"] == 10_000 && results.len() == 10_000 && seen.status == 0,
        "{}",
        said["completed"]
    );
    assert!(results.iter().enumerate().all(|(index, result)| result["index"] == index));
    assert!(results[9_999]["output"].as_str().unwrap().starts_with("# Would execute:\n"));
    // A circle of so many is found, too.
    let mut plan = plan;
    plan["tasks"][0]["depends_on"] = json!(["9999"]);
    let seen = parallel(&scene, &plan, &[]).seen();
    assert!(seen.status == 1 && seen.err.contains("depend on each other: 0 -> 9999 -> 9998"), "{seen}");
    assert_eq!(asked(&scene), [""; 0]);
}

#[test]
fn a_reader_that_leaves_stops_everything() {
    let scene = Scene::playing(ACTOR);
    let (mut up, mut leave) = (scene.fifo("up"), scene.fifo("leave"));
    scene.file("work/plan", "{\"prompt\": \"hang\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"stubborn\"}\n");
    let line = format!(
        "{{ '{}' parallel -q --jsonl -f plan; echo $? >status; }} | {{ read -r line; echo \"$line\"; read -r _ <'{}'; }}; cat status",
        env!("CARGO_BIN_EXE_clinvk"),
        scene.text("bin/leave")
    );
    let run = scene.program("sh").args(["-c", &line]).start();
    up.told();
    up.told();
    // Not before all of them are at work.
    leave.tell();
    let seen = run.end();
    scene.is_deserted();
    let (line, status) = seen.out.split_once('\n').unwrap();
    assert!(line.contains("\"output\":\"b\"") && status == "0\n" && seen.err.is_empty(), "{seen}");
}

#[test]
fn a_signal_stops_everything_and_what_is_finished_is_printed() {
    for (play, again) in [("hang", false), ("stubborn", true)] {
        let scene = Scene::playing(ACTOR);
        let mut up = scene.fifo("up");
        let plan = json!({"max_parallel": 2, "tasks": [
            {"prompt": play}, {"prompt": "b"}, {"prompt": format!("{play} too")}, {"prompt": "d"},
        ]});
        let run = parallel(&scene, &plan, &["--json"]).start();
        up.told();
        up.told();
        run.signal(sys::SIGINT);
        if again {
            run.signal(sys::SIGINT);
        }
        let seen = run.end();
        scene.is_deserted();
        let said = object(&seen);
        let expected = ["cancelled", "completed", "cancelled", "cancelled"];
        assert_eq!(field(&said["results"], "status"), expected, "{seen}");
        assert!(
            said["results"][1]["output"] == "b" && said["cancelled"] == 3 && seen.status == -sys::SIGINT,
            "{seen}"
        );
        assert!(!asked(&scene).contains(&"d".to_owned()), "{seen}");
    }
}

#[test]
fn a_task_says_what_it_wants_and_the_flags_are_for_those_that_do_not() {
    let scene = Scene::new();
    let program = scene.fake("fake", "cat >/dev/null; printf '%s in %s' \"$1\" \"$(basename \"$PWD\")\"");
    scene.config(&json!({"default_backend": "fake", "backends": {
        "fake": {"command": [program, "{model}"], "model": "configured"},
        "other": {"command": [program, "other {model}"], "model": "configured"},
    }}));
    fs::create_dir(scene.path("work/sub")).unwrap();
    let plan = json!({"tasks": [
        {"prompt": "a"}, {"prompt": "a", "model": "own"}, {"prompt": "a", "backend": "other", "workdir": "sub"},
    ]});
    let outputs = |args: &[&str]| {
        field(&object(&parallel(&scene, &plan, &[&["--json"], args].concat()).seen())["results"], "output")
    };
    assert_eq!(outputs(&[]), ["configured in work", "own in work", "other configured in sub"]);
    assert_eq!(
        outputs(&["-m", "flag", "-b", "other"]),
        ["other flag in work", "other own in work", "other flag in sub"]
    );
}

#[test]
fn a_task_may_have_its_prompt_in_a_file_its_own_limit_and_a_stand_in() {
    let scene = Scene::playing(ACTOR);
    scene.fifo("up");
    let config = json!({"default_backend": "fake", "backends": {
        "fake": {"command": [scene.text("bin/fake")]}, "echo": {"fail": "quota"},
    }});
    scene.config(&config);
    scene.file("work/prompt.txt", "from a {{file}}");
    let plan = json!({"tasks": [
        {"prompt_file": "prompt.txt"}, {"prompt_file": "gone.txt"}, {"prompt": "await never", "timeout_secs": "300ms"},
        {"prompt": "x", "backend": "echo", "fallback": ["fake"]}, {"prompt": "x", "workdir": "nowhere"},
        {"prompt_file": "front.md"}, {"prompt_file": "front.md", "backend": "fake"}, {"prompt_file": "broken.md"},
        {"id": "a", "prompt": "A"}, {"prompt_file": "after.md", "depends_on": ["a"]},
    ]});
    scene.file("work/front.md", "---\n{\"backend\": \"echo\", \"tags\": [\"t\"]}\n---\n\nfrom {{it}}\n");
    scene.file("work/after.md", "---\n{\"tags\": [\"t\"]}\n---\n<{{a.output}}>");
    scene.file("work/broken.md", "---\n{\"modle\": 1}\n---\n");
    let _never = scene.fifo("never");
    let seen = parallel(&scene, &plan, &["--json"]).seen();
    let said = object(&seen);
    let results = &said["results"];
    assert!(results[0]["output"] == "from a {{file}}", "{seen}");
    assert!(results[1]["error"].as_str().unwrap().contains("cannot read `gone.txt`"), "{seen}");
    assert!(results[2]["kind"] == "timeout" && results[2]["status"] == "failed", "{seen}");
    assert!(results[3]["backend"] == "fake" && results[3]["tried"][0]["kind"] == "quota", "{seen}");
    assert!(results[4]["error"].as_str().unwrap().contains("cannot use directory"), "{seen}");
    let facts = |index: usize| ["backend", "tags", "kind"].map(|name| results[index][name].clone());
    assert_eq!(facts(5), [json!("echo"), json!(["t"]), json!("quota")], "{seen}");
    assert_eq!(facts(6), [json!("fake"), json!(["t"]), json!(null)], "{seen}");
    assert_eq!(
        (&results[6]["output"], &results[9]["output"]),
        (&json!("from {{it}}"), &json!("<A>")),
        "{seen}"
    );
    let broken = "broken.md:2:8: unknown field `modle`: did you mean `model`?";
    assert!(results[7]["error"] == broken && results[7]["status"] == "failed", "{seen}");
    scene.is_deserted();
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    // Too slow the first time.
    let scene = Scene::playing(
        "p=$(cat); echo \"$p\" >>\"$here/asked\"; [ -e \"$here/$p\" ] || { : >\"$here/$p\"; exec \"$here/sleep\" 1000; }; printf ok",
    );
    let plan = json!({"tasks": [{"prompt": "a", "timeout_secs": "300ms"}]});
    let seen = parallel(&scene, &plan, &["--json", "--retry", "2"]).seen();
    let said = object(&seen);
    let result = &said["results"][0];
    assert!(result["status"] == "completed" && result["output"] == "ok" && result["attempts"] == 2, "{seen}");
    let warning = result["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("try 1: timed out after 300ms (--timeout); the next one in "), "{seen}");
    // What does not is not, and without `--retry` nothing is.
    let plan = json!({"tasks": [{"prompt": "b", "timeout_secs": "300ms"}]});
    let said = object(&parallel(&scene, &plan, &["--json"]).seen());
    assert!(said["results"][0]["attempts"] == 1 && said["failed"] == 1, "{said}");
    let scene = Scene::playing(ACTOR);
    let said = object(
        &parallel(&scene, &json!({"tasks": [{"prompt": "fail"}]}), &["--json", "--retry", "9"]).seen(),
    );
    assert!(said["results"][0]["attempts"] == 1 && asked(&scene).len() == 1, "{said}");
}

#[test]
fn a_signal_ends_the_wait_for_another_try() {
    let scene = Scene::new();
    // An hour or so, if nobody cut it short.
    let error = json!({"fail": "quota"});
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": error}}));
    let plan = json!({"tasks": [{"prompt": "a"}]});
    let mut run = scene.clinvk(["parallel", "--retry", "40"]).stdin(plan.to_string()).start();
    run.warns("try 3: failed with `quota` as configured; the next one in ");
    run.signal(sys::SIGINT);
    let seen = run.end();
    assert!(seen.out.contains("[1] failed: failed with `quota`") && seen.status == -sys::SIGINT, "{seen}");
}

#[test]
fn sessions_are_kept_only_where_that_is_wanted() {
    let home = Home::new();
    let run = |plan: &Value, args: &[&str]| {
        object(&parallel(&home.scene, plan, &[&["--json"], args].concat()).seen())
    };
    let plan = json!({"tasks": [{"prompt": "a"}]});
    assert!(run(&plan, &[])["results"][0]["session_id"].is_null() && home.ids().is_empty());
    let kept = run(&plan, &["--keep-sessions"])["results"][0]["session_id"].clone();
    assert_eq!(home.ids(), [kept.as_str().unwrap()]);
    run(&json!({"tasks": [{"prompt": "a", "ephemeral": false}]}), &[]);
    run(&json!({"tasks": [{"prompt": "a", "ephemeral": true}]}), &["--keep-sessions"]);
    assert_eq!(home.ids().len(), 2);
}

#[test]
fn a_backend_that_cannot_be_without_sessions_says_so() {
    let scene = Scene::declaring(json!({"resume_args": ["--resume", "{session}"]}), ACTOR);
    let seen = parallel(
        &scene,
        &json!({"tasks": [{"prompt": "a"}, {"prompt": "b", "ephemeral": true}]}),
        &["--json"],
    )
    .seen();
    let said = object(&seen);
    let warning = "backend `fake` leaves a session behind: it keeps sessions that clinvk cannot remove";
    assert!(
        said["results"][0]["warnings"][0] == warning && said["results"][0]["status"] == "completed",
        "{seen}"
    );
    // Who asks for it gets what was asked for or nothing.
    assert!(said["results"][1]["kind"] == "invalid_request", "{seen}");
}

#[test]
fn the_exit_status_says_whether_anything_could_run() {
    let scene = Scene::playing(ACTOR);
    scene.config(&json!({"default_backend": "fake", "backends": {
        "fake": {"command": [scene.text("bin/fake")]}, "gone": {"command": ["/nowhere/gone"]},
        "off": {"command": ["cat"], "enabled": false},
    }}));
    let status = |backends: &[&str]| {
        let task = |backend: &&str| json!({"prompt": "a", "backend": backend});
        parallel(&scene, &json!({"tasks": backends.iter().map(task).collect::<Vec<_>>()}), &[]).seen().status
    };
    assert_eq!(status(&["fake", "fake"]), 0);
    assert_eq!(status(&["fake", "gone"]), 1);
    assert_eq!(status(&["gone", "off", "misspelt"]), 2);
}

#[test]
fn a_dry_run_says_what_each_would_execute_and_runs_nothing() {
    let scene = Scene::playing(ACTOR);
    let plan = json!({"output_dir": "out", "tasks": [
        {"id": "a", "prompt": "a"}, {"prompt": "b {{a.output}}", "depends_on": ["a"]},
    ]});
    let seen = parallel(&scene, &plan, &["--json", "--dry-run"]).seen();
    let said = object(&seen);
    for (index, prompt) in [(0, "printf %s a"), (1, "printf %s 'b {{a.output}}'")] {
        let result = &said["results"][index];
        let output = result["output"].as_str().unwrap();
        assert!(
            output.starts_with("# Would execute:\ncd ROOT/work && ") && output.contains(prompt),
            "{seen}"
        );
        assert!(result["dry_run"] == true && seen.status == 0, "{seen}");
    }
    let plan = json!({"tasks": [{"prompt": "a"}, {"prompt": "b", "dry_run": true}]});
    assert_eq!(parallel(&scene, &plan, &[]).seen().status, 0);
    assert!(asked(&scene) == ["a"] && !scene.path("work/out").exists());
}

#[test]
fn flags_that_exclude_each_other_or_mean_nothing_are_errors() {
    let scene = Scene::playing(ACTOR);
    for (args, error) in [
        (&["parallel", "plan.json"][..], "`parallel` takes no `plan.json`: its tasks are in `--file FILE`"),
        (&["parallel", "-f", "gone"], "cannot read `gone`: No such file or directory (os error 2)"),
        (
            &["parallel", "--ephemeral", "--keep-sessions"],
            "`--ephemeral` and `--keep-sessions` exclude each other",
        ),
        (&["parallel", "--retry", "-1"], "`--retry -1`: expected a whole number"),
        (&["parallel", "--race"], "`--race` is no flag of `parallel`: see `clinvk parallel -h`"),
        (&["compare", "--fail-fast", "x"], "`--fail-fast` is no flag of `compare`: see `clinvk compare -h`"),
    ] {
        scene.clinvk(args).stdin("{\"prompt\": \"a\"}").fails(1, &format!("clinvk: {error}\n"));
    }
    for (args, error) in [
        (&["parallel", "--json", "--jsonl"][..], "`--json` and `--jsonl` exclude each other"),
        (
            &["parallel", "-o", "stream-json"],
            "`parallel` prints no unified events: `--json` prints its results",
        ),
    ] {
        let out = json!({"error": {"kind": "invalid_request", "message": error}}).to_string();
        let run = scene.clinvk(args).stdin("{\"prompt\": \"a\"}");
        run.is(&format!("{out}\n"), &format!("clinvk: {error}\n"), 1);
    }
    assert_eq!(asked(&scene), [""; 0]);
}
