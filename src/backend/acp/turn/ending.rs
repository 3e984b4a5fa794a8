//! What the end of a turn means: the agent's answer to the prompt, or an error in the place of any answer. Then the session is
//! removed, where it shall not stay.

use super::{AcpTurn, Stage};
use crate::backend::acp::{failure, usage};
use crate::backend::{Step, Steps};
use crate::base::json::{Value, json, text};
use crate::config::UsageOf;
use crate::model::error::{Failure, Kind};
use crate::model::event::Event;
use std::time::Duration;

/// How long an agent may take to remove a session.
const REMOVING_TAKES: Duration = Duration::from_secs(5);

impl AcpTurn {
    /// The prompt is done, one way or the other.
    pub(super) fn ended(&mut self, result: &Value, steps: &mut Steps) {
        self.transcript.calls.tell_all(steps);
        let usage = self.transcript.meter.sum(result);
        steps.extend(usage.map(|usage| Step::Event(Event::Usage(usage))));
        let outcome = self.outcome(result, steps);
        self.over(outcome, steps);
    }

    /// What became of the turn, by the agent's answer to the prompt.
    fn outcome(&mut self, result: &Value, steps: &mut Steps) -> Result<(), Failure> {
        let reason = text(&result["stopReason"]);
        let no_model = !self.params.is_command
            && (usage::is_of_no_model(result)
                || (self.params.usage == UsageOf::Total && result["usage"].is_null()));
        if let Some(failure) = self.agent.ended(reason, no_model) {
            return Err(failure);
        }
        let name = self.agent.name();
        let (kind, sentence) = match reason {
            "end_turn" => return self.ended_turn(no_model, usage::is_zero(result), steps),
            "max_tokens" if self.transcript.answer.says_something => {
                steps.push(Step::truncated(None));
                return Ok(());
            }
            "max_tokens" => {
                (Kind::ContextTooLong, "the limit of tokens was used up before an answer".to_owned())
            }
            "max_turn_requests" => (Kind::TurnLimit, format!("{name} has used up its own limit of turns")),
            "refusal" => (Kind::Refusal, "the model refused to answer".to_owned()),
            "cancelled" if self.client.is_given_up() => {
                (Kind::PermissionDenied, format!("{name} gave up when it was refused a permission"))
            }
            "cancelled" => (Kind::Cancelled, format!("{name} was cancelled")),
            other => (Kind::Unreadable, format!("{name} ended with `{other}`")),
        };
        Err(Failure::new(kind, sentence))
    }

    /// What the end of a turn is that the agent calls good.
    fn ended_turn(&mut self, no_model: bool, is_zero: bool, steps: &mut Steps) -> Result<(), Failure> {
        let (answer, calls) = (&mut self.transcript.answer, &self.transcript.calls);
        let last = answer.last();
        if no_model || self.params.failure_texts.iter().any(|text| last.trim_start().starts_with(text)) {
            let failure = match last.trim() {
                "" => {
                    let sentence = format!("{} says of no model that it has answered", self.agent.name());
                    Failure::new(Kind::Unreadable, sentence)
                }
                words => failure::of_words(words),
            };
            answer.drop_last(steps);
            return Err(failure);
        }
        // After a tool's answer a model may have nothing to add, and after a no an agent.
        if !answer.says_something && (calls.is_empty() || (is_zero && !self.client.was_refused)) {
            return Err(Failure::new(Kind::Unreadable, "the model's answer is empty"));
        }
        if answer.repeats_itself() {
            let name = self.agent.name();
            let what = format!("the answer repeats its beginning: {name} may have tried again");
            steps.push(Step::warning(what));
        }
        steps.extend(self.agent.warnings().into_iter().map(Step::warning));
        Ok(())
    }

    /// The agent answers the request of this stage with an error.
    pub(super) fn refused(&mut self, stage: &Stage, error: &Value, steps: &mut Steps) {
        let failure = self.agent.failed(error);
        match stage {
            // An unknown session has many codes; what else is wrong has words of its own.
            Stage::Open(_)
                if self.params.resume.is_some()
                    && matches!(failure.kind, Kind::Crash | Kind::UnknownModel) =>
            {
                let name = self.agent.name();
                let sentence = format!("{name} cannot go on with the session: {}", failure.message);
                self.fail(Failure::new(Kind::SessionNotFound, sentence), steps);
            }
            Stage::Authenticate => self.fail(Failure::new(Kind::Login, failure.message), steps),
            _ => {
                // Some say in the answer, too, why there is none.
                let answer = &mut self.transcript.answer;
                let last = answer.last().trim();
                if !last.is_empty() && (failure.message.contains(last) || last.contains(&failure.message)) {
                    answer.drop_last(steps);
                }
                self.over(Err(failure), steps);
            }
        }
    }

    pub(super) fn fail(&mut self, failure: Failure, steps: &mut Steps) {
        match self.stage {
            // What came of the turn is known already.
            Stage::Remove(_) => self.removed(Some(failure.message), steps),
            _ => self.over(Err(failure), steps),
        }
    }

    /// The turn is over. A session that shall not stay is removed first.
    fn over(&mut self, outcome: Result<(), Failure>, steps: &mut Steps) {
        if !self.params.ephemeral || self.session.is_empty() {
            return self.finish(outcome, steps);
        }
        let params = json!({"sessionId": self.session});
        let line = self.request(Stage::Remove(outcome), "session/delete", params);
        if !self.abilities.has("delete") {
            return self.removed(Some("it cannot remove sessions".to_owned()), steps);
        }
        steps.push(Step::Send(line));
        steps.push(Step::Alarm(REMOVING_TAKES));
    }

    /// The session is removed, or it stays for this reason.
    pub(super) fn removed(&mut self, problem: Option<String>, steps: &mut Steps) {
        let Stage::Remove(outcome) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        let keeps = |problem| Step::warning(format!("{} keeps its session: {problem}", self.agent.name()));
        steps.extend(problem.map(keeps));
        self.finish(outcome, steps);
    }

    pub(super) fn finish(&mut self, outcome: Result<(), Failure>, steps: &mut Steps) {
        self.stage = Stage::Over;
        steps.push(Step::Finished(outcome));
    }
}
