//! The server's own API, by the real binary: shapes, statuses, streams, what runs and how it is stopped.

use crate::util::http::{Answer, Server};
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};

/// A server with echo as its default backend.
fn echo() -> (Scene, Server) {
    with_echo(json!({}), json!({}))
}

/// The same with these keys of echo and of the server.
fn with_echo(echo: Value, server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": echo}, "server": server}));
    let running = scene.serve([]);
    (scene, running)
}

/// A server whose default backend is a fake that does this.
fn playing(play: &str) -> (Scene, Server) {
    let scene = Scene::playing(play);
    let server = scene.serve([]);
    (scene, server)
}

/// The answer has this status and is this kind of failure.
#[track_caller]
fn is_failure(answer: &Answer, status: u16, kind: &str, words: &str) {
    let told = answer.json();
    let message = told["error"]["message"].as_str().unwrap_or_default();
    let request = told["error"]["request_id"].as_str();
    assert!(
        answer.status == status && told["error"]["kind"] == kind && message.contains(words),
        "expected {status} {kind} with {words:?}: {answer}"
    );
    assert_eq!(request, answer.header("x-request-id"), "{answer}");
}

#[test]
fn a_prompt_is_answered_with_one_object() {
    let (_scene, server) = echo();
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "two words", "ephemeral": true}));
    let mut told = answer.json();
    assert!(told["duration_ms"].take().is_u64() && told["duration_seconds"].take().is_f64(), "{answer}");
    let usage = json!({"input_tokens": 2, "output_tokens": 2, "total_tokens": 4, "cached_tokens": 0, "reasoning_tokens": 0});
    assert_eq!(
        (answer.status, answer.header("content-type"), told),
        (
            200,
            Some("application/json"),
            json!({
                "session_id": null, "backend": "echo", "backend_session_id": "echo", "model": "echo", "exit_code": 0,
                "duration_ms": null, "duration_seconds": null, "output": "two words", "content": "two words",
                "cost": null, "kind": null, "error": null, "warnings": [], "permission_denials": 0, "tried": [], "usage": usage, "token_usage": usage,
            })
        )
    );
}

#[test]
fn a_session_over_http_is_listed_continued_changed_forked_and_deleted() {
    let (_scene, server) = echo();
    let told = server
        .post("/api/v1/prompt", &json!({"prompt": "one", "metadata": {"who": "me"}, "tags": ["a"]}))
        .json();
    let id = told["session_id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    let listed = server.get("/api/v1/sessions?backend=echo&limit=5").json();
    assert!(listed["total"] == 1 && listed["limit"] == 5 && listed["offset"] == 0, "{listed}");
    assert!(
        listed["sessions"][0]["id"] == id && listed["sessions"][0]["metadata"] == json!({"who": "me"}),
        "{listed}"
    );
    let again = server.post(&format!("{path}/resume"), &json!({"prompt": "two"})).json();
    assert!(again["session_id"] == id && again["output"] == "two", "{again}");
    let by_field = server.post("/api/v1/prompt", &json!({"prompt": "three", "session_id": id})).json();
    assert_eq!(by_field["session_id"], id, "{by_field}");
    let turns = server.get(&format!("{path}/turns")).json();
    let prompts: Vec<&str> =
        turns["turns"].as_array().unwrap().iter().map(|turn| turn["prompt"].as_str().unwrap()).collect();
    assert_eq!(prompts, ["one", "two", "three"]);
    let changed = server.ask("PATCH", &path).json(&json!({"title": "new", "tags": ["b"]})).answer();
    let told = changed.json();
    assert!(
        told["title"] == "new" && told["tags"] == json!(["b"]) && told["status"] == "completed",
        "{changed}"
    );
    let refused = server.ask("PATCH", &path).json(&json!({"status": "paused"})).answer();
    is_failure(&refused, 400, "invalid_request", "unknown field `status`");
    let fork = server.post(&format!("{path}/fork"), &json!({})).json();
    assert!(fork["parent_id"] == id && fork["id"] != id, "{fork}");
    let deleted = server.ask("DELETE", &path).answer();
    assert_eq!((deleted.status, deleted.json()), (200, json!({"deleted": true, "id": id})));
    is_failure(&server.get(&path), 404, "session_not_found", id);
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 1);
}

#[test]
fn a_dry_run_starts_nothing_and_begins_a_session_unless_it_is_to_leave_none() {
    let (scene, server) = playing("say it ran >&2; exit 3");
    let told = server.post("/api/v1/prompt", &json!({"prompt": "hi", "dry_run": true})).json();
    assert!(
        told["output"].as_str().unwrap().contains("Would execute") && told["session_id"].is_string(),
        "{told}"
    );
    let listed = server.get("/api/v1/sessions").json();
    assert!(listed["total"] == 1 && listed["sessions"][0]["status"] == "completed", "{listed}");
    let told =
        server.post("/api/v1/prompt", &json!({"prompt": "hi", "dry_run": true, "ephemeral": true})).json();
    assert!(told["session_id"].is_null(), "{told}");
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 1);
    drop(scene);
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let (scene, server) = echo();
    let file = scene.file("secret.txt", "secret");
    let table: &[(Value, u16, &str, &str)] = &[
        (json!({"promt": "x"}), 400, "invalid_request", "unknown field `promt`: did you mean `prompt`?"),
        (json!({}), 400, "invalid_request", "there is no prompt"),
        (json!([]), 400, "invalid_request", "expected an object"),
        (json!({"prompt": "x", "backend": "ecko"}), 404, "unknown_backend", "did you mean `echo`?"),
        (json!({"prompt": "x", "backend": "claude"}), 503, "not_installed", "not on PATH"),
        (json!({"prompt": "x", "effort": "high"}), 400, "invalid_request", "cannot honour effort"),
        (json!({"prompt": "x", "approval_mode": "none"}), 403, "policy", "server.max_approval_mode"),
        (json!({"prompt": "x", "sandbox_mode": "full"}), 403, "policy", "server.max_sandbox_mode"),
        (json!({"prompt": "x", "extra": ["--x"]}), 403, "policy", "server.allowed_extra_flags"),
        (
            json!({"prompt": "x", "files": [file]}),
            400,
            "invalid_request",
            "over the network only what is in it",
        ),
        (
            json!({"prompt": "x", "json_schema": format!("@{file}")}),
            400,
            "invalid_request",
            "over the network",
        ),
        (json!({"prompt": "x", "images": [file]}), 400, "invalid_request", "over the network"),
        (json!({"prompt": "x", "session_id": "nope"}), 404, "session_not_found", "nope"),
        (json!({"prompt": "x", "workdir": "/nowhere"}), 400, "invalid_request", "/nowhere"),
        (json!({"prompt": "x", "replay": true}), 400, "invalid_request", "for a session that is continued"),
    ];
    for (body, status, kind, words) in table {
        is_failure(&server.post("/api/v1/prompt", body), *status, kind, words);
    }
    is_failure(
        &server.ask("POST", "/api/v1/prompt").body("{\"prompt\": ").answer(),
        400,
        "invalid_request",
        "line 1",
    );
    is_failure(&server.get("/api/v1/nope"), 404, "invalid_request", "unknown path: GET /api/v1/nope");
    let wrong = server.get("/api/v1/prompt");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")), "{wrong}");
    assert_eq!(server.ask("HEAD", "/api/v1/backends").send().head().status, 200);
    // A bare `curl -d` names a form.
    let form =
        server.ask("POST", "/api/v1/prompt").header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(form.body(r#"{"prompt": "x"}"#).answer().status, 200);
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 1, "what was refused began no session");
}

#[test]
fn statuses_tell_the_truth() {
    for (kind, status, retry_after) in [
        ("quota", 429, None),
        ("login", 502, None),
        ("refusal", 502, None),
        ("overloaded", 502, None),
        ("context_too_long", 400, None),
        ("timeout", 504, None),
        ("crash", 502, None),
        ("unknown_model", 404, None),
        ("session_busy", 409, None),
        ("busy", 503, Some("5")),
    ] {
        let (_scene, server) = with_echo(json!({"fail": kind}), json!({}));
        let answer = server.post("/api/v1/prompt", &json!({"prompt": "x"}));
        is_failure(&answer, status, kind, "as configured");
        assert_eq!(answer.header("retry-after"), retry_after, "{answer}");
        let told = answer.json();
        assert!(
            told["backend"] == "echo" && told["exit_code"] == 1 && told["session_id"].is_string(),
            "{told}"
        );
        // A stream that has said nothing yet fails by its status too.
        for stream in [
            server.post("/api/v1/prompt", &json!({"prompt": "x", "output_format": "stream-json"})),
            server
                .ask("POST", "/api/v1/prompt")
                .header("Accept", "text/event-stream")
                .json(&json!({"prompt": "x"}))
                .answer(),
        ] {
            is_failure(&stream, status, kind, "as configured");
        }
    }
}

#[test]
fn a_stream_tells_each_event_before_the_next_one_is_there() {
    let (scene, server) = {
        let scene = Scene::playing("for n in 1 2 3; do printf 'word%s ' $n; await go; done");
        let server = scene.serve([]);
        (scene, server)
    };
    let mut go = scene.fifo("go");
    let mut stream =
        server.post_stream("/api/v1/prompt", &json!({"prompt": "x", "output_format": "stream-json"}));
    let head = stream.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-ndjson")));
    for number in 1..=3 {
        let mut chunk = stream.chunk();
        while !chunk.contains("\"message\"") {
            chunk = stream.chunk();
        }
        assert!(chunk.contains(&format!("word{number}")), "{chunk}");
        go.tell();
    }
    let rest = stream.rest(&head);
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "done");
}

#[test]
fn a_failure_in_the_middle_of_a_stream_is_told_in_it() {
    let (_scene, server) = with_echo(json!({"exit_code": 9}), json!({}));
    let answer =
        server.post("/api/v1/prompt", &json!({"prompt": "some words", "output_format": "stream-json"}));
    let lines = answer.lines();
    let [.., failed, done] = &lines[..] else { panic!("{answer}") };
    assert!(
        answer.status == 200 && failed["content"]["code"] == "crash" && done["content"]["kind"] == "crash",
        "{answer}"
    );
    let whole = server.post("/api/v1/prompt", &json!({"prompt": "some words"}));
    is_failure(&whole, 502, "crash", "exit status 9");
    assert!(whole.json()["output"] == "some words" && whole.json()["exit_code"] == 9, "{whole}");
}

/// A run whose child ignores SIGTERM, has children in sessions of their own, and hangs.
const STUBBORN: &str = r#"trap '' TERM INT; "$here/sleep" 1000 & setsid "$here/sleep" 1001 & daemon; printf 'started '; tell up; while :; do wait; done"#;

#[test]
fn a_client_that_leaves_ends_its_run_and_the_whole_tree() {
    for stream in [true, false] {
        let scene = Scene::playing(STUBBORN);
        let mut up = scene.fifo("up");
        let server = scene.serve([]);
        let format = if stream { "stream-json" } else { "text" };
        let asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x", "output_format": format}));
        up.told();
        drop(asked);
        let own = server.process.pid;
        until("the tree is gone", || scene.processes().keys().all(|pid| *pid == own));
        until("the run is over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
        let sessions = server.get("/api/v1/sessions").json();
        assert_eq!(sessions["sessions"][0]["status"], "error", "{sessions}");
        server.stop();
        scene.is_deserted();
    }
}

#[test]
fn a_run_is_listed_while_it_goes_on_and_can_be_cancelled() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
    up.told();
    let runs = server.get("/api/v1/runs").json();
    let run = &runs["runs"][0];
    assert!(run["backend"] == "fake" && run["client"] == "127.0.0.1" && run["since"].is_string(), "{runs}");
    let id = run["id"].as_str().unwrap();
    let cancelled = server.ask("DELETE", &format!("/api/v1/runs/{id}")).answer();
    assert_eq!(cancelled.json(), json!({"cancelled": true, "id": id}));
    let mut answer = asked.head();
    answer.body = asked.rest(&answer);
    is_failure(&answer, 499, "cancelled", "cancelled");
    is_failure(&server.get("/api/v1/runs/nope"), 404, "invalid_request", "nope");
}

#[test]
fn a_detached_run_goes_on_alone_and_is_read_again_from_any_event() {
    let scene = Scene::playing("printf 'one '; tell up; await go; printf two");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true}));
    let id = answer.json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 202, "{answer}");
    up.told();
    let path = format!("/api/v1/runs/{id}");
    assert_eq!(server.get(&path).json()["state"], "running");
    // Somebody who follows it and leaves does not stop it.
    let mut follower = server.ask("GET", &format!("{path}/events")).send();
    follower.head();
    assert!(follower.chunk().contains("one "));
    drop(follower);
    go.tell();
    until("it is done", || server.get(&path).json()["state"] == "done");
    let told = server.get(&path).json();
    assert!(told["status"] == 200 && told["result"]["output"] == "one two", "{told}");
    let events = server.get(&format!("{path}/events")).body;
    let ids: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert!(ids.len() >= 4 && ids[0] == "0", "{events}");
    let rest = server.ask("GET", &format!("{path}/events")).header("Last-Event-ID", "1").answer();
    assert!(rest.body.starts_with("id: 2\n") && events.ends_with(&rest.body), "{rest}");
    let wrong = server.ask("GET", &format!("{path}/events")).header("Last-Event-ID", "x").answer();
    is_failure(&wrong, 400, "invalid_request", "no number");
}

#[test]
fn a_request_that_is_sent_again_gets_the_same_answer_or_joins_the_run() {
    let scene = Scene::playing("echo run >>\"$here/runs\"; tell up; await go; printf done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let ask = |body: &Value| server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k1").json(body);
    let body = json!({"prompt": "x"});
    let mut first = ask(&body).send();
    up.told();
    let mut second = ask(&body).send();
    go.tell();
    let mut answers = Vec::new();
    for stream in [&mut first, &mut second] {
        let mut answer = stream.head();
        answer.body = stream.rest(&answer);
        answers.push(answer.body);
    }
    answers.push(ask(&body).answer().body);
    assert!(
        answers[0].contains("\"output\":\"done\"") && answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(std::fs::read_to_string(scene.path("bin/runs")).unwrap(), "run\n");
    is_failure(&ask(&json!({"prompt": "y"})).answer(), 422, "invalid_request", "another body");
}

#[test]
fn whoever_joined_keeps_the_run_alive_and_the_last_to_leave_ends_it() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let ask = || {
        server
            .ask("POST", "/api/v1/prompt")
            .header("Idempotency-Key", "k")
            .json(&json!({"prompt": "x"}))
            .send()
    };
    let first = ask();
    up.told();
    let second = ask();
    let state = || server.get("/api/v1/runs").json()["runs"][0]["state"].clone();
    drop(first);
    assert_eq!(state(), "running");
    drop(second);
    until("it is over", || state() == "done");
    until("the tree is gone", || scene.processes().len() == 1);
}

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
fn runs_beyond_the_slots_wait_and_beyond_the_queue_are_refused() {
    let scene = Scene::playing("tell up; await go; printf done");
    scene.edit_config(|config| {
        config["server"] = json!({"max_runs": 1, "queue_length": 1, "queue_timeout_secs": 60})
    });
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let body = json!({"prompt": "x", "ephemeral": true});
    let mut first = server.post_stream("/api/v1/prompt", &body);
    up.told();
    let mut second = server.post_stream("/api/v1/prompt", &body);
    until("it waits", || server.get("/health").json()["queue"]["waiting"] == 1);
    let refused = server.post("/api/v1/prompt", &body);
    is_failure(&refused, 503, "busy", "too many runs at once");
    assert_eq!(refused.header("retry-after"), Some("5"), "{refused}");
    go.tell();
    assert_eq!(first.head().status, 200);
    up.told();
    go.tell();
    assert_eq!(second.head().status, 200);
}

#[test]
fn time_limits_of_requests_hold_and_what_is_asked_cannot_exceed_them() {
    let (scene, server) = {
        let scene = Scene::playing("printf x; \"$here/sleep\" 1000");
        scene.edit_config(|config| config["server"] = json!({"request_timeout_secs": 1}));
        let server = scene.serve([]);
        (scene, server)
    };
    is_failure(
        &server.post("/api/v1/prompt", &json!({"prompt": "x", "timeout_secs": 1000})),
        504,
        "timeout",
        "1s",
    );
    until("nothing is left", || scene.processes().len() == 1);
}

#[test]
fn a_run_on_which_nothing_moves_ends_on_every_surface_whatever_the_client_asks() {
    let scene = Scene::playing("cat >/dev/null; exec \"$here/sleep\" 1000");
    scene.edit_config(|config| config["server"] = json!({"stall_timeout_secs": 1}));
    let server = scene.serve([]);
    let user = json!([{"role": "user", "content": "x"}]);
    for (path, body) in [
        ("/api/v1/prompt", json!({"prompt": "x"})),
        ("/api/v1/prompt", json!({"prompt": "x", "stall_secs": 0})),
        ("/api/v1/prompt", json!({"prompt": "x", "stall_secs": 1000, "output_format": "stream-json"})),
        ("/api/v1/parallel", json!({"tasks": [{"prompt": "x", "stall_secs": 1000}]})),
        ("/api/v1/chain", json!({"steps": [{"prompt": "x"}]})),
        ("/api/v1/compare", json!({"prompt": "x", "backends": ["fake"]})),
        ("/openai/v1/chat/completions", json!({"model": "fake", "messages": user})),
        ("/openai/v1/chat/completions", json!({"model": "fake", "messages": user, "stream": true})),
        ("/openai/v1/responses", json!({"model": "fake", "input": "x"})),
        ("/openai/v1/completions", json!({"model": "fake", "prompt": "x"})),
        (
            "/anthropic/v1/messages",
            json!({"model": "fake", "max_tokens": 9, "messages": user, "stream": true}),
        ),
    ] {
        let answer = server.post(path, &body).to_string();
        assert!(answer.contains("no output for 1s"), "{path} {body}: {answer}");
    }
    let detached = server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true}));
    assert_eq!(detached.status, 202);
    until("nothing is left", || scene.processes().len() == 1);
}

#[test]
fn a_drain_refuses_what_is_new_and_ends_what_is_old() {
    // faults.md B2. What asks for no drain has one too, and its death.
    for signal in sys::ending_signals() {
        let scene = Scene::playing("tell up; await go; printf done");
        let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
        let server = scene.serve([]);
        let mut asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
        up.told();
        server.process.signal(signal);
        until("nobody new is let in", || std::net::TcpStream::connect(&server.address).is_err());
        go.tell();
        let mut answer = asked.head();
        answer.body = asked.rest(&answer);
        assert!(answer.status == 200 && answer.header("connection") == Some("close"), "{signal}: {answer}");
        let is_request = [sys::SIGHUP, sys::SIGINT, sys::SIGQUIT, sys::SIGTERM].contains(&signal);
        assert_eq!(server.process.end().status, if is_request { 0 } else { -signal });
        scene.is_deserted();
    }
}

#[test]
fn a_server_that_was_started_to_outlive_its_terminal_does() {
    let scene = Scene::playing("cat");
    let line = format!("trap '' HUP; exec '{}' serve --port 0", env!("CARGO_BIN_EXE_clinvk"));
    let server = Server::of(scene.program("/bin/sh").args(["-c", &line]).start());
    server.process.signal(sys::SIGHUP);
    for _ in 0..20 {
        assert_eq!(server.post("/api/v1/prompt", &json!({"prompt": "x"})).status, 200);
    }
    assert_eq!(server.stop().status, 0);
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_no_process() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let _asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
    let detached = server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true}));
    assert_eq!(detached.status, 202);
    up.told();
    up.told();
    server.process.signal(sys::SIGHUP);
    server.process.signal(sys::SIGHUP);
    server.process.end();
    scene.is_deserted();
}

#[test]
fn health_tells_how_the_server_is() {
    let (_scene, server) = echo();
    let told = server.get("/health").json();
    let names: Vec<&str> = told["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| backend["name"].as_str().unwrap())
        .collect();
    assert!(told["status"] == "ok" && names == ["claude", "codex", "echo", "gemini"], "{told}");
    assert!(told["version"] == env!("CARGO_PKG_VERSION") && told["uptime_millis"].is_u64(), "{told}");
    assert!(told["session_store"] == json!({"available": true, "session_count": 0, "error": null}), "{told}");
    assert!(server.get("/live").status == 200 && server.get("/ready").status == 200);
    is_failure(&server.get("/metrics"), 404, "invalid_request", "metrics_enabled");
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "codex"}));
    let server = scene.serve([]);
    let degraded = server.get("/health");
    assert_eq!((degraded.status, &degraded.json()["status"]), (200, &json!("degraded")));
    drop(server);
    std::fs::remove_dir_all(scene.path("home/.clinvk/sessions")).unwrap();
    scene.file("home/.clinvk/sessions", "no directory");
    let server = scene.serve([]);
    let unhealthy = server.get("/health");
    assert_eq!((unhealthy.status, &unhealthy.json()["status"]), (503, &json!("unhealthy")), "{unhealthy}");
}

#[test]
fn an_answer_whose_session_cannot_be_saved_is_an_answer() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene.file("home/.clinvk/sessions", "no directory");
    let server = scene.serve([]);
    for asked in [json!({"prompt": "hi"}), json!({"prompt": "hi", "output_format": "stream-json"})] {
        let told = server.post("/api/v1/prompt", &asked);
        let last = told.body.lines().next_back().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let last = last.map(|last| if last["type"] == "done" { last["content"].clone() } else { last });
        let said = last.map(|last| (last["content"].clone(), last["kind"].clone()));
        assert_eq!((told.status, said), (200, Some((json!("hi"), json!("session_store")))), "{told}");
    }
}

#[test]
fn backends_say_what_they_can_do() {
    let (_scene, server) = echo();
    let told = server.get("/api/v1/backends").json();
    assert_eq!(told["backends"][2], json!({"name": "echo", "available": true}), "{told}");
    let told = server.get("/api/v1/backends/echo").json();
    let version = told["version"].as_str().unwrap();
    assert!(version.starts_with("clinvk ") && told["available"] == true, "{told}");
    assert!(told["capabilities"]["not_honoured"].as_array().unwrap().contains(&json!("images")), "{told}");
    is_failure(&server.get("/api/v1/backends/nope"), 404, "unknown_backend", "nope");
}

#[test]
fn the_log_has_a_line_for_each_request_and_run_and_no_secrets() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": {"log_commands": true}}));
    let env = [("CLINVK_API_KEYS", "ci=very-secret-key")];
    for format in ["json", "text"] {
        let server = scene.serve_with(["--log-format", format, "--log-level", "debug"], &env);
        let ask = server
            .ask("POST", "/api/v1/prompt")
            .header("X-Api-Key", "very-secret-key")
            .header("X-Request-Id", "my-id.1");
        let answer = ask.json(&json!({"prompt": "private words", "system_prompt": "private too"})).answer();
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("my-id.1")));
        let log = server.stop().err;
        let is_private = ["private", "very-secret"].iter().any(|word| log.contains(word));
        let lines =
            ["request", "run", "command"].iter().all(|what| log.contains(what)) && log.contains("my-id.1");
        assert!(!is_private && lines && log.contains("ci"), "{log}");
    }
}

#[test]
fn an_answer_without_end_is_no_memory_without_end() {
    let (_scene, server) = with_echo(json!({"flood_bytes": 80 << 20}), json!({}));
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "ephemeral": true}));
    is_failure(&answer, 502, "unreadable", "only a stream may be longer");
    let body = json!({"prompt": "x", "ephemeral": true, "output_format": "stream-json"});
    let mut stream = server.post_stream("/api/v1/prompt", &body);
    let head = stream.head();
    assert!(head.status == 200 && stream.rest(&head).len() > 80 << 20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 250 << 10, "{peak} kB");
}

#[test]
fn an_answer_does_not_wait_for_the_last_process_of_its_run() {
    for accept in ["application/json", "application/x-ndjson"] {
        // A jsonl program that has said that it is done, and stays until it is let go.
        let scene = Scene::declaring(
            json!({"output": "jsonl", "fields": {"text": "t", "done": "d"}}),
            r#"trap '' TERM; say '{"t":"done"}'; say '{"d":true}'; exec >&-; tell up; "$here/sleep" 1000"#,
        );
        let mut up = scene.fifo("up");
        let server = scene.serve([]);
        let ask = server
            .ask("POST", "/api/v1/prompt")
            .header("Accept", accept)
            .json(&json!({"prompt": "x", "ephemeral": true}));
        let mut stream = ask.send();
        let mut answer = stream.head();
        answer.body = stream.rest(&answer);
        up.told();
        assert!(answer.status == 200 && answer.body.contains("done"), "{answer}");
        until("its process is gone", || scene.processes().len() == 1);
    }
}

#[test]
fn the_same_key_and_body_for_another_session_is_another_request() {
    let (_scene, server) = echo();
    let begin = |words: &str| {
        let told = server.post("/api/v1/prompt", &json!({"prompt": words})).json();
        told["session_id"].as_str().unwrap().to_owned()
    };
    let (one, other) = (begin("one"), begin("other"));
    let go_on = |id: &str| {
        let ask = server.ask("POST", &format!("/api/v1/sessions/{id}/resume"));
        ask.header("Idempotency-Key", "k").json(&json!({"prompt": "go on"})).answer()
    };
    let first = go_on(&one);
    assert!(first.status == 200 && go_on(&one).body == first.body, "{first}");
    is_failure(&go_on(&other), 422, "invalid_request", "another");
}

#[test]
fn a_stream_that_may_be_asked_for_again_fails_by_its_status_too() {
    let (_scene, server) = with_echo(json!({"fail": "quota"}), json!({}));
    let ask = server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k");
    let answer = ask.header("Accept", "application/x-ndjson").json(&json!({"prompt": "x"})).answer();
    is_failure(&answer, 429, "quota", "as configured");
}

#[test]
fn a_fork_takes_nothing_and_says_so() {
    let (_scene, server) = echo();
    let told = server.post("/api/v1/prompt", &json!({"prompt": "x"})).json();
    let path = format!("/api/v1/sessions/{}/fork", told["session_id"].as_str().unwrap());
    is_failure(&server.post(&path, &json!({"title": "y"})), 400, "invalid_request", "unknown field `title`");
    is_failure(&server.ask("POST", &path).body("y").answer(), 400, "invalid_request", "line 1");
    assert_eq!(server.ask("POST", &path).answer().status, 200);
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
fn a_stream_whose_beginning_is_not_kept_is_not_told_from_its_middle() {
    let (_scene, server) = with_echo(json!({"flood_bytes": 20 << 20}), json!({}));
    let ask = |accept: &str| {
        let ask =
            server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k").header("Accept", accept);
        ask.json(&json!({"prompt": "x", "ephemeral": true})).answer()
    };
    let whole = ask("application/json");
    assert!(whole.status == 200 && whole.body.len() > 20 << 20, "{}", whole.status);
    is_failure(&ask("application/x-ndjson"), 502, "unreadable", "ask for JSON");
    assert!(ask("application/json").body == whole.body);
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

#[test]
fn what_others_say_is_no_line_of_the_log() {
    let scene = Scene::new();
    let named = json!({"command": ["/nowhere\nforged"]});
    scene.config(&json!({"default_backend": "named", "backends": {"named": named}}));
    let server = scene.serve([]);
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "fallback": ["echo"]}));
    assert_eq!(answer.status, 200, "{answer}");
    let log = server.stop().err;
    assert!(log.contains("forged") && !log.contains("\nforged"), "{log}");
}

#[test]
fn the_log_of_commands_has_no_prompts_of_any_kind() {
    let keys = json!({"prompt": "arg", "system_args": ["--system", "{system}"]});
    let scene = Scene::declaring(keys, "printf done");
    scene.edit_config(|config| config["server"] = json!({"log_commands": true}));
    let server = scene.serve([]);
    let first = server.post("/api/v1/prompt", &json!({"prompt": "private one"})).json();
    let id = first["session_id"].as_str().unwrap();
    let body = json!({"prompt": "private two", "system_prompt": "private three", "session_id": id});
    let again = server.post("/api/v1/prompt", &body);
    assert_eq!(again.status, 200, "{again}");
    let log = server.stop().err;
    assert!(log.contains("--system") && log.contains("PROMPT") && !log.contains("private"), "{log}");
}

#[test]
fn detached_runs_are_bounded_and_a_listing_does_not_carry_their_results() {
    let scene = Scene::playing("await go; printf done");
    scene.edit_config(|config| config["server"] = json!({"max_runs": 1, "queue_length": 1}));
    let mut go = scene.fifo("go");
    let server = scene.serve([]);
    let begin = || server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true, "ephemeral": true}));
    let first = begin().json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(begin().status, 202);
    is_failure(&begin(), 503, "busy", "2 detached runs");
    // Whichever of them has the slot first.
    go.tell();
    go.tell();
    let path = format!("/api/v1/runs/{first}");
    until("it is done", || server.get(&path).json()["state"] == "done");
    assert!(server.get(&path).json()["result"].is_object());
    let listed = server.get("/api/v1/runs").json();
    assert!(listed["runs"].as_array().unwrap().iter().all(|run| run.get("result").is_none()), "{listed}");
    assert_eq!(begin().status, 202);
}
