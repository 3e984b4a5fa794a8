//! One turn of a conversation with an agent: what is said to it and what its lines mean. Which agent it is only `Quirks` know.
//!
//! Agents tell failures as successes: an answer that broke off or was empty ends with `end_turn`, and only missing counts or
//! the last words give it away. What they tell before our prompt is an earlier conversation.

use super::choices::{Choice, Choices, How, SET_MODEL};
use super::client::{self, Client, Offers};
use super::message::AnswerText;
use super::permission::{self, Answers, Verdict};
use super::quirks::RETRY;
use super::tools::{self, ToolCalls};
use super::usage::{self, Meter};
use super::{Quirks, failure};
use crate::backend::jsonrpc::{METHOD_NOT_FOUND, Message, Rpc, is_awaited};
use crate::backend::reader::Reader;
use crate::backend::{Dialogue, Ended, Step, Steps, ToolError, ToolReply, truncated, unlogged};
use crate::base::json::{Value, json, text};
use crate::config::{SystemBy, UsageOf};
use crate::model::error::{Failure, Kind};
use crate::model::event::{Event, Permission, PlanEntry};
use crate::model::mcp::{McpServer, Transport};
use crate::model::task::Task;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long an agent may take to remove a session.
const REMOVING_TAKES: Duration = Duration::from_secs(5);

/// What an agent is asked in a turn.
pub(in crate::backend) struct TurnParams {
    pub(in crate::backend) prompt: Vec<Value>,
    pub(in crate::backend) dir: String,
    pub(in crate::backend) answers: Answers,
    /// What we offer to do for the agent.
    pub(in crate::backend) offers: Offers,
    /// Further directories.
    pub(in crate::backend) add_dirs: Vec<String>,
    pub(in crate::backend) servers: Vec<McpServer>,
    /// Members of the request that opens a session: a system prompt in the agent's own way.
    pub(in crate::backend) session: Value,
    /// How the system prompt gets to the agent, where there is one.
    pub(in crate::backend) system_by: Option<SystemBy>,
    /// The agent's session that goes on.
    pub(in crate::backend) resume: Option<String>,
    pub(in crate::backend) auth_method: Option<String>,
    pub(in crate::backend) choices: VecDeque<(Choice, String)>,
    pub(in crate::backend) usage: UsageOf,
    pub(in crate::backend) failure_texts: Vec<String>,
    /// How long each answer may take before the prompt is sent, and the key that says so.
    pub(in crate::backend) start_limit: Option<(Duration, String)>,
    /// The agent's session shall not outlive the turn.
    pub(in crate::backend) ephemeral: bool,
    /// What the agent lacks is a warning.
    pub(in crate::backend) lenient: bool,
    /// The prompt is a command of the agent's: then there is an answer without a model.
    pub(in crate::backend) is_command: bool,
}

impl Default for TurnParams {
    fn default() -> TurnParams {
        TurnParams {
            prompt: Vec::new(),
            dir: String::new(),
            answers: Answers::of(&Task::default()),
            offers: Offers::Nothing,
            add_dirs: Vec::new(),
            servers: Vec::new(),
            session: json!({}),
            system_by: None,
            resume: None,
            auth_method: None,
            choices: VecDeque::new(),
            usage: UsageOf::Turn,
            failure_texts: Vec::new(),
            start_limit: None,
            ephemeral: false,
            lenient: false,
            is_command: false,
        }
    }
}

/// How far the conversation is: the request of ours that has no answer yet.
#[derive(Debug, PartialEq)]
enum Stage {
    Initialize,
    Authenticate,
    /// A session is opened, by this method.
    Open(&'static str),
    Choose(Choice, How),
    Prompt,
    /// The turn is over, so; the session is removed.
    Remove(Result<(), Failure>),
    Over,
}

/// One turn.
pub(in crate::backend) struct AcpTurn {
    agent: Box<dyn Quirks>,
    reader: Reader,
    params: TurnParams,
    stage: Stage,
    /// The number of the request that has no answer yet.
    number: u64,
    /// What the agent can do, by its own word.
    abilities: Value,
    session: String,
    choices: Choices,
    /// The model that was chosen; the mode, and the one that the agent says it is in.
    model: Option<String>,
    mode: Option<String>,
    reported_mode: Option<String>,
    answer: AnswerText,
    calls: ToolCalls,
    meter: Meter,
    /// Questions that a person has to answer: the ids of requests, and of the uses of tools, and the options.
    questions: BTreeMap<String, (Value, String, Value)>,
    client: Client,
    /// The agent was refused something.
    was_refused: bool,
    /// We have asked it to stop.
    was_cancelled: bool,
}

impl AcpTurn {
    pub(in crate::backend) fn new(agent: Box<dyn Quirks>, params: TurnParams) -> AcpTurn {
        AcpTurn {
            reader: Reader::new(agent.name()),
            meter: Meter::new(params.usage),
            client: Client::new(params.offers),
            agent,
            params,
            stage: Stage::Initialize,
            number: 1,
            abilities: Value::Null,
            session: String::new(),
            choices: Choices::default(),
            model: None,
            mode: None,
            reported_mode: None,
            answer: AnswerText::default(),
            calls: ToolCalls::default(),
            questions: BTreeMap::new(),
            was_refused: false,
            was_cancelled: false,
        }
    }
}

impl Dialogue for AcpTurn {
    fn start(&mut self, steps: &mut Steps) {
        let line = Rpc::V2.request(self.number, "initialize", greeting(self.params.offers));
        steps.push(Step::Send(line));
        self.limit(steps);
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        if self.stage == Stage::Over {
            return;
        }
        if let Some(failure) = self.agent.overheard(line) {
            return self.finish(Err(failure), steps);
        }
        let Some(message) = self.reader.read(line, steps) else {
            if is_awaited(line) {
                let name = self.agent.name();
                let sentence =
                    format!("a line of {name}'s that clinvk waited for, or has to answer, could not be read");
                self.fail(Kind::Unreadable, sentence, steps);
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
            Some(Message::Request { id, method, params }) if self.client.knows(&method) => {
                self.was_refused |= self.client.request(&self.params.answers, id, &method, &params, steps);
            }
            Some(Message::Request { id, method, .. }) => {
                let sentence = format!("clinvk does not offer {method}");
                steps.push(Step::Send(Rpc::V2.error(id, METHOD_NOT_FOUND, &sentence)));
            }
            Some(Message::Answer { id, result }) if id == self.number || id.is_null() => match result {
                Ok(result) => self.answered(&result, steps),
                Err(error) => self.refused(&error, steps),
            },
            // What is not known is silence: later versions and vendors have more to say.
            Some(Message::Answer { .. } | Message::Notification { .. }) | None => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        if self.stage == Stage::Prompt {
            self.was_cancelled = true;
            let params = json!({"sessionId": self.session});
            steps.push(Step::Send(Rpc::V2.notification("session/cancel", params)));
        }
    }

    fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        let Some((request, use_id, options)) = self.questions.remove(id) else {
            self.was_refused |= self.client.permitted(id, allowed, steps);
            return;
        };
        if allowed {
            self.client.allow(self.calls.kind(&use_id));
        }
        self.decide(request, &use_id, &options, allowed, "refused by a person".to_owned(), steps);
    }

    fn used(&mut self, id: &str, came: Result<ToolReply, ToolError>, steps: &mut Steps) {
        if self.stage != Stage::Over {
            client::used(id, came, steps);
        }
    }

    fn alarm(&mut self, steps: &mut Steps) {
        match (&self.stage, &self.params.start_limit) {
            (Stage::Remove(_), _) => self.removed(Some("it did not answer".to_owned()), steps),
            (Stage::Prompt | Stage::Over, _) | (_, None) => {}
            (stage, Some((limit, key))) => {
                let what = match stage {
                    Stage::Initialize => "initialize",
                    Stage::Authenticate => "authenticate",
                    Stage::Open(method) => method,
                    _ => "the choice of its model or mode",
                };
                let name = self.agent.name();
                let sentence = format!("{name} gave no answer to {what} within {limit:?} ({key})");
                self.fail(Kind::Timeout, sentence, steps);
            }
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        match &self.stage {
            Stage::Remove(_) => self.removed(Some("it has ended".to_owned()), steps),
            _ => self.finish(Err(self.agent.exited(ended)), steps),
        }
    }
}

/// Before the prompt.
impl AcpTurn {
    /// The answer to the request that waits for one.
    fn answered(&mut self, result: &Value, steps: &mut Steps) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Initialize => self.initialized(result, steps),
            Stage::Authenticate => self.open(steps),
            Stage::Open(_) => self.opened(result, steps),
            Stage::Choose(choice, how) => self.chosen(choice, &how, result, steps),
            Stage::Prompt => self.ended(result, steps),
            stage @ Stage::Remove(_) => {
                self.stage = stage;
                self.removed(None, steps);
            }
            Stage::Over => {}
        }
    }

    /// The same, where it is an error.
    fn refused(&mut self, error: &Value, steps: &mut Steps) {
        let failure = self.agent.failed(error);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            // An unknown session has many codes; what else is wrong has words of its own.
            Stage::Open(_)
                if self.params.resume.is_some()
                    && matches!(failure.kind, Kind::Crash | Kind::UnknownModel) =>
            {
                let sentence =
                    format!("{} cannot go on with the session: {}", self.agent.name(), failure.message);
                self.fail(Kind::SessionNotFound, sentence, steps);
            }
            Stage::Authenticate => self.fail(Kind::Login, failure.message, steps),
            Stage::Choose(choice, how) => self.not_chosen(choice, how, error, failure, steps),
            stage @ Stage::Remove(_) => {
                self.stage = stage;
                self.removed(Some(failure.message), steps);
            }
            _ => {
                // Some say in the answer, too, why there is none.
                let last = self.answer.last().trim();
                if !last.is_empty() && (failure.message.contains(last) || last.contains(&failure.message)) {
                    self.answer.drop_last(steps);
                }
                self.over(Err(failure), steps);
            }
        }
    }

    fn initialized(&mut self, result: &Value, steps: &mut Steps) {
        if let Err(failure) = self.agent.greeted(&result["agentInfo"]) {
            return self.finish(Err(failure), steps);
        }
        self.abilities = result["agentCapabilities"].clone();
        match self.params.auth_method.take() {
            Some(method) => {
                self.request(Stage::Authenticate, "authenticate", authentication(&method), steps);
            }
            None => self.open(steps),
        }
    }

    /// Opens a session, or goes on with one.
    fn open(&mut self, steps: &mut Steps) {
        for lack in self.lacks() {
            if !self.params.lenient {
                return self.fail(Kind::InvalidRequest, lack, steps);
            }
            progress("warning", lack, steps);
        }
        let servers = std::mem::take(&mut self.params.servers);
        let servers: Vec<Value> =
            servers.iter().filter(|server| self.reaches(server)).map(server_entry).collect();
        let has_secrets = !servers.is_empty();
        let mut params = std::mem::take(&mut self.params.session);
        params["cwd"] = self.params.dir.as_str().into();
        params["mcpServers"] = servers.into();
        if !self.params.add_dirs.is_empty() && self.is_able("additionalDirectories") {
            params["additionalDirectories"] = json!(self.params.add_dirs);
        }
        let method = match &self.params.resume {
            None => "session/new",
            Some(_) if self.is_able("resume") => "session/resume",
            Some(_) if self.abilities["loadSession"] == true => "session/load",
            Some(_) => {
                let sentence = format!("{} does not go on with sessions", self.agent.name());
                return self.fail(Kind::SessionNotResumable, sentence, steps);
            }
        };
        if let Some(session) = &self.params.resume {
            params["sessionId"] = session.as_str().into();
        }
        (self.number, self.stage) = (self.number + 1, Stage::Open(method));
        let line = Rpc::V2.request(self.number, method, params);
        steps.push(if has_secrets { unlogged(line) } else { Step::Send(line) });
        self.limit(steps);
    }

    /// What the task needs and the agent does not have, by its own word. What is lenient goes on without.
    fn lacks(&mut self) -> Vec<String> {
        let name = self.agent.name().to_owned();
        let mut lacks = Vec::new();
        let has_pictures = self.params.prompt.iter().any(|block| block["type"] == "image");
        if has_pictures && self.abilities["promptCapabilities"]["image"] != true {
            self.params.prompt.retain(|block| block["type"] != "image");
            lacks.push(format!("{name} takes no images"));
        }
        if !self.params.add_dirs.is_empty() && !self.is_able("additionalDirectories") {
            lacks.push(format!("{name} takes no extra directories"));
        }
        if self.params.system_by == Some(SystemBy::Session) && !self.is_able("systemPrompt") {
            lacks.push(format!(
                "{name} takes no system prompt when it opens a session: `system_by` of its backend is `session`"
            ));
        }
        for server in self.params.servers.iter().filter(|server| !self.reaches(server)) {
            let way =
                if matches!(server.transport, Transport::Sse { .. }) { "server-sent events" } else { "HTTP" };
            lacks.push(format!("{name} reaches no MCP servers by {way}, which `{}` needs", server.name));
        }
        lacks
    }

    fn is_able(&self, ability: &str) -> bool {
        is_able(&self.abilities, ability)
    }

    fn reaches(&self, server: &McpServer) -> bool {
        let ways = &self.abilities["mcpCapabilities"];
        match server.transport {
            Transport::Stdio { .. } => true,
            Transport::Http { .. } => ways["http"] == true,
            Transport::Sse { .. } => ways["sse"] == true,
        }
    }

    fn opened(&mut self, result: &Value, steps: &mut Steps) {
        // The answer to `session/load` names none.
        let session = self.params.resume.take().or_else(|| result["sessionId"].as_str().map(str::to_owned));
        let Some(session) = session else {
            let sentence = format!("{} opened a session without an id", self.agent.name());
            return self.fail(Kind::Unreadable, sentence, steps);
        };
        self.session = session;
        self.choices = Choices::of(result);
        self.choose(steps);
    }

    /// Makes the next choice that there is to make, and sends the prompt when there is none left.
    fn choose(&mut self, steps: &mut Steps) {
        while let Some((choice, wanted)) = self.params.choices.pop_front() {
            let (word, name) = (word(choice), self.agent.name());
            let lack = match self.choices.how(choice, &wanted) {
                How::Already => {
                    self.remember(choice, self.choices.current(choice).map(str::to_owned));
                    continue;
                }
                How::None => format!("{name} has no choice of its {word}"),
                How::Unlisted => {
                    format!("{name} has no {word} `{wanted}`: there are {}", self.choices.names(choice))
                }
                how @ How::Request { .. } => return self.ask_for(choice, how, steps),
            };
            // Without a mode that was asked for the agent may do what it was not meant to.
            if choice == Choice::Mode {
                return self.fail(Kind::Config, lack, steps);
            }
            if !self.params.lenient {
                return self.fail(Kind::InvalidRequest, lack, steps);
            }
            progress("warning", lack, steps);
        }
        self.prompt(steps);
    }

    fn ask_for(&mut self, choice: Choice, how: How, steps: &mut Steps) {
        let How::Request { method, params, .. } = &how else { return };
        let (method, mut params) = (*method, params.clone());
        params["sessionId"] = self.session.as_str().into();
        self.reported_mode = None;
        self.request(Stage::Choose(choice, how), method, params, steps);
    }

    fn chosen(&mut self, choice: Choice, how: &How, result: &Value, steps: &mut Steps) {
        let How::Request { value, is_listed, method, .. } = how else { return };
        self.choices.hear(result);
        let by_option = result["configOptions"].is_array().then(|| self.choices.current(choice)).flatten();
        let reported = match choice {
            Choice::Mode => self.reported_mode.as_deref().or(by_option),
            _ => by_option,
        };
        if let Some(other) = reported.filter(|reported| *is_listed && *reported != value) {
            let name = self.agent.name();
            let sentence = format!("{name} took `{other}` for its {}, not `{value}`: {method}", word(choice));
            return self.fail(Kind::Config, sentence, steps);
        }
        self.remember(choice, Some(value.clone()));
        self.choose(steps);
    }

    fn remember(&mut self, choice: Choice, value: Option<String>) {
        match choice {
            Choice::Model => self.model = value,
            Choice::Mode => self.mode = value,
            Choice::Effort => {}
        }
    }

    /// The agent refuses a choice. A model may be chosen in another way, which some know alone.
    fn not_chosen(&mut self, choice: Choice, how: How, error: &Value, failure: Failure, steps: &mut Steps) {
        let How::Request { method, value, .. } = how else { return };
        let is_unknown = error["code"] == METHOD_NOT_FOUND;
        if choice == Choice::Model && is_unknown && method != SET_MODEL {
            let params = json!({"modelId": value});
            let how = How::Request { method: SET_MODEL, params, value, is_listed: false };
            return self.ask_for(choice, how, steps);
        }
        let (name, word) = (self.agent.name(), word(choice));
        let names = match self.choices.names(choice) {
            names if names.is_empty() => String::new(),
            names => format!(": there are {names}"),
        };
        match choice {
            Choice::Model if is_unknown => {
                let sentence =
                    format!("{name} has no choice of its model: `model_args` of its backend may give it one");
                self.fail(Kind::InvalidRequest, sentence, steps);
            }
            Choice::Model => {
                self.fail(Kind::UnknownModel, format!("{}{names}", failure.message), steps);
            }
            Choice::Mode | Choice::Effort => {
                let sentence = format!("{name} does not take {word} `{value}`: {}{names}", failure.message);
                self.fail(Kind::Config, sentence, steps);
            }
        }
    }

    fn prompt(&mut self, steps: &mut Steps) {
        let goes_on = self.abilities["loadSession"] == true || self.is_able("resume");
        let model = self.model.take().or_else(|| self.choices.current(Choice::Model).map(str::to_owned));
        // Only a session that can be continued is one to keep.
        let session = goes_on.then(|| self.session.clone());
        steps.push(Step::Event(Event::Started { model, session }));
        let mut params = json!({"sessionId": self.session});
        params["prompt"] = std::mem::take(&mut self.params.prompt).into();
        self.number += 1;
        self.stage = Stage::Prompt;
        steps.push(Step::Send(Rpc::V2.request(self.number, "session/prompt", params)));
        steps.push(Step::Asked);
    }

    fn request(&mut self, stage: Stage, method: &str, params: Value, steps: &mut Steps) {
        self.number += 1;
        self.stage = stage;
        steps.push(Step::Send(Rpc::V2.request(self.number, method, params)));
        self.limit(steps);
    }

    fn limit(&self, steps: &mut Steps) {
        steps.extend(self.params.start_limit.as_ref().map(|(limit, _)| Step::Alarm(*limit)));
    }
}

/// While the agent answers.
impl AcpTurn {
    fn update(&mut self, update: &Value, steps: &mut Steps) {
        let kind = text(&update["sessionUpdate"]);
        if self.stage != Stage::Prompt {
            match kind {
                "current_mode_update" => {
                    self.reported_mode = update["currentModeId"].as_str().map(str::to_owned)
                }
                "usage_update" => self.meter.update_before(update),
                // An earlier conversation that is told again.
                _ => {}
            }
            return;
        }
        let piece = text(&update["content"]["text"]);
        match kind {
            "agent_message_chunk" => self.piece(update, steps),
            "agent_thought_chunk" => {
                self.calls.tell_all(steps);
                steps.push(Step::Answering);
                steps.push(Step::Event(Event::Thinking(self.agent.thought(piece).to_owned())));
            }
            "tool_call" | "tool_call_update" => self.tool(update, steps),
            "plan" => {
                let entries = update["entries"].as_array().into_iter().flatten();
                let entry = |entry: &Value| PlanEntry {
                    content: text(&entry["content"]).to_owned(),
                    priority: text(&entry["priority"]).to_owned(),
                    status: text(&entry["status"]).to_owned(),
                };
                steps.push(Step::Event(Event::Plan(entries.map(entry).collect())));
            }
            "usage_update" => {
                self.meter.update(update, self.answer.says_something || !self.calls.is_empty());
            }
            "current_mode_update" => {
                let mode = text(&update["currentModeId"]);
                let is_left = self.mode.as_ref().is_some_and(|chosen| chosen != mode);
                let stage = if is_left { "warning" } else { "mode" };
                progress(stage, format!("{} is in mode {mode} now", self.agent.name()), steps);
            }
            "session_info_update" => {
                let error = &update["_meta"]["codex"]["error"];
                if error["willRetry"] == true {
                    let details = text(&error["additionalDetails"]);
                    progress(RETRY, format!("{} {details}", text(&error["message"])), steps);
                    self.answer.begin_anew(steps);
                }
            }
            // Commands there are, our own prompt, what later versions invent.
            _ => {}
        }
    }

    /// A piece of the answer.
    fn piece(&mut self, update: &Value, steps: &mut Steps) {
        self.calls.tell_all(steps);
        let (content, id) = (&update["content"], &update["messageId"]);
        if self.meter.piece(&update["_meta"]["usage"]) {
            steps.push(Step::Answering);
        }
        if !content["type"].is_null() && content["type"] != "text" {
            let what = format!("a part of the answer is no text and is not told: {}", text(&content["type"]));
            return progress("warning", what, steps);
        }
        match self.agent.note(update) {
            None => self.answer.tell(text(&content["text"]), id, steps),
            Some((stage, message)) => {
                progress(stage, message, steps);
                if stage == RETRY {
                    self.answer.begin_anew(steps);
                }
            }
        }
    }

    fn tool(&mut self, update: &Value, steps: &mut Steps) {
        let id = text(&update["toolCallId"]);
        self.calls.hear(&*self.agent, update);
        self.answer.interrupted();
        let is_error = match text(&update["status"]) {
            "completed" => false,
            "failed" => true,
            _ if tools::is_announced(update) => return steps.push(Step::Answering),
            _ => return self.calls.tell(id, steps),
        };
        let output = tools::output(update);
        self.agent.tool_ended(&output);
        self.calls.end(id, output, is_error, steps);
    }

    /// The agent asks for a permission. The modes answer, or a person where one is there.
    fn permission(&mut self, id: Value, params: &Value, steps: &mut Steps) {
        if self.was_cancelled {
            let outcome = json!({"outcome": {"outcome": "cancelled"}});
            return steps.push(Step::Send(Rpc::V2.answer(id, outcome)));
        }
        let use_id = text(&params["toolCall"]["toolCallId"]);
        let call = self.calls.hear(&*self.agent, &params["toolCall"]);
        let verdict = self.params.answers.verdict(&call.kind, &call.name);
        let permission = Permission {
            id: id.to_string(),
            tool_use: use_id.to_owned(),
            name: call.name.clone(),
            title: call.title.clone(),
            input: call.input.clone(),
        };
        self.answer.interrupted();
        self.calls.tell(use_id, steps);
        let options = &params["options"];
        if verdict == Verdict::Ask {
            self.questions.insert(permission.id.clone(), (id, use_id.to_owned(), options.clone()));
            return steps.push(Step::Ask(permission));
        }
        let why = format!("refused by approval mode `{}`", self.params.answers.approval.word());
        self.decide(id, use_id, options, verdict == Verdict::Allow, why, steps);
    }

    /// Answers a question. `why`: what is told of a no.
    fn decide(
        &mut self,
        id: Value,
        use_id: &str,
        options: &Value,
        yes: bool,
        why: String,
        steps: &mut Steps,
    ) {
        let outcome = permission::outcome(options, yes);
        if !yes || outcome["outcome"] == "cancelled" {
            self.was_refused = true;
            let what = self.calls.title(use_id);
            steps.push(Step::Event(Event::PermissionDenied { what }));
            // After a no some say nothing more of this use.
            self.calls.end(use_id, why, true, steps);
        }
        steps.push(Step::Send(Rpc::V2.answer(id, json!({"outcome": outcome}))));
    }

    /// The prompt is done, one way or the other.
    fn ended(&mut self, result: &Value, steps: &mut Steps) {
        self.calls.tell_all(steps);
        let usage = self.meter.sum(result);
        steps.extend(usage.map(|usage| Step::Event(Event::Usage(usage))));
        let reason = text(&result["stopReason"]);
        let no_model = !self.params.is_command
            && (usage::is_of_no_model(result)
                || (self.params.usage == UsageOf::Total && result["usage"].is_null()));
        if let Some(failure) = self.agent.ended(reason, no_model) {
            return self.over(Err(failure), steps);
        }
        let name = self.agent.name();
        let (kind, sentence) = match reason {
            "end_turn" => {
                let ended = self.ended_turn(no_model, usage::is_zero(result), steps);
                return self.over(ended, steps);
            }
            "max_tokens" if self.answer.says_something => {
                steps.push(truncated(None));
                return self.over(Ok(()), steps);
            }
            "max_tokens" => {
                (Kind::ContextTooLong, "the limit of tokens was used up before an answer".to_owned())
            }
            "max_turn_requests" => (Kind::TurnLimit, format!("{name} has used up its own limit of turns")),
            "refusal" => (Kind::Refusal, "the model refused to answer".to_owned()),
            "cancelled" if self.was_refused && !self.was_cancelled => {
                (Kind::PermissionDenied, format!("{name} gave up when it was refused a permission"))
            }
            "cancelled" => (Kind::Cancelled, format!("{name} was cancelled")),
            other => (Kind::Unreadable, format!("{name} ended with `{other}`")),
        };
        self.over(Err(Failure::new(kind, sentence)), steps);
    }

    /// What the end of a turn is that the agent calls good.
    fn ended_turn(&mut self, no_model: bool, is_zero: bool, steps: &mut Steps) -> Result<(), Failure> {
        let last = self.answer.last();
        if no_model || self.params.failure_texts.iter().any(|text| last.trim_start().starts_with(text)) {
            let failure = match last.trim() {
                "" => Failure::new(
                    Kind::Unreadable,
                    format!("{} says of no model that it has answered", self.agent.name()),
                ),
                words => failure::of_words(words),
            };
            self.answer.drop_last(steps);
            return Err(failure);
        }
        // After a tool's answer a model may have nothing to add, and after a no an agent.
        if !self.answer.says_something && (self.calls.is_empty() || (is_zero && !self.was_refused)) {
            return Err(Failure::new(Kind::Unreadable, "the model's answer is empty"));
        }
        if self.answer.repeats_itself() {
            let what =
                format!("the answer repeats its beginning: {} may have tried again", self.agent.name());
            progress("warning", what, steps);
        }
        for what in self.agent.warnings() {
            progress("warning", what, steps);
        }
        Ok(())
    }

    /// The turn is over. A session that shall not stay is removed first.
    fn over(&mut self, result: Result<(), Failure>, steps: &mut Steps) {
        if !self.params.ephemeral || self.session.is_empty() {
            return self.finish(result, steps);
        }
        self.stage = Stage::Remove(result);
        if !self.is_able("delete") {
            return self.removed(Some("it cannot remove sessions".to_owned()), steps);
        }
        self.number += 1;
        let params = json!({"sessionId": self.session});
        steps.push(Step::Send(Rpc::V2.request(self.number, "session/delete", params)));
        steps.push(Step::Alarm(REMOVING_TAKES));
    }

    fn removed(&mut self, problem: Option<String>, steps: &mut Steps) {
        let Stage::Remove(result) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        if let Some(problem) = problem {
            progress("warning", format!("{} keeps its session: {problem}", self.agent.name()), steps);
        }
        self.finish(result, steps);
    }

    fn fail(&mut self, kind: Kind, sentence: String, steps: &mut Steps) {
        match self.stage {
            // What came of the turn is known already.
            Stage::Remove(_) => self.removed(Some(sentence), steps),
            _ => self.over(Err(Failure::new(kind, sentence)), steps),
        }
    }

    fn finish(&mut self, result: Result<(), Failure>, steps: &mut Steps) {
        self.stage = Stage::Over;
        steps.push(Step::Finished(result));
    }
}

/// What `initialize` is asked with.
pub(super) fn greeting(offers: Offers) -> Value {
    json!({
        "protocolVersion": 1,
        "clientCapabilities": offers.capabilities(),
        "clientInfo": {"name": "clinvk", "version": env!("CARGO_PKG_VERSION")},
    })
}

/// What `authenticate` is asked with.
pub(super) fn authentication(method: &str) -> Value {
    json!({"methodId": method})
}

/// Whether an agent can do this with its sessions, by its own word.
pub(super) fn is_able(abilities: &Value, ability: &str) -> bool {
    !matches!(abilities["sessionCapabilities"][ability], Value::Null | Value::Bool(false))
}

fn word(choice: Choice) -> &'static str {
    match choice {
        Choice::Model => "model",
        Choice::Mode => "mode",
        Choice::Effort => "effort",
    }
}

/// A server as the protocol has it: variables and headers are lists of pairs.
fn server_entry(server: &McpServer) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    let name = &server.name;
    match &server.transport {
        Transport::Stdio { command, args, env } => {
            json!({"name": name, "command": command, "args": args, "env": pairs(env)})
        }
        Transport::Http { url, headers } => {
            json!({"type": "http", "name": name, "url": url, "headers": pairs(headers)})
        }
        Transport::Sse { url, headers } => {
            json!({"type": "sse", "name": name, "url": url, "headers": pairs(headers)})
        }
    }
}

fn progress(stage: &str, message: String, steps: &mut Steps) {
    steps.push(Step::Event(Event::Progress { stage: stage.to_owned(), message }));
}
