//! Agents that speak the Agent Client Protocol, version 1: JSON-RPC on their pipes, one process a turn. Any of them is a
//! backend by its command alone; what more is known of one the configuration says. Measured on fourteen of them: the recorded
//! dialogues in tests/data/acp.

mod choices;
mod client; // what the agent asks
mod failure;
mod handshake; // before there is a session
mod message;
mod mux; // runs that share an agent's process
mod params;
mod permission;
mod prompt;
mod quirks; // what differs from one to the next
mod tools;
mod turn;
mod updates; // what the agent tells
mod usage;

pub(super) use client::Offers;
pub(super) use failure::{kind_of_words, sentence_in};
pub(super) use mux::{AcpMux, GoingOn};
pub(super) use params::TurnParams;
pub(super) use permission::Answers;
pub(super) use prompt::{Guards, begins_like_a_command, blocks};
pub(super) use quirks::Quirks;
pub(super) use turn::AcpTurn;

use super::command::Spec;
use super::{Backend, Dialogue, Keeping, Launch};
use crate::base::json::{Value, json};
use crate::config::SystemBy;
use crate::model::error::Error;
use crate::model::task::{Approval, Sandbox, Task, TaskOption, ToolUse};
use choices::Choice;
use std::collections::VecDeque;
use std::time::Duration;

/// As good as no limit: a year.
const NO_LIMIT: Duration = Duration::from_secs(31_536_000);

/// An agent that the configuration declares.
pub(crate) struct Acp(pub(crate) Spec);

impl Backend for Acp {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn program(&self) -> &str {
        self.0.program()
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        let modes = &self.0.declared.modes;
        let mapped =
            |modes: &[&String], why| if modes.iter().all(|mode| mode.is_empty()) { Err(why) } else { Ok(()) };
        match option {
            TaskOption::ApprovalAuto => mapped(
                &[&modes.auto, &modes.always],
                "neither `modes.auto` nor `modes.always` is declared in the configuration, and it may do more without a question",
            ),
            TaskOption::ApprovalAlways => mapped(
                &[&modes.always],
                "its `modes.always` is not declared in the configuration, and it may do things without a question",
            ),
            TaskOption::SandboxReadOnly => mapped(
                &[&modes.read_only, &modes.always],
                "neither `modes.read_only` nor `modes.always` is declared in the configuration, and it may write without a question",
            ),
            TaskOption::SandboxWorkspace => {
                Err("what it does is not confined to the workspace: use `read-only`")
            }
            TaskOption::MaxTurns | TaskOption::MaxTokens => {
                Err("the protocol has no such limit (a time limit bounds a run)")
            }
            TaskOption::AllowedTools | TaskOption::DeniedTools => {
                Err("the protocol has no list of tools (`--sandbox` and `--approval` bound what they can do)")
            }
            TaskOption::Schema => Err("the protocol has no schema: describe the form in the prompt"),
            TaskOption::NoProjectConfig => Err("it reads a project's files in its own way"),
            TaskOption::Extra => Err("its flags are words of its `command`"),
            // What only the agent itself can say is found out in the dialogue.
            _ => Ok(()),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.0.models
    }

    fn version_args(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        Ok(Launch {
            program: self.program().to_owned(),
            args: self.0.command_line(task)?,
            env: self.0.declared.env.clone().into_iter().collect(),
            dir: task.dir.clone(),
            model_is_remote: true,
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        Box::new(AcpTurn::new(Box::new(quirks::Plain(self.0.name.clone())), self.params(task)))
    }

    fn keeps(&self, task: &Task) -> Option<Keeping> {
        if self.0.declared.locks_sessions || (task.interpret && begins_like_a_command(&task.prompt)) {
            return None;
        }
        let task = Keeping::of_all_turns(task);
        let TurnParams { offers, add_dirs, servers, session, auth_method, mut choices, .. } =
            self.params(&task);
        // What belongs to a session is among it, so that none goes on with less than its task asks for. Only a model is
        // chosen anew in each run: one that goes on asks for the model that it has.
        choices.retain(|(choice, _)| *choice != Choice::Model);
        let opening = (offers, add_dirs, servers, session, &auth_method, choices);
        let agent = Box::new(quirks::Plain(self.0.name.clone()));
        Some(Keeping {
            shape: format!("{:?} {opening:?}", self.launch(&task).ok()?),
            is_shared: true,
            mux: Box::new(AcpMux::new(agent, GoingOn::Possible, offers, auth_method)),
        })
    }

    /// As if the agent could do all, and listed what is chosen.
    fn rehearsal(&self, task: &Task) -> Vec<String> {
        let params = self.params(task);
        let mut results = vec![json!({"protocolVersion": 1, "agentCapabilities": {
            "loadSession": true,
            "mcpCapabilities": {"http": true, "sse": true},
            "promptCapabilities": {"image": true, "embeddedContext": true},
            "sessionCapabilities": {"additionalDirectories": {}, "delete": {}, "resume": {}, "systemPrompt": {}},
        }})];
        results.extend(params.auth_method.is_some().then(|| json!({})));
        let option = |(choice, wanted): &(Choice, String)| {
            let category = match choice {
                Choice::Model => "model",
                Choice::Mode => "mode",
                Choice::Effort => "thought_level",
            };
            let options = json!([{"value": wanted, "name": wanted}]);
            json!({"id": category, "category": category, "options": options})
        };
        let options: Vec<Value> = params.choices.iter().map(option).collect();
        results.push(json!({"sessionId": "<sessionId>", "configOptions": options}));
        results.extend(params.choices.iter().map(|_| json!({})));
        let answer =
            |(index, result): (usize, Value)| json!({"jsonrpc": "2.0", "id": index + 1, "result": result});
        results.into_iter().enumerate().map(answer).map(|line| line.to_string()).collect()
    }
}

impl Acp {
    /// A task in the protocol's words.
    fn params(&self, task: &Task) -> TurnParams {
        let declared = &self.0.declared;
        let dir = task.dir.to_string_lossy().into_owned();
        let uri =
            |path: &str| format!("file://{}", task.dir.join(path).to_string_lossy().replace(' ', "%20"));
        let mut prompt = blocks(task, Guards::Around, &uri);
        let (system_by, session) = self.system(task, &mut prompt);
        let limit = match declared.start_timeout_secs {
            0 => NO_LIMIT,
            seconds => Duration::from_secs(seconds),
        };
        TurnParams {
            prompt,
            dir,
            answers: Answers::with_bounds_of(task),
            offers: if declared.client_tools { Offers::within(task) } else { Offers::Nothing },
            add_dirs: task.add_dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
            servers: task.mcp.clone(),
            session,
            system_by,
            resume: task.resume.clone().filter(|_| !task.ephemeral),
            auth_method: Some(declared.auth_method.clone()).filter(|method| !method.is_empty()),
            choices: self.choices(task),
            usage: declared.usage,
            failure_texts: declared.failure_texts.clone(),
            start_limit: Some((limit, format!("backends.{}.start_timeout_secs", self.0.name))),
            ephemeral: task.ephemeral,
            lenient: task.lenient,
            is_command: task.interpret && begins_like_a_command(&task.prompt),
        }
    }

    /// The model, unless the command line has it; the mode that holds what the task asks for; the effort.
    fn choices(&self, task: &Task) -> VecDeque<(Choice, String)> {
        let model = task.model.clone().filter(|_| !self.0.names_model());
        let effort = task.effort.map(|effort| effort.word().to_owned());
        let mode = Some(self.mode(task).to_owned()).filter(|mode| !mode.is_empty());
        let choices = [(Choice::Model, model), (Choice::Mode, mode), (Choice::Effort, effort)];
        choices.into_iter().filter_map(|(choice, wanted)| Some((choice, wanted?))).collect()
    }

    fn mode(&self, task: &Task) -> &str {
        let modes = &self.0.declared.modes;
        fn first<'a>(modes: &[&'a String]) -> &'a str {
            modes.iter().find(|mode| !mode.is_empty()).map_or("", |mode| mode)
        }
        if task.sandbox == Sandbox::ReadOnly || task.tools != ToolUse::AsConfigured {
            return first(&[&modes.read_only, &modes.always]);
        }
        match task.approval {
            Approval::Default => &modes.default,
            Approval::Auto => first(&[&modes.auto, &modes.always]),
            Approval::None => &modes.none,
            Approval::Always => &modes.always,
        }
    }

    /// How the system prompt gets to the agent: in front of the prompt, or in a member of what opens the session.
    fn system(&self, task: &Task, prompt: &mut Vec<Value>) -> (Option<SystemBy>, Value) {
        let texts = [task.system.as_deref(), task.append_system.as_deref()];
        let all = texts.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        if all.is_empty() {
            return (None, json!({}));
        }
        let by = self.0.declared.system_by;
        let session = match (by, &task.system) {
            (SystemBy::Prompt, _) => {
                prompt.insert(0, prompt::text_block(&format!("{all}\n\n")));
                json!({})
            }
            (SystemBy::Meta, Some(_)) => json!({"_meta": {"systemPrompt": all}}),
            (SystemBy::Meta, None) => json!({"_meta": {"systemPrompt": {"append": all}}}),
            // Those who know this way add to their own prompt only.
            (SystemBy::Session, _) => {
                let content = [prompt::text_block(&all)];
                json!({"systemPrompt": {"mode": "append", "content": content}})
            }
        };
        (Some(by), session)
    }
}
