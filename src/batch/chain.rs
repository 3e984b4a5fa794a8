//! Steps one after the other, each with the answers of those before it.

use super::once::Job;
use super::plan::{with_file, wrong};
use super::template::{Template, output_of};
use super::{Batch, Course, Finished, Halt, Label, Report, State};
use crate::base::json;
use crate::base::text::nearest;
use crate::engine::request::{Defaults, Request};
use crate::model::error::Error;
use crate::model::fields::{Object, fields};
use serde::de::{Deserialize, Deserializer, Error as _};
use std::collections::{HashMap, HashSet};

fields! {
    /// What a chain says besides its steps.
    pub struct Steps {
        stop_on_failure: bool, "no step after one that failed";
        pass_working_dir: bool, "a step without a directory works where the one before it did";
        pass_session: bool, "steps on the same backend continue one conversation";
        input: String, "what `{{input}}` stands for";
        detach: bool, "over HTTP: answer at once; the steps go on alone";
    }
}

fields! {
    struct List {
        steps: Vec<Written>, "what is done";
    }
}

fields! {
    /// What a step has besides its request.
    pub struct OfStep {
        name: String, "by which later steps use its answer";
        prompt_file: String, "a file with the prompt";
    }
}

#[derive(Debug, Clone)]
struct Written(OfStep, Request);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Written, D::Error> {
        let Object((extra, request)) = Object::<(OfStep, Request)>::deserialize(deserializer)?;
        if request.prompt.is_some() == extra.prompt_file.is_some() {
            return Err(D::Error::custom("a step has either a `prompt` or a `prompt_file`"));
        }
        Ok(Written(extra, request))
    }
}

/// Steps that were checked.
pub struct Chain {
    /// What the chain says besides its steps.
    pub(crate) settings: Steps,
    steps: Vec<Step>,
}

struct Step {
    name: String,
    request: Request,
    prompt: Template,
}

impl Chain {
    /// Reads and checks a chain. `origin`: where it comes from, for messages.
    pub(crate) fn read(text: &str, origin: &str, defaults: &Defaults<'_>) -> Result<Chain, Error> {
        let Object((settings, list)) = json::from_str::<Object<(Steps, List)>>(text)
            .map_err(|error: serde_json::Error| wrong(origin, &error))?;
        if settings.detach.is_some() && defaults.reads_files {
            return Err(Error::Invalid("`detach` is for the server alone".to_owned()));
        }
        let written = list.steps.unwrap_or_default();
        if written.is_empty() {
            return Err(Error::Invalid(format!("{origin}: there are no steps")));
        }
        let name = |(index, Written(extra, _)): (usize, &Written)| {
            extra.name.clone().unwrap_or_else(|| (index + 1).to_string())
        };
        let names: Vec<String> = written.iter().enumerate().map(name).collect();
        let mut steps: Vec<Step> = Vec::with_capacity(written.len());
        let mut taken = HashSet::new();
        for (index, Written(extra, request)) in written.into_iter().enumerate() {
            let name = names[index].clone();
            let place = |why: String| Error::Invalid(format!("{origin}: step `{name}`: {why}"));
            if !taken.insert(&names[index]) {
                return Err(place("another step has this name".to_owned()));
            }
            if extra.prompt_file.is_some() && !defaults.reads_files {
                return Err(place("`prompt_file` is for the command line alone".to_owned()));
            }
            let request = with_file(extra.prompt_file.as_deref(), &request, defaults)?;
            let text = request.prompt.clone().unwrap_or_default();
            if text.trim().is_empty() {
                return Err(place("there is no prompt".to_owned()));
            }
            let prompt = Template::read(&text, |variable| knows(variable, index, &names))
                .map_err(|error| place(error.to_string()))?;
            steps.push(Step { name, prompt, request: Request { prompt: None, ..request } });
        }
        Ok(Chain { settings, steps })
    }

    /// How many steps there are; never none.
    #[allow(clippy::len_without_is_empty)] // a chain without steps is an error
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether a step asks for `{{input}}`.
    pub(crate) fn wants_input(&self) -> bool {
        self.steps.iter().any(|step| step.prompt.variables().any(|variable| variable == "input"))
    }

    /// The place of a step, from 0, by its name or its number from 1.
    pub(crate) fn find(&self, word: &str) -> Result<usize, Error> {
        let number = word.parse::<usize>().ok().filter(|number| (1..=self.len()).contains(number));
        let named = self.steps.iter().position(|step| step.name == word);
        named.or(number.map(|number| number - 1)).ok_or_else(|| Error::Unknown {
            what: "step",
            given: word.to_owned(),
            known: self.steps.iter().map(|step| step.name.clone()).collect(),
        })
    }
}

/// Whether a step may use that variable.
fn knows(variable: &str, index: usize, names: &[String]) -> Result<(), String> {
    let before = &names[..index];
    match variable {
        "input" => return Ok(()),
        "previous" if index > 0 => return Ok(()),
        "previous" => return Err("there is no step before the first".to_owned()),
        _ => {}
    }
    let Some(name) = variable.strip_prefix("steps.").and_then(output_of) else {
        return Err(
            "unknown variable: there are `{{input}}`, `{{previous}}` and `{{steps.NAME.output}}`, and \
                    `{{{{` is a literal `{{`"
                .to_owned(),
        );
    };
    if before.iter().any(|before| before == name) {
        Ok(())
    } else if names.iter().any(|known| known == name) {
        Err(format!("step `{name}` comes no sooner than this one"))
    } else {
        let near = nearest(name, before.iter().map(String::as_str));
        let hint = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        Err(format!("there is no step `{name}`{hint}"))
    }
}

impl Batch<'_> {
    /// Runs the steps of a chain. `input`: what `{{input}}` stands for. `from`: the answers of so many steps are read from
    /// the folder. A missing one is an error before anything runs; what goes wrong in a step is its result.
    pub(crate) fn chain(
        &self,
        chain: &Chain,
        input: Option<&str>,
        stop_on_failure: bool,
        from: usize,
    ) -> Result<Report, Error> {
        let input = input.or(chain.settings.input.as_deref());
        if chain.wants_input() && input.is_none() {
            let sentence =
                "`{{input}}` is used, and there is none: give it on standard input or by `--input`";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        let mut earlier = self.earlier(&chain.steps[..from])?.into_iter();
        let course = Course::begin(self, Some(chain.len()))?;
        let mut past = Past::default();
        for step in &chain.steps {
            let finished = match earlier.next() {
                Some(finished) => {
                    past.keep_on(&finished);
                    finished
                }
                None => self.step(&course, chain, step, input, &mut past),
            };
            let is_over = finished.state != State::Completed && stop_on_failure;
            past.outputs.push((!finished.dry_run).then(|| finished.output.clone()));
            course.conclude(finished);
            if is_over {
                course.stop(Halt::Failed(step.name.clone()));
            }
        }
        for id in &past.temporary {
            course.forget(id);
        }
        Ok(course.end())
    }

    /// The results of the first steps, from the folder.
    fn earlier(&self, steps: &[Step]) -> Result<Vec<Finished>, Error> {
        let answer = |(index, step): (usize, &Step)| {
            let answer =
                self.folder.and_then(|folder| folder.answer(&self.label(index, step, &step.request)));
            answer.ok_or_else(|| Error::Invalid(format!("step `{}` has no answer to go on from", step.name)))
        };
        steps.iter().enumerate().map(answer).collect()
    }

    fn label(&self, index: usize, step: &Step, request: &Request) -> Label {
        Label {
            index,
            id: Some(step.name.clone()),
            backend: self.backend_of(request),
            model: request.model.clone(),
            tags: request.tags.clone().unwrap_or_default(),
            ..Label::default()
        }
    }

    fn step(
        &self,
        course: &Course<'_>,
        chain: &Chain,
        step: &Step,
        input: Option<&str>,
        past: &mut Past,
    ) -> Finished {
        let index = past.outputs.len();
        let mut request = step.request.clone();
        if chain.settings.pass_working_dir == Some(true) {
            request.workdir = request.workdir.or(past.dir.take());
            past.dir = request.workdir.clone();
        }
        let passes = chain.settings.pass_session == Some(true) && request.ephemeral != Some(true);
        let label = self.label(index, step, &request);
        let (backend, mut hidden) = (label.backend.clone(), false);
        let finished = course.run(label, || {
            let prompt = step.prompt.expand(|variable| match variable {
                "input" => input,
                "previous" => past.outputs.last()?.as_deref(),
                _ => {
                    let name = output_of(variable.strip_prefix("steps.")?)?;
                    let index = chain.steps.iter().position(|step| step.name == name)?;
                    past.outputs.get(index)?.as_deref()
                }
            });
            request.prompt = Some(prompt.into());
            let mut session = None;
            if passes {
                hidden = !self.keep_sessions && request.ephemeral.is_none();
                request.ephemeral = Some(false);
                // One that is gone is begun anew: the chain goes on without what was said in it.
                session = past.sessions.get(&backend).and_then(|id| self.place.session(id).ok());
            }
            Ok(Job { request, session, hidden })
        });
        if passes {
            past.keep_on(&finished);
            past.temporary.extend(finished.outcome.session.clone().filter(|_| hidden));
        }
        finished
    }
}

/// What later steps need of earlier ones.
#[derive(Default)]
struct Past {
    /// Their answers; a dry run has none.
    outputs: Vec<Option<String>>,
    dir: Option<String>,
    /// The conversation with each backend.
    sessions: HashMap<String, String>,
    /// Those that end with the chain.
    temporary: Vec<String>,
}

impl Past {
    /// The conversation goes on from here.
    fn keep_on(&mut self, finished: &Finished) {
        if let (State::Completed, Some(id)) = (finished.state, &finished.outcome.session) {
            self.sessions.insert(finished.outcome.backend.clone(), id.clone());
        }
    }
}
