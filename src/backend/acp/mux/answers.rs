//! The agent's answers: to what we asked by ourselves, and to the requests of runs, which are passed on. What an answer changes:
//! how the agent was greeted, which session a run has, whether the agent is still as it has to be.

use super::{AcpMux, Pending, Purpose, answer};
use crate::backend::acp::handshake::{Abilities, authentication};
use crate::backend::{Route, Routes, Seat};
use crate::base::json::{Value, json, text};
use crate::model::error::Kind;

impl AcpMux {
    pub(super) fn answered(&mut self, pending: Pending, result: Result<Value, Value>, routes: &mut Routes) {
        match pending {
            Pending::Ping => {}
            Pending::Greeting(method) => self.has_greeted(method, result, routes),
            Pending::Close(id) => {
                if result.is_err() {
                    routes.push(Route::spoilt("it did not close a session"));
                }
                for request in self.sessions.closing.remove(&id).unwrap_or_default() {
                    self.pass_on(request, Purpose::Load(id.clone()), routes);
                }
            }
            Pending::OfRun { seat, number, purpose } => {
                let begins = purpose == Purpose::Begin;
                self.settle(seat, purpose, &result, routes);
                if self.sessions.runs.contains_key(&seat) {
                    routes.push(answer(seat, number, result));
                }
                if begins {
                    self.beginning.retain(|beginning| *beginning != seat);
                    if let Some(request) = self.to_begin.pop_front() {
                        self.pass_on(request, Purpose::Begin, routes);
                    }
                }
            }
        }
    }

    /// The agent was greeted: runs that have greeted it have their answers.
    fn has_greeted(&mut self, method: &'static str, result: Result<Value, Value>, routes: &mut Routes) {
        match &result {
            Err(_) => routes.push(Route::spoilt(format!("it refused {method}"))),
            Ok(result) if method == "initialize" => {
                self.abilities = Abilities::of(result);
                if let Some(auth_method) = self.auth_method.take() {
                    let params = authentication(&auth_method);
                    self.ask(Pending::Greeting("authenticate"), "authenticate", params, routes);
                }
            }
            Ok(_) => {}
        }
        self.waiting.retain(|(seat, number, asked)| {
            if *asked == method {
                routes.push(answer(*seat, *number, result.clone()));
            }
            *asked != method
        });
        self.greeted.insert(method, result);
    }

    /// What the answer to a run's request does to its session.
    fn settle(&mut self, seat: Seat, purpose: Purpose, result: &Result<Value, Value>, routes: &mut Routes) {
        match (purpose, result) {
            (Purpose::Begin, Ok(opened)) => {
                let id = text(&opened["sessionId"]).to_owned();
                self.opened(seat, id, opened, routes);
            }
            (Purpose::Load(id), Ok(opened)) => self.opened(seat, id, opened, routes),
            (Purpose::Load(id), Err(_)) => _ = self.sessions.open.remove(&id),
            (Purpose::Delete(id), Ok(_)) => self.sessions.removed(&id),
            (Purpose::Prompt, result) => {
                let is_good = result.as_ref().is_ok_and(|ended| ended["stopReason"] != "cancelled");
                if let Some(session) = self.sessions.of_run(seat) {
                    (session.is_busy, session.is_good) = (false, session.is_good && is_good);
                }
                if let Err(error) = result {
                    self.doubt("a prompt", error, routes);
                }
            }
            (Purpose::Begin, Err(error)) => self.doubt("session/new", error, routes),
            (Purpose::Delete(_), Err(_)) | (Purpose::Other, _) => {}
        }
    }

    /// After an error that is no refusal of the model's vendor some are no good any more, and after a refused key.
    fn doubt(&self, what: &str, error: &Value, routes: &mut Routes) {
        let kind = self.agent.failed(error).kind;
        if !is_of_one_turn(kind) {
            routes.push(Route::spoilt(format!("it answered {what} with an error ({})", kind.word())));
        }
    }

    /// A run has its session.
    fn opened(&mut self, seat: Seat, id: String, opened: &Value, routes: &mut Routes) {
        self.sessions.seat(seat, id.clone(), Some(opened));
        if !self.sessions.runs.contains_key(&seat) {
            self.let_go(&id, routes);
        }
    }

    /// No run is in a session any more.
    pub(super) fn let_go(&mut self, id: &str, routes: &mut Routes) {
        if self.sessions.let_go(id, self.abilities.has("close")) {
            self.ask(Pending::Close(id.to_owned()), "session/close", json!({"sessionId": id}), routes);
        }
    }
}

/// Whether a failure says nothing of the turns that come after it.
fn is_of_one_turn(kind: Kind) -> bool {
    use Kind::{ContextTooLong, InvalidRequest, Overloaded, Quota, Refusal, UnknownModel, Unreachable};
    matches!(
        kind,
        ContextTooLong | InvalidRequest | Overloaded | Quota | Refusal | UnknownModel | Unreachable
    )
}
