//! Runs at once in one `codex app-server`: each has a thread of its own there, and the agents that this one starts have others.
//!
//! When a run leaves, its threads are unloaded (`thread/unsubscribe`, with `thread_unload_delay_secs` 0, to `thread/closed`: 1
//! to 70 ms). That ends what still goes on in them, and only then can another process go on with the session, and this one
//! with other settings. So none is held from one turn to the next: a `thread/resume` is as good here as anywhere.

use super::dialogue::{INITIALIZE, OPEN, TURN, initialize, initialized, is_awaited};
use super::questions::unanswered;
use crate::backend::jsonrpc::{Rpc, head, renumbered};
use crate::backend::{Mux, Route, Routes, Seat};
use crate::base::json::{self, Value, json, string, text};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The ids of our requests tell whose they are: each seat has so many. The first run's are as it gave them.
const PER_SEAT: u64 = 16;
// The numbers of the requests that no dialogue makes.
const STOP: u64 = 14;
const UNLOAD: u64 = 15;

/// The code of an error that is codex's own, and not the request's.
const FAILED: i64 = -32603;

/// What codex says once in its life, for all who are there, and so also for those who come later.
const SAID_ONCE: &[&str] = &["configWarning", "deprecationNotice"];

/// One codex, and the runs in it.
#[derive(Default)]
pub(super) struct Threads {
    /// The answer to `initialize`, once it is there.
    greeting: Option<String>,
    /// What is said once.
    notices: Vec<String>,
    runs: BTreeMap<Seat, Run>,
    /// Those who have asked for a thread and have none yet: runs, and some that have left.
    opening: BTreeSet<Seat>,
    /// Those that are loaded.
    threads: BTreeMap<String, Thread>,
}

/// A run.
#[derive(Default)]
struct Run {
    greeting: Greeting,
    /// Its own thread.
    thread: Option<String>,
}

/// How far a run has come with its `initialize`.
#[derive(Default, PartialEq)]
enum Greeting {
    #[default]
    Unasked,
    Asked,
    Answered,
}

/// A thread of a run's: its own, or an agent's.
struct Thread {
    seat: Seat,
    /// The turn that is under way: its id, empty where codex has not said it yet, which means the same to it.
    turn: Option<String>,
}

/// A line of codex's, as far as it counts here: what is long in it is skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RpcLine {
    id: Value,
    method: Value,
    params: Option<Params>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Params {
    thread_id: Value,
    thread: Value,
    turn: Value,
    item: Option<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Item {
    receiver_thread_ids: Value,
}

impl RpcLine {
    fn thread(&self) -> Option<&str> {
        let params = self.params.as_ref()?;
        params.thread_id.as_str().or_else(|| params.thread["id"].as_str())
    }
}

impl Threads {
    /// Answers those runs that have said `initialize`, which codex would refuse, once its own answer is there.
    fn greet(&mut self, routes: &mut Routes) {
        let Some(greeting) = &self.greeting else { return };
        let asked = self.runs.iter_mut().filter(|(_, run)| run.greeting == Greeting::Asked);
        for (seat, run) in asked {
            run.greeting = Greeting::Answered;
            let lines = [greeting].into_iter().chain(&self.notices);
            routes.extend(lines.map(|line| Route::ToRun(*seat, line.clone())));
        }
    }

    /// The answer to a request of ours: its line goes to the run whose it is, with the number that the run gave.
    fn answered(&mut self, id: u64, line: &str, routes: &mut Routes) {
        let (seat, number) = (id / PER_SEAT + 1, id % PER_SEAT);
        let Ok(mut answer) = json::from_str::<Value>(line) else { return };
        match number {
            INITIALIZE => {
                self.greeting = Some(line.to_owned());
                routes.push(match answer["error"].is_null() {
                    true => Route::ToProgram(initialized()),
                    false => Route::spoilt("it refuses to begin"),
                });
                return self.greet(routes);
            }
            OPEN => {
                if answer["error"]["code"] == FAILED {
                    routes.push(Route::spoilt("it cannot open a thread"));
                }
                self.opened(seat, string(&answer["result"]["thread"]["id"]), routes);
            }
            TURN if !answer["error"].is_null() => {
                self.thread_of(seat).into_iter().for_each(|thread| thread.turn = None);
            }
            UNLOAD if answer["result"]["status"] != "unsubscribed" => {
                self.threads.retain(|_, thread| thread.seat != seat);
                routes.push(Route::spoilt("it does not unload a thread"));
            }
            _ => {}
        }
        if self.runs.contains_key(&seat) {
            answer["id"] = number.into();
            routes.push(Route::ToRun(seat, answer.to_string()));
        }
    }

    /// The run has its thread, or is not there any more to have it.
    fn opened(&mut self, seat: Seat, thread: Option<String>, routes: &mut Routes) {
        if !self.opening.remove(&seat) {
            return;
        }
        if let Some(run) = self.runs.get_mut(&seat) {
            run.thread.clone_from(&thread);
        }
        self.threads.extend(thread.map(|id| (id, Thread { seat, turn: None })));
        if !self.runs.contains_key(&seat) {
            self.unload(seat, routes);
        }
    }

    fn thread_of(&mut self, seat: Seat) -> Option<&mut Thread> {
        self.threads.get_mut(self.runs.get(&seat)?.thread.as_ref()?)
    }

    /// Ends what goes on in the threads of a run that has left, and unloads them.
    fn unload(&self, seat: Seat, routes: &mut Routes) {
        for (id, thread) in self.threads.iter().filter(|(_, thread)| thread.seat == seat) {
            let mut ask =
                |number, method, params| routes.push(Route::ToProgram(request(seat, number, method, params)));
            if let Some(turn) = &thread.turn {
                ask(STOP, "turn/interrupt", json!({"threadId": id, "turnId": turn}));
            }
            ask(UNLOAD, "thread/unsubscribe", json!({"threadId": id}));
        }
    }

    /// A question of codex's: to the run whose thread it is. Every one gets an answer.
    fn asked(&self, said: &RpcLine, line: &str, routes: &mut Routes) {
        let thread = said.thread().and_then(|thread| self.threads.get(thread));
        match thread.filter(|thread| self.runs.contains_key(&thread.seat)) {
            Some(thread) => routes.push(Route::ToRun(thread.seat, line.to_owned())),
            None => {
                let answer = unanswered(said.id.clone(), text(&said.method));
                routes.push(Route::ToProgram(answer));
            }
        }
    }

    fn notified(&mut self, said: &RpcLine, line: &str, routes: &mut Routes) {
        let Some(id) = said.thread() else {
            if SAID_ONCE.contains(&text(&said.method)) {
                self.notices.push(line.to_owned());
            }
            let greeted = self.runs.iter().filter(|(_, run)| run.greeting == Greeting::Answered);
            return routes.extend(greeted.map(|(seat, _)| Route::ToRun(*seat, line.to_owned())));
        };
        // Else it is closed, or its run does not know of it yet.
        let Some(thread) = self.threads.get_mut(id) else { return };
        let (seat, params) = (thread.seat, said.params.as_ref());
        match (text(&said.method), params) {
            ("turn/started", Some(params)) => thread.turn = string(&params.turn["id"]),
            ("turn/completed", _) => thread.turn = None,
            ("thread/closed", _) => drop(self.threads.remove(id)),
            _ => {}
        }
        let item = params.and_then(|params| params.item.as_ref());
        let agents = item.and_then(|item| item.receiver_thread_ids.as_array()).into_iter().flatten();
        for agent in agents.filter_map(string) {
            self.threads.entry(agent).or_insert(Thread { seat, turn: None });
        }
        if self.runs.contains_key(&seat) {
            routes.push(Route::ToRun(seat, line.to_owned()));
        }
    }

    /// A line that cannot be read is passed on as it is only where it can be no other run's. Where an answer is waited for,
    /// each run may be the one.
    fn unreadable(&self, line: &str, routes: &mut Routes) {
        routes.push(Route::spoilt("a line of its output could not be read"));
        let line = match self.runs.len() {
            1 => line,
            _ if is_awaited(line) => "{\"id\"",
            _ => return,
        };
        routes.extend(self.runs.keys().map(|seat| Route::ToRun(*seat, line.to_owned())));
    }
}

impl Mux for Threads {
    fn start(&mut self, routes: &mut Routes) {
        routes.push(Route::ToProgram(initialize()));
    }

    fn enter(&mut self, seat: Seat, _conversation: Option<&str>, _routes: &mut Routes) {
        self.runs.insert(seat, Run::default());
    }

    fn run_says(&mut self, seat: Seat, line: String, routes: &mut Routes) {
        let Some(run) = self.runs.get_mut(&seat) else { return };
        let Some((number, _)) = head(&line) else {
            if line != initialized() {
                routes.push(Route::ToProgram(line));
            }
            return;
        };
        match number {
            INITIALIZE => {
                run.greeting = Greeting::Asked;
                return self.greet(routes);
            }
            OPEN => _ = self.opening.insert(seat),
            TURN => self.thread_of(seat).into_iter().for_each(|thread| thread.turn = Some(String::new())),
            _ => {}
        }
        routes.push(Route::ToProgram(renumbered(&line, id(seat, number))));
    }

    fn program_says(&mut self, line: &str, routes: &mut Routes) {
        if line.trim().is_empty() {
            return;
        }
        match json::object_of::<RpcLine>(line) {
            Err(_) => self.unreadable(line, routes),
            Ok(said) if said.method.is_null() => {
                said.id.as_u64().into_iter().for_each(|id| self.answered(id, line, routes));
            }
            Ok(said) if said.id.is_null() => self.notified(&said, line, routes),
            Ok(said) => self.asked(&said, line, routes),
        }
    }

    fn leave(&mut self, seat: Seat, routes: &mut Routes) -> Option<String> {
        self.runs.remove(&seat);
        self.unload(seat, routes);
        None
    }

    fn is_leaving(&self, seat: Seat) -> bool {
        let is_its = |thread: &Thread| thread.seat == seat;
        !self.runs.contains_key(&seat) && (self.opening.contains(&seat) || self.threads.values().any(is_its))
    }

    fn holds(&self, _conversation: &str) -> bool {
        false
    }
}

/// The id of a seat's request of that number.
fn id(seat: Seat, number: u64) -> u64 {
    (seat - 1) * PER_SEAT + number
}

fn request(seat: Seat, number: u64, method: &str, params: Value) -> String {
    Rpc::Unmarked.request(id(seat, number), method, params)
}
