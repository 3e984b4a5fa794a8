//! What is run on a server looks as what is run here: the same words, the same errors, the same status.

use crate::util::run::Seen;
use crate::util::scene::Scene;
use serde_json::{Value, json};
use std::fs;

/// Backends that answer, fail, are not there, and never end.
fn scene() -> Scene {
    let scene = Scene::new();
    let backend = |play: &str, name: &str| json!({"command": [scene.fake(name, play)]});
    let mut backends = json!({
        "bad": backend("say half an answer; echo 'it broke' >&2; exit 9", "bad"),
        "mute": backend("cat >/dev/null; echo 'no words' >&2; exit 3", "mute"),
        "gone": {"command": ["no-such-program"]},
        "slow": backend("printf half; \"$here/sleep\" 1000", "slow"),
        "where": backend("pwd; cat", "where"),
    });
    let lines = r#"say '{"think":"hm"}'; say '{"text":"{\"a\":"}'; say '{"text":" 1}\n","in":5,"out":7}'"#;
    backends["lines"] = json!({
        "command": [scene.fake("lines", lines)],
        "output": "jsonl",
        "fields": {"text": "text", "thinking": "think", "input_tokens": "in", "output_tokens": "out"},
    });
    scene.config(&json!({
        "default_backend": "echo",
        "unified_flags": {"fallback": []},
        "backends": backends,
        "server": {"project_config": true, "max_sandbox_mode": "full", "allowed_extra_flags": "all"},
    }));
    scene
}

/// Without what is of one run alone: ids, times, durations, and how the answer was cut into pieces.
pub fn masked(seen: Seen) -> Seen {
    let mut lines: Vec<Value> = Vec::new();
    let is_one = serde_json::from_str::<Value>(&seen.out).is_ok();
    let parts = if is_one { vec![&*seen.out] } else { seen.out.split_inclusive('\n').collect() };
    for line in parts {
        let mut value = serde_json::from_str(line).unwrap_or_else(|_| json!(line));
        mask(&mut value);
        let value = value.as_str().map(|text| json!(untimed(text))).unwrap_or(value);
        match lines.last_mut().filter(|last| last["type"] == "message" && value["type"] == "message") {
            Some(last) => {
                let text = |value: &Value| value["content"]["text"].as_str().unwrap().to_owned();
                last["content"]["text"] = json!(text(last) + &text(&value));
            }
            None => lines.push(value),
        }
    }
    let out = lines.iter().map(|line| line.as_str().map_or_else(|| format!("{line}\n"), str::to_owned));
    let is_id = |word: &str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = seen.err.split_inclusive(['`', '\n']).map(|word| match word {
        id if is_id(id.trim_end_matches('`')) => "ID`",
        word => word,
    });
    Seen { out: out.collect(), err: untimed(&words.collect::<String>()), status: seen.status }
}

/// A text with a T for each number of seconds.
fn untimed(text: &str) -> String {
    let word = |word: &str| {
        let number = word.trim_matches(['(', 's', '\n']);
        let is_time = number.contains('.') && number.parse::<f64>().is_ok();
        if is_time { word.replace(number, "T") } else { word.to_owned() }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn mask(value: &mut Value) {
    const OWN: &[&str] = &[
        "session_id",
        "backend_session_id",
        "timestamp",
        "time",
        "sequence",
        "duration",
        "duration_seconds",
        "total_duration_seconds",
        "id",
        "created_at",
        "last_used_at",
        "parent_id",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match OWN.contains(&name.as_str()) && !member.is_null() {
                    true => *member = json!("OWN"),
                    false => mask(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Each of these does the same here and on a server: over TCP, over a Unix socket, and by the user's own. Those that come
/// later see the sessions of those before them; each way has a scene of its own.
#[track_caller]
fn are_the_same(commands: &[(&[&str], &str)]) {
    let (here, tcp, unix, auto) = (scene(), scene(), scene(), scene());
    for scene in [&here, &tcp, &unix, &auto] {
        scene.file("work/notes.txt", "a note\n");
        scene.file("work/schema.json", "{\"type\": \"object\"}");
        scene.file("work/p.gif", "GIF89a-picture");
        scene.file("work/list", "one\n\ntwo\n");
    }
    let server = tcp.serve([]);
    let (url, socket) = (format!("http://{}", server.address), unix.text("tmp/socket"));
    let mut listening = unix.clinvk(["serve", "--socket", &socket]).start();
    listening.says("Press Ctrl+C");
    for (args, stdin) in commands {
        let expected = masked(here.clinvk(*args).stdin(stdin).seen());
        let elsewhere = |scene: &Scene, server: &str| {
            // Nothing of the server's configuration or sessions is known to the client.
            let own = scene.text("own");
            let run = scene.clinvk(*args).stdin(stdin).env("CLINVK_SERVER", server).env("CLINVK_HOME", own);
            masked(run.seen())
        };
        let own = auto.clinvk(*args).stdin(stdin).env("CLINVK_SERVER", "auto");
        for (way, seen) in [
            ("tcp", elsewhere(&tcp, &url)),
            ("unix", elsewhere(&unix, &format!("unix:{socket}"))),
            ("auto", masked(own.seen())),
        ] {
            assert!(seen == expected, "{args:?} over {way}: expected {expected}\nsaw {seen}");
        }
    }
    for scene in [&tcp, &unix] {
        assert!(!scene.path("own").exists(), "the client has kept something");
    }
}

/// The command in each of the formats of a prompt.
#[track_caller]
fn in_every_format(commands: &[(&[&str], &str)]) {
    let mut all: Vec<(Vec<&str>, &str)> = Vec::new();
    for (args, stdin) in commands {
        for format in ["text", "json", "stream-json"] {
            let with = args.iter().copied().chain(["-o", format]).collect();
            all.push((with, stdin));
        }
    }
    let all: Vec<(&[&str], &str)> = all.iter().map(|(args, stdin)| (&args[..], *stdin)).collect();
    are_the_same(&all);
}

#[test]
fn answers_are() {
    in_every_format(&[
        (&["hello there"], ""),
        (&["-b", "lines", "--show-tokens", "--show-timing", "x"], ""),
        (&["-b", "lines", "--json-schema", "@schema.json", "x"], ""),
        (&["-b", "where", "x"], ""),
        (&["-b", "where", "-w", "..", "x"], ""),
        (&["with a pipe"], "and what came by it"),
        (&["-f", "notes.txt", "with a file"], ""),
        (&["--tag", "a", "--ephemeral", "gone at once"], ""),
        (&["--fallback", "gone,echo", "-b", "gone", "who?"], ""),
        (&["--", "parallel"], ""),
    ]);
}

#[test]
fn failures_are() {
    in_every_format(&[
        (&["-b", "bad", "x"], ""),
        (&["-b", "mute", "x"], ""),
        (&["-b", "gone", "x"], ""),
        (&["-b", "ecko", "x"], ""),
        (&["-b", "slow", "--timeout", "300ms", "x"], ""),
        (&["-b", "slow", "--stall-timeout", "1s", "x"], ""),
        (&["--image", "p.gif", "x"], ""),
        (&["--image", "p.gif", "--lenient", "x"], ""),
        (&["--extra", "--what", "x"], ""),
        (&["-w", "nowhere", "x"], ""),
        (&["--approval", "nome", "x"], ""),
        (&["--image", "notes.txt", "x"], ""),
        (&["-f", "nothing.txt", "x"], ""),
        (&["--wait", "x"], ""),
        (&[""], ""),
        (&["-b", "lines", "--json-schema", "{\"required\": [\"b\"]}", "x"], ""),
    ]);
}

#[test]
fn continued_sessions_are() {
    in_every_format(&[
        (&["-c", "too soon"], ""),
        (&["resume", "--last", "too soon"], ""),
        (&["the first"], ""),
        (&["-c", "the second"], ""),
        (&["-b", "where", "-w", "/", "elsewhere"], ""),
        (&["-c", "here again"], ""),
        (&["resume", "--last", "--replay", "the third"], ""),
        (&["resume", "--last", "-b", "where", "by another"], ""),
        (&["resume", "--here", "which?"], ""),
        (&["resume", "nosuch", "x"], ""),
        (&["resume", "", "x"], ""),
    ]);
}

#[test]
fn what_is_done_with_sessions_is() {
    are_the_same(&[
        (&["sessions", "list"], ""),
        (&["sessions", "list", "--json"], ""),
        (&["--tag", "a", "the first"], ""),
        (&["-b", "bad", "the one that failed"], ""),
        (&["sessions", "tag", "echo", "b", "c d"], ""),
        (&["sessions", "untag", "echo", "a", "x"], ""),
        (&["sessions", "tag", "echo", "e&f=%", "--json"], ""),
        (&["sessions", "rename", "echo", "é name"], ""),
        (&["sessions", "show", "echo", "--json"], ""),
        (&["sessions", "show", "echo", "--json", "--turns"], ""),
        (&["sessions", "export", "echo"], ""),
        (&["sessions", "fork", "echo", "--json"], ""),
        (&["sessions", "list", "--json", "--search", "FIRST"], ""),
        (&["sessions", "list", "--json", "--tag", "b", "--tag", "e&f=%"], ""),
        (&["sessions", "list", "--json", "--tag", "b", "--tag", "none"], ""),
        (&["sessions", "list", "--json", "--status", "error"], ""),
        (&["sessions", "list", "--json", "--backend", "bad"], ""),
        (&["sessions", "list", "--json", "--here", "-n", "1"], ""),
        (&["sessions", "list", "--json", "--since", "1h", "-n", "0", "--offset", "1"], ""),
        (&["sessions", "list", "--json", "--since", "2999-01-31"], ""),
        (&["sessions", "list", "--status", "paused"], ""),
        (&["sessions", "list", "--turns"], ""),
        (&["sessions", "show", "nosuch"], ""),
        (&["sessions", "show", ""], ""),
        (&["sessions", "show"], ""),
        (&["sessions", "delete", "nosuch-session"], ""),
        (&["sessions", "delete", "echo"], ""),
        (&["sessions", "rename", "echo", &"long".repeat(200)], ""),
        (&["sessions", "clean"], ""),
        (&["sessions", "clean", "--older-than", "1d", "--json"], ""),
        (&["sessions", "clean", "--all", "--backend", "bad"], ""),
        (&["sessions", "clean", "--all"], ""),
        (&["sessions", "list"], ""),
    ]);
}

#[test]
fn many_runs_are() {
    let tasks = json!({"tasks": [
        {"prompt": "one", "name": "the first", "meta": {"k": 1}, "tags": ["t"]},
        {"backend": "bad", "prompt": "two"},
        {"backend": "ecko", "prompt": "three"},
        {"backend": "gone", "prompt": "four"},
        {"id": "a", "backend": "lines", "prompt": "five"},
        {"depends_on": ["a"], "prompt": "after {{a.output}}", "id": "b"},
        {"prompt_file": "notes.txt"},
        {"prompt": "with", "files": ["notes.txt"]},
        {"backend": "slow", "prompt": "x", "timeout": "300ms"},
        {"prompt": "x", "images": ["p.gif"], "lenient": true},
        {"prompt": "x", "images": ["p.gif"]},
        {"prompt": "x", "workdir": ".."},
        {"backend": "gone", "fallback": ["echo"], "prompt": "who?"},
    ]});
    let tasks = &tasks.to_string();
    let bad = "{\"tasks\": [{\"promt\": \"x\"}]}";
    are_the_same(&[
        (&["parallel", "-P", "1"], tasks),
        (&["parallel", "-P", "1", "--json"], tasks),
        (&["parallel", "-P", "1", "--jsonl"], tasks),
        (&["parallel", "-P", "4", "--json", "-q"], tasks),
        (&["parallel", "-P", "1", "--fail-fast"], tasks),
        (&["parallel", "-P", "1", "-b", "gone"], "{\"prompt\": \"x\"}\n{\"prompt\": \"y\"}"),
        (&["parallel"], bad),
        (&["parallel", "--json"], "{\"prompt\": \"x\", \"output_dir\": \"y\"}"),
        (
            &["parallel", "-P", "1", "--output-dir", "out", "-q"],
            "{\"prompt\": \"x\"}\n{\"prompt\": \"y\", \"id\": \"i\"}",
        ),
        (
            &["parallel", "-P", "1", "--resume", "out", "--json"],
            "{\"prompt\": \"x\"}\n{\"prompt\": \"y\", \"id\": \"i\"}",
        ),
        (&["map", "-P", "1", "-f", "list", "number {n} is {}"], ""),
        (&["map", "-P", "1", "--json", "say {}"], "a\nb\n"),
        (&["map", "-P", "1", "-b", "bad", "say {}"], "a\n"),
        (&["map", "no place"], "a\n"),
        (&["sessions", "list", "--json"], ""),
        (&["map", "-P", "1", "-q", "--keep-sessions", "--tag", "k", "say {}"], "a\n"),
        (&["sessions", "list", "--json"], ""),
    ]);
}

#[test]
fn comparisons_are() {
    are_the_same(&[
        (&["compare", "--backends", "echo,bad,gone,ecko", "--sequential", "which?"], ""),
        (&["compare", "--backends", "echo,echo:m", "--sequential", "--json", "--agree", "which?"], ""),
        (&["compare", "--backends", "echo,lines", "--sequential", "--agree", "which?"], ""),
        (&["compare", "--backends", "echo,echo", "which?"], ""),
        (&["compare", "--race", "--sequential", "--backends", "bad,lines,echo", "--json", "which?"], ""),
        (&["compare", "--all-backends", "--sequential", "-q", "--json", "--timeout", "2s", "which?"], ""),
        (&["compare", "which?"], ""),
        (&["compare", "--backends", "echo", "-f", "notes.txt", "-q", "and:"], "by a pipe"),
    ]);
}

#[test]
fn chains_are() {
    let steps = json!({"steps": [
        {"name": "draft", "prompt": "Write about {{input}}"},
        {"prompt": "Shorten: {{previous}} ({{steps.draft.output}})", "backend": "where", "workdir": ".."},
        {"prompt": "{{previous}}"},
    ], "pass_session": true});
    let failing = json!({"steps": [{"prompt": "x"}, {"prompt": "y", "backend": "bad"}, {"prompt": "z"}]});
    let (steps, failing) = (&steps.to_string(), &failing.to_string());
    are_the_same(&[
        (&["chain", "--input", "the sea"], steps),
        (&["chain", "--input", "the sea", "--json"], steps),
        (&["sessions", "list", "--json"], ""),
        (&["chain", "--input", "the sea", "--json", "--keep-sessions"], steps),
        (&["sessions", "list", "--json"], ""),
        (&["chain"], steps),
        (&["chain"], failing),
        (&["chain", "--json"], failing),
        (&["chain", "--dry-run", "-q"], failing),
        (&["chain", "--output-dir", "out", "-q", "--input", "a"], steps),
        (&["chain", "--output-dir", "out", "-q", "--input", "a", "--from", "3"], steps),
    ]);
}

#[test]
fn dry_runs_are_and_begin_no_session() {
    in_every_format(&[
        (&["--dry-run", "-b", "where", "hello"], ""),
        (&["--dry-run", "--lenient", "--image", "p.gif", "-b", "where", "hello"], ""),
        (&["-c", "there is none"], ""),
    ]);
}

#[test]
fn pictures_and_files_go_along_wherever_the_server_works() {
    let scene = Scene::new();
    fs::create_dir(scene.path("away")).unwrap();
    scene.config(&json!({"default_backend": "echo"}));
    let run = scene.clinvk(["serve", "--port", "0"]).dir(scene.path("away"));
    let server = crate::util::http::Server::of(run.start());
    let url = format!("http://{}", server.address);
    scene.file("work/a.txt", "what is in it");
    scene
        .clinvk(["--server", &url, "-f", "a.txt", "look:"])
        .prints("look:\n\n<file name=\"a.txt\">\nwhat is in it\n</file>\n");
    scene.file("work/p.gif", "GIF89a-picture");
    let seen = scene.clinvk(["--server", &url, "--image", "p.gif", "x"]).seen();
    assert!(seen.status == 1 && seen.err.contains("backend `echo` cannot honour images"), "{seen}");
}
