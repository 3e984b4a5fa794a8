//! What is said to `gemini --acp` and what its lines mean: the Agent Client Protocol, one prompt.
//!
//! Gemini tells failures as successes: an answer that broke off, was empty or blocked ends with `end_turn`, and only the
//! missing usage gives it away. Before that it may have tried again: then the pieces of the answer come again, without
//! any mark. They are told as they come: what repeats itself may be what the model wanted to say.

use super::failure;
use crate::backend::jsonrpc::{METHOD_NOT_FOUND, Message, Rpc, is_awaited};
use crate::backend::reader::Reader;
use crate::backend::{Dialogue, Ended, Step, Steps, older};
use crate::base::json::{json, text};
use crate::model::error::{Failure, Kind};
use crate::model::event::{Event, Usage};
use crate::model::task::{Approval, Sandbox, Task};
use serde_json::Value;
use std::collections::BTreeSet;

/// The oldest version that this dialogue was seen to work with. Before, files of untrusted projects were run.
const OLDEST: &str = "0.44.0";

/// The numbers of our requests.
const INITIALIZE: u64 = 1;
const SESSION: u64 = 2;
const PROMPT: u64 = 3;

/// Gemini takes a first text that begins with one of these for a command, blanks before it or not.
const COMMAND_MARKS: [char; 2] = ['/', '$'];

/// A text of its own before the prompt, which says nothing and which gemini does not skip: a zero width space.
const NOTHING: &str = "\u{200b}";

/// What gemini answers of a command that outlives its tool's use.
const IN_BACKGROUND: &str = "Command moved to background";

/// What gemini prints, on standard output and not as JSON, when it wants a person to log in.
const LOGIN_PAGE: &str = "Please visit the following URL to authorize";

/// One turn of a conversation.
pub(super) struct AcpTurn {
    reader: Reader,
    prompt: Vec<Value>,
    dir: String,
    approval: Approval,
    reading_only: bool,
    /// Tools that need no yes.
    allowed: Vec<String>,
    max_turns: Option<u32>,
    /// The prompt is a command of gemini's: then there is an answer without a model.
    is_command: bool,
    session: Option<String>,
    prompting: bool,
    told_any: bool,
    /// The next text belongs to another message than the last.
    new_message: bool,
    /// Uses of tools that were told.
    tools: BTreeSet<String>,
    /// Commands that went on in the background.
    in_background: u32,
}

impl AcpTurn {
    pub(super) fn new(task: &Task) -> AcpTurn {
        let looks_like_command = begins_like_a_command(&task.prompt);
        AcpTurn {
            reader: Reader::new("gemini"),
            prompt: blocks(task),
            dir: task.dir.to_string_lossy().into_owned(),
            approval: task.approval,
            reading_only: task.sandbox == Sandbox::ReadOnly,
            allowed: task.allowed_tools.clone().unwrap_or_default(),
            max_turns: task.max_turns,
            is_command: task.interpret && looks_like_command,
            session: None,
            prompting: false,
            told_any: false,
            new_message: false,
            tools: BTreeSet::new(),
            in_background: 0,
        }
    }
}

/// The prompt as the protocol has it. Only what stands before the first picture can be a command.
fn blocks(task: &Task) -> Vec<Value> {
    let images = task
        .images
        .iter()
        .map(|image| json!({"type": "image", "mimeType": image.mime, "data": image.base64()}));
    if task.interpret {
        return with_links(&task.prompt).into_iter().chain(images).collect();
    }
    let guard = task.images.is_empty() && begins_like_a_command(&task.prompt);
    images.chain(guard.then(|| text_block(NOTHING))).chain([text_block(&task.prompt)]).collect()
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A prompt in which `@path` is a link. In this mode gemini leaves finding them to us; what such a file is, whether it may
/// be read, and that a name of nothing stays as it is, is gemini's own affair.
fn with_links(prompt: &str) -> Vec<Value> {
    let (mut blocks, mut rest, mut at_word) = (Vec::new(), prompt, true);
    let mut from = 0;
    while let Some(found) = rest[from..].chars().next() {
        if found != '@' || !at_word {
            (at_word, from) = (found.is_whitespace(), from + found.len_utf8());
            continue;
        }
        let (path, length) = path_at(&rest[from + 1..]);
        if !path.is_empty() {
            blocks.extend((from > 0).then(|| text_block(&rest[..from])));
            blocks.push(json!({"type": "resource_link", "uri": format!("file://{path}"), "name": path}));
            (rest, from) = (&rest[from + 1 + length..], 0);
        } else {
            from += 1;
        }
        at_word = false;
    }
    blocks.extend((!rest.is_empty() || blocks.is_empty()).then(|| text_block(rest)));
    blocks
}

/// The path that a text begins with, as gemini's terminal cuts it, and how long it is as written: a backslash makes the
/// next character a part of the path.
fn path_at(text: &str) -> (String, usize) {
    let mut path = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match (c, next) {
            ('\\', Some(next)) => {
                path.push(next);
                chars.next();
            }
            ('.', next) if next.is_none_or(char::is_whitespace) => return (path, at),
            (',' | ';' | '!' | '?' | '(' | ')' | '[' | ']' | '{' | '}', _) => return (path, at),
            (c, _) if c.is_whitespace() => return (path, at),
            (c, _) => path.push(c),
        }
    }
    (path, text.len())
}

fn begins_like_a_command(prompt: &str) -> bool {
    // A byte order mark is a blank to gemini, not to Rust.
    prompt.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').starts_with(COMMAND_MARKS)
}

impl Dialogue for AcpTurn {
    fn start(&mut self, steps: &mut Steps) {
        let params = json!({
            "protocolVersion": 1,
            // Gemini reads, writes and runs by itself.
            "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
            "clientInfo": {"name": "clinvk", "version": env!("CARGO_PKG_VERSION")},
        });
        request(INITIALIZE, "initialize", params, steps);
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        if line.contains(LOGIN_PAGE) && !line.starts_with('{') {
            let sentence = "gemini is not logged in: run `gemini` in a terminal, or set GEMINI_API_KEY";
            return fail(Kind::Login, sentence, steps);
        }
        let Some(message) = self.reader.read(line, steps) else {
            if is_awaited(line) {
                let sentence =
                    "a line of gemini's that clinvk waited for, or has to answer, could not be read";
                fail(Kind::Unreadable, sentence, steps);
            }
            return;
        };
        match Message::of(message) {
            Some(Message::Notification { method, params }) if method == "session/update" => {
                self.update(&params["update"], steps);
            }
            Some(Message::Request { id, method, params }) if method == "session/request_permission" => {
                self.permission(id, &params, steps);
            }
            Some(Message::Request { id, method, .. }) => {
                let sentence = format!("clinvk does not offer {method}");
                steps.push(Step::Send(Rpc::V2.error(id, METHOD_NOT_FOUND, &sentence)));
            }
            Some(Message::Answer { result: Err(error), .. }) => {
                steps.push(Step::Finished(Err(failure::of_error(&error))));
            }
            Some(Message::Answer { id, result: Ok(result) }) => match id.as_u64() {
                Some(INITIALIZE) => self.initialized(&result, steps),
                Some(SESSION) => self.opened(&result, steps),
                Some(PROMPT) => self.ended(&result, steps),
                _ => {}
            },
            Some(Message::Notification { .. }) | None => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        let Some(session) = self.session.as_ref().filter(|_| self.prompting) else { return };
        let params = json!({"sessionId": session});
        steps.push(Step::Send(Rpc::V2.notification("session/cancel", params)));
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        steps.push(Step::Finished(Err(failure::of_end(ended))));
    }
}

impl AcpTurn {
    fn initialized(&mut self, result: &Value, steps: &mut Steps) {
        let version = text(&result["agentInfo"]["version"]);
        if older(version, OLDEST) {
            let sentence = format!("gemini {version} is too old: clinvk needs {OLDEST} or newer");
            return fail(Kind::NotInstalled, sentence, steps);
        }
        request(SESSION, "session/new", json!({"cwd": self.dir, "mcpServers": []}), steps);
    }

    fn opened(&mut self, result: &Value, steps: &mut Steps) {
        let Some(session) = result["sessionId"].as_str() else {
            return fail(Kind::Unreadable, "gemini opened a session without an id", steps);
        };
        let model = result["models"]["currentModelId"].as_str().map(str::to_owned);
        steps.push(Step::Event(Event::Started { model, session: Some(session.to_owned()) }));
        let mut params = json!({"sessionId": session});
        params["prompt"] = std::mem::take(&mut self.prompt).into();
        request(PROMPT, "session/prompt", params, steps);
        steps.push(Step::Asked);
        self.session = Some(session.to_owned());
        self.prompting = true;
    }

    fn update(&mut self, update: &Value, steps: &mut Steps) {
        let piece = text(&update["content"]["text"]);
        match text(&update["sessionUpdate"]) {
            "agent_message_chunk" => match piece.strip_prefix("[MODE_UPDATE] ") {
                // Gemini's own note about itself, in the middle of the answer.
                Some(mode @ ("default" | "autoEdit" | "yolo" | "plan")) => {
                    progress("mode", format!("gemini is in mode {mode} now"), steps);
                }
                _ => self.tell(piece, steps),
            },
            "agent_thought_chunk" => {
                steps.push(Step::Answering);
                // A thought without a headline has an empty one.
                let thought = piece.strip_prefix("****\n").unwrap_or(piece).to_owned();
                steps.push(Step::Event(Event::Thinking(thought)));
            }
            "tool_call" => self.tool_use(update, steps),
            "tool_call_update" => self.tool_result(update, steps),
            // Commands there are, our own prompt, what later versions invent.
            _ => {}
        }
    }

    fn tell(&mut self, piece: &str, steps: &mut Steps) {
        if piece.is_empty() {
            return;
        }
        let gap = if std::mem::take(&mut self.new_message) { "\n\n" } else { "" };
        steps.push(Step::Answering);
        steps.push(Step::Event(Event::Text(format!("{gap}{piece}"))));
        self.told_any = true;
    }

    /// Tells the use of a tool, once: those that need a yes are announced by the question.
    fn tool_use(&mut self, call: &Value, steps: &mut Steps) {
        let id = text(&call["toolCallId"]);
        if !self.tools.insert(id.to_owned()) {
            return;
        }
        self.new_message = self.told_any;
        steps.push(Step::Answering);
        let (id, name) = (id.to_owned(), tool_name(call).to_owned());
        steps.push(Step::Event(Event::ToolUse { id, name, input: input(call), parent: None }));
    }

    fn tool_result(&mut self, call: &Value, steps: &mut Steps) {
        let is_error = match text(&call["status"]) {
            "completed" => false,
            "failed" => true,
            _ => return,
        };
        self.tool_use(call, steps);
        let output = output(&call["content"]);
        self.in_background += u32::from(output.starts_with(IN_BACKGROUND));
        let (id, name) = (text(&call["toolCallId"]).to_owned(), tool_name(call).to_owned());
        steps.push(Step::Event(Event::ToolResult { id, name, output, is_error, parent: None }));
    }

    /// Gemini asks for a permission; no user is there, so the approval mode answers.
    fn permission(&mut self, id: Value, params: &Value, steps: &mut Steps) {
        let call = &params["toolCall"];
        self.tool_use(call, steps);
        let (kind, name) = (text(&call["kind"]), tool_name(call));
        let by_mode = match self.approval {
            Approval::None => true,
            Approval::Auto => kind == "edit",
            Approval::Default | Approval::Always => false,
        };
        let changes = !matches!(kind, "read" | "search" | "fetch" | "think");
        // Under `read-only` a list only chooses.
        let listed = !self.reading_only && self.allowed.iter().any(|allowed| allowed == name);
        let yes = listed || (by_mode && !(self.reading_only && changes));
        let option = |wanted: &str| {
            let options = params["options"].as_array().into_iter().flatten();
            options.filter(|option| option["kind"] == wanted).find_map(|option| option["optionId"].as_str())
        };
        let outcome = match option(if yes { "allow_once" } else { "reject_once" }) {
            Some(chosen) => json!({"outcome": "selected", "optionId": chosen}),
            None => json!({"outcome": "cancelled"}),
        };
        if !yes || outcome["outcome"] == "cancelled" {
            let title = text(&call["title"]);
            steps.push(Step::Event(Event::PermissionDenied { what: format!("{name} {title}") }));
            // After a no gemini says nothing more of this use.
            let output = format!("refused by approval mode `{}`", self.approval.word());
            let (id, name) = (text(&call["toolCallId"]).to_owned(), name.to_owned());
            steps.push(Step::Event(Event::ToolResult { id, name, output, is_error: true, parent: None }));
        }
        steps.push(Step::Send(Rpc::V2.answer(id, json!({"outcome": outcome}))));
    }

    /// The prompt is done, one way or the other.
    fn ended(&mut self, result: &Value, steps: &mut Steps) {
        self.prompting = false;
        let quota = &result["_meta"]["quota"];
        let count = |name: &str| quota["token_count"][name].as_u64().unwrap_or(0);
        let usage =
            Usage { input: count("input_tokens"), output: count("output_tokens"), ..Usage::default() };
        if usage.total() > 0 {
            steps.push(Step::Event(Event::Usage(usage)));
        }
        let no_model_answered = quota["model_usage"].as_array().is_some_and(Vec::is_empty);
        let (kind, sentence) = match text(&result["stopReason"]) {
            "end_turn" if no_model_answered && !self.is_command => (
                Kind::Unreadable,
                "gemini gave up: the model's answer broke off, was empty or was blocked (gemini does not say which)".to_owned(),
            ),
            // After a tool's answer a model may have nothing to add.
            "end_turn" if !self.told_any && self.tools.is_empty() => {
                (Kind::Unreadable, "the model's answer is empty".to_owned())
            }
            "end_turn" => {
                // They do not wake the model, and the end of the run ends them. Which of them still run it does not say.
                if let commands @ 1.. = self.in_background {
                    let what = format!("{commands} commands went to the background: what still runs of them was ended");
                    progress("warning", what, steps);
                }
                return steps.push(Step::Finished(Ok(())));
            }
            "cancelled" => (Kind::Cancelled, "gemini was cancelled".to_owned()),
            "max_tokens" => {
                (Kind::ContextTooLong, "the prompt is too long: it exceeds the context window of the model".to_owned())
            }
            "max_turn_requests" => (
                Kind::TurnLimit,
                match self.max_turns {
                    Some(turns) => format!("the limit of {turns} turns was used up"),
                    None => "gemini stopped the model, which repeated itself or used up gemini's own turn limit".to_owned(),
                },
            ),
            "refusal" => (Kind::Refusal, "the model refused to answer".to_owned()),
            other => (Kind::Unreadable, format!("gemini ended with `{other}`")),
        };
        fail(kind, sentence, steps);
    }
}

/// The tool's name, which only the id of its use carries: `write_file__...` when the model uses it,
/// `read_many_files-TIME-NUMBER` when gemini itself does; else its kind.
fn tool_name(call: &Value) -> &str {
    let id = text(&call["toolCallId"]);
    let by_model = id.split_once("__").map(|(name, _)| name);
    let by_gemini = || id.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    match by_model.unwrap_or_else(by_gemini) {
        name if name.is_empty() || name == id => text(&call["kind"]),
        name => name,
    }
}

/// What a tool is asked to do: gemini gives a title and places, not the tool's arguments.
fn input(call: &Value) -> Value {
    if call["rawInput"].is_object() {
        return call["rawInput"].clone();
    }
    let mut input = json!({"title": call["title"], "kind": call["kind"]});
    let places: Vec<&Value> =
        call["locations"].as_array().into_iter().flatten().map(|place| &place["path"]).collect();
    if !places.is_empty() {
        input["paths"] = json!(places);
    }
    input
}

/// A tool's answer: texts, and for an edit what was done to which file.
fn output(content: &Value) -> String {
    let words = |item: &Value| match text(&item["type"]) {
        "diff" => format!("{} {}", item["_meta"]["kind"].as_str().unwrap_or("edit"), text(&item["path"])),
        _ => text(&item["content"]["text"]).to_owned(),
    };
    content.as_array().into_iter().flatten().map(words).collect::<Vec<_>>().join("\n")
}

fn request(id: u64, method: &str, params: Value, steps: &mut Steps) {
    steps.push(Step::Send(Rpc::V2.request(id, method, params)));
}

fn progress(stage: &str, message: String, steps: &mut Steps) {
    steps.push(Step::Event(Event::Progress { stage: stage.to_owned(), message }));
}

fn fail(kind: Kind, sentence: impl Into<String>, steps: &mut Steps) {
    steps.push(Step::Finished(Err(Failure::new(kind, sentence))));
}
