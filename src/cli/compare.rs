//! `clinvk compare`: one prompt for several backends, and their answers side by side.

use super::batch::{self, Ready, Screen};
use super::flags::{Name, Typed};
use super::input::Piped;
use super::print::Out;
use super::{input, prompt};
use crate::base::world::World;
use crate::batch::compare::{all, candidates, dissenters, title};
use crate::batch::{Finished, InOrder, Report, ResultJson, State, Workers};
use crate::config::Config;
use crate::engine::request::{list, prompt_with_files};
use crate::model::error::Error;
use serde::Serialize;
use std::io;

/// Runs it. Everything is printed; the exit status is returned.
///
/// # Errors
/// What is wrong with the flags, or that there is no backend to ask; what broke the comparison.
pub fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let json = batch::wants_json(typed)?;
    let ready = Ready::new(typed, world, config)?;
    for (one, other) in [(Name::Race, Name::Agree), (Name::Backends, Name::AllBackends)] {
        if typed.has(one) && typed.has(other) {
            return Err(Error::Invalid(format!("`--{one}` and `--{other}` exclude each other")));
        }
    }
    let candidates = match typed.value(Name::Backends) {
        Some(words) => candidates(&list(words))?,
        None if typed.has(Name::AllBackends) => {
            let (candidates, missing) = all(&ready.engine);
            missing.iter().for_each(|name| log::warn!("backend `{name}` is not installed: it is left out"));
            if candidates.is_empty() {
                // A user who wants all and has none learns from the first what to do.
                let backend = missing.first().cloned().unwrap_or_default();
                let known = ready.engine.registry.get(&backend)?;
                return Err(Error::NotInstalled { backend, program: known.program().to_owned() });
            }
            candidates
        }
        None => {
            let sentence = "who is asked? give `--backends a,b` or `--all-backends`";
            return Err(Error::Invalid(sentence.to_owned()));
        }
    };
    let (argument, is_named) = prompt::argument(typed, &typed.operands, true)?;
    let piped = Piped::of(typed, is_named, config)?;
    let files: Vec<String> = typed.values(Name::File).map(str::to_owned).collect();
    let asked =
        prompt_with_files(input::prompt(argument, piped, !files.is_empty())?, &files, &ready.defaults())?;
    ready.begin()?;
    let workers = Workers(if typed.has(Name::Sequential) { 1 } else { candidates.len() });
    let style = Layout { json, race: typed.has(Name::Race) };
    let (mut in_order, mut results, mut winner) = (InOrder::default(), Vec::new(), None);
    let screen =
        Screen::new(ready.show(typed), Some(candidates.len()), ready.out(), |out, finished: Finished| {
            if style.race && finished.state == State::Completed {
                winner.get_or_insert(finished.label.index);
            }
            for finished in in_order.take(finished) {
                if !style.json && !style.race {
                    out.put(&section(&finished))?;
                }
                results.push(finished);
            }
            Ok(())
        });
    let report = ready.batch(&screen).compare(&asked, &candidates, workers, style.race);
    let mut out = screen.end();
    let report = report?;
    let verdict = typed.has(Name::Agree).then(|| verdict(&results));
    let winner = winner.and_then(|index: usize| results.get(index));
    let _ = style.print(&mut out, &asked, &results, &report, winner, &verdict);
    end(report, winner.is_some(), verdict, &mut out)
}

/// The exit status; who differs, or what went wrong, on standard error.
fn end(report: Report, has_winner: bool, verdict: Option<Verdict>, out: &mut Out) -> Result<u8, Error> {
    let (was_cancelled, was_broken) = (report.cancelled, report.broken.is_some());
    let status = batch::status(report, out)?;
    if was_broken {
        return Ok(status);
    }
    if has_winner {
        return Ok(0);
    }
    match verdict.filter(|verdict| !was_cancelled && !verdict.sentences.is_empty()) {
        None => Ok(status),
        Some(verdict) => {
            verdict
                .sentences
                .iter()
                .for_each(|sentence| crate::base::logging::line(&format!("clinvk: {sentence}")));
            Ok(status.max(1))
        }
    }
}

#[derive(Clone, Copy)]
struct Layout {
    json: bool,
    race: bool,
}

impl Layout {
    fn print(
        self,
        out: &mut Out,
        prompt: &str,
        results: &[Finished],
        report: &Report,
        winner: Option<&Finished>,
        verdict: &Option<Verdict>,
    ) -> io::Result<()> {
        if self.json {
            return out.put_line(&Comparison {
                prompt,
                backends: results.iter().map(|finished| finished.label.backend.as_str()).collect(),
                results: results.iter().map(Finished::to_json).collect(),
                winner: winner.map(title),
                agree: verdict.as_ref().map(|verdict| verdict.sentences.is_empty()),
                total_duration_seconds: report.duration.as_secs_f64(),
            });
        }
        match winner {
            // Without `--race` each was printed as it ended.
            _ if !self.race => Ok(()),
            Some(finished) => out.put(&format!("{}\n", finished.output)),
            None => results.iter().try_for_each(|finished| out.put(&section(finished))),
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
    let seconds = finished.duration.as_secs_f64();
    let mut text = format!("== {} ({seconds:.2} s)\n", title(finished));
    if !finished.output.is_empty() {
        text += &format!("{}\n", finished.output.trim_end_matches('\n'));
    }
    if let Some(problem) = batch::problem(finished) {
        text += &format!("{problem}\n");
    }
    text + "\n"
}

/// Whether they agree: sentences about those who do not.
struct Verdict {
    sentences: Vec<String>,
}

fn verdict(results: &[Finished]) -> Verdict {
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
    Verdict { sentences: others.iter().map(missing).chain(differ.iter().map(differs)).collect() }
}
