//! Backends that the configuration declares: any program that takes a prompt and prints an answer. One way: the
//! prompt goes in, its input is closed, text or JSON lines come out.

use super::{Backend, Dialogue, Ended, Framing, Launch, Step, Steps};
use crate::error::{Error, Failure, Kind, words_of_stderr};
use crate::event::{Event, Usage};
use crate::task::{Opt, Task};
use serde_json::Value;

/// The longest argument that Linux takes, with its final NUL (MAX_ARG_STRLEN).
const LONGEST_ARGUMENT: usize = 128 << 10;

/// How a declared program is used: plain data from the configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    /// The backend's name.
    pub name: String,
    /// Program and arguments; `{model}` may stand in an argument.
    pub command: Vec<String>,
    /// The prompt is the last argument instead of the standard input.
    pub prompt_as_argument: bool,
    /// A `--` goes before the prompt argument.
    pub prompt_separator: bool,
    /// The output is JSON lines; else it is the answer itself.
    pub jsonl: bool,
    /// Where in a JSON line things are.
    pub fields: Fields,
    /// Arguments that are added when a model is asked for; `{model}` is its name.
    pub model_args: Vec<String>,
    /// Arguments that are added for a system prompt; `{system}` is it.
    pub system_args: Vec<String>,
    /// Arguments that are added to continue a session; `{session}` is its id.
    pub resume_args: Vec<String>,
    /// Variables set for the program.
    pub env: Vec<(String, String)>,
    /// The model aliases.
    pub models: Vec<(String, String)>,
}

/// Dotted paths into a JSON line, e.g. `message.content` or `choices.0.text`. An empty path is nowhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    /// A piece of the answer.
    pub text: String,
    /// A piece of reasoning.
    pub thinking: String,
    /// The program's own session id.
    pub session: String,
    /// The model that answers.
    pub model: String,
    /// Input tokens, cached ones included.
    pub input_tokens: String,
    /// Output tokens.
    pub output_tokens: String,
    /// What went wrong; its presence (not null, not false) is a failure.
    pub error: String,
    /// True at the end of a whole answer. Where it is given, an answer without it is cut off.
    pub done: String,
}

/// A declared backend.
pub struct Command(pub Spec);

impl Backend for Command {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn program(&self) -> &str {
        self.0.command.first().map_or("", String::as_str)
    }

    fn honours(&self, option: Opt) -> Result<(), &'static str> {
        let declared = |args: &[String], why| if args.is_empty() { Err(why) } else { Ok(()) };
        match option {
            Opt::Model if self.0.command.iter().any(|word| word.contains("{model}")) => Ok(()),
            Opt::Model => declared(&self.0.model_args, "its `model_args` are not declared in the configuration"),
            Opt::System => declared(&self.0.system_args, "its `system_args` are not declared in the configuration"),
            Opt::Resume => declared(&self.0.resume_args, "its `resume_args` are not declared in the configuration"),
            Opt::Ephemeral if !self.0.resume_args.is_empty() => Err("it keeps sessions that clinvk cannot remove"),
            // It runs as the user who declared it, and clinvk adds nothing that reads project files or commands.
            Opt::Ephemeral | Opt::SandboxFull | Opt::Interpret | Opt::NoProjectConfig => Ok(()),
            _ => Err("a declared command has nothing for it"),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.0.models
    }

    fn extra_flags(&self) -> &[&'static str] {
        &[]
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        let spec = &self.0;
        let fill = |words: &[String], name: &str, value: &str| -> Vec<String> {
            words.iter().map(|word| word.replace(name, value)).collect()
        };
        let mut args: Vec<String> = spec.command.iter().skip(1).cloned().collect();
        match &task.model {
            Some(model) => {
                args = fill(&args, "{model}", model);
                args.extend(fill(&spec.model_args, "{model}", model));
            }
            None if args.iter().any(|word| word.contains("{model}")) => {
                return Err(Error::Invalid(format!(
                    "backend `{0}` needs a model: give `-m MODEL` or set backends.{0}.model",
                    spec.name
                )));
            }
            None => {}
        }
        if let Some(system) = &task.system {
            args.extend(fill(&spec.system_args, "{system}", system));
        }
        if let Some(session) = &task.resume {
            args.extend(fill(&spec.resume_args, "{session}", session));
        }
        args.extend(task.extra.iter().cloned());
        if spec.prompt_as_argument {
            self.check_argument(&task.prompt)?;
            args.extend(spec.prompt_separator.then(|| "--".to_owned()));
            args.push(task.prompt.clone());
        }
        Ok(Launch {
            program: self.program().to_owned(),
            args,
            env: spec.env.clone(),
            dir: task.dir.clone(),
            framing: if spec.jsonl { Framing::Lines } else { Framing::Pieces },
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        Box::new(OneWay {
            prompt: (!self.0.prompt_as_argument).then(|| task.prompt.clone()),
            fields: self.0.jsonl.then(|| self.0.fields.clone()),
            started: Event::Started { model: task.model.clone(), session: task.resume.clone() },
            usage: Usage::default(),
            newlines: 0,
            failure: None,
            done: false,
        })
    }
}

impl Command {
    fn check_argument(&self, prompt: &str) -> Result<(), Error> {
        let name = &self.0.name;
        if prompt.len() >= LONGEST_ARGUMENT {
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
        if prompt.starts_with('-') && !self.0.prompt_separator {
            return Err(Error::Invalid(format!(
                "the prompt starts with `-`, which backend `{name}` would take for a flag: declare `prompt_separator` \
                 if the program knows `--`"
            )));
        }
        Ok(())
    }
}

/// Prompt in, answer out.
struct OneWay {
    prompt: Option<String>,
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
        steps.extend(self.prompt.take().map(Step::SendRaw));
        steps.push(Step::CloseStdin);
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        match self.fields.take() {
            None => self.text(line, steps),
            Some(fields) => {
                match serde_json::from_str::<Value>(line) {
                    Ok(value) => self.object(&fields, &value, steps),
                    Err(_) if line.trim().is_empty() => {}
                    Err(_) => steps.push(Step::Event(Event::Progress {
                        stage: "warning".to_owned(),
                        message: format!("a line of the output is no JSON: {}", line.chars().take(200).collect::<String>()),
                    })),
                }
                self.fields = Some(fields);
            }
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        let needs_done = self.fields.as_ref().is_some_and(|fields| !fields.done.is_empty());
        let result = match (self.failure.take(), ended.code) {
            (Some(message), _) => Err(Failure::new(Kind::Crash, message)),
            (None, Some(0)) if needs_done && !self.done => {
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
        let (model, session) = (words(&fields.model), words(&fields.session));
        if let Event::Started { model: known_model, session: known_session } = &mut self.started {
            let news = (model.is_some() && model != *known_model) || (session.is_some() && session != *known_session);
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
        self.failure = match at(value, &fields.error) {
            None | Some(Value::Null | Value::Bool(false)) => self.failure.take(),
            Some(Value::String(message)) => Some(message.clone()),
            Some(other) => Some(other.to_string()),
        };
        self.done |= at(value, &fields.done).is_some_and(|done| !matches!(done, Value::Null | Value::Bool(false)));
    }
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
