//! From the first answer to the prompt: codex says its version, its settings and, where that matters, its models; then a
//! thread is opened, and its turn is started.

use super::{AppServer, INITIALIZE, INJECT, MODELS, OPEN, SETTINGS, TURN, initialized, request};
use crate::backend::codex::{OLDEST, failure, model, provider};
use crate::backend::jsonrpc::Rpc;
use crate::backend::{Step, Steps, too_old};
use crate::base::collect::inserted;
use crate::base::json::{json, string, take, text};
use crate::model::error::Kind;
use crate::model::event::Event;
use serde_json::{Map, Value};

impl AppServer {
    /// The answer to the request of that number.
    pub(super) fn answered(&mut self, id: Option<u64>, answer: Result<Value, Value>, steps: &mut Steps) {
        match (id, answer) {
            (Some(INITIALIZE | OPEN | TURN | INJECT), Err(error)) => {
                self.finish(Err(failure::of_request(&error)), steps);
            }
            (Some(INITIALIZE), Ok(result)) => self.greeted(&result, steps),
            // One that cannot tell its settings keeps its servers: what they want to do is refused all the same.
            (Some(SETTINGS), answer) => self.configured(&answer.unwrap_or_default()["config"], steps),
            (Some(MODELS), answer) => {
                self.models = take(&mut answer.unwrap_or_default(), "data");
                if let Some(alias) = self.plan.alias {
                    self.plan.thread["model"] = model::behind(alias, &self.models).into();
                }
                self.open(steps);
            }
            (Some(OPEN), Ok(result)) => self.opened(&result, steps),
            (Some(TURN), Ok(result)) => self.turn = string(&result["turn"]["id"]).or(self.turn.take()),
            // `INTERRUPT` among them, refused when the turn was over by itself.
            _ => {}
        }
    }

    fn greeted(&mut self, result: &Value, steps: &mut Steps) {
        // `clinvk/0.169.0 (Debian ...`: our own name, its version.
        let agent = text(&result["userAgent"]);
        let version =
            agent.split_once('/').map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
        if !version.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("codex does not tell its version: clinvk needs {OLDEST} or newer");
            steps.push(Step::warning(message));
        } else if let Some(failure) = too_old("codex", version, OLDEST) {
            return self.finish(Err(failure), steps);
        }
        steps.push(Step::Send(initialized()));
        request(SETTINGS, "config/read", json!({"includeLayers": false}), steps);
    }

    /// Codex has told the user's settings: some of them are changed for this thread.
    fn configured(&mut self, config: &Value, steps: &mut Steps) {
        let mut of_user = config["mcp_servers"].as_object().into_iter().flat_map(Map::keys);
        // Codex would make one of both.
        if let Some(name) = of_user.find(|name| self.plan.servers.contains(*name)) {
            let message = format!("codex is configured with an MCP server `{name}`: give yours another name");
            return self.fail(Kind::InvalidRequest, message, steps);
        }
        if self.plan.without_servers {
            self.leave_out_servers(&config["mcp_servers"]);
        }
        self.bound_requests(config);
        match self.plan.wants_models() {
            true => request(MODELS, "model/list", json!({}), steps),
            false => self.open(steps),
        }
    }

    /// Only by its name can a server be left out of a thread.
    fn leave_out_servers(&mut self, servers: &Value) {
        let names = servers.as_object().into_iter().flat_map(Map::keys);
        let off: Map<String, Value> = inserted(names.map(|name| (name.clone(), json!({"enabled": false}))));
        if !off.is_empty() {
            self.plan.config("mcp_servers", off.into());
        }
    }

    /// Each attempt of codex's is up to five requests where the server fails (`request_max_retries`): one is enough, because
    /// the attempts are counted here.
    fn bound_requests(&mut self, config: &Value) {
        let Some(name) = provider::of_user(config) else { return };
        let once = json!({"request_max_retries": 0});
        self.plan.config("model_providers", json!({name: once}));
        self.bounded = Some(name.to_owned());
    }

    fn open(&mut self, steps: &mut Steps) {
        let line = Rpc::Unmarked.request(OPEN, self.plan.open, self.plan.thread.clone());
        steps.push(match self.plan.servers.is_empty() {
            true => Step::Send(line),
            false => Step::unlogged(line),
        });
    }

    fn opened(&mut self, result: &Value, steps: &mut Steps) {
        let Some(thread) = string(&result["thread"]["id"]) else {
            return self.fail(Kind::Unreadable, "codex opened a session without an id", steps);
        };
        if self.plan.resume.as_ref().is_some_and(|wanted| *wanted != thread) {
            let message = format!("codex continued another session: `{thread}`");
            return self.fail(Kind::SessionNotFound, message, steps);
        }
        let model = string(&result["model"]);
        steps.push(Step::Event(Event::Started { model, session: Some(thread.clone()) }));
        // Codex knows `ultra` of some models only, and passes another effort on for the rest, without a word.
        if self.plan.ultra && !model::has_ultra(&self.models, text(&result["model"])) {
            let message = format!("model `{}` has no effort `ultra`", text(&result["model"]));
            if !self.plan.lenient {
                return self.fail(Kind::InvalidRequest, message, steps);
            }
            self.plan.turn.as_object_mut().map(|turn| turn.remove("effort"));
            steps.push(Step::warning(message));
        }
        let is_bounded = self.bounded.as_deref() == result["modelProvider"].as_str();
        self.attempt = if is_bounded { 1 } else { provider::REQUESTS };
        if let Some(developer) = &self.plan.developer {
            let content = [json!({"type": "input_text", "text": developer})];
            let item = json!({"type": "message", "role": "developer", "content": content});
            request(INJECT, "thread/inject_items", json!({"threadId": thread, "items": [item]}), steps);
        }
        let mut turn = std::mem::take(&mut self.plan.turn);
        turn["threadId"] = thread.as_str().into();
        request(TURN, "turn/start", turn, steps);
        steps.push(Step::Asked);
        self.thread = Some(thread);
    }
}
