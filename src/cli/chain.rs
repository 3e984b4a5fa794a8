//! `clinvk chain`: the steps of a file, one after the other.

use super::batch::{self, Ready};
use super::flags::{Name, Typed};
use super::progress::Show;
use crate::base::sys;
use crate::base::world::{self, World};
use crate::batch::{Chain, Finished, State, StepJson};
use crate::config::{Config, StdinUse};
use crate::model::error::Error;
use serde::Serialize;
use std::io;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let ready = Ready::new(typed, world, config)?;
    let json = ready.wants_json()?;
    let (text, origin) = batch::plan_text(typed, &ready.engine.world, "steps")?;
    let chain = Chain::read(&text, &origin, &ready.defaults())?;
    let from = typed.value(Name::From).map(|word| chain.find(word)).transpose()?;
    if from.is_some() && !typed.has(Name::OutputDir) {
        let sentence = "`--from` needs the answers of the steps before: `--output-dir DIR`";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    // What the chain brings along is enough, and a chain from standard input leaves nothing there.
    let reads_input = chain.wants_input()
        && chain.settings.input.is_none()
        && origin != batch::STANDARD_INPUT
        && !typed.has(Name::NoStdin)
        && config.input.stdin != StdinUse::Never
        && !world::stdin_is_terminal();
    let input = match typed.value(Name::Input) {
        Some(text) => Some(text.to_owned()),
        None if reads_input => {
            let fail = |error| Error::File { verb: "read", path: batch::STANDARD_INPUT.into(), error };
            Some(io::read_to_string(sys::Waiting(io::stdin().lock())).map_err(fail)?)
        }
        None => None,
    };
    let folder = ready.folder(None, "step")?;
    let mut results = Vec::new();
    let mut keep = |_: &mut _, finished| {
        results.push(finished);
        Ok(())
    };
    let stops = chain.settings.stop_on_failure.unwrap_or(true);
    let out = ready.begin()?;
    let (report, mut out) = ready.run(out, Some(chain.len()), folder.as_ref(), &mut keep, |batch| {
        batch.chain(&chain, input.as_deref(), stops, from.unwrap_or(0))
    })?;
    // Those that were never begun have no place in the results of clinvk 0.2, nor anything to say.
    results.retain(|finished| finished.attempts > 0 || finished.state == State::Failed || finished.dry_run);
    let failed = results.iter().find(|finished| finished.state != State::Completed);
    let _ = if json {
        out.put_line(&Chained {
            total_steps: chain.len(),
            completed_steps: report.totals.completed,
            failed_step: failed.map_or(0, |finished| finished.label.index + 1),
            total_duration_seconds: report.duration.as_secs_f64(),
            results: results.iter().map(Finished::step).collect(),
        })
    } else {
        let is_dry_run = results.iter().any(|finished| finished.dry_run);
        let is_answer = |(index, finished): &(usize, &Finished)| match is_dry_run {
            true => finished.dry_run,
            false => index + 1 == results.len() && finished.state == State::Completed,
        };
        let mut answers = results.iter().enumerate().filter(is_answer);
        answers.try_for_each(|(_, answer)| out.put(&format!("{}\n", answer.output.trim_end_matches('\n'))))
    };
    // Where progress is shown as lines, one has said it.
    if let (Some(finished), None, true) = (failed, &report.broken, ready.show() != Show::Lines) {
        let problem = batch::problem(finished).unwrap_or_default();
        let name = finished.label.id.as_deref().unwrap_or_default();
        let line = format!(
            "clinvk: step {} (`{name}`), {}: {problem}",
            finished.label.index + 1,
            finished.outcome.backend
        );
        crate::base::logging::line(&line);
    }
    batch::status(report, &mut out)
}

/// The shape of clinvk 0.2, and what is ours behind it.
#[derive(Serialize)]
struct Chained<'a> {
    total_steps: usize,
    completed_steps: usize,
    failed_step: usize,
    total_duration_seconds: f64,
    results: Vec<StepJson<'a>>,
}
