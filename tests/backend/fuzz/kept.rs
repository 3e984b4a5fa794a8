//! The same for programs that are kept: runs come and go, and what stands between them and a program that says anything keeps them
//! apart.

use super::{Conversation, Line, Recording, changed, of_agents, of_vendor, task};
use crate::util::fuzz::{self, Chance};
use clinvk::backend::{Backend, Keeping, Mux, Route, Routes, Seat, Step, Steps};
use clinvk::model::task::Task;
use serde_json::Value;
use std::collections::BTreeMap;

/// `make check` tries as many of each of the four: a case is several runs, and 20,000 of each take 83 s of a debug build.
const KEPT: u64 = 1000;

/// Runs come and go in a kept program that says anything.
fn keep(backend: &dyn Backend, lines: &[Line], chance: &mut Chance) -> Result<(), String> {
    let task = task(chance);
    let Some(Keeping { mut mux, is_shared, .. }) = backend.keeps(&task) else { return Ok(()) };
    let mut kept = Kept { runs: BTreeMap::new(), asked: Vec::new() };
    kept.mux(&mut *mux, 0, |mux, routes| mux.start(routes))?;
    let (mut last, mut free, mut longest) = (0, Vec::<String>::new(), 0);
    for line in lines {
        if kept.runs.len() < if is_shared { 3 } else { 1 }
            && chance.one_in(if kept.runs.is_empty() { 2 } else { 12 })
        {
            last += 1;
            let conversation = free.pop().filter(|id| mux.holds(id));
            let task = Task { resume: conversation.clone().or(task.resume.clone()), ..task.clone() };
            let mut run = Conversation { longest, ..Conversation::new(backend, &task) };
            let mut steps = Steps::new();
            run.dialogue.start(&mut steps);
            kept.runs.insert(last, run);
            kept.mux(&mut *mux, 0, |mux, routes| mux.enter(last, conversation.as_deref(), routes))?;
            kept.steps(&mut *mux, last, &steps, 0)?;
        }
        let mut text = line.text.to_string();
        longest = longest.max(text.len());
        if !kept.asked.is_empty() && chance.one_in(2) {
            // The program answers what it was asked.
            if let Ok(Value::Object(mut answer)) = serde_json::from_str(&text) {
                if answer.contains_key("result") || answer.contains_key("error") {
                    let at = chance.below(kept.asked.len());
                    answer.insert("id".to_owned(), kept.asked.swap_remove(at));
                    text = Value::Object(answer).to_string();
                }
            }
        }
        kept.mux(&mut *mux, text.len(), |mux, routes| mux.program_says(&text, routes))?;
        let seats: Vec<Seat> = kept.runs.keys().copied().collect();
        for seat in seats {
            let mut steps = Steps::new();
            let run = kept.runs.get_mut(&seat).expect("it is there");
            run.meanwhile(chance, &mut steps);
            kept.steps(&mut *mux, seat, &steps, 0)?;
            if kept.runs[&seat].result.is_some() || chance.one_in(40) {
                free.extend(kept.leave(&mut *mux, seat)?);
            }
        }
        free.truncate(4);
    }
    let seats: Vec<Seat> = kept.runs.keys().copied().collect();
    seats.into_iter().try_for_each(|seat| kept.leave(&mut *mux, seat).map(drop))
}

/// The runs in a kept program.
struct Kept {
    runs: BTreeMap<Seat, Conversation>,
    /// The ids of what the program was asked and has not answered.
    asked: Vec<Value>,
}

impl Kept {
    fn mux(
        &mut self,
        mux: &mut dyn Mux,
        heard: usize,
        say: impl FnOnce(&mut dyn Mux, &mut Routes),
    ) -> Result<(), String> {
        let mut routes = Routes::new();
        say(mux, &mut routes);
        if routes.len() > 100 {
            return Err(format!("{} routes come of one line", routes.len()));
        }
        for route in routes {
            match route {
                Route::ToProgram(line) if line.contains('\n') => {
                    return Err(format!("more than a line is said: {line:?}"));
                }
                Route::ToProgram(line) => {
                    let line: Value =
                        serde_json::from_str(&line).map_err(|error| format!("{error}: {line:?}"))?;
                    if line["method"].is_string() && !line["id"].is_null() {
                        self.asked.push(line["id"].clone());
                    }
                }
                Route::ToRun(seat, line) => {
                    // One that was said before it left may still be on its way.
                    let Some(run) = self.runs.get_mut(&seat).filter(|run| run.result.is_none()) else {
                        continue;
                    };
                    let mut steps = Steps::new();
                    run.dialogue.line(&line, &mut steps);
                    self.steps(mux, seat, &steps, line.len().max(heard))?;
                }
                Route::MayBeSilent(_) | Route::Spoilt(_) => {}
            }
        }
        Ok(())
    }

    fn steps(&mut self, mux: &mut dyn Mux, seat: Seat, steps: &Steps, heard: usize) -> Result<(), String> {
        self.runs.get_mut(&seat).expect("it is there").take(steps, heard)?;
        for step in steps {
            match step {
                Step::Send(line) => {
                    self.mux(mux, heard, |mux, routes| mux.run_says(seat, line.clone(), routes))?
                }
                Step::SendRaw(text) => {
                    let line = text.trim_end_matches('\n').to_owned();
                    self.mux(mux, heard, |mux, routes| mux.run_says(seat, line, routes))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn leave(&mut self, mux: &mut dyn Mux, seat: Seat) -> Result<Option<String>, String> {
        self.runs.remove(&seat);
        let mut conversation = None;
        self.mux(mux, 0, |mux, routes| conversation = mux.leave(seat, routes))?;
        match &conversation {
            Some(id) if !mux.holds(id) => Err(format!("it does not hold `{id}`, which a run has just left")),
            _ => Ok(conversation),
        }
    }
}

fn kept(name: &str, few: u64, recordings: &[Recording]) {
    fuzz::target(
        name,
        few,
        |chance| {
            let (at, mut lines) = changed(chance, recordings);
            // A second run's, and a third's.
            for _ in 0..chance.below(3) {
                lines.extend(changed(chance, std::slice::from_ref(&recordings[at])).1);
            }
            (at, lines)
        },
        |(at, lines), chance| keep(&*recordings[*at].backend, lines, chance),
    );
}

#[test]
fn a_kept_claude_says_anything() {
    kept("kept claude", KEPT, &of_vendor("claude"));
}

#[test]
fn a_kept_codex_says_anything() {
    kept("kept codex", KEPT, &of_vendor("codex"));
}

#[test]
fn a_kept_gemini_says_anything() {
    kept("kept gemini", KEPT, &of_vendor("gemini"));
}

#[test]
fn kept_agents_say_anything() {
    kept("kept agents", KEPT, &of_agents());
}
