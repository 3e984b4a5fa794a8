//! Backends that the configuration declares: any program that takes a prompt and prints an answer. One way: the
//! prompt goes in, its input is closed, text or JSON lines come out. One that is kept takes a line for each prompt instead.

use super::reader::Reader;
use super::{Backend, Dialogue, Ended, Framing, Keeping, Launch, Mux, Route, Routes, Seat, Step, Steps};
use crate::config::{AnswerAs, Declared, Fields, PromptBy};
use crate::model::error::{Error, Failure, Kind, words_of_stderr};
use crate::model::event::{Event, Usage};
use crate::model::task::{Task, TaskOption};
use serde_json::Value;
use std::sync::Arc;

/// The longest argument that Linux takes, with its final NUL (MAX_ARG_STRLEN).
const LONGEST_ARGUMENT: usize = 128 << 10;

/// What the prompt stands in for in a command.
const PROMPT: &str = "{prompt}";

/// How a declared program is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(super) name: String,
    pub(super) declared: Declared,
    pub(super) models: Vec<(String, String)>,
}

impl Spec {
    /// A backend of the configuration. `program` replaces the first word of its command.
    pub(crate) fn new(
        name: &str,
        program: Option<String>,
        declared: &Declared,
        models: Vec<(String, String)>,
    ) -> Spec {
        let mut declared = declared.clone();
        if let (Some(first), Some(program)) = (declared.command.first_mut(), program) {
            *first = program;
        }
        Spec { name: name.to_owned(), declared, models }
    }

    pub(super) fn program(&self) -> &str {
        self.declared.command.first().map_or("", String::as_str)
    }

    /// A model is given in the command.
    pub(super) fn names_model(&self) -> bool {
        self.has_place_for_model() || !self.declared.model_args.is_empty()
    }

    fn has_place_for_model(&self) -> bool {
        self.command().iter().any(|word| word.contains(MODEL))
    }

    /// The arguments of the command, with model and prompt where they have a place.
    pub(super) fn command_line(&self, task: &Task) -> Result<Vec<String>, Error> {
        let model = task.model.as_deref().unwrap_or_default();
        if model.is_empty() && self.has_place_for_model() {
            return Err(Error::Invalid(format!(
                "backend `{0}` needs a model: give `-m MODEL` or set backends.{0}.model",
                self.name
            )));
        }
        // What is filled in is not looked at again.
        let filled = |word: &String| {
            let parts: Vec<String> = word.split(PROMPT).map(|part| part.replace(MODEL, model)).collect();
            parts.join(&task.prompt)
        };
        let mut args: Vec<String> = self.command().iter().map(filled).collect();
        if !model.is_empty() {
            args.extend(fill(&self.declared.model_args, MODEL, model));
        }
        Ok(args)
    }

    /// The words of the command behind the program.
    fn command(&self) -> &[String] {
        self.declared.command.get(1..).unwrap_or_default()
    }
}

/// The place of a model's name in a command.
const MODEL: &str = "{model}";

fn fill(words: &[String], name: &str, value: &str) -> Vec<String> {
    words.iter().map(|word| word.replace(name, value)).collect()
}

/// A declared backend.
pub(crate) struct Command(pub(crate) Spec);

impl Backend for Command {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn program(&self) -> &str {
        self.0.program()
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        let declared = |args: &[String], why| if args.is_empty() { Err(why) } else { Ok(()) };
        match option {
            TaskOption::Model if self.0.names_model() => Ok(()),
            TaskOption::Model => Err("its `model_args` are not declared in the configuration"),
            TaskOption::System => declared(
                &self.0.declared.system_args,
                "its `system_args` are not declared in the configuration",
            ),
            TaskOption::Resume => declared(
                &self.0.declared.resume_args,
                "its `resume_args` are not declared in the configuration",
            ),
            TaskOption::Ephemeral if !self.0.declared.resume_args.is_empty() => {
                Err("it keeps sessions that clinvk cannot remove")
            }
            // It runs as the user who declared it, and clinvk adds nothing that reads project files or commands.
            TaskOption::Ephemeral
            | TaskOption::SandboxFull
            | TaskOption::Interpret
            | TaskOption::NoProjectConfig => Ok(()),
            _ => Err("a declared command has nothing for it"),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.0.models
    }

    fn version_args(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        let spec = &self.0;
        self.check_keep()?;
        let mut args = spec.command_line(task)?;
        if let Some(system) = &task.system {
            args.extend(fill(&spec.declared.system_args, "{system}", system));
        }
        if let Some(session) = &task.resume {
            args.extend(fill(&spec.declared.resume_args, "{session}", session));
        }
        args.extend(task.extra.iter().cloned());
        if let Some(place) = spec.command().iter().find(|word| word.contains(PROMPT)) {
            let remedy = "let the word of `{prompt}` begin with something else, such as `--message={prompt}`";
            let may_be_flag = place.starts_with(PROMPT);
            self.check_argument(&task.prompt, place.len() - PROMPT.len(), may_be_flag.then_some(remedy))?;
        } else if spec.declared.prompt == PromptBy::Arg {
            let remedy = "declare `prompt_separator` if the program knows `--`";
            self.check_argument(&task.prompt, 0, (!spec.declared.prompt_separator).then_some(remedy))?;
            args.extend(spec.declared.prompt_separator.then(|| "--".to_owned()));
            args.push(task.prompt.to_string());
        }
        Ok(Launch {
            program: self.program().to_owned(),
            args,
            env: spec.declared.env.clone().into_iter().collect(),
            dir: task.dir.clone(),
            framing: if spec.declared.output == AnswerAs::Jsonl { Framing::Lines } else { Framing::Pieces },
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        Box::new(OneWay {
            reader: Reader::new(self.name()),
            prompt: self.reads_prompt().then(|| task.prompt.clone()),
            is_kept: self.0.declared.keep,
            fields: (self.0.declared.output == AnswerAs::Jsonl).then(|| self.0.declared.fields.clone()),
            started: Event::Started { model: task.model.clone(), session: task.resume.clone() },
            usage: Usage::default(),
            newlines: 0,
            failure: None,
            done: false,
        })
    }

    /// What it was started with for the session of one run is nothing for the next.
    fn keeps(&self, task: &Task) -> Option<Keeping> {
        if !self.0.declared.keep || task.resume.is_some() {
            return None;
        }
        let launch = self.launch(task).ok()?;
        let done = self.0.declared.fields.done.clone();
        let mux = OneByOne { done, seat: None, is_asked: false };
        Some(Keeping { shape: format!("{launch:?}"), is_shared: false, mux: Box::new(mux) })
    }
}

impl Command {
    /// It takes the prompt on its standard input.
    fn reads_prompt(&self) -> bool {
        let declared = &self.0.declared;
        declared.prompt == PromptBy::Stdin && !declared.command.iter().any(|word| word.contains(PROMPT))
    }

    /// Whether it can be kept, where it is to be.
    fn check_keep(&self) -> Result<(), Error> {
        let Declared { keep, output, fields, .. } = &self.0.declared;
        if !keep || (*output == AnswerAs::Jsonl && !fields.done.is_empty() && self.reads_prompt()) {
            return Ok(());
        }
        Err(Error::Config {
            origin: format!("backends.{}.keep", self.0.name),
            position: None,
            problem: "a program is kept only where it reads its prompts, prints JSON lines and says when an answer is \
                      complete: it needs `\"prompt\": \"stdin\"`, `\"output\": \"jsonl\"` and `fields.done`"
                .to_owned(),
        })
    }

    /// Whether the prompt can be an argument with so many bytes more in it. `remedy`: what to do about one that begins like a
    /// flag, where it would be taken for one.
    fn check_argument(&self, prompt: &str, more: usize, remedy: Option<&str>) -> Result<(), Error> {
        let name = &self.0.name;
        if prompt.len() + more >= LONGEST_ARGUMENT {
            return Err(Error::Invalid(format!(
                "the prompt has {} bytes and backend `{name}` takes it as an argument of less than {LONGEST_ARGUMENT}: \
                 declare `\"prompt\": \"stdin\"` if the program can read it",
                prompt.len()
            )));
        }
        if prompt.contains('\0') {
            return Err(Error::Invalid(format!(
                "the prompt has a NUL byte, which backend `{name}` cannot take as an argument"
            )));
        }
        match remedy {
            Some(remedy) if prompt.starts_with('-') => Err(Error::Invalid(format!(
                "the prompt starts with `-`, which backend `{name}` would take for a flag: {remedy}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Prompt in, answer out.
struct OneWay {
    reader: Reader,
    prompt: Option<Arc<str>>,
    /// Its input stays open behind the prompt.
    is_kept: bool,
    /// None: the output is the answer itself.
    fields: Option<Fields>,
    started: Event,
    usage: Usage,
    /// Line ends that were heard and not told: those at the very end are no part of the answer.
    newlines: usize,
    failure: Option<String>,
    done: bool,
}

impl Dialogue for OneWay {
    fn start(&mut self, steps: &mut Steps) {
        steps.push(Step::Event(self.started.clone()));
        if self.is_kept {
            steps.extend(self.prompt.take().map(|prompt| Step::Send(Value::from(&*prompt).to_string())));
            return;
        }
        steps.extend(self.prompt.take().map(Step::SendRaw));
        steps.push(Step::CloseStdin);
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        match self.fields.take() {
            None => self.text(line, steps),
            Some(fields) => {
                if let Some(value) = self.reader.read(line, steps) {
                    self.object(&fields, &value, steps);
                }
                self.fields = Some(fields);
            }
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        let needs_done = self.fields.as_ref().is_some_and(|fields| !fields.done.is_empty());
        let result = match (self.failure.take(), ended.code) {
            (Some(message), _) => Err(Failure::new(Kind::Crash, message)),
            (None, Some(0)) if needs_done => {
                Err(Failure::new(Kind::Crash, "the output ended before its `done` field"))
            }
            (None, Some(0)) => Ok(()),
            (None, _) => Err(Failure::new(Kind::Crash, words_of_stderr(ended))),
        };
        steps.push(Step::Finished(result));
    }
}

impl OneWay {
    fn text(&mut self, piece: &str, steps: &mut Steps) {
        let text = piece.trim_end_matches('\n');
        if text.is_empty() {
            self.newlines += piece.len();
            return;
        }
        steps.push(Step::Event(Event::Text("\n".repeat(self.newlines) + text)));
        self.newlines = piece.len() - text.len();
    }

    fn object(&mut self, fields: &Fields, value: &Value, steps: &mut Steps) {
        let words = |path: &str| at(value, path).and_then(Value::as_str).map(str::to_owned);
        // An empty one names nothing, as where a program always has the field.
        let name = |path: &str| words(path).filter(|name| !name.is_empty());
        let (model, session) = (name(&fields.model), name(&fields.session));
        if let Event::Started { model: known_model, session: known_session } = &mut self.started {
            let news = (model.is_some() && model != *known_model)
                || (session.is_some() && session != *known_session);
            *known_model = model.or(known_model.take());
            *known_session = session.or(known_session.take());
            if news {
                steps.push(Step::Event(self.started.clone()));
            }
        }
        steps.extend(words(&fields.thinking).map(|text| Step::Event(Event::Thinking(text))));
        if let Some(text) = words(&fields.text) {
            self.text(&text, steps);
        }
        let tokens = |path: &str| at(value, path).and_then(Value::as_u64);
        let (input, output) = (tokens(&fields.input_tokens), tokens(&fields.output_tokens));
        if input.is_some() || output.is_some() {
            self.usage.input = input.unwrap_or(self.usage.input);
            self.usage.output = output.unwrap_or(self.usage.output);
            steps.push(Step::Event(Event::Usage(self.usage)));
        }
        self.failure = match at(value, &fields.error).filter(|error| !means_nothing(error)) {
            None => self.failure.take(),
            Some(Value::String(message)) => Some(message.clone()),
            Some(other) => Some(other.to_string()),
        };
        let is_done = at(value, &fields.done).is_some_and(|done| !means_nothing(done));
        if is_done && !self.done {
            self.done = true;
            // It may never end by itself, or with an exit status that lies: its own word is what counts.
            let result =
                self.failure.take().map_or(Ok(()), |message| Err(Failure::new(Kind::Crash, message)));
            steps.push(Step::Finished(result));
        }
    }
}

/// One run after the other, each with one prompt.
struct OneByOne {
    /// The path to what says that an answer is complete.
    done: String,
    /// The run that is in the program.
    seat: Option<Seat>,
    /// It has a prompt, and its answer is not complete.
    is_asked: bool,
}

impl Mux for OneByOne {
    fn start(&mut self, _routes: &mut Routes) {}

    fn enter(&mut self, seat: Seat, _conversation: Option<&str>, routes: &mut Routes) {
        self.seat = Some(seat);
        routes.push(Route::MayBeSilent(seat));
    }

    fn run_says(&mut self, _seat: Seat, line: String, routes: &mut Routes) {
        self.is_asked = true;
        routes.push(Route::ToProgram(line));
    }

    fn program_says(&mut self, line: &str, routes: &mut Routes) {
        let is_done = |value: Value| at(&value, &self.done).is_some_and(|done| !means_nothing(done));
        match self.seat.filter(|_| self.is_asked) {
            Some(seat) => {
                self.is_asked = !serde_json::from_str(line).is_ok_and(is_done);
                routes.push(Route::ToRun(seat, line.to_owned()));
            }
            None => routes.push(Route::spoilt("it said something unasked")),
        }
    }

    fn leave(&mut self, _seat: Seat, routes: &mut Routes) -> Option<String> {
        self.seat = None;
        if self.is_asked {
            routes.push(Route::spoilt("a run left before its answer was complete"));
        }
        None
    }

    fn holds(&self, _conversation: &str) -> bool {
        false
    }
}

/// A field that is there on every line, and says nothing on most.
fn means_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value == ""
}

/// What stands at a dotted path; numbers count the items of a list from 0.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    path.split('.').try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}
