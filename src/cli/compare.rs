//! `clinvk compare`: one prompt for several backends, and their answers side by side.

use super::batch::{self, Ready};
use super::flags::{Name, Typed};
use super::input::Parts;
use super::print::Out;
use crate::base::logging;
use crate::base::world::World;
use crate::batch::compare::{candidates, dissenters, title};
use crate::batch::{Finished, InOrder, ResultJson, State, Workers};
use crate::config::Config;
use crate::engine::request::list;
use crate::model::error::Error;
use serde::Serialize;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let ready = Ready::new(typed, world, config)?;
    let json = ready.wants_json()?;
    let candidates = match typed.value(Name::Backends) {
        Some(words) => candidates(&list(words))?,
        None if typed.has(Name::AllBackends) => {
            let (candidates, missing) = ready.place().all();
            missing.iter().for_each(|name| log::warn!("backend `{name}` is not installed: it is left out"));
            if candidates.is_empty() {
                // A user who wants all and has none learns from the first what to do.
                return Err(ready.place().not_installed(missing.first().map_or("", String::as_str)));
            }
            candidates
        }
        None => {
            let sentence = "who is asked? give `--backends a,b` or `--all-backends`";
            return Err(Error::Invalid(sentence.to_owned()));
        }
    };
    let parts = Parts::of(typed, &typed.operands, ready.file.as_ref(), None, config)?;
    let asked = parts.prompt(Some(&ready.files), &ready.defaults())?;
    let workers = Workers(if typed.has(Name::Sequential) { 1 } else { candidates.len() });
    let race = typed.has(Name::Race);
    let (mut in_order, mut results, mut winner) = (InOrder::default(), Vec::new(), None);
    let mut print = |out: &mut Out, finished: Finished| {
        if race && finished.state == State::Completed {
            winner.get_or_insert(finished.label.index);
        }
        for finished in in_order.take(finished) {
            if !json && !race {
                out.put(&section(&finished))?;
            }
            results.push(finished);
        }
        Ok(())
    };
    let out = ready.begin()?;
    let (report, mut out) = ready.run(out, Some(candidates.len()), None, &mut print, |batch| {
        batch.compare(&asked, &candidates, workers, race)
    })?;
    let disagreements = typed.has(Name::Agree).then(|| disagreements(&results));
    let winner = winner.and_then(|index: usize| results.get(index));
    let _ = match winner {
        _ if json => out.put_line(&Comparison {
            prompt: &asked,
            backends: results.iter().map(|finished| finished.label.backend.as_str()).collect(),
            results: results.iter().map(Finished::to_json).collect(),
            winner: winner.map(title),
            agree: disagreements.as_ref().map(Vec::is_empty),
            total_duration_seconds: report.duration.as_secs_f64(),
        }),
        // Without `--race` each was printed as it ended.
        _ if !race => Ok(()),
        Some(finished) => out.put(&format!("{}\n", finished.output)),
        None => results.iter().try_for_each(|finished| out.put(&section(finished))),
    };
    let (was_cancelled, was_broken) = (report.cancelled, report.broken.is_some());
    let status = batch::status(report, &mut out)?;
    if was_broken {
        return Ok(status);
    }
    if winner.is_some() {
        return Ok(0);
    }
    match disagreements.filter(|sentences| !was_cancelled && !sentences.is_empty()) {
        None => Ok(status),
        Some(sentences) => {
            sentences.iter().for_each(|sentence| logging::line(&format!("clinvk: {sentence}")));
            Ok(status.max(1))
        }
    }
}

/// The shape of clinvk 0.2, and what is ours behind it.
#[derive(Serialize)]
struct Comparison<'a> {
    prompt: &'a str,
    backends: Vec<&'a str>,
    results: Vec<ResultJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agree: Option<bool>,
    total_duration_seconds: f64,
}

/// An answer under its heading.
fn section(finished: &Finished) -> String {
    let seconds = finished.outcome.duration.as_secs_f64();
    let mut text = format!("== {} ({seconds:.2} s)\n", title(finished));
    if !finished.output.is_empty() {
        text += &format!("{}\n", finished.output.trim_end_matches('\n'));
    }
    if let Some(problem) = batch::problem(finished) {
        text += &format!("{problem}\n");
    }
    text + "\n"
}

/// A sentence about each that has no answer, or another one than most; none when all agree.
fn disagreements(results: &[Finished]) -> Vec<String> {
    let (answers, others): (Vec<&Finished>, Vec<&Finished>) =
        results.iter().partition(|finished| finished.state == State::Completed);
    let texts: Vec<&str> = answers.iter().map(|finished| finished.output.as_str()).collect();
    let differ = dissenters(&texts);
    let agreeing: Vec<String> = answers
        .iter()
        .enumerate()
        .filter(|(index, _)| !differ.contains(index))
        .map(|(_, finished)| title(finished))
        .collect();
    let differs = |index: &usize| format!("{} differs from {}", title(answers[*index]), agreeing.join(", "));
    let missing = |finished: &&Finished| {
        let problem = batch::problem(finished).unwrap_or_default();
        format!("{} has no answer: {problem}", title(finished))
    };
    others.iter().map(missing).chain(differ.iter().map(differs)).collect()
}
