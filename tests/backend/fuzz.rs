//! Recorded dialogues, changed by chance: whatever a program says, its dialogue ends, says lines and nothing else, and takes nothing
//! for a success that is none.

mod kept;

use super::acp::recorded;
use super::servers;
use crate::util::fuzz::{self, Chance, FEW};
use crate::util::replay::{Played, data};
use clinvk::backend::{Agents, Backend, Ended, Registry, Step, Steps, ToolError, ToolReply};
use clinvk::config::Config;
use clinvk::model::event::Permission;
use clinvk::model::task::{Approval, Effort, Sandbox, Task};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a program says, and the lines of its kind that may be mixed into it.
struct Recording {
    backend: Arc<dyn Backend>,
    lines: Vec<Line>,
}

/// A line of a program.
#[derive(Clone, PartialEq)]
struct Line {
    text: Arc<str>,
    /// It is one that ends a turn, or was made from one.
    ends_turn: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Line {
    fn of(text: &str) -> Line {
        let is = |word: &str| text.contains(word);
        let ends_turn =
            is("turn/completed") || is("stopReason") || is(r#""type": "result""#) || is(r#""type":"result""#);
        Line { text: text.into(), ends_turn }
    }
}

/// The recordings of one of the three vendors.
fn of_vendor(name: &str) -> Vec<Recording> {
    let backend = Registry::of(&Config::default(), "clinvk", Agents::Known).0.get(name).unwrap();
    let folder = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let heard = |file: &String| {
        let log = data(&format!("{name}/{file}"));
        let is_two_way = log.lines().any(|line| line.get(9..11) == Some("> "));
        let heard = log.lines().filter_map(|line| match is_two_way {
            true => line.get(9..11).filter(|way| *way == "< ").map(|_| &line[11..]),
            false => Some(line),
        });
        Recording { backend: backend.clone(), lines: heard.map(Line::of).collect() }
    };
    files.iter().map(heard).collect()
}

fn of_agents() -> Vec<Recording> {
    let line = |line: String| Line::of(&line);
    let recording = |(backend, lines): (_, Vec<String>)| Recording {
        backend,
        lines: lines.into_iter().map(line).collect(),
    };
    recorded::all().into_iter().map(recording).collect()
}

/// A task that makes the dialogue do more, or less.
fn task(chance: &mut Chance) -> Task {
    let mut task = Task {
        prompt: "hi".into(),
        dir: "/src/project".into(),
        scratch: "/scratch".into(),
        ..Task::default()
    };
    match chance.below(8) {
        0 => task.resume = Some("T".to_owned()),
        1 => task.attended = true,
        2 => task.approval = Approval::Auto,
        3 => (task.sandbox, task.approval) = (Sandbox::ReadOnly, Approval::Always),
        4 => (task.model, task.effort) = (Some("m".to_owned()), Some(Effort::High)),
        5 => task.mcp = servers(),
        6 => (task.ephemeral, task.system) = (true, Some("be brief".to_owned())),
        _ => {}
    }
    task
}

/// The lines of a recording, changed.
fn changed(chance: &mut Chance, recordings: &[Recording]) -> (usize, Vec<Line>) {
    let (at, other) = (chance.below(recordings.len()), chance.below(recordings.len()));
    let lines = fuzz::list(chance, &recordings[at].lines, &recordings[other].lines, |chance, line| {
        let (text, ends_turn) = (fuzz::json_text(chance, &line.text, &[]), line.ends_turn);
        // The program's output is cut at its line ends.
        *line = Line { text: text.replace('\n', " ").into(), ends_turn };
    });
    (at, lines)
}

/// What has to be true of what comes of a line.
fn check(steps: &Steps, heard: usize) -> Result<(), String> {
    if steps.len() > 300 + heard {
        return Err(format!("{} steps come of {heard} bytes", steps.len()));
    }
    let mut said = 0;
    for step in steps {
        match step {
            Step::Send(line) if line.contains('\n') => {
                return Err(format!("more than a line is said: {line:?}"));
            }
            Step::Send(line) => said += line.len(),
            Step::SendRaw(text) => said += text.len(),
            _ => {}
        }
    }
    if said > 20_000 + 8 * heard {
        return Err(format!("{said} bytes are said to {heard}"));
    }
    Ok(())
}

/// A conversation, as `exec` would have it.
struct Conversation {
    dialogue: Box<dyn clinvk::backend::Dialogue>,
    asked: Vec<Permission>,
    used: Vec<String>,
    has_alarm: bool,
    result: Option<bool>,
    /// How much was heard at once: a session's id, which is said again, may be as long.
    longest: usize,
}

impl Conversation {
    fn new(backend: &dyn Backend, task: &Task) -> Conversation {
        let dialogue = backend.dialogue(task);
        Conversation {
            dialogue,
            asked: Vec::new(),
            used: Vec::new(),
            has_alarm: false,
            result: None,
            longest: 0,
        }
    }

    fn take(&mut self, steps: &Steps, heard: usize) -> Result<(), String> {
        self.longest = self.longest.max(heard);
        check(steps, self.longest)?;
        for step in steps {
            match step {
                Step::Ask(permission) => self.asked.push(permission.clone()),
                Step::Use { id, .. } => self.used.push(id.clone()),
                Step::Alarm(_) => self.has_alarm = true,
                Step::Asked => self.has_alarm = false,
                Step::Finished(result) => self.result = self.result.or(Some(result.is_ok())),
                _ => {}
            }
        }
        Ok(())
    }

    /// Something else than a line of the program happens.
    fn meanwhile(&mut self, chance: &mut Chance, steps: &mut Steps) {
        match chance.below(24) {
            0 if !self.asked.is_empty() => {
                let id = self.asked.swap_remove(chance.below(self.asked.len())).id;
                self.dialogue.permitted(&id, chance.one_in(2), steps);
            }
            1 | 2 if !self.used.is_empty() => {
                let id = self.used.swap_remove(chance.below(self.used.len()));
                self.dialogue.used(&id, came(chance), steps);
            }
            3 if self.has_alarm => {
                self.has_alarm = false;
                self.dialogue.alarm(steps);
            }
            4 if chance.one_in(10) => self.dialogue.interrupt(steps),
            _ => {}
        }
    }
}

fn came(chance: &mut Chance) -> Result<ToolReply, ToolError> {
    match chance.below(5) {
        0 => Ok(ToolReply::Text("a\u{2028}\n\0".to_owned())),
        1 => Ok(ToolReply::Done),
        2 => Ok(ToolReply::Terminal("1".to_owned())),
        3 => Ok(ToolReply::Exit(Ended::default())),
        _ => Err(ToolError::Failed("no".to_owned())),
    }
}

/// Plays changed lines back to their dialogue.
fn converse(backend: &dyn Backend, lines: &[Line], chance: &mut Chance) -> Result<(), String> {
    let mut conversation = Conversation::new(backend, &task(chance));
    let mut steps = Steps::new();
    conversation.dialogue.start(&mut steps);
    conversation.take(&steps, 0)?;
    let mut was_told = false;
    for line in lines {
        steps.clear();
        was_told |= line.ends_turn;
        conversation.dialogue.line(&line.text, &mut steps);
        conversation.meanwhile(chance, &mut steps);
        conversation.take(&steps, line.text.len())?;
        match conversation.result {
            Some(true) if !was_told => return Err(format!("a success that nothing told of, at {line:?}")),
            Some(_) => return Ok(()),
            None => {}
        }
    }
    steps.clear();
    let code = chance.of_these(&[Some(0), Some(1), None]);
    conversation.dialogue.eof(&Ended { code, ..Ended::default() }, &mut steps);
    conversation.take(&steps, 0)?;
    match conversation.result {
        None => Err("it has no end".to_owned()),
        Some(true) if !was_told => Err("a success that nothing told of, at the end".to_owned()),
        Some(_) => Ok(()),
    }
}

fn dialogues(name: &str, recordings: &[Recording]) {
    fuzz::target(
        name,
        FEW,
        |chance| changed(chance, recordings),
        |(at, lines), chance| converse(&*recordings[*at].backend, lines, chance),
    );
}

#[test]
fn dialogues_with_claude_end_whatever_it_says() {
    dialogues("dialogues of claude", &of_vendor("claude"));
}

#[test]
fn dialogues_with_codex_end_whatever_it_says() {
    dialogues("dialogues of codex", &of_vendor("codex"));
}

#[test]
fn dialogues_with_gemini_end_whatever_it_says() {
    dialogues("dialogues of gemini", &of_vendor("gemini"));
}

#[test]
fn dialogues_with_agents_end_whatever_they_say() {
    dialogues("dialogues of agents", &of_agents());
}

/// What `make fuzz` has found: the lines of each, by the program that says them.
#[test]
fn counts_that_are_no_counts_of_tokens_are_no_panic() {
    const MOST: u64 = u64::MAX;
    let backends = Registry::of(&Config::default(), "clinvk", Agents::Known).0;
    let counts = |names: &[&str]| -> Value {
        names.iter().map(|name| ((*name).to_owned(), Value::from(MOST))).collect()
    };
    let of_models =
        counts(&["inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens"]);
    let of_claude = |more: Value| {
        let mut result = json!({"type": "result", "subtype": "success", "is_error": false, "result": "a", "session_id": "s"});
        result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        vec![result]
    };
    let mut costly = of_models.clone();
    costly["costUSD"] = json!(f64::MAX);
    let since = json!({"model_usage_since_last_result": {"a": costly, "b": costly}});
    let names = [
        "inputTokens",
        "outputTokens",
        "cachedReadTokens",
        "cachedWriteTokens",
        "thoughtTokens",
        "totalTokens",
    ];
    let of_agent = vec![
        json!({"id": 1, "result": {"protocolVersion": 1}}),
        json!({"id": 2, "result": {"sessionId": "s"}}),
        json!({"method": "session/update", "params": {"sessionId": "s", "update": {"sessionUpdate": "agent_message_chunk",
            "content": {"type": "text", "text": "a"}}}}),
        json!({"id": 3, "result": {"stopReason": "end_turn", "usage": counts(&names)}}),
    ];
    for (name, lines) in [
        ("claude", of_claude(json!({"modelUsage": {"a": of_models, "b": of_models}}))),
        ("claude", of_claude(since)),
        ("opencode", of_agent),
    ] {
        let mut dialogue =
            backends.get(name).unwrap().dialogue(&Task { prompt: "hi".into(), ..Task::default() });
        let mut played = Played::default();
        let mut steps = Steps::new();
        dialogue.start(&mut steps);
        lines.iter().for_each(|line| dialogue.line(&line.to_string(), &mut steps));
        played.take(steps);
        let usage = played.usage().unwrap_or_default();
        assert_eq!((played.ending(), usage.input), ("ok", MOST), "{name}: {played:?}");
        assert!(usage.cost.is_none_or(f64::is_finite), "{name}: {played:?}");
    }
}

/// The same: an answer of another shape than was asked for.
#[test]
fn answers_that_are_no_objects_are_no_panic() {
    let backends = Registry::of(&Config::default(), "clinvk", Agents::Known).0;
    for name in ["claude", "codex", "gemini", "opencode"] {
        for (id, result) in
            (0..20).flat_map(|id| [json!([]), json!("x"), json!(7)].map(|result| (id, result)))
        {
            let task = Task { prompt: "hi".into(), model: Some("fast".to_owned()), ..Task::default() };
            let mut dialogue = backends.get(name).unwrap().dialogue(&task);
            let mut steps = Steps::new();
            dialogue.start(&mut steps);
            let what = json!({"id": id, "result": result}).to_string();
            dialogue.line(&what, &mut steps);
            dialogue.eof(&Ended::default(), &mut steps);
            let ends = steps.iter().filter(|step| matches!(step, Step::Finished(_))).count();
            assert!(ends > 0, "{name}: {what}");
        }
    }
}

/// Not in vain: as they were recorded most of them come to an end, and changed some still go well.
#[test]
fn changed_dialogues_are_a_good_mixture() {
    for recordings in [of_vendor("claude"), of_vendor("codex"), of_vendor("gemini"), of_agents()] {
        let (mut good, mut bad) = (0, 0);
        for case in 0..300 {
            let mut chance = Chance::of(0, case);
            let (at, lines) = changed(&mut chance, &recordings);
            let mut run =
                Conversation::new(&*recordings[at].backend, &Task { prompt: "hi".into(), ..Task::default() });
            let mut steps = Steps::new();
            run.dialogue.start(&mut steps);
            lines.iter().for_each(|line| {
                if !steps.iter().any(|step| matches!(step, Step::Finished(_))) {
                    run.dialogue.line(&line.text, &mut steps);
                }
            });
            run.take(&steps, 1 << 20).unwrap();
            good += usize::from(run.result == Some(true));
            bad += usize::from(run.result == Some(false));
        }
        assert!(good > 30 && bad > 30, "{}: {good} went well, {bad} failed", recordings[0].backend.name());
    }
}
