//! What an agent tells while it answers (`session/update`), and the events that this becomes: the pieces of its answer, its
//! thoughts, its uses of tools, its plan, what it used. What is told of one is known to the others: a tool's use ends a
//! message, and text tells the uses before it.

use super::Quirks;
use super::choices::Choices;
use super::message::AnswerText;
use super::quirks::RETRY;
use super::tools::{self, ToolCall, ToolCalls};
use super::usage::Meter;
use crate::backend::{Step, Steps};
use crate::base::json::{Value, text};
use crate::config::UsageOf;
use crate::model::event::{Event, PlanEntry};

/// All that the agent has told in this turn.
pub(super) struct Transcript {
    pub(super) answer: AnswerText,
    pub(super) calls: ToolCalls,
    pub(super) meter: Meter,
}

impl Transcript {
    pub(super) fn new(usage: UsageOf) -> Transcript {
        Transcript { answer: AnswerText::default(), calls: ToolCalls::default(), meter: Meter::new(usage) }
    }

    /// An update of that kind.
    pub(super) fn update(
        &mut self,
        kind: &str,
        update: &Value,
        agent: &mut dyn Quirks,
        choices: &Choices,
        steps: &mut Steps,
    ) {
        match kind {
            "agent_message_chunk" => self.piece(update, agent, steps),
            "agent_thought_chunk" => {
                self.calls.tell_all(steps);
                steps.push(Step::Answering);
                let thought = agent.thought(text(&update["content"]["text"])).to_owned();
                steps.push(Step::Event(Event::Thinking(thought)));
            }
            "tool_call" | "tool_call_update" => self.tool(update, agent, steps),
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
                let is_left = choices.mode().is_some_and(|chosen| chosen != mode);
                let stage = if is_left { "warning" } else { "mode" };
                steps.push(Step::progress(stage, format!("{} is in mode {mode} now", agent.name())));
            }
            "session_info_update" => {
                let error = &update["_meta"]["codex"]["error"];
                if error["willRetry"] == true {
                    let message =
                        format!("{} {}", text(&error["message"]), text(&error["additionalDetails"]));
                    steps.push(Step::progress(RETRY, message));
                    self.answer.begin_anew(steps);
                }
            }
            // Commands there are, our own prompt, what later versions invent.
            _ => {}
        }
    }

    /// A piece of the answer.
    fn piece(&mut self, update: &Value, agent: &dyn Quirks, steps: &mut Steps) {
        self.calls.tell_all(steps);
        let (content, id) = (&update["content"], &update["messageId"]);
        if self.meter.piece(&update["_meta"]["usage"]) {
            steps.push(Step::Answering);
        }
        if !content["type"].is_null() && content["type"] != "text" {
            let kind = text(&content["type"]);
            return steps
                .push(Step::warning(format!("a part of the answer is no text and is not told: {kind}")));
        }
        match agent.note(update) {
            None => self.answer.tell(text(&content["text"]), id, steps),
            Some((stage, message)) => {
                steps.push(Step::progress(stage, message));
                if stage == RETRY {
                    self.answer.begin_anew(steps);
                }
            }
        }
    }

    fn tool(&mut self, update: &Value, agent: &mut dyn Quirks, steps: &mut Steps) {
        self.answer.interrupted();
        let call = self.calls.hear(agent, update);
        let is_error = match text(&update["status"]) {
            "completed" => false,
            "failed" => true,
            _ if tools::is_announced(update) => return steps.push(Step::Answering),
            _ => return call.tell(steps),
        };
        let output = tools::output(update);
        agent.tool_ended(&output);
        call.end(output, is_error, steps);
    }

    /// The agent asks about a use of a tool: the use is told, and then what is asked.
    pub(super) fn questioned(&mut self, call: &Value, agent: &dyn Quirks, steps: &mut Steps) -> &ToolCall {
        self.answer.interrupted();
        let call = self.calls.hear(agent, call);
        call.tell(steps);
        call
    }

    /// The use was refused: after a no some agents say nothing more of it.
    pub(super) fn refused(&mut self, use_id: &str, why: String, steps: &mut Steps) {
        let Some(call) = self.calls.get(use_id) else { return };
        steps.push(Step::Event(Event::PermissionDenied { what: call.what() }));
        call.end(why, true, steps);
    }
}
