//! Parallel, compare and chain over HTTP.

use super::{echo, is_failure};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};

#[test]
fn parallel_compare_and_chain_take_the_files_of_the_command_line() {
    let (_scene, server) = echo();
    let tasks = json!({"tasks": [{"prompt": "a", "id": "x"}, {"prompt": "b {{x.output}}", "depends_on": ["x"]}], "max_parallel": 2});
    let told = server.post("/api/v1/parallel", &tasks).json();
    assert!(told["total_tasks"] == 2 && told["completed"] == 2 && told["failed"] == 0, "{told}");
    assert!(told["results"][1]["output"] == "b a" && told["results"][0]["session_id"].is_null(), "{told}");
    let told = server.post("/api/v1/compare", &json!({"prompt": "p", "backends": ["echo", "claude"]})).json();
    assert!(
        told["prompt"] == "p" && told["backends"] == json!(["echo", "claude"]) && told["agree"] == false,
        "{told}"
    );
    assert!(told["results"][0]["output"] == "p" && told["results"][1]["kind"] == "not_installed", "{told}");
    let steps =
        json!({"steps": [{"name": "one", "prompt": "a"}, {"prompt": "{{previous}} b {{steps.one.output}}"}]});
    let told = server.post("/api/v1/chain", &steps).json();
    assert!(told["total_steps"] == 2 && told["completed_steps"] == 2 && told["failed_step"] == 0, "{told}");
    assert_eq!(told["results"][1]["output"], "a b a", "{told}");
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 0);
    for (path, body, words) in [
        ("/api/v1/parallel", json!({"tasks": []}), "there are no tasks"),
        ("/api/v1/parallel", json!({"tasks": [{"prompt": "x"}], "output_dir": "/tmp/x"}), "output_dir"),
        ("/api/v1/parallel", json!({"tasks": [{"prompt_file": "/etc/passwd"}]}), "prompt_file"),
        ("/api/v1/chain", json!({"steps": [{"prompt": "{{nope}}"}]}), "unknown variable"),
        ("/api/v1/compare", json!({"prompt": "x"}), "`backends` names who is asked"),
    ] {
        is_failure(&server.post(path, &body), 400, "invalid_request", words);
    }
    let refused =
        server.post("/api/v1/parallel", &json!({"tasks": [{"prompt": "x", "approval_mode": "none"}]})).json();
    assert_eq!(refused["results"][0]["kind"], "policy", "{refused}");
}

#[test]
fn results_of_a_batch_are_streamed_as_they_end() {
    let scene = Scene::playing("read -r word; [ $word = slow ] && await go; printf %s $word");
    let mut go = scene.fifo("go");
    let server = scene.serve([]);
    let body = json!({"tasks": [{"prompt": "slow"}, {"prompt": "quick"}]});
    let mut stream =
        server.ask("POST", "/api/v1/parallel").header("Accept", "application/x-ndjson").json(&body).send();
    let head = stream.head();
    let first: Value = serde_json::from_str(&stream.chunk()).unwrap();
    assert!(first["type"] == "result" && first["output"] == "quick" && first["index"] == 1, "{first}");
    go.tell();
    let rest: Vec<Value> =
        stream.rest(&head).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        rest[0]["output"] == "slow" && rest[1]["type"] == "summary" && rest[1]["completed"] == 2,
        "{rest:?}"
    );
}

#[test]
fn a_client_that_leaves_leaves_the_runs_of_its_batch_their_grace() {
    // The quick one ends at once, and its result finds nobody; the other one has something to save before.
    let scene = Scene::playing(
        r#"read -r word; [ $word = quick ] || trap '"$here/sleep" 1; echo saved >"$here/saved"; exit' TERM INT
        tell up; "$here/sleep" 1000 & wait"#,
    );
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let ask = server.ask("POST", "/api/v1/parallel").header("Accept", "application/x-ndjson");
    let asked = ask.json(&json!({"tasks": [{"prompt": "quick"}, {"prompt": "slow"}]})).send();
    up.told();
    up.told();
    drop(asked);
    until("the runs are over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
    assert!(scene.path("bin/saved").exists());
}

#[test]
fn ever_so_many_tasks_and_steps_are_checked_at_once() {
    let (_scene, server) = echo();
    let many = |last: Value, one: &dyn Fn(usize) -> Value| -> Vec<Value> {
        (0..150_000).map(one).chain([last]).collect()
    };
    // By comparing each with each this took minutes.
    let steps = many(json!({"prompt": "{{nope}}"}), &|_| json!({"prompt": "x"}));
    let answer = server.post("/api/v1/chain", &json!({"steps": steps}));
    is_failure(&answer, 400, "invalid_request", "unknown variable");
    let tasks = many(
        json!({"prompt": "{{x7.output}}"}),
        &|number| json!({"prompt": "{{", "id": format!("x{number}")}),
    );
    let answer = server.post("/api/v1/parallel", &json!({"tasks": tasks}));
    is_failure(&answer, 400, "invalid_request", "uses the output of `x7`");
}
