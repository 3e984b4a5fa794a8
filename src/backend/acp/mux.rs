//! Runs that share the process of an agent: each has sessions of its own in it, by whose ids its lines are found.
//!
//! A session that the agent can close is closed with its run, and loaded anew by the next one: what an agent has in memory may
//! be older than what another process has made of the session since, and its counts go on. Only where it cannot be closed does
//! a run go on in it as it is.

use super::Quirks;
use super::client::Offers;
use super::handshake::{Abilities, authentication, greeting};
use crate::backend::jsonrpc::{self, METHOD_NOT_FOUND, Message, Rpc, is_awaited};
use crate::backend::{Mux, Route, Routes, Seat};
use crate::base::json::{Value, from_str, json, text};
use crate::model::error::Kind;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// The runs, each with the session that it has.
    runs: BTreeMap<Seat, Option<String>>,
    /// Requests of runs that came before the agent's answer to the same of ours.
    waiting: Vec<(Seat, u64, &'static str)>,
    sessions: BTreeMap<String, Session>,
    /// Sessions that are being closed, and the requests that wait for that.
    closing: BTreeMap<String, Vec<(Seat, u64, String)>>,
    /// Sessions that were closed or removed: what the agent still says of them is for no run.
    gone: BTreeSet<String>,
    /// The agent's requests that have no answer yet, by their ids.
    questions: BTreeMap<String, Question>,
    /// The runs whose sessions are begun, and the requests of those that wait for that.
    beginning: Vec<Seat>,
    to_begin: VecDeque<(Seat, u64, String)>,
}

/// Whether a conversation can go on in a session that stayed open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::backend) enum GoingOn {
    Possible,
    /// The session counts what a single run may do.
    Never,
}

/// A session that is open in the agent.
struct Session {
    seat: Option<Seat>,
    /// The agent's answer when it was opened, without what was chosen in it then; none before that.
    opened: Option<Value>,
    /// The agent works on a prompt in it.
    is_busy: bool,
    /// It is as a good turn has left it: in the mode in which its run had put it.
    is_good: bool,
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
            runs: BTreeMap::new(),
            waiting: Vec::new(),
            sessions: BTreeMap::new(),
            closing: BTreeMap::new(),
            gone: BTreeSet::new(),
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
        self.runs.insert(seat, None);
        if let Some(session) = conversation.and_then(|id| self.sessions.get_mut(id)) {
            session.seat = Some(seat);
            self.runs.insert(seat, conversation.map(str::to_owned));
            // A model may be silent for long, a program that lives is not.
            self.ask(Pending::Ping, PING, json!({}), routes);
        }
    }

    fn run_says(&mut self, seat: Seat, line: String, routes: &mut Routes) {
        if let Some((number, method)) = jsonrpc::head(&line) {
            let method = method.to_owned();
            return self.run_asks(seat, number, &method, line, routes);
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
                        routes.push(Route::Spoilt("it answered what it was not asked".to_owned()));
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
                    routes.push(Route::Spoilt("an answer or a request of it cannot be read".to_owned()));
                }
                self.overheard(line, routes);
            }
        }
    }

    fn leave(&mut self, seat: Seat, routes: &mut Routes) -> Option<String> {
        let session = self.runs.remove(&seat)?;
        self.waiting.retain(|(waiting, ..)| *waiting != seat);
        self.to_begin.retain(|(waiting, ..)| *waiting != seat);
        let id = session?;
        if self.sessions.get(&id).is_some_and(|session| session.is_busy) {
            let params = json!({"sessionId": id});
            routes.push(Route::ToProgram(Rpc::V2.notification("session/cancel", params)));
            routes.push(Route::Spoilt("a turn was not over when its run was".to_owned()));
        } else {
            self.let_go(&id, routes);
        }
        self.refuse_questions(seat, routes);
        self.holds(&id).then_some(id)
    }

    fn can_load(&self, session: &str) -> bool {
        !self.sessions.contains_key(session)
    }

    fn holds(&self, conversation: &str) -> bool {
        let is_kept = |session: &Session| session.seat.is_none() && session.is_good;
        self.abilities.going_on().is_some()
            && self.going_on == GoingOn::Possible
            && self.sessions.get(conversation).is_some_and(is_kept)
    }
}

/// What runs say.
impl AcpMux {
    fn run_asks(&mut self, seat: Seat, number: u64, method: &str, line: String, routes: &mut Routes) {
        let named = || {
            let message: Value = from_str(&line).unwrap_or_default();
            text(&message["params"]["sessionId"]).to_owned()
        };
        let purpose = match method {
            "initialize" => return self.greet(seat, number, "initialize", routes),
            "authenticate" => return self.greet(seat, number, "authenticate", routes),
            "session/new" if !self.beginning.is_empty() && !self.agent.begins_several() => {
                return self.to_begin.push_back((seat, number, line));
            }
            "session/new" => Purpose::Begin,
            "session/load" | "session/resume" => {
                let id = named();
                let of_run = self.sessions.get(&id).filter(|session| session.seat == Some(seat));
                if let Some(opened) = of_run.and_then(|session| session.opened.clone()) {
                    return routes.push(answer(seat, number, Ok(opened)));
                }
                if let Some(waiting) = self.closing.get_mut(&id) {
                    return waiting.push((seat, number, line));
                }
                Purpose::Load(id)
            }
            "session/prompt" => Purpose::Prompt,
            "session/delete" => Purpose::Delete(named()),
            _ => Purpose::Other,
        };
        self.pass_on(seat, number, purpose, &line, routes);
    }

    /// Asks the agent what a run asks.
    fn pass_on(&mut self, seat: Seat, number: u64, purpose: Purpose, line: &str, routes: &mut Routes) {
        match &purpose {
            // What is told of it before the answer is for this run.
            Purpose::Load(id) => self.seat(seat, id.clone(), None),
            Purpose::Prompt => {
                if let Some(session) = self.session_of(seat) {
                    (session.is_busy, session.is_good) = (true, true);
                }
            }
            Purpose::Begin => self.beginning.push(seat),
            Purpose::Delete(_) | Purpose::Other => {}
        }
        self.number += 1;
        self.pending.insert(self.number, Pending::OfRun { seat, number, purpose });
        routes.push(Route::ToProgram(jsonrpc::renumbered(line, self.number)));
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

    /// No run is in a session any more.
    fn let_go(&mut self, id: &str, routes: &mut Routes) {
        match self.sessions.get_mut(id) {
            // It will be let go once it is there.
            Some(session) if session.opened.is_none() => {}
            Some(session) if !self.abilities.has("close") => session.seat = None,
            Some(_) => {
                self.sessions.remove(id);
                self.closing.insert(id.to_owned(), Vec::new());
                self.gone.insert(id.to_owned());
                self.ask(Pending::Close(id.to_owned()), "session/close", json!({"sessionId": id}), routes);
            }
            None => {}
        }
    }
}

/// What the agent says.
impl AcpMux {
    fn answered(&mut self, pending: Pending, result: Result<Value, Value>, routes: &mut Routes) {
        match pending {
            Pending::Ping => {}
            Pending::Greeting(method) => self.has_greeted(method, result, routes),
            Pending::Close(id) => {
                if result.is_err() {
                    routes.push(Route::Spoilt("it did not close a session".to_owned()));
                }
                for (seat, number, line) in self.closing.remove(&id).unwrap_or_default() {
                    self.pass_on(seat, number, Purpose::Load(id.clone()), &line, routes);
                }
            }
            Pending::OfRun { seat, number, purpose } => {
                let begins = purpose == Purpose::Begin;
                self.settle(seat, purpose, &result, routes);
                if self.runs.contains_key(&seat) {
                    routes.push(answer(seat, number, result));
                }
                if begins {
                    self.beginning.retain(|beginning| *beginning != seat);
                    if let Some((seat, number, line)) = self.to_begin.pop_front() {
                        self.pass_on(seat, number, Purpose::Begin, &line, routes);
                    }
                }
            }
        }
    }

    /// The agent was greeted: runs that have greeted it have their answers.
    fn has_greeted(&mut self, method: &'static str, result: Result<Value, Value>, routes: &mut Routes) {
        match &result {
            Err(_) => routes.push(Route::Spoilt(format!("it refused {method}"))),
            Ok(result) if method == "initialize" => {
                self.abilities = Abilities::of(result);
                if let Some(auth_method) = self.auth_method.take() {
                    let params = authentication(&auth_method);
                    self.ask(Pending::Greeting("authenticate"), "authenticate", params, routes);
                }
            }
            Ok(_) => {}
        }
        let (asked, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.2 == method);
        self.waiting = waiting;
        let asked: Vec<(Seat, u64, &str)> = asked;
        routes.extend(asked.into_iter().map(|(seat, number, _)| answer(seat, number, result.clone())));
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
            (Purpose::Load(id), Err(_)) => _ = self.sessions.remove(&id),
            (Purpose::Delete(id), Ok(_)) => {
                self.sessions.remove(&id);
                self.gone.insert(id);
            }
            (Purpose::Prompt, result) => {
                let is_good = result.as_ref().is_ok_and(|ended| ended["stopReason"] != "cancelled");
                if let Some(session) = self.session_of(seat) {
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
            routes.push(Route::Spoilt(format!("it answered {what} with an error ({})", kind.word())));
        }
    }

    /// A run has its session.
    fn opened(&mut self, seat: Seat, id: String, opened: &Value, routes: &mut Routes) {
        self.seat(seat, id.clone(), Some(without_current(opened.clone())));
        if !self.runs.contains_key(&seat) {
            self.let_go(&id, routes);
        }
    }

    /// The agent tells something of a session.
    fn updated(&mut self, id: &str, update: &Value, line: &str, routes: &mut Routes) {
        if let Some(session) = self.sessions.get_mut(id) {
            let left_mode = update["sessionUpdate"] == "current_mode_update"
                || self.agent.note(update).is_some_and(|(stage, _)| stage == "mode");
            session.is_good &= !left_mode;
        }
        if let Some(seat) = self.listener(id) {
            routes.push(Route::ToRun(seat, line.to_owned()));
        }
    }

    /// The run that a session is of: one of an id that no run has is begun just now, or belongs to the only run there is. What
    /// an agent tells of a session before it has named it changes nothing.
    fn listener(&self, id: &str) -> Option<Seat> {
        let seat = match (self.sessions.get(id), &self.beginning[..]) {
            (Some(session), _) => session.seat,
            (None, _) if self.gone.contains(id) => None,
            (None, [seat]) => Some(*seat),
            (None, []) if self.runs.len() == 1 => self.runs.keys().copied().next(),
            (None, _) => None,
        };
        seat.filter(|seat| self.runs.contains_key(seat))
    }

    /// A line that is no message: any run may be meant.
    fn overheard(&mut self, line: &str, routes: &mut Routes) {
        match self.runs.is_empty() {
            false => self.tell_all(line, routes),
            true if self.greeted.is_empty() && self.early.len() < MOST_EARLY => {
                self.early.push(line.to_owned())
            }
            true => routes.push(Route::Spoilt("it said what is no message, and to no run".to_owned())),
        }
    }

    fn tell_all(&self, line: &str, routes: &mut Routes) {
        routes.extend(self.runs.keys().map(|seat| Route::ToRun(*seat, line.to_owned())));
    }

    /// A run has a session.
    fn seat(&mut self, seat: Seat, id: String, opened: Option<Value>) {
        let session = Session { seat: Some(seat), opened, is_busy: false, is_good: false };
        self.sessions.insert(id.clone(), session);
        self.runs.entry(seat).and_modify(|session| *session = Some(id));
    }

    fn session_of(&mut self, seat: Seat) -> Option<&mut Session> {
        let id = self.runs.get(&seat)?.as_ref()?;
        self.sessions.get_mut(id)
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

/// What lists the choices that there are in a session, without which of them are made.
fn without_current(mut opened: Value) -> Value {
    for (list, current) in [("models", "currentModelId"), ("modes", "currentModeId")] {
        opened.get_mut(list).and_then(Value::as_object_mut).map(|list| list.remove(current));
    }
    let options = opened.get_mut("configOptions").and_then(Value::as_array_mut);
    for option in options.into_iter().flatten().filter_map(Value::as_object_mut) {
        option.remove("currentValue");
    }
    opened
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
