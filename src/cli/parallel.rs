//! `clinvk parallel`: the tasks of a file, many at once.

use super::batch::{self, Ready};
use super::flags::{Name, Typed};
use super::print::Out;
use crate::base::printable::{columns, pad, safe};
use crate::base::world::{self, World};
use crate::batch::{Finished, InOrder, Plan, Report, State, Totals};
use crate::config::Config;
use crate::model::error::Error;
use crate::session::shorten;
use serde_json::to_string;
use std::io;
use std::time::Duration;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let ready = Ready::new(typed, world, config)?;
    let json = ready.wants_json()?;
    let (text, origin) = batch::plan_text(typed, &ready.engine.world, "tasks")?;
    let plan = Plan::read(&text, &origin, &ready.defaults())?;
    drop(text);
    let workers = ready.workers(plan.settings.max_parallel)?;
    let fail_fast = typed.has(Name::FailFast) || plan.settings.fail_fast.unwrap_or(config.parallel.fail_fast);
    let folder = ready.folder(plan.settings.output_dir.as_deref(), "task")?;
    let form = match (json, typed.has(Name::Jsonl)) {
        (true, _) => Form::Json,
        (_, true) => Form::Lines,
        _ => Form::Text {
            answers: config.parallel.aggregate_output,
            has_colours: ready.has_colours() && world::stdout_is_terminal(),
        },
    };
    let mut printer = ResultPrinter::new(form, Some(plan.len()));
    let mut out = ready.begin()?;
    if matches!(form, Form::Text { .. }) && !typed.has(Name::Quiet) {
        // The reader is gone: that is noticed again by the first run.
        let _ = out.put(&format!("Running {} tasks (max {} parallel)...\n\n", plan.len(), workers.0));
    }
    let mut print = |out: &mut _, finished| printer.take(out, finished);
    let (report, mut out) = ready.run(out, Some(plan.len()), folder.as_ref(), &mut print, |batch| {
        batch.parallel(&plan, workers, fail_fast)
    })?;
    let _ = printer.end(&mut out, &report);
    batch::status(report, &mut out)
}

/// What is printed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// The answers, and a table.
    Text { answers: bool, has_colours: bool },
    /// One object, in the order of the tasks. It is printed as it grows: ten thousand answers need not be kept.
    Json,
    /// A line for each task, in the order in which they end.
    Lines,
}

/// Prints results as they come, of `map` too.
pub(crate) struct ResultPrinter {
    form: Form,
    /// How many there will be, where that is known.
    planned: Option<usize>,
    in_order: InOrder,
    /// The object has begun.
    has_head: bool,
    rows: Vec<Row>,
}

/// A line of the table.
struct Row {
    backend: Box<str>,
    state: State,
    duration: Duration,
    title: Box<str>,
}

impl ResultPrinter {
    /// A printer that has printed nothing.
    pub(crate) fn new(form: Form, planned: Option<usize>) -> ResultPrinter {
        ResultPrinter { form, planned, in_order: InOrder::default(), has_head: false, rows: Vec::new() }
    }

    /// The beginning of the object. It waits for the first result: until then an error may come in its place.
    fn head(&mut self) -> String {
        match (std::mem::replace(&mut self.has_head, true), self.planned) {
            (true, _) => String::new(),
            (false, Some(tasks)) => format!("{{\"total_tasks\":{tasks},\"results\":["),
            (false, None) => "{\"results\":[".to_owned(),
        }
    }

    /// Prints a result, or those whose turn has come.
    pub(crate) fn take(&mut self, out: &mut Out, finished: Finished) -> io::Result<()> {
        if self.form == Form::Lines {
            return out.put_line(&finished.entry());
        }
        for finished in self.in_order.take(finished) {
            match self.form {
                Form::Json => {
                    let before = if self.has_head { ",".to_owned() } else { self.head() };
                    let entry = crate::base::printable::safe_json(to_string(&finished.entry())?);
                    out.put(&format!("{before}\n{entry}"))?;
                }
                Form::Text { answers, .. } => {
                    if answers {
                        out.put(&answer(&finished))?;
                    }
                    self.rows.push(Row {
                        backend: safe(&finished.outcome.backend).into(),
                        state: finished.state,
                        duration: finished.outcome.duration,
                        title: shorten(&safe(finished.label.title()), 60).into(),
                    });
                }
                Form::Lines => {}
            }
        }
        Ok(())
    }

    /// Prints what they came to.
    pub(crate) fn end(&mut self, out: &mut Out, report: &Report) -> io::Result<()> {
        let (totals, seconds) = (&report.totals, report.duration.as_secs_f64());
        match self.form {
            Form::Json => {
                let head = self.head();
                let all =
                    self.planned.map_or(format!("\"total_tasks\":{},", totals.all()), |_| String::new());
                let totals = to_string(totals)?;
                let totals = totals.trim_matches(['{', '}']);
                out.put(&format!("{head}\n],{all}{totals},\"total_duration_seconds\":{seconds}}}\n"))
            }
            Form::Text { answers, has_colours } => {
                if answers {
                    out.put("\n")?;
                }
                self.table(out, has_colours)?;
                out.put(&format!("\n{}\n", total(report, "tasks")))
            }
            Form::Lines => Ok(()),
        }
    }

    fn table(&self, out: &mut Out, has_colours: bool) -> io::Result<()> {
        let number = self.rows.len().to_string().len();
        let backend =
            self.rows.iter().map(|row| columns(&row.backend)).max().unwrap_or(0).max("BACKEND".len());
        out.put(&format!("{:>number$}  {}  STATUS     DURATION  TASK\n", "#", pad("BACKEND", backend)))?;
        let line = |(index, row): (usize, &Row)| {
            let status = format!("{:<9}", row.state.word());
            format!(
                "{:>number$}  {}  {}  {:>7.2}s  {}\n",
                index + 1,
                pad(&row.backend, backend),
                if has_colours { coloured(&status, row.state) } else { status },
                row.duration.as_secs_f64(),
                row.title
            )
        };
        // Not as one text: it would be as long as all that was saved by not keeping the answers.
        let mut lines = self.rows.iter().enumerate().map(line).peekable();
        while lines.peek().is_some() {
            out.put(&lines.by_ref().take(100).collect::<String>())?;
        }
        Ok(())
    }
}

/// `[1] the answer`, and what went wrong.
fn answer(finished: &Finished) -> String {
    let number = finished.label.index + 1;
    let mut text = String::new();
    let problem = batch::problem(finished);
    if problem.is_none() || !finished.output.is_empty() {
        text += &format!("[{number}] {}\n", finished.output.trim_end_matches('\n'));
    }
    if let Some(problem) = problem {
        text += &format!("[{number}] {problem}\n");
    }
    text
}

/// How many ended how, in one line.
pub(crate) fn total(report: &Report, what: &str) -> String {
    let Totals { completed, failed, cancelled, skipped, resumed, .. } = report.totals;
    let mut text = format!("Total: {} {what}, {completed} completed, {failed} failed", report.totals.all());
    for (count, word) in [(cancelled, "cancelled"), (skipped, "skipped"), (resumed, "done before")] {
        if count > 0 {
            text += &format!(", {count} {word}");
        }
    }
    text + &format!(" ({:.2} s)", report.duration.as_secs_f64())
}

fn coloured(status: &str, state: State) -> String {
    let colour = match state {
        State::Completed => 32,
        State::Failed => 31,
        State::Cancelled | State::Skipped => 33,
    };
    format!("\x1b[{colour}m{status}\x1b[0m")
}
