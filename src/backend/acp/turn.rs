//! One turn of a conversation with an agent: requests of ours, one after the other, each of which is a stage. `opening` leads
//! to the prompt, and `ending` says what the answer to that means. Between the two the agent tells things, which become
//! events (`Transcript`), and asks for things, which it gets or not (`Client`). Which agent it is only `Quirks` know.
//!
//! Agents tell failures as successes: an answer that broke off or was empty ends with `end_turn`, and only missing counts or
//! the last words give it away. What they tell before our prompt is an earlier conversation.

mod ending;
mod opening;

use super::Quirks;
use super::choices::{Choice, ChoiceRequest, Choices};
use super::client::{self, Client};
use super::handshake::{Abilities, greeting};
use super::params::TurnParams;
use super::updates::Transcript;
use crate::backend::jsonrpc::{Message, Rpc, is_awaited};
use crate::backend::reader::Reader;
use crate::backend::{Dialogue, Ended, Step, Steps, ToolError, ToolReply};
use crate::base::json::{Value, json, text};
use crate::model::error::{Failure, Kind};

/// How far the conversation is: the request of ours that has no answer yet.
#[derive(Debug, PartialEq)]
enum Stage {
    Initialize,
    Authenticate,
    /// A session is opened, by this method.
    Open(&'static str),
    Choose(Choice, ChoiceRequest),
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
    abilities: Abilities,
    session: String,
    choices: Choices,
    transcript: Transcript,
    client: Client,
}

impl AcpTurn {
    pub(in crate::backend) fn new(agent: Box<dyn Quirks>, params: TurnParams) -> AcpTurn {
        AcpTurn {
            reader: Reader::new(agent.name()),
            transcript: Transcript::new(params.usage),
            client: Client::new(params.offers, params.answers.clone()),
            agent,
            params,
            stage: Stage::Initialize,
            number: 1,
            abilities: Abilities::default(),
            session: String::new(),
            choices: Choices::default(),
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
                self.fail(self.reader.lost(), steps);
            }
            return;
        };
        match Message::of(message) {
            Some(Message::Notification { method, params }) if method == "session/update" => {
                self.updated(&params["update"], steps);
            }
            Some(Message::Request { id, method, params }) => {
                self.client.request(id, &method, &params, &*self.agent, &mut self.transcript, steps);
            }
            Some(Message::Answer { id, result }) if id == self.number || id.is_null() => {
                self.answered(result, steps);
            }
            // What is not known is silence: later versions and vendors have more to say.
            Some(Message::Answer { .. } | Message::Notification { .. }) | None => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        if self.stage == Stage::Prompt {
            self.client.cancel();
            let params = json!({"sessionId": self.session});
            steps.push(Step::Send(Rpc::V2.notification("session/cancel", params)));
        }
    }

    fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        self.client.permitted(id, allowed, &mut self.transcript, steps);
    }

    fn used(&mut self, id: &str, came: Result<ToolReply, ToolError>, steps: &mut Steps) {
        if self.stage != Stage::Over {
            client::used(id, came, steps);
        }
    }

    fn alarm(&mut self, steps: &mut Steps) {
        let awaited = match self.stage {
            Stage::Initialize => "initialize",
            Stage::Authenticate => "authenticate",
            Stage::Open(method) => method,
            Stage::Choose(..) => "the choice of its model or mode",
            Stage::Remove(_) => return self.removed(Some("it did not answer".to_owned()), steps),
            Stage::Prompt | Stage::Over => return,
        };
        if let Some((limit, key)) = &self.params.start_limit {
            let name = self.agent.name();
            let sentence = format!("{name} gave no answer to {awaited} within {limit:?} ({key})");
            self.fail(Failure::new(Kind::Timeout, sentence), steps);
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        match self.stage {
            Stage::Remove(_) => self.removed(Some("it has ended".to_owned()), steps),
            _ => self.finish(Err(self.agent.exited(ended)), steps),
        }
    }
}

impl AcpTurn {
    /// The answer to the request that waits for one: on to the next stage.
    fn answered(&mut self, result: Result<Value, Value>, steps: &mut Steps) {
        if let Stage::Remove(_) = self.stage {
            let problem = result.err().map(|error| self.agent.failed(&error).message);
            return self.removed(problem, steps);
        }
        match (std::mem::replace(&mut self.stage, Stage::Over), result) {
            (Stage::Initialize, Ok(result)) => self.initialized(&result, steps),
            (Stage::Authenticate, Ok(_)) => self.open(steps),
            (Stage::Open(_), Ok(result)) => self.opened(&result, steps),
            (Stage::Choose(choice, request), Ok(result)) => self.chosen(choice, &request, &result, steps),
            (Stage::Choose(choice, request), Err(error)) => self.not_chosen(choice, &request, &error, steps),
            (Stage::Prompt, Ok(result)) => self.ended(&result, steps),
            (stage, Err(error)) => self.refused(&stage, &error, steps),
            (Stage::Remove(_) | Stage::Over, Ok(_)) => {}
        }
    }

    /// The agent tells something of its session.
    fn updated(&mut self, update: &Value, steps: &mut Steps) {
        match (text(&update["sessionUpdate"]), &self.stage) {
            (kind, Stage::Prompt) => {
                self.transcript.update(kind, update, &mut *self.agent, &self.choices, steps);
            }
            ("current_mode_update", _) => self.choices.report_mode(&update["currentModeId"]),
            ("usage_update", _) => self.transcript.meter.update_before(update),
            // An earlier conversation that is told again.
            _ => {}
        }
    }

    /// Asks the agent for what this stage waits for, which may take as long as the beginning of a run may.
    fn ask(&mut self, stage: Stage, method: &str, params: Value, steps: &mut Steps) {
        let line = self.request(stage, method, params);
        steps.push(Step::Send(line));
        self.limit(steps);
    }

    /// The request whose answer this stage waits for.
    fn request(&mut self, stage: Stage, method: &str, params: Value) -> String {
        (self.number, self.stage) = (self.number + 1, stage);
        Rpc::V2.request(self.number, method, params)
    }

    fn limit(&self, steps: &mut Steps) {
        steps.extend(self.params.start_limit.as_ref().map(|(limit, _)| Step::Alarm(*limit)));
    }
}
