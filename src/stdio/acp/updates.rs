//! What a run says, as updates of its session; and what it asks the person who sits before the client.

use super::sessions::Open;
use super::{Agent, tools};
use crate::base::json::{Value, json, text};
use crate::base::sync::lock;
use crate::exec::{Clock, Control};
use crate::model::error::{Error, Limit};
use crate::model::event::{Event, Listener, Permission, PlanEntry, seam, title_of_tool};
use crate::model::outcome::Outcome;
use crate::session::Session;
use crate::stdio::Client;
use std::collections::BTreeSet;
use std::io;

/// Tells the client something of a session.
pub(super) fn update(client: &Client, session: &str, update: Value) -> io::Result<()> {
    client.notify("session/update", json!({"sessionId": session, "update": update}))
}

/// A piece of a text.
pub(super) fn chunk(kind: &str, text: &str) -> Value {
    json!({"sessionUpdate": kind, "content": content(text)})
}

fn content(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// Tells a client what a run says.
pub(super) struct Updates<'a> {
    agent: &'a Agent<'a>,
    open: &'a Open,
    control: &'a Control,
    /// Began with the run.
    clock: Clock,
    /// Our session begins with this turn.
    is_new: bool,
    /// What the client has of the answer is void, and there is nothing in its place yet.
    broken: bool,
    /// The person has just denied a permission.
    denied: bool,
    /// Uses of tools that the client shows as a diff.
    diffs: BTreeSet<String>,
}

impl<'a> Updates<'a> {
    pub(super) fn new(
        agent: &'a Agent<'a>,
        open: &'a Open,
        control: &'a Control,
        is_new: bool,
    ) -> Updates<'a> {
        Updates {
            agent,
            open,
            control,
            clock: Clock::start(),
            is_new,
            broken: false,
            denied: false,
            diffs: BTreeSet::new(),
        }
    }

    fn update(&self, json: Value) -> io::Result<()> {
        update(self.agent.client, &self.open.id, json)
    }

    /// A sentence that is no part of the answer: the protocol has no place for it but the agent's thoughts.
    pub(super) fn note(&self, stage: &str, message: &str) -> io::Result<()> {
        let mut chunk = chunk("agent_thought_chunk", &format!("\n\n{message}\n\n"));
        chunk["_meta"] = json!({"clinvk": {"stage": stage}});
        self.update(chunk)
    }

    /// What is worth knowing at the end and was told by no event.
    fn done(&self, outcome: &Outcome) -> io::Result<()> {
        for (backend, failure) in &outcome.tried {
            let message = format!("{backend} could not answer: {}", failure.message);
            self.note("fallback", &message)?;
        }
        if let Some(failure) = &outcome.session_failure {
            self.note("warning", &format!("the session was not saved: {}", failure.message))?;
        }
        Ok(())
    }

    /// Whether the run may still go on.
    fn may_wait(&self) -> bool {
        let wall = self.control.wall;
        !self.control.cancel.is_thrown() && (wall.is_zero() || self.clock.ran() < wall)
    }
}

impl Listener for Updates<'_> {
    fn begin(&mut self, _backend: &str, session: Option<&str>) -> io::Result<()> {
        let session = session.filter(|_| self.is_new).and_then(|id| self.agent.engine.store.load(id).ok());
        let Some(Session { title, last_used_at, .. }) = session else { return Ok(()) };
        self.update(
            json!({"sessionUpdate": "session_info_update", "title": title, "updatedAt": last_used_at}),
        )
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Text(text) => {
                // What is told is told: the answer begins anew in a paragraph of its own.
                let seam = if std::mem::take(&mut self.broken) { seam(text) } else { "" };
                self.update(chunk("agent_message_chunk", &format!("{seam}{text}")))
            }
            Event::Void(characters) => {
                self.broken = true;
                let message = format!("the answer broke off: its last {characters} characters are void");
                self.note("void", &message)
            }
            Event::Thinking(text) => self.update(chunk("agent_thought_chunk", text)),
            Event::ToolUse { id, name, input, parent } => {
                let mut call = tool(id, name, &title_of_tool(name, input), input);
                call["sessionUpdate"] = json!("tool_call");
                call["status"] = json!("in_progress");
                if call.get("content").is_some() {
                    self.diffs.insert(id.clone());
                }
                self.update(of_agent(call, parent))
            }
            Event::ToolResult { id, output, is_error, parent, .. } => {
                let status = if *is_error { "failed" } else { "completed" };
                let content = [json!({"type": "content", "content": content(output)})];
                let mut result =
                    json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "status": status});
                // It would stand in the place of the diff.
                if !output.is_empty() && (*is_error || !self.diffs.contains(id)) {
                    result["content"] = json!(content);
                }
                self.update(of_agent(result, parent))
            }
            Event::Plan(entries) => {
                let entries: Vec<Value> = entries.iter().map(entry).collect();
                self.update(json!({"sessionUpdate": "plan", "entries": entries}))
            }
            // No user need act on it.
            Event::Progress { stage, message } if stage == "notice" => {
                log::debug!("{message}");
                Ok(())
            }
            Event::Progress { stage, message } => self.note(stage, message),
            Event::Model { .. } => self.note("model", &event.warning().unwrap_or_default()),
            // The person who said so knows.
            Event::PermissionDenied { .. } if std::mem::take(&mut self.denied) => Ok(()),
            Event::PermissionDenied { .. } => self.note("permission", &event.warning().unwrap_or_default()),
            Event::Done(outcome) => self.done(outcome),
            // The tokens are in the answer to the prompt. `usage_update` tells how full the model's context is, which no
            // backend tells us.
            Event::Started { .. } | Event::Usage(_) | Event::Line(_) => Ok(()),
        }
    }

    fn permission(&mut self, asked: &Permission) -> io::Result<bool> {
        if let Some(settled) = lock(&self.open.settled).get(&asked.name) {
            return Ok(*settled);
        }
        let id = if asked.tool_use.is_empty() { &asked.id } else { &asked.tool_use };
        let mut call = tool(id, &asked.name, &asked.title, &asked.input);
        call["status"] = json!("pending");
        let params = json!({"sessionId": self.open.id, "toolCall": call, "options": options(&asked.name)});
        let client = self.agent.client;
        let answer = match client.ask("session/request_permission", params, || self.may_wait())? {
            None => {
                let after = self.control.wall;
                return Err(io::Error::other(match self.control.cancel.is_thrown() {
                    true => Error::Cancelled,
                    false => Error::TimedOut { limit: Limit::Wall, after },
                }));
            }
            Some(Ok(result)) => result,
            Some(Err(error)) => {
                let why = text(&error["message"]);
                self.note("warning", &format!("the client cannot be asked for a permission: {why}"))?;
                return Ok(false);
            }
        };
        // Anything else is no yes, `cancelled` among it.
        let outcome = &answer["outcome"];
        let choice = if outcome["outcome"] == "selected" { text(&outcome["optionId"]) } else { "" };
        let allowed = choice.starts_with("allow");
        self.denied = !allowed;
        if choice.ends_with("always") {
            lock(&self.open.settled).insert(asked.name.clone(), allowed);
        }
        Ok(allowed)
    }
}

/// What a person can answer. What is said `always` holds for the tool and this session.
fn options(tool: &str) -> Value {
    let option = |kind: &str, name: String| json!({"optionId": kind, "kind": kind, "name": name});
    json!([
        option("allow_once", "Allow".to_owned()),
        option("allow_always", format!("Always allow {tool} in this session")),
        option("reject_once", "Reject".to_owned()),
        option("reject_always", format!("Always reject {tool} in this session")),
    ])
}

fn tool(id: &str, name: &str, title: &str, input: &Value) -> Value {
    let mut call = json!({
        "toolCallId": id,
        "title": title,
        "kind": tools::kind(name, input),
    });
    // A question says nothing of what the client knows of the tool already.
    if !input.is_null() {
        call["rawInput"] = input.clone();
        call["locations"] = json!(tools::locations(input));
        let diffs = tools::diffs(input);
        if !diffs.is_empty() {
            call["content"] = json!(diffs);
        }
    }
    call
}

/// With the sub-agent that it is of, where it is of one.
fn of_agent(mut json: Value, parent: &Option<String>) -> Value {
    if let Some(parent) = parent {
        json["_meta"] = json!({"clinvk": {"parent": parent}});
    }
    json
}

fn entry(entry: &PlanEntry) -> Value {
    let priority = if entry.priority.is_empty() { "medium" } else { &entry.priority };
    json!({"content": entry.content, "priority": priority, "status": entry.status})
}
