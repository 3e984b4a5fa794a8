//! Runs that share the process of an agent: each has sessions of its own in it, by whose ids its lines are found.
//!
//! A session that the agent can close is closed with its run, and loaded anew by the next one: what an agent has in memory may
//! be older than what another process has made of the session since, and its counts go on. Only where it cannot be closed does
//! a run go on in it as it is.

mod answers;
mod sessions;

use super::Quirks;
use super::client::Offers;
use super::handshake::{Abilities, greeting};
use crate::backend::jsonrpc::{self, METHOD_NOT_FOUND, Message, Rpc, is_awaited};
use crate::backend::{Mux, Route, Routes, Seat};
use crate::base::json::{Value, from_str, json, text};
use sessions::Sessions;
use std::collections::{BTreeMap, VecDeque};

/// As many lines of an agent that begins are kept for its first run.
const MOST_EARLY: usize = 20;

/// A request that no agent knows, and that each answers.
const PING: &str = "_clinvk/ping";

/// The runs in the process of one agent.
pub(in crate::backend) struct AcpMux {
    agent: Box<dyn Quirks>,
    going_on: GoingOn,
    greeting: Value,
    auth_method: Option<String>,
    /// What the agent answered when it was greeted: to `initialize`, and to `authenticate` where it is asked that.
    greeted: BTreeMap<&'static str, Result<Value, Value>>,
    abilities: Abilities,
    /// What it said before the first run.
    early: Vec<String>,
    /// The number of our last request, and those that have no answer yet.
    number: u64,
    pending: BTreeMap<u64, Pending>,
    /// Requests of runs that came before the agent's answer to the same of ours.
    waiting: Vec<(Seat, u64, &'static str)>,
    sessions: Sessions,
    /// The agent's requests that have no answer yet, by their ids.
    questions: BTreeMap<String, Question>,
    /// The runs whose sessions are begun, and the requests of those that wait for that.
    beginning: Vec<Seat>,
    to_begin: VecDeque<RunRequest>,
}

/// Whether a conversation can go on in a session that stayed open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::backend) enum GoingOn {
    Possible,
    /// The session counts what a single run may do.
    Never,
}

/// A request of a run's: its number there, and its line.
struct RunRequest {
    seat: Seat,
    number: u64,
    line: String,
}

/// What the agent wants of a run.
struct Question {
    seat: Seat,
    id: Value,
    is_of_permission: bool,
}

/// What a request of ours is for.
enum Pending {
    Greeting(&'static str),
    Ping,
    Close(String),
    /// It is a run's own, which has this number there.
    OfRun {
        seat: Seat,
        number: u64,
        purpose: Purpose,
    },
}

/// What a run's request does to sessions.
#[derive(PartialEq)]
enum Purpose {
    Begin,
    Load(String),
    Prompt,
    Delete(String),
    Other,
}

impl AcpMux {
    pub(in crate::backend) fn new(
        agent: Box<dyn Quirks>,
        going_on: GoingOn,
        offers: Offers,
        auth_method: Option<String>,
    ) -> AcpMux {
        AcpMux {
            agent,
            going_on,
            greeting: greeting(offers),
            auth_method,
            greeted: BTreeMap::new(),
            abilities: Abilities::default(),
            early: Vec::new(),
            number: 0,
            pending: BTreeMap::new(),
            waiting: Vec::new(),
            sessions: Sessions::default(),
            questions: BTreeMap::new(),
            beginning: Vec::new(),
            to_begin: VecDeque::new(),
        }
    }
}

impl Mux for AcpMux {
    fn start(&mut self, routes: &mut Routes) {
        let params = self.greeting.take();
        self.ask(Pending::Greeting("initialize"), "initialize", params, routes);
    }

    fn enter(&mut self, seat: Seat, conversation: Option<&str>, routes: &mut Routes) {
        let early = std::mem::take(&mut self.early);
        routes.extend(early.into_iter().map(|line| Route::ToRun(seat, line)));
        if self.sessions.enter(seat, conversation) {
            // A model may be silent for long, a program that lives is not.
            self.ask(Pending::Ping, PING, json!({}), routes);
        }
    }

    fn run_says(&mut self, seat: Seat, line: String, routes: &mut Routes) {
        if let Some((number, method)) = jsonrpc::head(&line) {
            let method = method.to_owned();
            return self.run_asks(RunRequest { seat, number, line }, &method, routes);
        }
        match from_str(&line).ok().and_then(Message::of) {
            // What the agent has not asked, or was told already, is no answer.
            Some(Message::Answer { id, .. }) if self.questions.remove(&id.to_string()).is_none() => {}
            _ => routes.push(Route::ToProgram(line)),
        }
    }

    fn program_says(&mut self, line: &str, routes: &mut Routes) {
        if line.trim().is_empty() {
            return;
        }
        match from_str(line).ok().and_then(Message::of) {
            Some(Message::Answer { id, result }) => {
                match id.as_u64().and_then(|id| self.pending.remove(&id)) {
                    Some(pending) => self.answered(pending, result, routes),
                    None => {
                        routes.push(Route::spoilt("it answered what it was not asked"));
                        // Whose request could not be read it does not say.
                        if id.is_null() {
                            self.tell_all(line, routes);
                        }
                    }
                }
            }
            Some(Message::Request { id, method, params }) => {
                match self.listener(text(&params["sessionId"])) {
                    Some(seat) => {
                        let is_of_permission = method == "session/request_permission";
                        self.questions.insert(id.to_string(), Question { seat, id, is_of_permission });
                        routes.push(Route::ToRun(seat, line.to_owned()));
                    }
                    None => {
                        let sentence = format!("no run of clinvk's is there for {method}");
                        routes.push(Route::ToProgram(Rpc::V2.error(id, METHOD_NOT_FOUND, &sentence)));
                    }
                }
            }
            Some(Message::Notification { params, .. }) if params["sessionId"].is_string() => {
                self.updated(text(&params["sessionId"]), &params["update"], line, routes);
            }
            Some(Message::Notification { .. }) => self.tell_all(line, routes),
            None => {
                if is_awaited(line) {
                    routes.push(Route::spoilt("an answer or a request of it cannot be read"));
                }
                self.overheard(line, routes);
            }
        }
    }

    fn leave(&mut self, seat: Seat, routes: &mut Routes) -> Option<String> {
        let session = self.sessions.runs.remove(&seat)?;
        self.waiting.retain(|(waiting, ..)| *waiting != seat);
        self.to_begin.retain(|waiting| waiting.seat != seat);
        let id = session?;
        if self.sessions.open.get(&id).is_some_and(|session| session.is_busy) {
            let params = json!({"sessionId": id});
            routes.push(Route::ToProgram(Rpc::V2.notification("session/cancel", params)));
            routes.push(Route::spoilt("a turn was not over when its run was"));
        } else {
            self.let_go(&id, routes);
        }
        self.refuse_questions(seat, routes);
        self.holds(&id).then_some(id)
    }

    fn can_load(&self, session: &str) -> bool {
        !self.sessions.open.contains_key(session)
    }

    fn holds(&self, conversation: &str) -> bool {
        self.abilities.going_on().is_some()
            && self.going_on == GoingOn::Possible
            && self.sessions.is_free(conversation)
    }
}

/// What runs say.
impl AcpMux {
    fn run_asks(&mut self, request: RunRequest, method: &str, routes: &mut Routes) {
        let RunRequest { seat, number, .. } = request;
        let named = || {
            let message: Value = from_str(&request.line).unwrap_or_default();
            text(&message["params"]["sessionId"]).to_owned()
        };
        let purpose = match method {
            "initialize" => return self.greet(seat, number, "initialize", routes),
            "authenticate" => return self.greet(seat, number, "authenticate", routes),
            "session/new" if !self.beginning.is_empty() && !self.agent.begins_several() => {
                return self.to_begin.push_back(request);
            }
            "session/new" => Purpose::Begin,
            "session/load" | "session/resume" => {
                let id = named();
                if let Some(opened) = self.sessions.opened(seat, &id) {
                    return routes.push(answer(seat, number, Ok(opened)));
                }
                if let Some(waiting) = self.sessions.closing.get_mut(&id) {
                    return waiting.push(request);
                }
                Purpose::Load(id)
            }
            "session/prompt" => Purpose::Prompt,
            "session/delete" => Purpose::Delete(named()),
            _ => Purpose::Other,
        };
        self.pass_on(request, purpose, routes);
    }

    /// Asks the agent what a run asks.
    fn pass_on(&mut self, request: RunRequest, purpose: Purpose, routes: &mut Routes) {
        let RunRequest { seat, number, line } = request;
        match &purpose {
            // What is told of it before the answer is for this run.
            Purpose::Load(id) => self.sessions.seat(seat, id.clone(), None),
            Purpose::Prompt => {
                if let Some(session) = self.sessions.of_run(seat) {
                    (session.is_busy, session.is_good) = (true, true);
                }
            }
            Purpose::Begin => self.beginning.push(seat),
            Purpose::Delete(_) | Purpose::Other => {}
        }
        self.number += 1;
        self.pending.insert(self.number, Pending::OfRun { seat, number, purpose });
        routes.push(Route::ToProgram(jsonrpc::renumbered(&line, self.number)));
    }

    /// A run greets the agent, which was greeted already.
    fn greet(&mut self, seat: Seat, number: u64, method: &'static str, routes: &mut Routes) {
        match self.greeted.get(method) {
            Some(result) => routes.push(answer(seat, number, result.clone())),
            None => self.waiting.push((seat, number, method)),
        }
    }

    fn ask(&mut self, pending: Pending, method: &str, params: Value, routes: &mut Routes) {
        self.number += 1;
        self.pending.insert(self.number, pending);
        routes.push(Route::ToProgram(Rpc::V2.request(self.number, method, params)));
    }

    /// What the agent asked a run that is over.
    fn refuse_questions(&mut self, seat: Seat, routes: &mut Routes) {
        self.questions.retain(|_, question| {
            if question.seat != seat {
                return true;
            }
            let id = question.id.clone();
            routes.push(Route::ToProgram(match question.is_of_permission {
                true => Rpc::V2.answer(id, json!({"outcome": {"outcome": "cancelled"}})),
                false => Rpc::V2.error(id, METHOD_NOT_FOUND, "the run that this is for is over"),
            }));
            false
        });
    }
}

/// What the agent says of itself.
impl AcpMux {
    /// The agent tells something of a session.
    fn updated(&mut self, id: &str, update: &Value, line: &str, routes: &mut Routes) {
        if let Some(session) = self.sessions.open.get_mut(id) {
            let left_mode = update["sessionUpdate"] == "current_mode_update"
                || self.agent.note(update).is_some_and(|(stage, _)| stage == "mode");
            session.is_good &= !left_mode;
        }
        if let Some(seat) = self.listener(id) {
            routes.push(Route::ToRun(seat, line.to_owned()));
        }
    }

    fn listener(&self, id: &str) -> Option<Seat> {
        self.sessions.listener(id, &self.beginning)
    }

    /// A line that is no message: any run may be meant.
    fn overheard(&mut self, line: &str, routes: &mut Routes) {
        if !self.sessions.runs.is_empty() {
            self.tell_all(line, routes);
        } else if self.greeted.is_empty() && self.early.len() < MOST_EARLY {
            self.early.push(line.to_owned());
        } else {
            routes.push(Route::spoilt("it said what is no message, and to no run"));
        }
    }

    fn tell_all(&self, line: &str, routes: &mut Routes) {
        routes.extend(self.sessions.runs.keys().map(|seat| Route::ToRun(*seat, line.to_owned())));
    }
}

fn answer(seat: Seat, number: u64, result: Result<Value, Value>) -> Route {
    Route::ToRun(
        seat,
        match result {
            Ok(result) => Rpc::V2.answer(number.into(), result),
            Err(error) => Rpc::V2.refusal(number.into(), error),
        },
    )
}
