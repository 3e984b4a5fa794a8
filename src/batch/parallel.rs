//! Tasks in parallel, each when those that it depends on are done.

use super::graph::{Graph, Turn};
use super::once::Job;
use super::plan::{self, Plan};
use super::template::{Template, output_of};
use super::{Batch, Course, Finished, Label, Report, State, Workers, work};
use crate::engine::request::Request;
use crate::model::error::{Error, Failure, Kind};
use std::sync::Arc;

impl Batch<'_> {
    /// Runs the tasks of a plan, so many at once. `fail_fast`: the first failure stops everything. What goes wrong in a task is
    /// its result.
    pub(crate) fn parallel(&self, plan: &Plan, workers: Workers, fail_fast: bool) -> Result<Report, Error> {
        let course = Course { fail_fast, ..Course::begin(self, Some(plan.len()))? };
        let graph = Graph::of(plan);
        work(workers.0.min(plan.len()), &|| {
            let turn = graph.next()?;
            let index = turn.index;
            let finished = course.task(plan, turn);
            let is_completed = finished.state == State::Completed;
            let is_awaited = is_completed && !finished.dry_run && graph.is_awaited(index);
            let output = is_awaited.then(|| Arc::from(finished.output.as_str()));
            course.conclude(finished);
            graph.ended(index, is_completed, output);
            Some(())
        });
        Ok(course.end())
    }

    /// The backend that a request is put to.
    pub(super) fn backend_of(&self, request: &Request) -> String {
        let named = request.backend.as_ref().or(self.given.backend.as_ref());
        named.unwrap_or(&self.defaults.config.default_backend).clone()
    }
}

impl Course<'_> {
    fn task(&self, plan: &Plan, turn: Turn) -> Finished {
        let (extra, request) = match plan.task(turn.index) {
            Ok(task) => task,
            Err(error) => return Finished::refused(Label { index: turn.index, ..Label::default() }, &error),
        };
        let filled = plan::with_file(extra.prompt_file.as_deref(), &request, &self.batch.defaults);
        let request = filled.as_ref().unwrap_or(&request);
        let label = plan::label(turn.index, &extra, request, self.batch.backend_of(request));
        if let Some(broken) = turn.broken.filter(|_| !self.branch.is_thrown()) {
            let why = format!("not started: {} did not complete", plan.called(broken));
            return Finished::without_run(label, State::Skipped, Failure::new(Kind::Cancelled, why));
        }
        self.run(label, || {
            let mut request = filled?;
            if !plan.after(turn.index).is_empty() {
                let template = Template::read(request.prompt.as_deref().unwrap_or(""), |_| Ok(()))?;
                let output = |id: usize| turn.outputs.iter().find(|(index, _)| *index == id);
                let value = |variable: &str| {
                    let dependency = plan.find(turn.index, output_of(variable)?)?;
                    output(dependency).map(|(_, output)| &**output)
                };
                request.prompt = Some(template.expand(value).into());
            }
            Ok(Job { request, ..Job::default() })
        })
    }
}
