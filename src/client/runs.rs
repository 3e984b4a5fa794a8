//! The runs of a server: what goes on there, and what was detached.

use super::run::{PAUSE, RUNS, join};
use super::site::Server;
use crate::base::json::take;
use crate::engine::site::Checked;
use crate::exec::Control;
use crate::model::error::Error;
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// How long a run that was stopped may take to be gone.
const GOES: Duration = Duration::from_secs(15);

impl Server {
    /// What is told of each run, oldest first.
    pub(crate) fn runs(&self) -> Result<Vec<Value>, Error> {
        match take(&mut self.ask("GET", RUNS, None)?, "runs") {
            Value::Array(runs) => Ok(runs),
            _ => Err(self.address.failed("it sent a list of runs that is none")),
        }
    }

    /// The run of that id, whole or its unique beginning.
    fn find_run(&self, word: &str) -> Result<Value, Error> {
        let runs = self.runs()?;
        let begins = |run: &&Value| run["id"].as_str().is_some_and(|id| id.starts_with(word));
        let found: Vec<&Value> = runs.iter().filter(begins).collect();
        match found[..] {
            _ if word.is_empty() => Err(no_run(word)),
            [] => Err(no_run(word)),
            [run] => Ok(run.clone()),
            _ => Err(Error::Invalid(format!(
                "`{word}` is the beginning of {} runs: give more of the id",
                found.len()
            ))),
        }
    }

    /// Joins the run that a word means, to hear all that it says.
    pub(crate) fn join_run<'a>(
        &'a self,
        word: &str,
        control: Control,
    ) -> Result<Box<dyn Checked + 'a>, Error> {
        Ok(join(self, &self.find_run(word)?, control)?)
    }

    /// Stops the run that a word means, and waits until it is gone. Returns its id, and whether it was still there to be
    /// stopped.
    pub(crate) fn cancel_run(&self, word: &str) -> Result<(String, bool), Error> {
        let id = self.id(&self.find_run(word)?["id"])?;
        let path = format!("{RUNS}/{id}");
        let was_there = self.ask("DELETE", &path, None)?["cancelled"] == true;
        let since = Instant::now();
        while was_there && self.runs()?.iter().any(|run| run["id"] == *id && run["state"] == "running") {
            if since.elapsed() > GOES {
                return Err(self.address.failed(format!("run `{id}` does not end")));
            }
            thread::sleep(PAUSE);
        }
        Ok((id, was_there))
    }
}

fn no_run(word: &str) -> Error {
    Error::Invalid(format!("no run `{word}`: it is over, or was never there"))
}
