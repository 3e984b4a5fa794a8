//! What fourteen agents said, recorded line by line, and what is made of it.

use super::{Talk, declared, known, task};
use crate::util::replay::{Played, data};
use clinvk::backend::{Backend, Ended};
use clinvk::model::event::Event;
use clinvk::model::task::{Approval, Task};
use serde_json::{Value, json};
use std::sync::Arc;

/// The backend of a recording's folder: the row of that agent, where there is one.
fn backend(folder: &str) -> Arc<dyn Backend> {
    match folder {
        "claude-agent-acp-zed" | "codex-acp-zed" | "kimi-cli" => declared(json!({})),
        "kimi-code" => known("kimi"),
        name => known(name),
    }
}

/// Plays a recorded process back, as far as the end of its prompt of that number. The recorder asked more than we do, or less: an
/// answer is given to the request of the same method, and what it did not ask is answered with nothing.
fn play(file: &str, number: usize, task: &Task) -> Talk {
    let (folder, _) = file.split_once('/').unwrap();
    let lines = data(&format!("acp/{file}.jsonl"));
    let mut talk = Talk::new(&*backend(folder), task);
    let (mut asked, mut prompts) = (Vec::<(Value, String)>::new(), 0);
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let message = &line["msg"];
        let method = message["method"].as_str().unwrap_or_default();
        match line["dir"].as_str().unwrap() {
            ">" if !message["id"].is_null() && !method.is_empty() => {
                prompts += usize::from(method == "session/prompt");
                asked.push((message["id"].clone(), method.to_owned()));
            }
            "<" if message.is_null() => drop(talk.line(line["raw"].as_str().unwrap())),
            "<" if method.is_empty() => {
                let asked =
                    asked.iter().find(|(id, _)| *id == message["id"]).map(|(_, method)| method.as_str());
                if asked == Some("session/prompt") && prompts != number + 1 {
                    continue;
                }
                let mut answer = message.clone();
                answer["id"] = talk.last()["id"].clone();
                // The recorder loaded sessions that could be resumed, too.
                let alike = |method: &str| method.replace("load", "resume");
                if talk.last()["method"].as_str().map(alike) == asked.map(alike) {
                    talk.line(&answer.to_string());
                }
                while talk.last()["method"].as_str().is_some_and(|method| method.starts_with("session/set_"))
                {
                    talk.answer(json!({}));
                }
            }
            // Before the prompt all is heard, then what belongs to it.
            "<" if prompts == 0 || prompts == number + 1 => drop(talk.line(&message.to_string())),
            _ => {}
        }
        if talk.played.result.is_some() {
            return talk;
        }
    }
    talk
}

/// Every recording's backend, and the lines that its agent says in the first of its prompts.
pub fn all() -> Vec<(Arc<dyn Backend>, Vec<String>)> {
    let folders = std::fs::read_dir(format!("{}/tests/data/acp", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path().with_extension("")).collect();
    files.sort();
    let heard = |file: &std::path::PathBuf| {
        let name = file.to_str().unwrap().split("/data/acp/").nth(1).unwrap();
        (backend(name.split('/').next().unwrap()), play(name, 0, &task("hi")).heard)
    };
    files.iter().map(heard).collect()
}

fn used(played: &Played) -> String {
    let Some(usage) = played.usage() else { return "-".to_owned() };
    format!("{}+{} {} {}", usage.input, usage.output, usage.cached, usage.reasoning)
}

/// Per recording and number of its prompt: how it ends, the text, and the usage (input, output, cached, reasoning).
#[test]
fn recorded_answers_are_what_they_were() {
    let table: &[(&str, usize, &str, &str, &str)] = &[
        ("auggie/basic", 0, "login", "", "-"),
        ("claude-agent-acp/basic", 0, "ok", "TURNS=1", "147+12 40 0"),
        ("claude-agent-acp/errors", 0, "login", "", "-"),
        ("claude-agent-acp/errors", 1, "quota", "", "-"),
        ("claude-agent-acp/errors", 2, "overloaded", "", "-"),
        ("claude-agent-acp/errors", 3, "invalid_request", "", "-"),
        ("claude-agent-acp/errors", 4, "ok", "Hello from the stub.", "0+0 0 0"),
        ("claude-agent-acp/errors", 5, "unreadable", "", "294+24 80 0"),
        ("claude-agent-acp/permission", 0, "ok", "Hello from the stub.", "294+24 80 0"),
        ("claude-agent-acp/load-2-load", 0, "ok", "TURNS=2", "147+12 40 0"),
        ("claude-agent-acp/load-2-resume", 0, "ok", "TURNS=3", "147+12 40 0"),
        ("claude-agent-acp-zed/basic", 0, "ok", "TURNS=1", "147+12 40 0"),
        ("claude-agent-acp-zed/errors", 0, "login", "", "-"),
        ("claude-agent-acp-zed/errors", 1, "unreadable", "", "-"),
        ("claude-agent-acp-zed/errors", 2, "overloaded", "", "-"),
        ("claude-agent-acp-zed/errors", 3, "unreadable", "", "-"),
        ("claude-agent-acp-zed/errors", 4, "unreadable", "", "0+0 0 0"),
        ("claude-agent-acp-zed/errors", 5, "ok", "Hello from", "0+0 0 0"),
        ("claude-agent-acp-zed/permission", 0, "ok", "Hello from the stub.", "294+24 80 0"),
        ("claude-agent-acp-zed/load-2-load", 0, "ok", "TURNS=2", "147+12 40 0"),
        ("claude-agent-acp-zed/load-2-resume", 0, "ok", "TURNS=3", "147+12 40 0"),
        ("cline/basic", 0, "login", "", "-"),
        ("codex-acp/basic", 0, "ok", "TURNS=2", "100+12 40 5"),
        ("codex-acp/errors", 0, "login", "", "-"),
        ("codex-acp/errors", 1, "quota", "", "-"),
        ("codex-acp/errors", 2, "overloaded", "", "-"),
        ("codex-acp/errors", 3, "invalid_request", "", "-"),
        ("codex-acp/errors", 4, "unreachable", "Hello from", "-"),
        ("codex-acp/errors", 5, "unreadable", "", "100+12 40 5"),
        ("codex-acp/permission", 0, "ok", "Hello from the stub.", "200+24 80 10"),
        ("codex-acp/load-2-load", 0, "ok", "TURNS=3", "100+12 40 5"),
        ("codex-acp/load-2-resume", 0, "ok", "TURNS=4", "100+12 40 5"),
        ("codex-acp-zed/basic", 0, "ok", "TURNS=2", "-"),
        ("codex-acp-zed/errors", 0, "login", "", "-"),
        ("codex-acp-zed/errors", 1, "quota", "", "-"),
        ("codex-acp-zed/errors", 2, "overloaded", "", "-"),
        ("codex-acp-zed/errors", 3, "invalid_request", "", "-"),
        ("codex-acp-zed/errors", 4, "unreachable", "Hello fromHello from", "-"),
        ("codex-acp-zed/errors", 5, "unreadable", "", "-"),
        ("codex-acp-zed/permission", 0, "ok", "Hello from the stub.", "-"),
        ("codex-acp-zed/load-2-load", 0, "ok", "TURNS=3", "-"),
        ("codex-acp-zed/load-2-resume", 0, "ok", "TURNS=4", "-"),
        ("copilot/basic", 0, "ok", "TURNS=1", "100+12 40 5"),
        ("copilot/errors", 0, "login", "", "-"),
        ("copilot/errors", 2, "overloaded", "", "-"),
        ("copilot/errors", 3, "invalid_request", "", "-"),
        ("copilot/errors", 4, "unreachable", "Hello from", "-"),
        ("copilot/errors", 5, "unreadable", "", "300+36 120 15"),
        ("copilot/permission", 0, "ok", "Info: Operation cancelled by user", "100+12 40 5"),
        ("copilot/load-2-load", 0, "ok", "TURNS=2", "100+12 40 5"),
        ("droid/basic", 0, "unreachable", "", "-"),
        ("fast-agent/basic", 0, "ok", "TURNS=1", "-"),
        ("fast-agent/errors", 3, "invalid_request", "", "-"),
        ("fast-agent/permission", 0, "ok", "Hello from the stub.", "-"),
        ("fast-agent/load-2-load", 0, "ok", "TURNS=2", "-"),
        ("fast-agent/load-2-resume", 0, "ok", "TURNS=3", "-"),
        ("gemini/basic", 0, "ok", "TURNS=1", "100+12 0 0"),
        ("gemini/errors", 0, "login", "", "-"),
        ("gemini/errors", 3, "invalid_request", "", "-"),
        ("gemini/errors", 4, "unreachable", "Hello from", "-"),
        ("gemini/errors", 5, "unreadable", "", "100+12 0 0"),
        ("gemini/permission", 0, "ok", "Hello from the stub.", "200+24 0 0"),
        ("kimi-code/basic", 0, "ok", "TURNS=2", "-"),
        ("kimi-code/errors", 0, "login", "", "-"),
        ("kimi-code/errors", 3, "unreadable", "", "-"),
        ("kimi-code/permission", 0, "ok", "Hello from the stub.", "-"),
        ("kimi-code/load-2-load", 0, "ok", "TURNS=3", "-"),
        ("kimi-code/load-2-resume", 0, "ok", "TURNS=4", "-"),
        ("opencode/basic", 0, "ok", "TURNS=1", "100+12 40 5"),
        ("opencode/errors", 0, "login", "", "-"),
        ("opencode/errors", 1, "unreadable", "", "-"),
        ("opencode/errors", 2, "unreadable", "", "-"),
        ("opencode/errors", 3, "invalid_request", "", "-"),
        ("opencode/errors", 4, "unreadable", "", "-"),
        ("opencode/errors", 5, "unreadable", "", "100+12 40 5"),
        ("opencode/permission", 0, "ok", "Hello from the stub.", "100+12 40 5"),
        ("opencode/load-2-load", 0, "ok", "TURNS=2", "100+12 40 5"),
        ("opencode/load-2-resume", 0, "ok", "TURNS=3", "100+12 40 5"),
        ("qwen/basic", 0, "ok", "TURNS=1", "100+12 40 5"),
        ("qwen/errors", 0, "login", "", "-"),
        ("qwen/errors", 3, "invalid_request", "", "-"),
        ("qwen/errors", 4, "unreachable", "Hello fromHello fromHello fromHello from", "-"),
        ("qwen/errors", 5, "unreadable", "", "-"),
        ("qwen/permission", 0, "ok", "Hello from the stub.", "200+24 80 10"),
        ("qwen/permission", 1, "ok", "Hello from the stub.", "200+24 80 10"),
        ("qwen/permission", 2, "ok", "Hello from the stub.", "200+24 80 10"),
        ("qwen/load-2-load", 0, "ok", "TURNS=2", "100+12 40 5"),
        ("qwen/load-2-resume", 0, "ok", "TURNS=3", "100+12 40 5"),
        ("vibe/basic", 0, "ok", "TURNS=1", "100+12 40 0"),
        ("vibe/errors", 0, "login", "", "-"),
        ("vibe/errors", 1, "login", "", "-"),
        ("vibe/permission", 0, "ok", "Hello from the stub.", "200+24 80 0"),
        ("vibe/load-2-load", 0, "ok", "TURNS=2", "100+12 40 0"),
    ];
    for (file, number, ending, text, usage) in table {
        let resume = file.contains("/load-2").then(|| "the-session".to_owned());
        let talk = play(file, *number, &Task { resume, ..task("hi") });
        let played = &talk.played;
        assert_eq!(
            (played.ending(), &*played.text(), &*used(played)),
            (*ending, *text, *usage),
            "{file} {number}: {:?} {:?}",
            played.result,
            talk.warnings()
        );
    }
}

/// What an agent did not say well is said in its vendor's words all the same.
#[test]
fn failures_have_their_agents_words() {
    for (file, number, words) in [
        ("auggie/basic", 0, "Please run `auggie login` from your terminal then try again."),
        ("cline/basic", 0, "Authentication required: Call authenticate before starting a session"),
        ("claude-agent-acp/errors", 1, "API Error: Request rejected (429) \u{b7} stub says 429"),
        ("codex-acp/errors", 1, "exceeded retry limit, last status: 429 Too Many Requests"),
        ("codex-acp/errors", 3, "stub says 400"),
        ("codex-acp-zed/errors", 3, "stub says 400"),
        ("copilot/errors", 3, "Error: 400 stub says 400"),
        ("kimi-code/errors", 0, "Authentication required: 401 stub says 401"),
        ("opencode/errors", 0, "stub says 401"),
        ("qwen/errors", 3, "400 stub says 400"),
        (
            "vibe/errors",
            0,
            "Invalid API key (from env var STUB_KEY). Please check your API key and try again.",
        ),
    ] {
        let talk = play(file, number, &task("hi"));
        let (_, message) = talk.failure();
        assert!(
            message.ends_with(words) && !message.contains("Internal error"),
            "{file} {number}: {message}"
        );
    }
}

#[test]
fn a_program_that_only_prints_words_is_given_up_when_it_ends_or_its_time_is_up() {
    for by_alarm in [false, true] {
        let mut talk = play("kimi-cli/basic", 0, &task("hi"));
        assert_eq!((talk.played.ending(), talk.warnings().len()), ("-", 1), "{:?}", talk.played);
        match by_alarm {
            true => talk.hear(|dialogue, steps| dialogue.alarm(steps)),
            false => {
                talk.hear(|dialogue, steps| dialogue.eof(&Ended { code: Some(0), ..Ended::default() }, steps))
            }
        };
        let (kind, message) = talk.failure();
        assert_eq!(kind, if by_alarm { "timeout" } else { "crash" });
        assert!(
            !by_alarm
                || message
                    == "agent gave no answer to initialize within 30s (backends.agent.start_timeout_secs)",
            "{message}"
        );
    }
}

/// Per agent that asks: the ids of its answers yes and no.
#[test]
fn recorded_questions_are_answered_by_the_approval_mode() {
    for (file, yes, no) in [
        ("claude-agent-acp/permission", "allow", "reject"),
        ("claude-agent-acp-zed/permission", "allow", "reject"),
        ("copilot/permission", "allow_once", "reject_once"),
        ("gemini/permission", "proceed_once", "cancel"),
        ("kimi-code/permission", "approve_once", "reject"),
    ] {
        for (approval, expected) in
            [(Approval::Default, no), (Approval::Always, no), (Approval::Auto, yes), (Approval::None, yes)]
        {
            let talk = play(file, 0, &Task { approval, ..task("hi") });
            let chosen: Vec<Value> = talk
                .said()
                .iter()
                .filter_map(|line| Some(line["result"]["outcome"].get("optionId")?.clone()))
                .collect();
            assert!(
                !chosen.is_empty() && chosen.iter().all(|id| id == expected),
                "{file} {approval:?}: {chosen:?}"
            );
            let events = &talk.played.events;
            let count = |is_it: fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
            let denied = count(|event| matches!(event, Event::PermissionDenied { .. }));
            assert_eq!(denied > 0, expected == no, "{file} {approval:?}: {events:?}");
            // Each use is told once, however often the agent speaks of it, and so is the result of one that was refused.
            let uses = count(|event| matches!(event, Event::ToolUse { .. }));
            let results = count(|event| matches!(event, Event::ToolResult { .. }));
            assert!(uses > 0 && (expected == yes || uses == results), "{file} {approval:?}: {events:?}");
        }
    }
}

#[test]
fn the_arguments_of_a_tool_are_told_though_they_come_later_than_its_name() {
    let talk = play("claude-agent-acp/permission", 0, &task("hi"));
    let told = talk.played.events.iter().find_map(|event| match event {
        Event::ToolUse { name, input, .. } => Some((name.as_str(), input.clone())),
        _ => None,
    });
    let input = json!({"file_path": "/home/user/project/made.txt", "content": "made"});
    assert_eq!(told, Some(("Write", input)));
}

#[test]
fn a_session_is_told_where_it_can_go_on_and_the_model_where_it_is_named() {
    for (file, model, goes_on) in [
        ("opencode/basic", Some("stub/stub-model"), true),
        ("qwen/basic", Some("$runtime|openai|stub-model(openai)"), true),
        ("copilot/basic", None, true),
        ("fast-agent/basic", None, true),
        ("codex-acp-zed/basic", Some("gpt-5"), true),
    ] {
        let talk = play(file, 0, &task("hi"));
        let Some(Event::Started { model: told, session }) = talk.played.events.first() else {
            panic!("{:?}", talk.played)
        };
        assert_eq!((told.as_deref(), session.is_some()), (model, goes_on), "{file}");
    }
}

#[test]
fn every_recording_is_played() {
    let (mut there, mut played) = (Vec::new(), include_str!("recorded.rs").to_owned());
    played.retain(|c| c != '\n');
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/acp");
    for folder in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        there.extend(files.map(|file| format!("{name}/{}", file.file_stem().unwrap().to_str().unwrap())));
    }
    there.retain(|file| !played.contains(&format!("\"{file}\"")));
    assert_eq!(there, Vec::<String>::new());
}
