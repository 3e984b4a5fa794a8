//! Runs one after the other in one claude, which holds one conversation at a time. Between two that are not the same stands
//! `/clear`: the model sees nothing of the one before, only that `/clear` was said (three short texts before the prompt). What
//! outlives it: the settings, which are the same by the program's shape; background tasks, for which a program is given up;
//! and the files of the directory, as for two programs.

use super::dialogue::open_tasks;
use super::opening::{clear, is_initialize, is_prompt};
use crate::backend::{Mux, Route, Routes, Seat};
use crate::base::json::{self, Value, json, string, text};
use serde::Deserialize;

/// One claude, and the run in it.
#[derive(Default)]
pub(super) struct Conversations {
    seat: Option<Seat>,
    phase: Phase,
    /// What the run says before the program is ready for it.
    held: Vec<String>,
    /// The run wants a conversation of its own, and another one is there.
    must_clear: bool,
    /// Something was said in the conversation that is there.
    is_used: bool,
    /// The conversation that is there was continued from a file, for the first run.
    is_continued: bool,
    /// It has the settings that it has for good.
    is_set_up: bool,
    /// It says when it is busy and when it is idle.
    announces: bool,
    /// The session that can go on.
    session: Option<String>,
}

#[derive(Default)]
enum Phase {
    /// Nothing is under way.
    #[default]
    Ready,
    /// `/clear` is under way, and whether its work is done.
    Clearing { is_done: bool },
    /// The run's prompt is there.
    Turn(TurnState),
    /// The run has left with its result, and the program is not idle yet.
    Ending(Seat),
}

/// What is known of a run's turn.
#[derive(Default)]
struct TurnState {
    session: Option<String>,
    /// How its last answer ended: well or not.
    result: Option<bool>,
    is_idle: bool,
    has_tasks: bool,
}

/// A line of claude's, as far as it counts here: what is long in it is skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamLine {
    #[serde(rename = "type")]
    kind: Value,
    subtype: Value,
    session_id: Value,
    state: Value,
    tasks: Value,
    is_error: Value,
    model_usage_since_last_result: Value,
}

impl StreamLine {
    fn is_idle(&self) -> bool {
        self.subtype == "session_state_changed" && self.state == "idle"
    }

    /// Only a program that is at work says this.
    fn is_work(&self) -> bool {
        match text(&self.kind) {
            "assistant" | "user" | "stream_event" | "result" | "control_request" => true,
            _ => match text(&self.subtype) {
                "init" => true,
                "session_state_changed" => self.state != "idle",
                _ => self.has_tasks(),
            },
        }
    }

    fn has_tasks(&self) -> bool {
        !open_tasks(&self.tasks).is_empty()
    }
}

impl Conversations {
    /// `is_continued`: the program is started to go on with a session.
    pub(super) fn new(is_continued: bool) -> Conversations {
        Conversations { is_continued, ..Conversations::default() }
    }

    /// Nothing is under way any more: what the run in it waits for comes next.
    fn ready(&mut self, routes: &mut Routes) {
        self.phase = Phase::Ready;
        if std::mem::take(&mut self.must_clear) {
            self.phase = Phase::Clearing { is_done: false };
            (self.is_used, self.session) = (false, None);
            return routes.push(Route::ToProgram(clear()));
        }
        for line in std::mem::take(&mut self.held) {
            self.pass(line, routes);
        }
    }

    /// A line of the run's that the program can take.
    fn pass(&mut self, line: String, routes: &mut Routes) {
        let Some(seat) = self.seat else { return };
        if is_initialize(&line) {
            // It would say yes and heed none of it.
            if std::mem::replace(&mut self.is_set_up, true) {
                let response = json!({"subtype": "success", "request_id": "initialize", "response": {}});
                let answer = json!({"type": "control_response", "response": response});
                return routes.push(Route::ToRun(seat, answer.to_string()));
            }
        } else if is_prompt(&line) {
            (self.is_set_up, self.is_used, self.session) = (true, true, None);
            self.phase = Phase::Turn(TurnState::default());
        }
        routes.push(Route::ToProgram(line));
    }

    /// What a line in the run's turn means.
    fn follow(&mut self, said: &StreamLine, routes: &mut Routes) {
        let Phase::Turn(turn) = &mut self.phase else { return };
        match (text(&said.kind), text(&said.subtype)) {
            ("system", "init") => (turn.session, turn.result) = (string(&said.session_id), None),
            ("system", "session_state_changed") => {
                (self.announces, turn.is_idle) = (true, said.is_idle());
            }
            ("system", "background_tasks_changed") => turn.has_tasks = said.has_tasks(),
            // It may stay with that one.
            ("system", "model_fallback" | "model_refusal_fallback" | "model_consent_fallback") => {
                routes.push(Route::spoilt("another model answers in it"));
            }
            ("result", subtype) => {
                turn.result = Some(said.is_error == false && subtype == "success");
                // Older versions. What they say of the usage is the sum of all turns.
                if !self.announces || said.model_usage_since_last_result.is_null() {
                    routes.push(Route::spoilt(
                        "this version does not say when it is idle, or what a turn used",
                    ));
                }
            }
            _ => {}
        }
    }
}

impl Mux for Conversations {
    fn start(&mut self, _routes: &mut Routes) {}

    fn enter(&mut self, seat: Seat, conversation: Option<&str>, routes: &mut Routes) {
        self.seat = Some(seat);
        self.must_clear = self.is_used && conversation.is_none();
        self.is_used |= std::mem::take(&mut self.is_continued);
        if let Phase::Ready = self.phase {
            self.ready(routes);
        }
    }

    fn run_says(&mut self, seat: Seat, line: String, routes: &mut Routes) {
        match self.phase {
            _ if self.seat != Some(seat) => {}
            Phase::Ready | Phase::Turn(_) => self.pass(line, routes),
            Phase::Clearing { .. } | Phase::Ending(_) => self.held.push(line),
        }
    }

    fn program_says(&mut self, line: &str, routes: &mut Routes) {
        if line.trim().is_empty() {
            return;
        }
        if let (Phase::Turn(_), Some(seat)) = (&self.phase, self.seat) {
            routes.push(Route::ToRun(seat, line.to_owned()));
        }
        let Ok(said) = json::object_of::<StreamLine>(line) else {
            return routes.push(Route::spoilt("a line of its output could not be read"));
        };
        match &mut self.phase {
            Phase::Turn(_) => self.follow(&said, routes),
            Phase::Clearing { is_done } => match text(&said.kind) {
                "conversation_reset" => *is_done = true,
                _ if said.has_tasks() => routes.push(Route::spoilt("something goes on in its background")),
                _ if said.is_idle() && *is_done => self.ready(routes),
                "stream_event" | "control_request" => {
                    routes.push(Route::spoilt("`/clear` is no command of its own"))
                }
                _ if said.is_idle() => routes.push(Route::spoilt("`/clear` did nothing")),
                _ => {}
            },
            Phase::Ending(_) if said.is_idle() => self.ready(routes),
            Phase::Ready | Phase::Ending(_) => match (text(&said.kind), self.seat) {
                // To the first run's settings.
                ("control_response", Some(seat)) => routes.push(Route::ToRun(seat, line.to_owned())),
                _ if said.is_work() => routes.push(Route::spoilt("it works though it was asked nothing")),
                _ => {}
            },
        }
    }

    fn leave(&mut self, seat: Seat, routes: &mut Routes) -> Option<String> {
        if self.seat != Some(seat) {
            return None;
        }
        (self.seat, self.must_clear) = (None, false);
        self.held.clear();
        let Phase::Turn(turn) = &mut self.phase else { return None };
        let TurnState { session, result, is_idle, has_tasks } = std::mem::take(turn);
        self.phase = Phase::Ready;
        match result {
            None => routes.push(Route::spoilt("a run left it in the middle of a turn")),
            Some(_) if has_tasks => routes.push(Route::spoilt("something goes on in its background")),
            Some(_) if self.announces && !is_idle => self.phase = Phase::Ending(seat),
            Some(is_good) => self.session = session.filter(|_| is_good),
        }
        self.session.clone()
    }

    fn is_leaving(&self, seat: Seat) -> bool {
        matches!(self.phase, Phase::Ending(left) if left == seat)
    }

    fn holds(&self, conversation: &str) -> bool {
        self.session.as_deref() == Some(conversation)
    }
}
