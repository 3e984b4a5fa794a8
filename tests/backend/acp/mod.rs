//! Agents that speak the Agent Client Protocol: what recorded ones said, and the traps that none of the recordings has.

mod mux;
pub(super) mod recorded;
mod run;
mod said;
mod traps;

use crate::util::replay::Played;
use clinvk::backend::{Agents, Backend, Dialogue, Registry, Step, Steps};
use clinvk::config::Config;
use clinvk::model::event::Event;
use clinvk::model::task::Task;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An agent that the configuration declares with these keys besides its command.
fn declared(keys: Value) -> Arc<dyn Backend> {
    let mut agent = json!({"protocol": "acp", "command": ["agent"]});
    agent.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let file = json!({"backends": {"agent": agent}}).to_string();
    let home = crate::util::scene::Scene::new();
    home.file("config.json", file);
    let config = Config::load(&home.path(""), None, &BTreeMap::new()).unwrap().config;
    Registry::of(&config, "clinvk", Agents::Configured).0.get("agent").unwrap()
}

/// An agent that is known by name.
fn known(name: &str) -> Arc<dyn Backend> {
    Registry::of(&Config::default(), "clinvk", Agents::Known).0.get(name).unwrap()
}

fn task(prompt: &str) -> Task {
    Task { prompt: prompt.into(), dir: "/src/project".into(), scratch: "/scratch".into(), ..Task::default() }
}

/// A turn that is talked through step by step: the answers to requests of ours are given by their methods.
struct Talk {
    dialogue: Box<dyn Dialogue>,
    played: Played,
    /// The agent's lines.
    heard: Vec<String>,
}

impl Talk {
    fn new(backend: &dyn Backend, task: &Task) -> Talk {
        let mut talk =
            Talk { dialogue: backend.dialogue(task), played: Played::default(), heard: Vec::new() };
        talk.hear(|dialogue, steps| dialogue.start(steps));
        talk
    }

    /// As far as the prompt, with an agent that can do all.
    fn prompted(backend: &dyn Backend, task: &Task) -> Talk {
        let mut talk = Talk::new(backend, task);
        for line in backend.rehearsal(task) {
            talk.line(&line);
        }
        assert_eq!(talk.last()["method"], "session/prompt", "{:?}", talk.played);
        talk
    }

    fn hear(&mut self, say: impl FnOnce(&mut dyn Dialogue, &mut Steps)) -> Steps {
        let mut steps = Steps::new();
        say(&mut *self.dialogue, &mut steps);
        self.played.take(steps.clone());
        steps
    }

    fn line(&mut self, line: &str) -> Steps {
        self.heard.push(line.to_owned());
        self.hear(|dialogue, steps| dialogue.line(line, steps))
    }

    fn lines(&mut self, lines: &[Value]) -> &mut Talk {
        lines.iter().for_each(|line| drop(self.line(&line.to_string())));
        self
    }

    /// All that was said.
    fn said(&self) -> Vec<Value> {
        self.played.said.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last request.
    fn last(&self) -> Value {
        let is_request = |line: &Value| line["method"].is_string() && line["id"].is_u64();
        self.said().into_iter().rfind(is_request).expect("something was asked")
    }

    /// Answers the last request.
    fn answer(&mut self, result: Value) -> &mut Talk {
        let id = self.last()["id"].clone();
        self.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
        self
    }

    fn refuse(&mut self, code: i64, message: &str) -> &mut Talk {
        let id = self.last()["id"].clone();
        let error = json!({"code": code, "message": message});
        self.line(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
        self
    }

    /// Ends the turn well.
    fn end(&mut self) -> &mut Talk {
        self.answer(json!({"stopReason": "end_turn"}))
    }

    /// The methods that were asked for.
    fn methods(&self) -> Vec<String> {
        self.said()
            .iter()
            .filter_map(|line| Some(line["method"].as_str()?.trim_start_matches("session/").to_owned()))
            .collect()
    }

    fn warnings(&self) -> Vec<String> {
        let told = self.played.events.iter().filter_map(|event| match event {
            Event::Progress { stage, message } if stage == "warning" => Some(message.clone()),
            _ => None,
        });
        told.collect()
    }

    fn failure(&self) -> (&'static str, &str) {
        match &self.played.result {
            Some(Err(failure)) => (failure.kind.word(), &failure.message),
            _ => (self.played.ending(), ""),
        }
    }
}

fn update(update: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": update}})
}

fn chunk(text: &str) -> Value {
    update(json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}))
}

fn tool(name: &str, id: &str, more: Value) -> Value {
    let mut call = json!({"sessionUpdate": name, "toolCallId": id});
    call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    update(call)
}

/// A question about this use of a tool, with an answer of each kind.
fn question(call: Value) -> Value {
    let option = |kind: &str| json!({"optionId": format!("the-{kind}"), "name": kind, "kind": kind});
    let options: Vec<Value> =
        ["allow_always", "allow_once", "reject_once", "reject_always"].map(option).to_vec();
    let params = json!({"sessionId": "s", "options": options, "toolCall": call});
    json!({"jsonrpc": "2.0", "id": 0, "method": "session/request_permission", "params": params})
}

fn is_finished(steps: &Steps) -> bool {
    steps.iter().any(|step| matches!(step, Step::Finished(_)))
}
