//! `clinvk chain`: the steps of a file, one after the other.

use super::batch::{self, Ready, Screen};
use super::flags::{Name, Typed};
use super::progress::Show;
use crate::base::sys;
use crate::base::world::{self, World};
use crate::batch::{Chain, Finished, State, StepJson};
use crate::config::{Config, StdinUse};
use crate::model::error::Error;
use serde::Serialize;
use std::io::{self, Read};

/// Runs it. Everything is printed; the exit status is returned.
///
/// # Errors
/// What is wrong with the flags or the chain; what broke it.
pub fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let json = batch::wants_json(typed)?;
    let ready = Ready::new(typed, world, config)?;
    let (text, origin) = batch::plan_text(typed, &ready.engine.world, "steps")?;
    let chain = Chain::read(&text, &origin, &ready.defaults())?;
    let from = typed.value(Name::From).map(|word| chain.find(word)).transpose()?;
    if from.is_some() && !typed.has(Name::OutputDir) {
        let sentence = "`--from` needs the answers of the steps before: `--output-dir DIR`";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    let input = match typed.value(Name::Input) {
        Some(text) => Some(text.to_owned()),
        // What the chain brings along is enough, and a chain from standard input leaves nothing there.
        None if !chain.wants_input()
            || chain.settings.input.is_some()
            || origin == batch::STANDARD_INPUT
            || typed.has(Name::NoStdin)
            || config.input.stdin == StdinUse::Never
            || world::stdin_is_terminal() =>
        {
            None
        }
        None => Some(standard_input()?),
    };
    let folder = ready.folder(typed, None, "step")?;
    ready.begin()?;
    let mut results = Vec::new();
    let show = ready.show(typed);
    let screen = Screen::new(show, Some(chain.len()), ready.out(), |_, finished| {
        results.push(finished);
        Ok(())
    });
    let stops = chain.settings.stop_on_failure.unwrap_or(true);
    let report = ready.batch(&screen).chain(&chain, input.as_deref(), stops, from, folder.as_ref());
    let mut out = screen.end();
    let report = report?;
    // Those that were never begun have no place in the results of clinvk 0.2, nor anything to say.
    results.retain(|finished| finished.attempts > 0 || finished.state == State::Failed || finished.dry_run);
    let seconds = report.duration.as_secs_f64();
    let _ = if json {
        out.put_line(&Chained {
            total_steps: chain.len(),
            completed_steps: report.totals.completed,
            failed_step: failed(&results).map_or(0, |finished| finished.label.index + 1),
            total_duration_seconds: seconds,
            results: results.iter().map(Finished::step).collect(),
        })
    } else {
        let last = results.last().filter(|finished| finished.state == State::Completed);
        let dry = results.iter().filter(|finished| finished.dry_run);
        let printed: Vec<&Finished> = if results.iter().any(|finished| finished.dry_run) {
            dry.collect()
        } else {
            last.into_iter().collect()
        };
        printed
            .iter()
            .try_for_each(|finished| out.put(&format!("{}\n", finished.output.trim_end_matches('\n'))))
    };
    // Where lines tell of the progress, one has told it.
    if let (Some(finished), None, true) = (failed(&results), &report.broken, show != Show::Lines) {
        let problem = batch::problem(finished).unwrap_or_default();
        let name = finished.label.id.as_deref().unwrap_or_default();
        let line =
            format!("clinvk: step {} (`{name}`), {}: {problem}", finished.label.index + 1, finished.backend);
        crate::base::logging::line(&line);
    }
    batch::status(report, &mut out)
}

fn standard_input() -> Result<String, Error> {
    let fail = |error| Error::File { verb: "read", path: batch::STANDARD_INPUT.into(), error };
    let mut text = String::new();
    sys::Waiting(io::stdin().lock()).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

/// The first step that did not come to a good end.
fn failed(results: &[Finished]) -> Option<&Finished> {
    results.iter().find(|finished| finished.state != State::Completed)
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
