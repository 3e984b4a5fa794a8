//! One prompt for several backends, and what their answers have in common.

use super::once::Job;
use super::{Batch, Course, Finished, Halt, Label, Report, State, Workers, beginning, work};
use crate::backend::Trust;
use crate::base::json;
use crate::engine::Engine;
use crate::engine::request::{Request, backend_and_model};
use crate::model::error::Error;
use crate::model::fields::fields;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};

fields! {
    /// What a comparison has besides its prompt and options.
    pub struct OfCompare {
        backends: Vec<String>, "who is asked: `backend` or `backend:model`";
        all_backends: bool, "ask all that are installed";
        sequential: bool, "one after the other";
        race: bool, "the first answer stops the others";
    }
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) backend: String,
    /// Its model; none is what the others are asked for, or its own default.
    pub(crate) model: Option<String>,
}

/// The candidates that are named: `backend` or `backend:model`. The same one may be asked for two models.
pub(crate) fn candidates(words: &[String]) -> Result<Vec<Candidate>, Error> {
    let mut candidates = Vec::new();
    for word in words {
        let (backend, model) = backend_and_model(word);
        let candidate = Candidate { backend: backend.to_owned(), model: model.map(str::to_owned) };
        if candidates.contains(&candidate) {
            return Err(Error::Invalid(format!("`{word}` is named twice")));
        }
        candidates.push(candidate);
    }
    if candidates.is_empty() {
        return Err(Error::Invalid("there is no backend to ask".to_owned()));
    }
    Ok(candidates)
}

/// All backends that have an answer of their own and are installed; and those that are not installed.
pub(crate) fn all(engine: &Engine) -> (Vec<Candidate>, Vec<String>) {
    let (mut candidates, mut missing) = (Vec::new(), Vec::new());
    let names = engine.registry.names().into_iter().filter(|name| !engine.disabled.contains(name));
    for backend in names.filter_map(|name| engine.registry.get(&name).ok()) {
        let name = backend.name().to_owned();
        if !backend.answers() {
            continue;
        }
        match engine.locate(&*backend, Trust::Found) {
            Some(_) => candidates.push(Candidate { backend: name, model: None }),
            None => missing.push(name),
        }
    }
    (candidates, missing)
}

impl Batch<'_> {
    /// Puts one prompt to all candidates, so many at once. `race`: the first answer stops the others. What goes wrong with a
    /// candidate is its result.
    pub(crate) fn compare(
        &self,
        prompt: &str,
        candidates: &[Candidate],
        workers: Workers,
        race: bool,
    ) -> Result<Report, Error> {
        let course = Course::begin(self, Some(candidates.len()))?;
        let next = AtomicUsize::new(0);
        work(workers.0.min(candidates.len()), &|| {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Candidate { backend, model } = candidates.get(index)?;
            let request = Request {
                backend: Some(backend.clone()),
                model: model.clone(),
                prompt: Some(prompt.into()),
                // Another backend's answer would not be a comparison.
                fallback: Some(Vec::new()),
                ..Request::default()
            };
            let label = Label {
                index,
                backend: backend.clone(),
                model: model.clone().or(self.given.model.clone()),
                prompt: beginning(prompt),
                ..Label::default()
            };
            let finished = course.run(label, || Ok(Job { request, ..Job::default() }));
            if race && finished.state == State::Completed {
                course.stop(Halt::Won(finished.outcome.backend.clone()));
            }
            course.conclude(finished);
            Some(())
        });
        Ok(course.end())
    }
}

/// The places of those whose answers differ from what most say; none when all agree. Answers agree when they are the same
/// but for space around them, when their last lines are, or when they are the same JSON.
pub(crate) fn dissenters(answers: &[&str]) -> Vec<usize> {
    struct Answer<'a> {
        text: &'a str,
        json: Option<Value>,
    }
    let read = |text: &str| json::from_str(text).ok();
    let answers: Vec<Answer<'_>> =
        answers.iter().map(|text| Answer { text: text.trim(), json: read(text) }).collect();
    let last = |text: &str| text.lines().next_back().map(|line| line.trim().to_owned());
    let agree = |one: &Answer<'_>, other: &Answer<'_>| {
        one.text == other.text
            || last(one.text) == last(other.text)
            || (one.json.is_some() && one.json == other.json)
    };
    let with = |one: &Answer<'_>| answers.iter().map(|other| agree(one, other)).collect::<Vec<bool>>();
    // Of several that are as many, the first.
    let votes: Vec<Vec<bool>> = answers.iter().map(with).collect();
    let count = |votes: &[bool]| votes.iter().filter(|agrees| **agrees).count();
    let Some(most) = votes.iter().rev().max_by_key(|votes| count(votes)) else { return Vec::new() };
    most.iter().enumerate().filter(|(_, agrees)| !**agrees).map(|(index, _)| index).collect()
}

/// What people call a candidate's result: `backend`, or `backend:model` where a model was asked for.
pub(crate) fn title(finished: &Finished) -> String {
    match &finished.label.model {
        Some(model) => format!("{}:{model}", finished.label.backend),
        None => finished.label.backend.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_agree_but_for_space_by_their_last_lines_or_as_json() {
        for (answers, differ) in [
            (&["yes\n", " yes"][..], &[][..]),
            (&["I think so.\nyes", "Well, yes:\n\nyes \n"], &[]),
            (&["{\"a\": 1, \"b\": 2}", "{\"b\":2,\n\"a\":1}"], &[]),
            (&["yes", "no", "yes"], &[1]),
            (&["no", "yes", "yes"], &[0]),
            (&["a", "b"], &[1]),
            (&["a", "b", "c"], &[1, 2]),
            (&["", " \n"], &[]),
            (&["1", "1.0"], &[1]),
            (&["alone"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(dissenters(answers), differ, "{answers:?}");
        }
    }

    #[test]
    fn candidates_are_named_once_each() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let read = |list: &[&str]| candidates(&words(list)).map_err(|error| error.to_string());
        assert_eq!(read(&["a", "a:x", "a:y"]).map(|found| found.len()), Ok(3));
        assert_eq!(read(&["a:x", "b", "a:x"]), Err("`a:x` is named twice".to_owned()));
        assert_eq!(read(&[]), Err("there is no backend to ask".to_owned()));
    }
}
