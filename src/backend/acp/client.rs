//! What the agent may use of its client, where the configuration offers it: files and terminals, under the task's modes.

use super::permission::{self, Answers, Verdict};
use crate::backend::jsonrpc::{INVALID_PARAMS, Rpc};
use crate::backend::{ClientTool, Ended, Step, Steps, ToolError, ToolReply};
use crate::base::json::{Value, from_str, json};
use crate::model::event::{Event, Permission};
use crate::model::task::{Sandbox, Task, ToolUse};
use std::collections::BTreeMap;

/// The protocol's code for what is not there.
const NOT_FOUND: i64 = -32002;
/// ... and for what cannot be done.
const FAILED: i64 = -32603;

/// What is offered to an agent, and what of it is still undecided.
pub(super) struct Client {
    offers: Offers,
    /// Uses that a person has to allow: the ids of the requests.
    questions: BTreeMap<String, (Value, ClientTool)>,
    /// The kinds of tools for which a person has said yes to the agent: it asks first, and then has us do it.
    yeses: Vec<String>,
}

/// How much is offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::backend) enum Offers {
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
    pub(super) fn new(offers: Offers) -> Client {
        Client { offers, questions: BTreeMap::new(), yeses: Vec::new() }
    }

    /// Whether a request is one for what is offered, or would be in another mode.
    pub(super) fn knows(&self, method: &str) -> bool {
        self.offers != Offers::Nothing && (method.starts_with("fs/") || method.starts_with("terminal/"))
    }

    /// A person has said yes to a question of the agent's about a tool of that kind.
    pub(super) fn allow(&mut self, kind: &str) {
        self.yeses.push(kind.to_owned());
    }

    /// The agent wants something done. Returns whether it was refused.
    pub(super) fn request(
        &mut self,
        answers: &Answers,
        id: Value,
        method: &str,
        params: &Value,
        steps: &mut Steps,
    ) -> bool {
        let tool = match tool(method, params) {
            Ok(tool) => tool,
            Err(sentence) => {
                steps.push(Step::Send(Rpc::V2.error(id, INVALID_PARAMS, &sentence)));
                return false;
            }
        };
        let Some((kind, title)) = question(&tool) else {
            begin(&id, tool, steps);
            return false;
        };
        match answers.verdict(kind, method) {
            Verdict::Allow => begin(&id, tool, steps),
            Verdict::Ask if self.has_yes(kind) => begin(&id, tool, steps),
            Verdict::Ask => {
                let (tool_use, name) = (String::new(), method.to_owned());
                let permission =
                    Permission { id: id.to_string(), tool_use, name, title, input: params.clone() };
                self.questions.insert(permission.id.clone(), (id, tool));
                steps.push(Step::Ask(permission));
            }
            Verdict::Refuse => {
                refuse(id, title, "refused by the task's approval or sandbox mode", steps);
                return true;
            }
        }
        false
    }

    /// A yes is for one use.
    fn has_yes(&mut self, kind: &str) -> bool {
        // Some agents have no word for the kind of a tool, or another one: but never one that says that it only reads.
        let other = |given: &str| !matches!(given, "edit" | "execute") && !permission::only_reads(given);
        let fits = |given: &String| given == kind || other(given);
        let at = self.yeses.iter().position(fits);
        at.map(|at| self.yeses.remove(at)).is_some()
    }

    /// A person has answered the question of that id. Returns whether it was a no.
    pub(super) fn permitted(&mut self, id: &str, is_allowed: bool, steps: &mut Steps) -> bool {
        let Some((request, tool)) = self.questions.remove(id) else { return false };
        if is_allowed {
            begin(&request, tool, steps);
        } else {
            let title = question(&tool).map(|(_, title)| title).unwrap_or_default();
            refuse(request, title, "refused by a person", steps);
        }
        !is_allowed
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
        Err(ToolError::NotFound(sentence)) => {
            return steps.push(Step::Send(Rpc::V2.error(request, NOT_FOUND, &sentence)));
        }
        Err(ToolError::Failed(sentence)) => {
            return steps.push(Step::Send(Rpc::V2.error(request, FAILED, &sentence)));
        }
    };
    steps.push(Step::Send(Rpc::V2.answer(request, result)));
}

fn begin(id: &Value, tool: ClientTool, steps: &mut Steps) {
    steps.push(Step::Use { id: id.to_string(), tool });
}

fn refuse(id: Value, what: String, why: &str, steps: &mut Steps) {
    steps.push(Step::Event(Event::PermissionDenied { what }));
    steps.push(Step::Send(Rpc::V2.error(id, FAILED, why)));
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
