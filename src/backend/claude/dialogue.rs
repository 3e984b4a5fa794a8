//! One turn of a conversation with claude: stream-json in and out.

use super::answer::Answer;
use super::failure::{failure, kind_of_words};
use super::opening::opening;
use super::usage::Used;
use super::{OLDEST, READING_TOOLS};
use crate::backend::reader::Reader;
use crate::backend::{Dialogue, Ended, Step, Steps, too_old};
use crate::base::collect::inserted;
use crate::base::json::{json, string, text};
use crate::model::error::{Failure, Kind, words_of_stderr};
use crate::model::event::{Event, Permission, title_of_tool};
use crate::model::task::{Approval, Sandbox, Task};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long background commands may go on after the agent has answered; `claude -p` waits so long too. A server that the
/// agent started for its user would never end.
const BACKGROUND_MAY_TAKE: Duration = Duration::from_secs(600);

/// How long claude may take to go on by itself once its last background task has ended: it does within 0.1 s.
const GOES_ON_WITHIN: Duration = Duration::from_secs(10);

/// One turn of a conversation.
pub(super) struct Turn {
    reader: Reader,
    opening: Vec<String>,
    approval: Approval,
    /// Only listed tools exist: what asks nevertheless is not on the list.
    restricted: bool,
    /// Where a person can be asked: about which tools.
    attended: Option<About>,
    /// What a person is asked at the moment, by the id of the question.
    asked: BTreeMap<String, Value>,
    asked_session: Option<String>,
    /// The names of this run's MCP servers.
    servers: BTreeSet<String>,
    wants_schema: bool,
    /// The limit that was asked for.
    max_tokens: Option<u32>,
    /// It was reached.
    cut: bool,
    answer: Answer,
    /// The agent did something: then it may end without a word.
    used_tools: bool,
    /// The uses of tools that were denied.
    denials: BTreeSet<String>,
    used: Used,
    started: bool,
    work: Work,
    /// What the agent said when it had answered. It is the end once nothing is under way.
    result: Option<Value>,
    /// The last value that follows the schema.
    value: Value,
}

/// What is under way in the program, as far as it says.
#[derive(Default)]
struct Work {
    /// It says when it is busy and when it is idle: then only this counts. Sub-agents keep it busy, background commands
    /// do not.
    announced: bool,
    busy: bool,
    /// The background tasks that are open.
    tasks: Vec<String>,
}

impl Turn {
    pub(super) fn of(task: &Task) -> Turn {
        Turn {
            reader: Reader::new("claude"),
            opening: opening(task),
            approval: task.approval,
            restricted: task.allowed_tools.is_some() || task.sandbox == Sandbox::ReadOnly,
            attended: task.attended.then(|| About::of(task)).flatten(),
            asked: BTreeMap::new(),
            asked_session: task.resume.clone(),
            servers: inserted(task.mcp.iter().map(|server| server.name.clone())),
            wants_schema: task.schema.is_some(),
            max_tokens: task.max_tokens,
            cut: false,
            answer: Answer::default(),
            used_tools: false,
            denials: BTreeSet::new(),
            used: Used::default(),
            started: false,
            work: Work::default(),
            result: None,
            value: Value::Null,
        }
    }
}

impl Dialogue for Turn {
    fn start(&mut self, steps: &mut Steps) {
        steps.extend(std::mem::take(&mut self.opening).into_iter().map(Step::Send));
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        let Some(message) = self.reader.read(line, steps) else {
            // It would wait for an answer for ever.
            if line.contains("\"control_request\"") {
                let sentence = "claude asks something that cannot be read";
                steps.push(Step::failed(Kind::Unreadable, sentence));
            }
            return;
        };
        // The use of a tool that started the sub-agent of which it is.
        let parent = string(&message["parent_tool_use_id"]);
        match text(&message["type"]) {
            "system" => self.system(&message, steps),
            "stream_event" if parent.is_none() => self.stream_event(&message["event"], steps),
            "assistant" => self.assistant(&message["message"], parent, steps),
            "user" => tool_results(&message["message"]["content"], parent, steps),
            "control_request" => self.question(message, steps),
            "control_response" => refused_settings(&message["response"], steps),
            "result" => self.result(message, steps),
            _ => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        let request = json!({"type": "control_request", "request_id": "interrupt", "request": {"subtype": "interrupt"}});
        steps.push(Step::Send(request.to_string()));
    }

    fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        let Some(message) = self.asked.remove(id) else { return };
        match allowed {
            true => allow(&message, steps),
            false => self.deny(&message, "Permission denied: the user does not allow it.", steps),
        }
    }

    fn alarm(&mut self, steps: &mut Steps) {
        if !self.work.busy {
            self.end(steps);
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        // It had answered, and ended well: there was nothing more to come.
        if ended.code == Some(0) && self.result.is_some() {
            return self.end(steps);
        }
        let kind = kind_of_words(&ended.stderr).unwrap_or(Kind::Crash);
        steps.push(Step::Finished(Err(Failure::new(kind, words_of_stderr(ended)))));
    }
}

impl Turn {
    fn system(&mut self, message: &Value, steps: &mut Steps) {
        match text(&message["subtype"]) {
            "init" => self.init(message, steps),
            "api_retry" => {
                let sentence = format!(
                    "the vendor answered {} ({}): attempt {} of {}",
                    message["error_status"]
                        .as_u64()
                        .map_or("nothing".to_owned(), |status| status.to_string()),
                    text(&message["error"]),
                    message["attempt"],
                    message["max_retries"],
                );
                steps.push(Step::progress("retry", sentence));
            }
            // Where it is `local`, only a sub-agent has another model.
            "model_fallback" | "model_refusal_fallback" | "model_consent_fallback"
                if text(&message["scope"]) != "local" && text(&message["direction"]) != "revert" =>
            {
                let [from, to] = ["original_model", "fallback_model"].map(|name| text(&message[name]));
                let why = text(&message["trigger"]).replace('_', " ");
                steps.push(Step::other_model(from, to, &why));
            }
            "session_state_changed" => {
                (self.work.announced, self.work.busy) = (true, text(&message["state"]) != "idle");
                self.end_unless_busy(steps);
            }
            "background_tasks_changed" => {
                self.work.tasks = open_tasks(&message["tasks"]);
                if self.result.is_some() && self.work.tasks.is_empty() {
                    steps.push(Step::Alarm(GOES_ON_WITHIN));
                }
            }
            _ => {}
        }
    }

    /// Each time that the agent sets to work: also when a background task of its own has ended.
    fn init(&mut self, message: &Value, steps: &mut Steps) {
        self.work.busy = true;
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let version = text(&message["claude_code_version"]);
        if let Some(failure) = too_old("claude", version, OLDEST) {
            return steps.push(Step::Finished(Err(failure)));
        }
        let session = string(&message["session_id"]);
        if self.asked_session.is_some() && self.asked_session != session {
            let sentence =
                format!("claude answered with another session than the one asked for: {session:?}");
            steps.push(Step::failed(Kind::SessionNotFound, sentence));
            return;
        }
        for server in message["mcp_servers"].as_array().into_iter().flatten() {
            let (name, status) = (text(&server["name"]), text(&server["status"]));
            if self.servers.contains(name) && !matches!(status, "connected" | "pending") {
                let message = format!("MCP server `{name}` is not there: {status}");
                steps.push(Step::warning(message));
            }
        }
        steps.push(Step::Event(Event::Started { model: string(&message["model"]), session }));
        steps.push(Step::Asked);
    }

    fn stream_event(&mut self, event: &Value, steps: &mut Steps) {
        match text(&event["type"]) {
            "message_start" => {
                steps.push(Step::Answering);
                if !self.cut {
                    self.answer.begin_message(steps);
                }
            }
            "content_block_delta" => match text(&event["delta"]["type"]) {
                "text_delta" if self.tells() => self.answer.tell(text(&event["delta"]["text"]), steps),
                "thinking_delta" => {
                    let thought = text(&event["delta"]["thinking"]).to_owned();
                    steps.push(Step::Event(Event::Thinking(thought)));
                }
                _ => {}
            },
            "message_delta" => match text(&event["delta"]["stop_reason"]) {
                "refusal" => self.answer.refused = true,
                // Claude would go on by itself, three times more, and then call it a failure.
                "max_tokens" if self.max_tokens.is_some() && !self.cut => {
                    self.cut = true;
                    self.interrupt(steps);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// A whole message, block by block: what was streamed is confirmed, what was not is told now.
    fn assistant(&mut self, message: &Value, parent: Option<String>, steps: &mut Steps) {
        // The vendor's own words for a failure: the result brings them again.
        if text(&message["model"]) == "<synthetic>" {
            return;
        }
        for block in message["content"].as_array().into_iter().flatten() {
            match text(&block["type"]) {
                "text" if parent.is_none() && self.tells() => {
                    self.answer.confirm(text(&block["text"]), steps);
                }
                "tool_use" => {
                    // Sub-agents work while the agent speaks.
                    self.answer.new_message |= parent.is_none();
                    self.used_tools = true;
                    steps.push(Step::Event(Event::ToolUse {
                        id: text(&block["id"]).to_owned(),
                        name: text(&block["name"]).to_owned(),
                        input: block["input"].clone(),
                        parent: parent.clone(),
                    }));
                }
                _ => {}
            }
        }
    }

    /// With a schema the answer is the value at the end, and nothing else; behind a cut there is none.
    fn tells(&self) -> bool {
        !self.wants_schema && !self.cut
    }

    /// Claude asks: for a permission, which the approval mode answers or leaves to a person, or for something that only a user
    /// could give.
    fn question(&mut self, message: Value, steps: &mut Steps) {
        let (id, request) = (&message["request_id"], &message["request"]);
        if text(&request["subtype"]) != "can_use_tool" {
            let response =
                json!({"subtype": "error", "request_id": id, "error": "clinvk does not know this request"});
            steps.push(Step::Send(json!({"type": "control_response", "response": response}).to_string()));
        } else if self.approval == Approval::None && !self.restricted {
            allow(&message, steps);
        } else if self.attended.is_some_and(|about| about.covers(text(&request["tool_name"]))) {
            let (id, name, input) =
                (text(id).to_owned(), text(&request["tool_name"]), request["input"].clone());
            steps.push(Step::Ask(Permission {
                id: id.clone(),
                tool_use: text(&request["tool_use_id"]).to_owned(),
                name: name.to_owned(),
                title: title_of_tool(name, &input),
                input,
            }));
            self.asked.insert(id, message);
        } else {
            let sentence =
                "Permission denied: nobody is there to ask, and the approval mode does not allow it.";
            self.deny(&message, sentence, steps);
        }
    }

    fn deny(&mut self, message: &Value, sentence: &str, steps: &mut Steps) {
        let request = &message["request"];
        self.denied(&request["tool_use_id"], &request["tool_name"], &request["input"], steps);
        decide(message, json!({"behavior": "deny", "message": sentence}), steps);
    }

    /// The agent has answered. It may go on by itself when what it left in the background has ended.
    fn result(&mut self, message: Value, steps: &mut Steps) {
        for denial in message["permission_denials"].as_array().into_iter().flatten() {
            self.denied(&denial["tool_use_id"], &denial["tool_name"], &denial["tool_input"], steps);
        }
        steps.push(Step::Event(Event::Usage(self.used.with(&message))));
        if self.cut {
            let cut = match self.wants_schema {
                true => Err(Failure::new(
                    Kind::TurnLimit,
                    "the answer was cut at the limit of tokens before it was whole",
                )),
                false => {
                    steps.push(Step::truncated(self.max_tokens));
                    Ok(())
                }
            };
            steps.push(Step::Finished(cut));
        } else if message["is_error"] != json!(false) || text(&message["subtype"]) != "success" {
            steps.push(Step::Finished(Err(failure(&message))));
        } else {
            if !message["structured_output"].is_null() {
                self.value = message["structured_output"].clone();
            }
            self.result = Some(message);
            // Older versions say no more than this.
            self.work.busy &= self.work.announced;
            self.end_unless_busy(steps);
        }
    }

    fn end_unless_busy(&mut self, steps: &mut Steps) {
        if self.work.busy || self.result.is_none() {
            return;
        }
        if self.work.tasks.is_empty() {
            return self.end(steps);
        }
        let message = format!("waiting for what goes on in the background: {}", self.work.tasks.join(", "));
        steps.push(Step::progress("background", message));
        steps.push(Step::Alarm(BACKGROUND_MAY_TAKE));
    }

    /// A permission was denied: by us, or by a rule of the user's, of which only the result tells. Told once.
    fn denied(&mut self, id: &Value, tool: &Value, input: &Value, steps: &mut Steps) {
        if !id.is_string() || self.denials.insert(text(id).to_owned()) {
            steps.push(Step::Event(Event::PermissionDenied { what: format!("{} {input}", text(tool)) }));
        }
    }

    /// The end, when the agent has answered.
    fn end(&mut self, steps: &mut Steps) {
        let Some(message) = self.result.take() else { return };
        if !self.work.tasks.is_empty() {
            let tasks = self.work.tasks.join(", ");
            let message = format!("what went on in the background was stopped after 10m: {tasks}");
            steps.push(Step::warning(message));
        }
        let words = text(&message["result"]);
        let result = if text(&message["stop_reason"]) == "refusal" {
            let words = if words.is_empty() { "the model refused to answer" } else { words };
            Err(Failure::new(Kind::Refusal, words))
        } else if self.wants_schema {
            match &self.value {
                Value::Null => Err(Failure::new(
                    Kind::Unreadable,
                    format!("the answer does not follow the schema: {words}"),
                )),
                value => {
                    self.answer.tell(&value.to_string(), steps);
                    Ok(())
                }
            }
        } else {
            // A command that claude handles by itself is not streamed.
            if self.answer.characters == 0 {
                self.answer.tell(words, steps);
            }
            match self.answer.characters > 0 || self.used_tools {
                true => Ok(()),
                false => Err(Failure::new(Kind::Unreadable, "the model answered nothing, and did nothing")),
            }
        };
        steps.push(Step::Finished(result));
    }
}

/// What a person is asked about: never what the sandbox forbids, nor what is not on the list of tools.
#[derive(Clone, Copy)]
enum About {
    All,
    Reading,
}

impl About {
    fn of(task: &Task) -> Option<About> {
        match (task.sandbox, &task.allowed_tools) {
            // There a list only chooses.
            (Sandbox::ReadOnly, _) => Some(About::Reading),
            (_, None) => Some(About::All),
            (_, Some(_)) => None,
        }
    }

    fn covers(self, tool: &str) -> bool {
        match self {
            About::All => true,
            About::Reading => READING_TOOLS.contains(&tool),
        }
    }
}

fn allow(message: &Value, steps: &mut Steps) {
    decide(message, json!({"behavior": "allow", "updatedInput": message["request"]["input"]}), steps);
}

/// Answers a question of permission.
fn decide(message: &Value, answer: Value, steps: &mut Steps) {
    let response = json!({"subtype": "success", "request_id": message["request_id"], "response": answer});
    steps.push(Step::Send(json!({"type": "control_response", "response": response}).to_string()));
}

/// What is told of the background tasks that are waited for. Watchers that run along (`ambient`), and what goes on outside
/// the program (`off_host`), are not.
pub(super) fn open_tasks(tasks: &Value) -> Vec<String> {
    let is_ours = |task: &&Value| task["ambient"] != json!(true) && task["off_host"] != json!(true);
    let name = |task: &Value| format!("`{}`", text(&task["description"]));
    tasks.as_array().into_iter().flatten().filter(is_ours).map(name).collect()
}

/// The tools' answers, which claude sends as a user's message.
fn tool_results(content: &Value, parent: Option<String>, steps: &mut Steps) {
    for block in
        content.as_array().into_iter().flatten().filter(|block| text(&block["type"]) == "tool_result")
    {
        let output = match &block["content"] {
            Value::Array(parts) => parts.iter().map(|part| text(&part["text"])).collect(),
            other => text(other).to_owned(),
        };
        steps.push(Step::Event(Event::ToolResult {
            id: text(&block["tool_use_id"]).to_owned(),
            name: String::new(),
            output,
            is_error: block["is_error"] == json!(true),
            parent: parent.clone(),
        }));
    }
}

/// `initialize` was refused, e.g. a schema that is none: without it the run would not be the one asked for.
fn refused_settings(response: &Value, steps: &mut Steps) {
    if text(&response["subtype"]) == "error" && text(&response["request_id"]) == "initialize" {
        let sentence = format!("claude refuses its settings: {}", text(&response["error"]));
        steps.push(Step::failed(Kind::VendorFlag, sentence));
    }
}
