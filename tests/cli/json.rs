//! What scripts read: `--json` on every command, and the same names for the same thing wherever an answer is told.

use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::cli::COMMANDS;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The only document on standard output.
#[track_caller]
fn document(seen: &crate::util::run::Seen) -> Value {
    serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// The table of clinvk(1): a command, and the members of its document that are always there.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let path = format!("{}/man/clinvk.1", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(path).unwrap();
    let part = page.lines().skip_while(|line| *line != ".Sh JSON").skip(1);
    let part: Vec<&str> = part.take_while(|line| !line.starts_with(".Sh ")).collect();
    let mut table: Vec<(String, BTreeSet<String>)> = Vec::new();
    // Which of an item's commands the lines are about: those that are named last.
    let mut open = 0..0;
    for line in part {
        if let Some(commands) = line.strip_prefix(".It Cm ") {
            open.start = table.len();
            table.extend(commands.split(" , ").map(|command| (command.to_owned(), BTreeSet::new())));
            open.end = table.len();
        } else if let Some(names) = line.strip_prefix(".Va ") {
            // Behind a flag stands what only that flag brings.
            let names = names.split([' ', ',', '.', ':']).filter(|name| !name.is_empty());
            let names: Vec<String> = names.map(str::to_owned).collect();
            table[open.clone()].iter_mut().for_each(|(_, known)| known.extend(names.iter().cloned()));
        } else if line.starts_with(".Fl ") || line.starts_with("and, ") || line == ".El" {
            open = 0..0;
        }
    }
    table
}

/// What clinvk(1) says that an answer has.
fn fields_of_an_answer() -> BTreeSet<String> {
    let path = format!("{}/man/clinvk.1", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(path).unwrap();
    let part = page.lines().skip_while(|line| *line != "An answer has").skip(1);
    let lines = part.take_while(|line| line.starts_with(".Va ") || *line == "and");
    let names =
        lines.filter_map(|line| line.strip_prefix(".Va ")).flat_map(|line| line.split([' ', ',', ';']));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_command_prints_one_document_with_json_as_the_manual_has_it() {
    // faults.md E1
    let home = Home::with(json!({"default_backend": "echo"}));
    let id = home.begin("one");
    home.scene.file("work/tasks", r#"{"tasks": [{"prompt": "a"}, {"prompt": "b"}]}"#);
    home.scene.file("work/steps", r#"{"steps": [{"prompt": "a"}, {"prompt": "{{previous}}"}]}"#);
    home.scene.file("work/items", "a\nb\n");
    home.scene.file("work/session", home.export(&id));
    let gone = home.begin("two");
    let table = documented();
    let of = |command: &str| {
        let row = table.iter().find(|(known, _)| known == command);
        row.unwrap_or_else(|| panic!("{command} is not in the table")).1.clone()
    };
    let tried = RefCell::new(BTreeSet::new());
    let ok = |command: &str, args: &[&str]| {
        let seen = home.clinvk(args).args(["--json"]).seen();
        let said = document(&seen);
        assert!(seen.status == 0 && seen.err.is_empty(), "{args:?}: {seen}");
        tried.borrow_mut().insert(command.to_owned());
        let missing: Vec<String> = of(command).into_iter().filter(|name| said.get(name).is_none()).collect();
        assert!(missing.is_empty(), "{args:?} has no {missing:?}: {seen}");
        said
    };
    let answer = ok("prompt", &["hi"]);
    assert_eq!(members(&answer), fields_of_an_answer().iter().map(String::as_str).collect());
    assert!(answer["content"] == "hi" && answer["error"].is_null(), "{answer}");
    assert_eq!(ok("prompt", &["--dry-run", "hi"])["dry_run"], true);
    ok("resume", &["resume", &id, "more"]);
    assert_eq!(ok("parallel", &["parallel", "-f", "tasks"])["total_tasks"], 2);
    ok("parallel", &["parallel", "-f", "tasks", "--dry-run"]);
    let mapped = ok("map", &["map", "<{}>", "-f", "items", "-P", "1"]);
    assert!(mapped["total_tasks"] == 2 && mapped["results"][1]["content"] == "<b>", "{mapped}");
    ok("compare", &["compare", "--backends", "echo", "hi"]);
    ok("chain", &["chain", "-f", "steps"]);
    ok("sessions list", &["sessions", "list"]);
    ok("sessions show", &["sessions", "show", &id]);
    let shown = ok("sessions show", &["sessions", "show", &id, "--turns"]);
    assert_eq!(members(&shown), BTreeSet::from(["session", "turns"]));
    assert_eq!(ok("sessions rename", &["sessions", "rename", &id, "new"])["title"], "new");
    assert_eq!(ok("sessions tag", &["sessions", "tag", &id, "t"])["tags"], json!(["t"]));
    assert_eq!(ok("sessions untag", &["sessions", "untag", &id, "t"])["tags"], json!([]));
    assert_eq!(ok("sessions fork", &["sessions", "fork", &id])["id"].as_str().map(str::len), Some(32));
    ok("sessions export", &["sessions", "export", &id]);
    assert_ne!(ok("sessions import", &["sessions", "import", "session"])["id"], json!(id));
    ok("sessions fsck", &["sessions", "fsck"]);
    assert_eq!(ok("sessions delete", &["sessions", "delete", &gone]), json!({"deleted": [gone]}));
    let cleaned = &["sessions", "clean", "--all", "--search", "nowhere"];
    assert_eq!(ok("sessions clean", cleaned), json!({"deleted": []}));
    let would = home.clinvk(["sessions", "clean", "--all", "--dry-run", "--json"]).seen();
    assert_eq!(document(&would)["would_delete"].as_array().map(Vec::len), Some(4), "{would}");
    ok("config show", &["config", "show"]);
    ok("config show", &["config", "show", "--origin"]);
    assert_eq!(ok("config get", &["config", "get", "default_backend"]), "echo");
    assert_eq!(ok("config set", &["config", "set", "server.port", "99"])["value"], 99);
    assert_eq!(ok("config unset", &["config", "unset", "server.port"])["removed"], true);
    ok("config path", &["config", "path"]);
    assert_eq!(ok("config validate", &["config", "validate"])["valid"], true);
    ok("backends", &["backends"]);
    ok("backends", &["backends", "--all"]);
    let chat = document(&home.clinvk(["chat", "--json"]).stdin("hi\n").seen());
    assert_eq!(members(&chat), members(&answer));
    tried.borrow_mut().insert("chat".to_owned());
    ok("models", &["models"]);
    ok("prompts", &["prompts", "-q"]);
    assert_eq!(ok("doctor", &["doctor"])["can_run"], true);
    ok("version", &["version"]);
    ok("version", &["--version"]);
    ok("version", &["-V"]);
    assert!(ok("completions", &["completions", "zsh"])["script"].as_str().unwrap().starts_with("#compdef"));
    let help = ok("help", &["help"]);
    assert_eq!(help["commands"].as_array().map(Vec::len), Some(COMMANDS.len() - 1), "{help}");
    assert_eq!(ok("help", &["help", "map"])["command"], "map");
    assert_eq!(ok("help", &["sessions", "-h"])["command"], "sessions");
    let greeting = "{\"id\": 1, \"method\": \"initialize\"}\n";
    for command in ["acp", "mcp"] {
        let greeted = document(&home.clinvk([command, "--json"]).stdin(greeting).seen());
        assert!(of(command).iter().all(|name| greeted.get(name).is_some()), "{greeted}");
        tried.borrow_mut().insert(command.to_owned());
    }
    if cfg!(feature = "serve") {
        let mut server = home.clinvk(["serve", "--port", "0", "--json"]).start();
        server.says("\n");
        let said: Value = serde_json::from_str(&server.said()).unwrap();
        let url = said["listening"][0].as_str().unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{said}");
        let begun = document(&home.clinvk(["--server", url, "--no-wait", "--json", "hi"]).seen());
        let run = begun["run_id"].as_str().unwrap();
        let waited = ok("wait", &["wait", "--server", url, run]);
        assert_eq!((&waited["content"], members(&waited)), (&json!("hi"), members(&answer)));
        assert_eq!(ok("runs", &["runs", "--server", url])["runs"][0]["id"], run);
        assert_eq!(ok("cancel", &["cancel", "--server", url, run]), json!({"id": run, "cancelled": false}));
        server.signal(clinvk::base::sys::SIGTERM);
        server.end();
    }
    tried.borrow_mut().extend(["serve", "runs", "wait", "cancel"].map(str::to_owned));
    // Each row of the table was run, and it has a row for each command.
    let tried = tried.into_inner();
    assert_eq!(tried, table.iter().map(|(command, _)| command.clone()).collect());
    for command in COMMANDS.iter().filter(|command| !command.name.is_empty()) {
        assert!(tried.iter().any(|row| row.split(' ').next() == Some(command.name)), "{}", command.name);
    }
}

#[test]
fn an_error_is_json_where_json_is_asked_for() {
    // faults.md E1
    let home = Home::with(json!({"default_backend": "echo"}));
    home.scene.file("work/broken", "{\"task\": 1}");
    for (args, status, kind) in [
        // The flag that asks for JSON stands behind the error.
        (&["sessions", "list", "--lmit", "3", "--json"][..], 1, "invalid_request"),
        (&["sessions", "--json"], 1, "invalid_request"),
        (&["sessions", "show", "nothing", "--json"], 4, "session_not_found"),
        (&["sessions", "delete", "x", "--json"], 1, "invalid_request"),
        (&["sessions", "list", "--turns", "--json"], 1, "invalid_request"),
        (&["config", "--json"], 1, "invalid_request"),
        (&["config", "get", "--json", "no.key"], 1, "invalid_request"),
        (&["parallel", "--json", "-f", "none"], 1, "invalid_request"),
        (&["parallel", "-o", "json", "-f", "broken"], 1, "invalid_request"),
        (&["parallel", "--jsonl", "-f", "broken"], 1, "invalid_request"),
        (&["map", "--json", "no item"], 1, "invalid_request"),
        (&["map", "--json", "--jsonl", "{}"], 1, "invalid_request"),
        (&["compare", "--json", "hi"], 1, "invalid_request"),
        (&["compare", "--json", "--backends", "echo", "--nonsense", "hi"], 1, "invalid_request"),
        (&["chain", "--json", "-f", "broken"], 1, "invalid_request"),
        (&["serve", "--json", "--port", "high"], 1, "invalid_request"),
        (&["version", "please", "--json"], 1, "invalid_request"),
        (&["backends", "please", "--json"], 1, "invalid_request"),
        (&["help", "nonsense", "--json"], 1, "invalid_request"),
    ] {
        let seen = home.clinvk(args).seen();
        let said = document(&seen);
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(seen.status == status && said["error"]["kind"] == kind, "{args:?}: {seen}");
        assert!(seen.err == format!("clinvk: {message}\n") && said.as_object().unwrap().len() == 1, "{seen}");
    }
    // A prompt has one document, whatever happens to it.
    for (args, status, kind) in [
        (&["--json", "--nonsense", "hi"][..], 1, "invalid_request"),
        (&["--nonsense", "-o", "json", "hi"], 1, "invalid_request"),
        (&["hi", "-o", "json", "--timeout", "soon"], 1, "invalid_request"),
        (&["resume", "nothing", "hi", "--json"], 4, "session_not_found"),
        (&["-b", "nobody", "--json", "hi"], 2, "unknown_backend"),
    ] {
        let seen = home.clinvk(args).seen();
        let said = document(&seen);
        let error = format!("clinvk: {}\n", said["error"].as_str().unwrap_or_default());
        assert!(seen.status == status && said["kind"] == kind && seen.err == error, "{args:?}: {seen}");
        assert!(said["content"] == "" && said["usage"]["total_tokens"] == 0, "{seen}");
    }
    let seen = home.clinvk(["-o", "stream-json", "--nonsense", "hi"]).seen();
    assert!(document(&seen)["content"]["kind"] == "invalid_request" && seen.status == 1, "{seen}");
    home.scene.config(&json!({"nonsense": 1}));
    let seen = home.clinvk(["--json", "hi"]).seen();
    assert!(document(&seen)["kind"] == "config" && seen.status == 3, "{seen}");
    let seen = home.clinvk(["sessions", "list", "--json"]).seen();
    assert!(document(&seen)["error"]["kind"] == "config" && seen.status == 3, "{seen}");
    // Nobody asked for JSON.
    home.clinvk(["sessions", "nonsense", "--", "--json"]).seen().out.is_empty().then_some(()).unwrap();
}

/// The names that every answer has.
const NAMES: [&str; 5] = ["usage", "content", "duration_seconds", "kind", "error"];

/// A told answer has the names, and its second names say the same.
#[track_caller]
fn has_the_names(place: &str, told: &Value, content: &str, kind: &Value) {
    let missing: Vec<&str> = NAMES.into_iter().filter(|name| told.get(name).is_none()).collect();
    assert!(missing.is_empty(), "{place} has no {missing:?}: {told}");
    assert_eq!((&told["content"], &told["kind"]), (&json!(content), kind), "{place}: {told}");
    assert_eq!(told["error"].is_null(), kind.is_null(), "{place}: {told}");
    assert!(
        told["duration_seconds"].is_number() && told["usage"]["total_tokens"].is_u64(),
        "{place}: {told}"
    );
    for (one, other) in [
        ("usage", "token_usage"),
        ("content", "output"),
        ("content", "answer"),
        ("duration_seconds", "duration"),
    ] {
        assert!(told.get(other).is_none_or(|twin| *twin == told[one]), "{place}: {other}: {told}");
    }
    let seconds = told["duration_seconds"].as_f64().unwrap();
    if let Some(millis) = told.get("duration_ms") {
        assert_eq!(millis.as_u64(), Some((seconds * 1000.0) as u64), "{place}: {told}");
    }
}

#[cfg(feature = "serve")]
#[test]
fn an_answer_has_the_same_names_wherever_it_is_told() {
    // faults.md E2
    for (keys, kind) in [(json!({}), Value::Null), (json!({"exit_code": 9}), json!("crash"))] {
        let home = Home::with(json!({"default_backend": "echo", "backends": {"echo": keys}}));
        let said = |args: &[&str]| home.clinvk(args).seen();
        let steps = r#"{"steps": [{"prompt": "two words"}]}"#;
        has_the_names("a prompt", &document(&said(&["--json", "two words"])), "two words", &kind);
        let id = home.only()["id"].as_str().unwrap().to_owned();
        let stream = said(&["-o", "stream-json", "two words"]);
        let lines: Vec<Value> = stream.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        has_the_names("done", &lines.last().unwrap()["content"], "two words", &kind);
        for failed in lines.iter().filter(|line| line["type"] == "error") {
            let content = &failed["content"];
            assert!(content["kind"] == kind && content["error"] == content["message"], "{stream}");
        }
        home.scene.file("work/tasks", r#"{"tasks": [{"prompt": "two words"}]}"#);
        home.scene.file("work/steps", steps);
        home.scene.file("work/items", "words");
        for args in [
            &["parallel", "--json", "-f", "tasks"][..],
            &["map", "--json", "two {}", "-f", "items"],
            &["compare", "--json", "--backends", "echo", "two words"],
            &["chain", "--json", "-f", "steps"],
        ] {
            let told = document(&said(args));
            has_the_names(args[0], &told["results"][0], "two words", &kind);
            assert!(told["total_duration_seconds"].is_number(), "{told}");
        }
        let shown = document(&said(&["sessions", "show", &id, "--turns", "--json"]));
        has_the_names("a turn", &shown["turns"][0], "two words", &kind);
        let session = &shown["session"];
        assert!(
            session["usage"]["total_tokens"] == 4 && session["token_usage"]["input_tokens"] == 2,
            "{session}"
        );

        let server = home.scene.serve([]);
        let streamed = json!({"prompt": "two words", "output_format": "stream-json"});
        let answer = server.post("/api/v1/prompt", &json!({"prompt": "two words"})).json();
        // A failure has its sentence in the place of an answer's.
        let failed = !kind.is_null();
        assert_eq!(answer["error"].is_object(), failed, "{answer}");
        has_the_names("/prompt", &answer, "two words", &kind);
        let done = server.post("/api/v1/prompt", &streamed).lines().pop().unwrap();
        has_the_names("done over HTTP", &done["content"], "two words", &kind);
        for (path, body) in [
            ("/api/v1/parallel", json!({"tasks": [{"prompt": "two words"}]})),
            ("/api/v1/compare", json!({"prompt": "two words", "backends": ["echo"]})),
            ("/api/v1/chain", serde_json::from_str(steps).unwrap()),
        ] {
            let told = server.post(path, &body).json();
            has_the_names(path, &told["results"][0], "two words", &kind);
            let millis = (told["total_duration_seconds"].as_f64().unwrap() * 1000.0) as u64;
            assert_eq!(told["total_duration_ms"].as_u64(), Some(millis), "{told}");
        }
        let turns = server.get(&format!("/api/v1/sessions/{id}/turns")).json();
        has_the_names("a turn over HTTP", &turns["turns"][0], "two words", &kind);
        let detached = server.post("/api/v1/prompt", &json!({"prompt": "two words", "detach": true})).json();
        let path = format!("/api/v1/runs/{}", detached["run_id"].as_str().unwrap());
        crate::util::scene::until("it is done", || server.get(&path).json()["state"] == "done");
        let run = server.get(&path).json();
        has_the_names("a run", &run, "two words", &kind);
        assert_eq!(run["seconds"], run["duration_seconds"], "{run}");
        let listed = &server.get("/api/v1/runs").json()["runs"][0];
        assert!(listed["kind"] == kind && listed["duration_seconds"].is_number(), "{listed}");
    }
}

#[test]
fn no_progress_stands_between_lines_of_json() {
    // faults.md E8: `parallel --json 2>&1`
    let home = Home::with(json!({"default_backend": "echo"}));
    home.scene.file("work/tasks", r#"{"tasks": [{"prompt": "a"}, {"prompt": "b"}]}"#);
    home.scene.file("work/items", "a\nb\n");
    for args in [
        &["parallel", "--json", "-f", "tasks"][..],
        &["parallel", "-o", "json", "-f", "tasks"],
        &["parallel", "--jsonl", "-f", "tasks"],
        &["map", "--json", "{}", "-f", "items"],
        &["map", "--jsonl", "{}", "-f", "items"],
        &["compare", "--json", "--backends", "echo", "a"],
    ] {
        let seen = home.clinvk(args).seen();
        assert!(seen.err.is_empty() && seen.status == 0, "{args:?}: {seen}");
    }
    let text = home.clinvk(["parallel", "-f", "tasks"]).seen();
    assert!(text.err.contains("[1] echo: started\n"), "{text}");
}

#[test]
fn a_chain_says_once_what_went_wrong() {
    // faults.md E9
    let scene = Scene::playing("exit 9");
    scene.file("work/steps", r#"{"steps": [{"name": "one", "prompt": "a"}]}"#);
    for (args, line) in [
        (&["chain", "-f", "steps"][..], "[1] fake: failed: "),
        (&["chain", "-q", "-f", "steps"], "clinvk: step 1 (`one`), fake: failed: "),
        (&["chain", "--json", "-f", "steps"], "clinvk: step 1 (`one`), fake: failed: "),
    ] {
        let seen = scene.clinvk(args).seen();
        let said: Vec<&str> = seen.err.lines().filter(|line| line.contains("exit status 9")).collect();
        assert!(said.len() == 1 && said[0].starts_with(line) && seen.status == 1, "{args:?}: {seen}");
    }
}
