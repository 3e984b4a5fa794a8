//! What the agent asks of us while it works: a yes to the use of a tool of its own (`session/request_permission`), and where the
//! configuration offers them files and terminals. The task's modes decide, or a person, and every request gets an answer.

use super::Quirks;
use super::permission::{self, Answers, Verdict};
use super::updates::Transcript;
use crate::backend::jsonrpc::{INVALID_PARAMS, METHOD_NOT_FOUND, Rpc};
use crate::backend::{ClientTool, Ended, Step, Steps, ToolError, ToolReply};
use crate::base::json::{Value, from_str, json};
use crate::model::event::{Event, Permission};
use crate::model::task::{Sandbox, Task, ToolUse};
use std::collections::BTreeMap;

/// The protocol's code for what is not there.
const NOT_FOUND: i64 = -32002;
/// ... and for what cannot be done.
const FAILED: i64 = -32603;

/// What is offered to an agent, and what it has asked.
#[derive(Default)]
pub(super) struct Client {
    offers: Offers,
    answers: Answers,
    /// What a person decides, by the id of the agent's request as text.
    undecided: BTreeMap<String, Undecided>,
    /// The kinds of tools for which a person has said yes to the agent: it asks first, and then has us do it.
    yeses: Vec<String>,
    /// The agent was refused something.
    pub(super) was_refused: bool,
    /// We have asked the agent to stop: it gets no yes any more.
    was_cancelled: bool,
}

/// A request of the agent's that a person decides.
enum Undecided {
    OwnTool(OwnTool),
    /// That we do something.
    Ours {
        id: Value,
        tool: ClientTool,
    },
}

/// The agent's request to use a tool of its own.
struct OwnTool {
    id: Value,
    use_id: String,
    /// The protocol's options for an answer.
    options: Value,
}

/// How much is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::backend) enum Offers {
    #[default]
    Nothing,
    Reading,
    All,
}

impl Offers {
    /// What the configuration offers, as far as the task allows it.
    pub(super) fn within(task: &Task) -> Offers {
        match (task.tools, task.sandbox) {
            (ToolUse::None, _) => Offers::Nothing,
            (ToolUse::ReadOnly, _) | (_, Sandbox::ReadOnly) => Offers::Reading,
            _ => Offers::All,
        }
    }

    /// The same as the protocol has it.
    pub(super) fn capabilities(self) -> Value {
        let (reads, does) = (self != Offers::Nothing, self == Offers::All);
        json!({"fs": {"readTextFile": reads, "writeTextFile": does}, "terminal": does})
    }
}

impl Client {
    pub(super) fn new(offers: Offers, answers: Answers) -> Client {
        Client { offers, answers, ..Client::default() }
    }

    /// A request of the agent's.
    pub(super) fn request(
        &mut self,
        id: Value,
        method: &str,
        params: &Value,
        agent: &dyn Quirks,
        transcript: &mut Transcript,
        steps: &mut Steps,
    ) {
        let is_offered = self.offers != Offers::Nothing;
        if method == "session/request_permission" {
            self.permission(id, params, agent, transcript, steps);
        } else if is_offered && (method.starts_with("fs/") || method.starts_with("terminal/")) {
            self.tool(id, method, params, steps);
        } else {
            fail(id, METHOD_NOT_FOUND, &format!("clinvk does not offer {method}"), steps);
        }
    }

    /// It wants to use a tool of its own.
    fn permission(
        &mut self,
        id: Value,
        params: &Value,
        agent: &dyn Quirks,
        transcript: &mut Transcript,
        steps: &mut Steps,
    ) {
        if self.was_cancelled {
            return answer_permission(id, json!({"outcome": "cancelled"}), steps);
        }
        let call = transcript.questioned(&params["toolCall"], agent, steps);
        let verdict = self.answers.verdict(&call.kind, &call.name);
        let permission = Permission {
            id: id.to_string(),
            tool_use: call.id.clone(),
            name: call.name.clone(),
            title: call.title.clone(),
            input: call.input.clone(),
        };
        let own = OwnTool { id, use_id: call.id.clone(), options: params["options"].clone() };
        if verdict == Verdict::Ask {
            return self.ask(permission, Undecided::OwnTool(own), steps);
        }
        let why = format!("refused by approval mode `{}`", self.answers.approval.word());
        self.decide(own, verdict == Verdict::Allow, why, transcript, steps);
    }

    /// It wants us to do something.
    fn tool(&mut self, id: Value, method: &str, params: &Value, steps: &mut Steps) {
        let tool = match tool(method, params) {
            Ok(tool) => tool,
            Err(sentence) => return fail(id, INVALID_PARAMS, &sentence, steps),
        };
        let Some((kind, title)) = question(&tool) else {
            return begin(&id, tool, steps);
        };
        match self.answers.verdict(kind, method) {
            Verdict::Allow => begin(&id, tool, steps),
            Verdict::Ask if self.has_yes(kind) => begin(&id, tool, steps),
            Verdict::Ask => {
                let (tool_use, name, input) = (String::new(), method.to_owned(), params.clone());
                let permission = Permission { id: id.to_string(), tool_use, name, title, input };
                self.ask(permission, Undecided::Ours { id, tool }, steps);
            }
            Verdict::Refuse => {
                self.was_refused = true;
                refuse(id, title, "refused by the task's approval or sandbox mode", steps);
            }
        }
    }

    fn ask(&mut self, permission: Permission, undecided: Undecided, steps: &mut Steps) {
        self.undecided.insert(permission.id.clone(), undecided);
        steps.push(Step::Ask(permission));
    }

    /// A yes is for one use.
    fn has_yes(&mut self, kind: &str) -> bool {
        // Some agents have no word for the kind of a tool, or another one: but never one that says that it only reads.
        let other = |given: &str| !matches!(given, "edit" | "execute") && !permission::only_reads(given);
        let fits = |given: &String| given == kind || other(given);
        let at = self.yeses.iter().position(fits);
        at.map(|at| self.yeses.remove(at)).is_some()
    }

    /// A person has answered the question of that id.
    pub(super) fn permitted(
        &mut self,
        id: &str,
        is_allowed: bool,
        transcript: &mut Transcript,
        steps: &mut Steps,
    ) {
        match self.undecided.remove(id) {
            Some(Undecided::OwnTool(own)) => {
                if is_allowed {
                    self.yeses.extend(transcript.calls.get(&own.use_id).map(|call| call.kind.clone()));
                }
                self.decide(own, is_allowed, "refused by a person".to_owned(), transcript, steps);
            }
            Some(Undecided::Ours { id, tool }) if is_allowed => begin(&id, tool, steps),
            Some(Undecided::Ours { id, tool }) => {
                self.was_refused = true;
                let title = question(&tool).map(|(_, title)| title).unwrap_or_default();
                refuse(id, title, "refused by a person", steps);
            }
            None => {}
        }
    }

    /// Answers whether the agent may use a tool of its own. `why`: what is told of a no.
    fn decide(
        &mut self,
        own: OwnTool,
        is_allowed: bool,
        why: String,
        transcript: &mut Transcript,
        steps: &mut Steps,
    ) {
        let outcome = permission::outcome(&own.options, is_allowed);
        if !is_allowed || outcome["outcome"] == "cancelled" {
            self.was_refused = true;
            transcript.refused(&own.use_id, why, steps);
        }
        answer_permission(own.id, outcome, steps);
    }

    /// We ask the agent to stop.
    pub(super) fn cancel(&mut self) {
        self.was_cancelled = true;
    }

    /// What the agent cancelled it did because of a no, and not because it was told to.
    pub(super) fn is_given_up(&self) -> bool {
        self.was_refused && !self.was_cancelled
    }
}

/// Hands over what came of a use.
pub(super) fn used(id: &str, came: Result<ToolReply, ToolError>, steps: &mut Steps) {
    let request: Value = from_str(id).unwrap_or_default();
    let result = match came {
        Ok(ToolReply::Text(text)) => json!({"content": text}),
        Ok(ToolReply::Done) => json!({}),
        Ok(ToolReply::Terminal(name)) => json!({"terminalId": name}),
        Ok(ToolReply::Output { text, is_truncated, exit }) => {
            json!({"output": text, "truncated": is_truncated, "exitStatus": exit.as_ref().map(exit_status)})
        }
        Ok(ToolReply::Exit(ended)) => exit_status(&ended),
        Err(ToolError::Outside(sentence)) => return refuse(request, sentence.clone(), &sentence, steps),
        Err(ToolError::NotFound(sentence)) => return fail(request, NOT_FOUND, &sentence, steps),
        Err(ToolError::Failed(sentence)) => return fail(request, FAILED, &sentence, steps),
    };
    steps.push(Step::Send(Rpc::V2.answer(request, result)));
}

fn answer_permission(id: Value, outcome: Value, steps: &mut Steps) {
    steps.push(Step::Send(Rpc::V2.answer(id, json!({"outcome": outcome}))));
}

fn begin(id: &Value, tool: ClientTool, steps: &mut Steps) {
    steps.push(Step::Use { id: id.to_string(), tool });
}

fn refuse(id: Value, what: String, why: &str, steps: &mut Steps) {
    steps.push(Step::Event(Event::PermissionDenied { what }));
    fail(id, FAILED, why, steps);
}

fn fail(id: Value, code: i64, sentence: &str, steps: &mut Steps) {
    steps.push(Step::Send(Rpc::V2.error(id, code, sentence)));
}

/// The kind of what needs a yes, as the protocol has it, and what a person is told of it; none for what needs none: an agent
/// that reads by itself asks nobody, and who has a terminal may end it.
fn question(tool: &ClientTool) -> Option<(&'static str, String)> {
    match tool {
        ClientTool::WriteFile { path, .. } => Some(("edit", format!("write {}", path.display()))),
        ClientTool::CreateTerminal { command, args, .. } => {
            let words: Vec<&str> = std::iter::once(command).chain(args).map(String::as_str).collect();
            Some(("execute", format!("run {}", words.join(" "))))
        }
        _ => None,
    }
}

/// What a request asks for.
fn tool(method: &str, params: &Value) -> Result<ClientTool, String> {
    let text = |name: &str| {
        let text = params[name].as_str().map(str::to_owned);
        text.ok_or_else(|| format!("{method} needs `{name}`, a text"))
    };
    let number = |name: &str| match &params[name] {
        Value::Null => Ok(None),
        value => match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("`{name}` of {method} is a number from 0")),
        },
    };
    let list = |name: &str| params[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let terminal = || text("terminalId");
    Ok(match method {
        "fs/read_text_file" => ClientTool::ReadFile {
            path: text("path")?.into(),
            line: number("line")?.unwrap_or(1),
            limit: number("limit")?,
        },
        "fs/write_text_file" => ClientTool::WriteFile { path: text("path")?.into(), text: text("content")? },
        "terminal/create" => {
            let args = list("args").iter().map(|word| word.as_str().map(str::to_owned));
            let pair =
                |pair: &Value| Some((pair["name"].as_str()?.to_owned(), pair["value"].as_str()?.to_owned()));
            let wrong = |name: &str| format!("`{name}` of {method} has something else in it than texts");
            ClientTool::CreateTerminal {
                command: text("command")?,
                args: args.collect::<Option<_>>().ok_or_else(|| wrong("args"))?,
                env: list("env").iter().map(pair).collect::<Option<_>>().ok_or_else(|| wrong("env"))?,
                dir: params["cwd"].as_str().map(Into::into),
                output_limit: number("outputByteLimit")?,
            }
        }
        "terminal/output" => ClientTool::TerminalOutput { terminal: terminal()? },
        "terminal/wait_for_exit" => ClientTool::AwaitExit { terminal: terminal()? },
        "terminal/kill" => ClientTool::KillTerminal { terminal: terminal()? },
        "terminal/release" => ClientTool::ReleaseTerminal { terminal: terminal()? },
        _ => return Err(format!("clinvk does not know {method}")),
    })
}

fn exit_status(ended: &Ended) -> Value {
    let signal = ended.signal.map(|signal| match signal {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        6 => "SIGABRT".to_owned(),
        9 => "SIGKILL".to_owned(),
        11 => "SIGSEGV".to_owned(),
        13 => "SIGPIPE".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => other.to_string(),
    });
    json!({"exitCode": ended.code, "signal": signal})
}
