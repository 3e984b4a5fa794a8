//! The built-in backend that needs nothing: this very program, started once more, repeats the prompt. Delays,
//! failures, floods and hangs can be asked for, so that a whole installation can be tried without any vendor.

use super::{Backend, Dialogue, Ended, Framing, Launch, Step, Steps};
use crate::config::Echo as Behaviour;
use crate::model::error::{Error, Failure, Kind, words_of_stderr};
use crate::model::event::{Event, Usage};
use crate::model::task::{Task, TaskOption};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// The hidden command that is the other half of this file.
pub(crate) const COMMAND: &str = "echo-backend";

/// The built-in backend.
pub(crate) struct Echo {
    /// The path of this very program.
    program: String,
    /// What it was asked to do besides repeating.
    behaviour: Behaviour,
    models: Vec<(String, String)>,
}

impl Echo {
    /// `program`: the path of this very program.
    pub(crate) fn new(program: String, behaviour: &Behaviour, models: Vec<(String, String)>) -> Echo {
        Echo { program, behaviour: behaviour.clone(), models }
    }
}

/// The name of its only model.
const MODEL: &str = "echo";

impl Backend for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    fn program(&self) -> &str {
        &self.program
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        match option {
            TaskOption::Mcp => Err("clinvk does not pass them on to it"),
            TaskOption::Schema => Err("it only repeats the prompt"),
            TaskOption::Images => Err("it has no eyes"),
            TaskOption::Effort | TaskOption::EffortUltra => Err("it does not think"),
            TaskOption::Extra => Err("it takes no flags"),
            // No tools, no model, no project files, no sessions: all the rest is honoured by doing nothing.
            _ => Ok(()),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.models
    }

    fn answers(&self) -> bool {
        false
    }

    fn version_args(&self) -> Option<&'static [&'static str]> {
        Some(&["version"])
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        let Behaviour { delay_ms, fail, exit_code, flood_bytes, hang, stderr } = &self.behaviour;
        let exit_code = if fail.is_some() && *exit_code == 0 { 1 } else { *exit_code };
        let mut args = vec![COMMAND.to_owned()];
        let mut option = |name: &str, value: String, wanted: bool| {
            if wanted {
                args.push(format!("--{name}={value}"));
            }
        };
        option("delay-ms", delay_ms.to_string(), *delay_ms > 0);
        option("flood-bytes", flood_bytes.to_string(), *flood_bytes > 0);
        // What fails like a vendor has said nothing before; what only exits badly has.
        let most = if fail.is_some() { Some(0) } else { task.max_tokens };
        option("max-words", most.unwrap_or(0).to_string(), most.is_some());
        option("stderr", stderr.clone(), !stderr.is_empty());
        option("hang", "true".to_owned(), *hang);
        option("exit-code", exit_code.to_string(), exit_code > 0);
        Ok(Launch {
            program: self.program.clone(),
            args,
            dir: task.dir.clone(),
            framing: Framing::Pieces,
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        Box::new(Repeat {
            prompt: Some(task.prompt.clone()),
            started: Event::Started {
                model: Some(task.model.clone().unwrap_or(MODEL.to_owned())),
                // It remembers nothing, so any id will do: a resumed echo says the new prompt alone.
                session: Some(task.resume.clone().unwrap_or("echo".to_owned())),
            },
            usage: Usage { input: task.prompt.split_whitespace().count() as u64, ..Usage::default() },
            in_word: false,
            max_tokens: task.max_tokens,
            fail: self.behaviour.fail,
        })
    }
}

/// Prompt in, prompt out. A word is a token.
struct Repeat {
    prompt: Option<Arc<str>>,
    started: Event,
    usage: Usage,
    /// The last piece ended within a word.
    in_word: bool,
    max_tokens: Option<u32>,
    fail: Option<Kind>,
}

impl Dialogue for Repeat {
    fn start(&mut self, steps: &mut Steps) {
        steps.push(Step::Event(self.started.clone()));
        steps.extend(self.prompt.take().map(Step::SendRaw));
        steps.push(Step::CloseStdin);
    }

    fn line(&mut self, piece: &str, steps: &mut Steps) {
        let continues = self.in_word && !piece.starts_with(char::is_whitespace);
        self.usage.output += piece.split_whitespace().count() as u64 - u64::from(continues);
        self.in_word = !piece.ends_with(char::is_whitespace);
        steps.push(Step::Event(Event::Text(piece.to_owned())));
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        steps.push(Step::Event(Event::Usage(self.usage)));
        if self.max_tokens.is_some_and(|most| self.usage.input > u64::from(most)) {
            steps.push(Step::truncated(self.max_tokens));
        }
        let result = match (self.fail, ended.code) {
            (Some(kind), _) => {
                Err(Failure::new(kind, format!("failed with `{}` as configured", kind.word())))
            }
            (None, Some(0)) => Ok(()),
            (None, _) => Err(Failure::new(Kind::Crash, words_of_stderr(ended))),
        };
        steps.push(Step::Finished(result));
    }
}

/// The hidden command: reads all of `input`, repeats it word by word. Returns the exit status.
pub(crate) fn repeat(options: &[String], input: &mut dyn Read, output: &mut dyn Write) -> Result<u8, Error> {
    let (mut behaviour, mut max_words) = (Behaviour::default(), usize::MAX);
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || value.parse().map_err(|_| Error::Invalid(format!("`{option}` needs a number")));
        match name {
            "--delay-ms" => behaviour.delay_ms = number()?,
            "--flood-bytes" => behaviour.flood_bytes = number()?,
            "--max-words" => max_words = number()? as usize,
            "--exit-code" => behaviour.exit_code = number()?.min(255) as u8,
            "--stderr" => behaviour.stderr = value.to_owned(),
            "--hang" => behaviour.hang = true,
            _ => return Err(Error::Invalid(format!("unknown option `{option}`"))),
        }
    }
    let fail = |error| Error::File { verb: "repeat", path: "the prompt".into(), error };
    let mut prompt = Vec::new();
    input.read_to_end(&mut prompt).map_err(fail)?;
    let prompt = String::from_utf8_lossy(&prompt);
    say(&prompt, &behaviour, max_words, output).map_err(fail)?;
    if behaviour.hang {
        loop {
            std::thread::park();
        }
    }
    Ok(behaviour.exit_code)
}

fn say(prompt: &str, behaviour: &Behaviour, max_words: usize, output: &mut dyn Write) -> io::Result<()> {
    io::stderr().write_all(behaviour.stderr.as_bytes())?;
    if behaviour.delay_ms == 0 && max_words == usize::MAX {
        output.write_all(prompt.as_bytes())?;
    } else {
        for (index, word) in prompt.split_inclusive(char::is_whitespace).take(max_words).enumerate() {
            if index > 0 {
                std::thread::sleep(Duration::from_millis(behaviour.delay_ms));
            }
            output.write_all(word.as_bytes())?;
            output.flush()?;
        }
    }
    let mut left = behaviour.flood_bytes;
    if left > 0 {
        let lines = [b"x".repeat(99), b"\n".to_vec()].concat().repeat(640);
        while left > 0 {
            let part = left.min(lines.len() as u64);
            output.write_all(&lines[..part as usize])?;
            left -= part;
        }
    }
    output.flush()
}
