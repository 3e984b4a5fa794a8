//! What comes in: text that is not quite what it should be, from programs, clients and files.

#[cfg(feature = "serve")]
use crate::util::http::Server;
use crate::util::scene::{Scene, until};
use clinvk::backend::claude::Claude;
use clinvk::backend::codex::Codex;
use clinvk::backend::gemini::Gemini;
use clinvk::backend::{Backend, Dialogue, Step, Steps};
use clinvk::base::sys;
use clinvk::model::event::Event;
use clinvk::model::task::{Approval, Task};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Text as it stands between the quotes of a JSON string, and what is meant by it.
const ESCAPES: &[(&str, &str)] = &[
    (r"a \ud83d b", "a \u{fffd} b"),
    (r"a \ude00 b", "a \u{fffd} b"),
    (r"a \ud83d\ude00 b", "a 😀 b"),
    (r"a \ud83d\n\ude00 b", "a \u{fffd}\n\u{fffd} b"),
    (r"a \\ud83d b", r"a \ud83d b"),
    (r"a \\\ud83d b", "a \\\u{fffd} b"),
    (r"at the end \uD83D", "at the end \u{fffd}"),
];

/// The backends that are talked to in JSON.
fn backends() -> [(Box<dyn Backend>, Vec<String>); 3] {
    let claude = json!({"type": "stream_event", "event": {"type": "message_start"}});
    [
        (Box::new(Claude::new(None, &[])), vec![claude.to_string()]),
        (Box::new(Codex::new(None, &[])), Vec::new()),
        (Box::new(Gemini::new(None, &[])), Vec::new()),
    ]
}

/// The dialogue in the middle of its turn.
fn in_turn(backend: &dyn Backend, lines: &[String]) -> Box<dyn Dialogue> {
    let name = backend.name().to_owned();
    let task = Task { backend: name, prompt: "x".into(), approval: Approval::Always, ..Task::default() };
    let (mut dialogue, mut steps) = (backend.dialogue(&task), Steps::new());
    dialogue.start(&mut steps);
    backend.rehearsal(&task).iter().chain(lines).for_each(|line| dialogue.line(line, &mut steps));
    dialogue
}

fn hear(dialogue: &mut dyn Dialogue, line: &str) -> Steps {
    let mut steps = Steps::new();
    dialogue.line(line, &mut steps);
    steps
}

/// A line in which the backend says `TEXT`.
fn saying(backend: &str) -> &'static str {
    match backend {
        "claude" => {
            r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"TEXT"}}}"#
        }
        "codex" => r#"{"method":"item/agentMessage/delta","params":{"itemId":"i","delta":"TEXT"}}"#,
        _ => {
            r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"TEXT"}}}}"#
        }
    }
}

/// A line in which the backend asks whether it may do `TEXT`.
fn asking(backend: &str) -> &'static str {
    match backend {
        "claude" => {
            r#"{"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"TEXT"}}}"#
        }
        "codex" => r#"{"id":7,"method":"item/commandExecution/requestApproval","params":{"command":"TEXT"}}"#,
        _ => {
            r#"{"jsonrpc":"2.0","id":7,"method":"session/request_permission","params":{"toolCall":{"toolCallId":"run__1","kind":"execute","title":"TEXT"},"options":[{"optionId":"no","kind":"reject_once"}]}}"#
        }
    }
}

/// faults.md A6: a lone surrogate made a line vanish, and a question in it was waited for for ever.
#[test]
fn no_line_of_a_vendors_program_is_lost() {
    for (backend, lines) in backends() {
        for (escaped, meant) in ESCAPES {
            let mut dialogue = in_turn(&*backend, &lines);
            let steps = hear(&mut *dialogue, &saying(backend.name()).replace("TEXT", escaped));
            let said: String = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Event(Event::Text(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(said, *meant, "{} {escaped}: {steps:?}", backend.name());
            let steps = hear(&mut *dialogue, &asking(backend.name()).replace("TEXT", escaped));
            let is_answered = steps.iter().any(|step| matches!(step, Step::Send(_)));
            assert!(is_answered, "{} {escaped}: {steps:?}", backend.name());
        }
        let mut dialogue = in_turn(&*backend, &lines);
        for line in ["Debugger attached.", r#"{"cut": "#] {
            let message = format!("a line of {}'s output could not be read: {line}", backend.name());
            let expected = Step::Event(Event::Progress { stage: "warning".to_owned(), message });
            assert_eq!(hear(&mut *dialogue, line).first(), Some(&expected), "{}", backend.name());
        }
        assert_eq!(hear(&mut *dialogue, " "), [], "{}", backend.name());
    }
}

/// The same where the program is declared: its lines, and bytes in them that are no UTF-8.
#[test]
fn no_line_of_a_declared_program_is_lost() {
    let keys = json!({"output": "jsonl", "fields": {"text": "text"}});
    for (escaped, meant) in ESCAPES {
        let scene = Scene::declaring(keys.clone(), "cat");
        scene.clinvk(["-"]).stdin(format!("{{\"text\": \"{escaped}\"}}\n")).prints(&format!("{meant}\n"));
    }
    let scene = Scene::declaring(keys, r#"printf '{"text":"a\377\355\240\275b"}\n'"#);
    scene.clinvk(["x"]).prints("a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b\n");
}

/// Every endpoint that takes JSON, with a body whose prompt is `TEXT`, and where it is said again.
const BODIES: &[(&str, &str, &str)] = &[
    ("/api/v1/prompt", r#"{"prompt":"TEXT"}"#, "/output"),
    ("/api/v1/parallel", r#"{"tasks":[{"prompt":"TEXT"}]}"#, "/results/0/output"),
    ("/api/v1/chain", r#"{"steps":[{"prompt":"TEXT"}]}"#, "/results/0/output"),
    ("/api/v1/compare", r#"{"backends":["echo"],"prompt":"TEXT"}"#, "/results/0/output"),
    (
        "/openai/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"user","content":"TEXT"}]}"#,
        "/choices/0/message/content",
    ),
    ("/openai/v1/completions", r#"{"model":"m","prompt":"TEXT"}"#, "/choices/0/text"),
    ("/openai/v1/responses", r#"{"model":"m","input":"TEXT"}"#, "/output/0/content/0/text"),
    (
        "/anthropic/v1/messages",
        r#"{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"TEXT"}]}"#,
        "/content/0/text",
    ),
];

#[cfg(feature = "serve")]
#[track_caller]
fn answered(server: &Server, path: &str, body: impl Into<Vec<u8>>, place: &str) -> Value {
    let answer = server.ask("POST", path).header("Content-Type", "application/json").body(body).answer();
    assert_eq!(answer.status, 200, "{path}: {answer}");
    answer.json().pointer(place).cloned().unwrap_or_else(|| panic!("{path}: {answer}"))
}

/// faults.md A6 and C2: bodies with lone surrogates, and with a byte order mark.
#[cfg(feature = "serve")]
#[test]
fn every_endpoint_takes_the_same_bodies() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": {"rate_limit_enabled": false}}));
    let server = scene.serve([]);
    for (path, body, place) in BODIES {
        for (escaped, meant) in ESCAPES {
            let said = answered(&server, path, body.replace("TEXT", escaped), place);
            assert_eq!(said, *meant, "{path} {escaped}");
        }
        let marked = format!("\u{feff}{}", body.replace("TEXT", "marked"));
        assert_eq!(answered(&server, path, marked, place), "marked", "{path}");
    }
    let id = server.post("/api/v1/prompt", &json!({"prompt": "first"})).json()["session_id"].clone();
    let path = format!("/api/v1/sessions/{}", id.as_str().unwrap());
    let said = answered(&server, &format!("{path}/resume"), "\u{feff}{\"prompt\":\"a \\ud83d\"}", "/output");
    assert_eq!(said, "a \u{fffd}");
    let told = server
        .ask("PATCH", &path)
        .header("Content-Type", "application/json")
        .body("\u{feff}{\"title\":\"t \\udc00\"}");
    assert_eq!(told.answer().json()["title"], "t \u{fffd}");
    // A body of a mark alone is none at all.
    let told = server.ask("POST", &format!("{path}/fork")).body("\u{feff}").answer();
    assert_eq!(told.status, 200, "{told}");
}

/// faults.md A6 and C2: files with lone surrogates, and with a byte order mark.
#[test]
fn every_file_takes_what_programs_write() {
    let scene = Scene::new();
    let output = |run: crate::util::run::Run, place: &str| {
        let seen = run.env("CLINVK_BACKEND", "echo").seen();
        let last = seen.out.trim().lines().last().unwrap_or_default().to_owned();
        let told: Value = serde_json::from_str(&seen.out)
            .or(serde_json::from_str(&last))
            .unwrap_or_else(|error| panic!("{error}: {seen}"));
        assert_eq!(seen.status, 0, "{seen}");
        told.pointer(place).cloned().unwrap_or_else(|| panic!("{place}: {seen}"))
    };
    let files = [
        ("parallel", r#"{"tasks":[{"prompt":"TEXT"}]}"#, "/results/0/output"),
        ("parallel", "{\"prompt\":\"TEXT\"}\n", "/results/0/output"),
        ("chain", r#"{"steps":[{"prompt":"TEXT"}]}"#, "/results/0/output"),
    ];
    for (command, text, place) in files {
        for (escaped, meant) in ESCAPES {
            for mark in ["", "\u{feff}"] {
                scene.file("work/plan", format!("{mark}{}", text.replace("TEXT", escaped)));
                assert_eq!(
                    output(scene.clinvk([command, "--json", "-q", "-f", "plan"]), place),
                    *meant,
                    "{command} {escaped}"
                );
                let piped = scene
                    .clinvk([command, "--json", "-q"])
                    .stdin(std::fs::read(scene.path("work/plan")).unwrap());
                assert_eq!(output(piped, place), *meant, "{command} {escaped}");
            }
        }
    }
    scene.file("work/list", "\u{feff}one\n");
    assert_eq!(output(scene.clinvk(["map", "-q", "-f", "list", "{}"]), "/output"), "one");
    assert_eq!(output(scene.clinvk(["map", "-q", "{}"]).stdin("\u{feff}\r\none\r\n"), "/output"), "one");
    assert_eq!(output(scene.clinvk(["-o", "json"]).stdin("\u{feff}one"), "/content"), "one");
    scene.file("work/prompt", "\u{feff}one");
    scene.file("work/plan", r#"{"prompt_file":"prompt"}"#);
    assert_eq!(output(scene.clinvk(["parallel", "--json", "-q", "-f", "plan"]), "/results/0/output"), "one");

    let title = "{\"session\":{\"default_tags\":[\"t \\ud83d\"]}}";
    std::fs::create_dir_all(scene.path("home/.clinvk")).unwrap();
    scene.file("home/.clinvk/config.json", format!("\u{feff}{title}"));
    scene.clinvk(["config", "get", "session.default_tags"]).prints("[\"t \u{fffd}\"]\n");
    let set = scene.clinvk(["config", "set", "default_backend", "echo"]).seen();
    assert_eq!(set.status, 0, "{set}");
    let id = output(scene.clinvk(["-o", "json", "x"]), "/session_id");
    let exported = scene.clinvk(["sessions", "export", id.as_str().unwrap()]).seen().out;
    let file =
        format!("\u{feff}{}", exported.replace("ROOT", &scene.text("")).replace("\"x\"", "\"x \\ud83d\""));
    scene.file("work/session", file);
    let imported = scene.clinvk(["sessions", "import", "session"]).seen();
    assert_eq!(imported.status, 0, "{imported}");
    let seen = scene.clinvk(["sessions", "export", imported.out.trim()]).seen();
    assert!(seen.out.contains("x \u{fffd}"), "{seen}");
}

/// faults.md C2: a key file.
#[cfg(feature = "serve")]
#[test]
fn a_key_file_may_begin_with_a_mark() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let file = scene.file("keys", "\u{feff}who=0123456789abcdef0123456789abcdef\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    scene.config(&json!({"default_backend": "echo", "server": {"api_keys_file": file}}));
    let server = scene.serve([]);
    let key = "0123456789abcdef0123456789abcdef";
    let answer = server.ask("GET", "/api/v1/sessions").header("X-Api-Key", key).answer();
    assert_eq!(answer.status, 200, "{answer}");
}

/// A standard input that another program has set to O_NONBLOCK, and on which this comes once it is waited for.
#[track_caller]
fn late(run: crate::util::run::Run, bytes: &str) -> crate::util::run::Seen {
    let (reading, writing) = sys::pipe().unwrap();
    sys::set_nonblocking(reading.as_fd()).unwrap();
    let running = run.stdin_from(reading).start();
    let stat = format!("/proc/{}/stat", running.pid);
    until("it waits", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S ")));
    File::from(writing).write_all(bytes.as_bytes()).unwrap();
    running.end()
}

/// faults.md C1: it was an error, `Resource temporarily unavailable`.
#[test]
fn a_standard_input_that_does_not_block_is_waited_for() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene.file("work/steps", r#"{"steps": [{"prompt": "{{input}}"}]}"#);
    let exported = scene.clinvk(["-o", "json", "kept"]).seen();
    let id = serde_json::from_str::<Value>(&exported.out).unwrap()["session_id"].clone();
    let exported = scene.clinvk(["sessions", "export", id.as_str().unwrap()]).seen().out;
    let exported = exported.replace("ROOT", scene.text("").trim_end_matches('/'));
    for (args, bytes, said) in [
        (&["-"][..], "late", "late\n"),
        (&[], "late", "late\n"),
        (&["x"], "late", "x\n\nlate\n"),
        (&["parallel", "--jsonl"], r#"{"prompt": "late"}"#, "\"late\""),
        (&["chain"], r#"{"steps": [{"prompt": "late"}]}"#, "late\n"),
        (&["chain", "-f", "steps"], "late", "late\n"),
        (&["map", "-q", "{}"], "late\n", "\"late\""),
        (&["compare", "--backends", "echo", "-"], "late", "late\n"),
        (&["sessions", "import", "-"], &exported, "\n"),
    ] {
        let seen = late(scene.clinvk(args), bytes);
        assert!(seen.out.contains(said) && seen.status == 0, "{args:?}: {seen}");
    }
}

/// Its sibling: a standard output that does not block, and is slower than we are.
#[test]
fn a_standard_output_that_does_not_block_gets_all_of_it() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "session": {"default_tags": ["x".repeat(100)]}}));
    let long = "long ".repeat(40_000);
    scene.clinvk(["-"]).stdin(&long).seen();
    let list = scene.clinvk(["sessions", "list", "--json"]).seen();
    let id = serde_json::from_str::<Value>(&list.out).unwrap()["sessions"][0]["id"].clone();
    for args in [&["-"][..], &["sessions", "export", id.as_str().unwrap()]] {
        let (reading, writing) = sys::pipe().unwrap();
        sys::set_nonblocking(writing.as_fd()).unwrap();
        let running = scene.clinvk(args).stdin(&long).start_into(writing);
        let mut out = String::new();
        File::from(reading).read_to_string(&mut out).unwrap();
        let seen = running.end();
        assert!(out.contains(long.trim_end()) && seen.status == 0 && seen.err.is_empty(), "{args:?}: {seen}");
    }
}

/// faults.md A9: the first run of a loop took the rest of its list.
#[test]
fn a_loop_keeps_its_list() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene.file("work/list", "a\nb\nc\n");
    scene.file("work/steps", r#"{"steps": [{"prompt": "step"}, {"prompt": "{{previous}} {{input}}"}]}"#);
    let warning = "another program has begun to read standard input";
    for (line, said, warnings) in [
        // A file shows that it was begun; the last run finds it at its end.
        ("while read f; do clinvk \"review $f\"; done <list", "review a\nreview b\nreview c\n", 2),
        ("while read f; do clinvk compare -q --race --backends echo \"$f\"; done <list", "a\nb\nc\n", 0),
        ("while read f; do clinvk -n \"$f\"; done <list", "a\nb\nc\n", 0),
        // A pipe does not.
        ("cat list | while read f; do clinvk -n \"$f\"; done", "a\nb\nc\n", 0),
        ("cat list | while read f; do CLINVK_INPUT_STDIN=never clinvk \"$f\"; done", "a\nb\nc\n", 0),
        (
            "cat list | while read f; do clinvk chain -n --input \"$f\" -f steps; done",
            "step a\nstep b\nstep c\n",
            0,
        ),
        ("cat list | while read f; do clinvk \"$f\"; done", "a\n\nb\nc\n", 0),
        // Who wants the rest says so; what nobody has read is taken.
        ("{ read f; clinvk \"$f\" -; } <list", "a\n\nb\nc\n", 0),
        ("clinvk x <list", "x\n\na\nb\nc\n", 0),
        ("CLINVK_INPUT_STDIN=never clinvk x - <list", "x\n\na\nb\nc\n", 0),
    ] {
        let seen = scene
            .program("sh")
            .args(["-c", &line.replace("clinvk", &format!("'{}'", env!("CARGO_BIN_EXE_clinvk")))])
            .seen();
        assert!(seen.out == said && seen.status == 0, "{line}: {seen}");
        assert_eq!(seen.err.matches(warning).count(), warnings, "{line}: {seen}");
    }
    let help = scene.clinvk(["-h"]).seen();
    assert!(
        help.out.contains("the first run takes the rest of the list for its own: -n leaves it"),
        "{help}"
    );
    scene.clinvk(["-n", "x", "-"]).fails(1, "clinvk: `-` and `--no-stdin` exclude each other\n");
    let nothing = "clinvk: there is no prompt: give one as an argument, or `-` to read standard input\n";
    scene.clinvk(["-n"]).stdin("x").fails(1, nothing);
    // The letter is another flag's where that command has one.
    let seen = scene.clinvk(["sessions", "list", "-n", "1"]).seen();
    assert!(seen.out.lines().count() == 2 && seen.status == 0, "{seen}");
}
