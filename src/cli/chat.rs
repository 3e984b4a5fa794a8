//! `clinvk chat`: several prompts in one go, a line each, in the same session. Where it happens in this process, what can be
//! kept between its turns is.

use super::flags::{Name, Typed};
use super::input::unreadable;
use super::print;
use super::prompt::{self, Printed};
use super::sessions::markdown;
use super::{complain, exit, resume, signals};
use crate::backend::Agents;
use crate::base::logging;
use crate::base::sync::lock;
use crate::base::sys::{self, Watch};
use crate::base::world::{self, World};
use crate::batch::prompt_file::PromptFile;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::pool::Pool;
use crate::engine::request::{Request, prompt_with_files, read_text};
use crate::engine::site::{Asked, Site};
use crate::exec::{self, Cancel};
use crate::model::error::{Error, Kind};
use crate::model::fields::Word;
use crate::model::task::OutputFormat;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a line that begins with `/` can be.
const COMMANDS: &str = "/model NAME, /backend NAME, /file PATH, /new, /save PATH; `//` or a blank before it sends a prompt that begins so";
/// Between these a terminal puts what is pasted, when it is asked to.
const PASTE: (&str, &str) = ("\x1b[200~", "\x1b[201~");

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let alone = [Name::Ephemeral, Name::NoWait, Name::Raw, Name::Wait, Name::Replay];
    if let Some(flag) = alone.into_iter().find(|flag| typed.has(*flag)) {
        return Err(Error::Invalid(format!("`--{flag}` is for one prompt, not for a chat: give the prompt")));
    }
    let mut engine = Engine::of(world, config, Agents::Known);
    engine.pool = Some(Arc::new(Pool::of(config)));
    let (request, file) = prompt::asked(typed, &engine.world)?;
    // Its flag was refused above.
    if let Some(PromptFile { name, .. }) = file.as_ref().filter(|_| request.ephemeral == Some(true)) {
        return Err(Error::Invalid(format!("{name}: `ephemeral` is for one prompt, not for a chat")));
    }
    let format = request.output_format.map_or(config.output.format, |Word(format)| format);
    let site = prompt::site(typed, &engine, config)?;
    let (session, _) = resume::chosen(typed, &request, &*site, config.session.auto_resume)?;
    let switch = Arc::new(Switch::new()?);
    let on_terminal = world::stdin_is_terminal();
    listen(&switch, on_terminal)?;
    let mut chat = Chat {
        typed,
        config,
        engine: &engine,
        site: &*site,
        request,
        file,
        session: session.map(|session| session.id),
        format,
        switch: switch.clone(),
    };
    let mut lines = Lines::of(switch.clone(), on_terminal)?;
    let mut failed = 0;
    while let Some(message) = lines.message()? {
        let status = chat.take(&message)?;
        failed = if status == 0 { failed } else { status };
        if switch.is_over() {
            break;
        }
    }
    if let Some(id) = chat.session.filter(|_| on_terminal) {
        logging::line(&format!("to go on: clinvk resume {}", &id[..id.len().min(12)]));
    }
    engine.pool.iter().for_each(|pool| pool.end());
    Ok(match (switch.is_over(), on_terminal) {
        (true, _) => exit::status(Kind::Cancelled, 0),
        // Its user has seen what failed.
        (false, true) => 0,
        (false, false) => failed,
    })
}

/// What stops a turn, and what stops the chat.
struct Switch {
    /// The turn's, while there is one.
    turn: Mutex<Option<Arc<Cancel>>>,
    chat: Cancel,
    /// A user has thrown away what was typed so far.
    is_dropped: Mutex<bool>,
}

impl Switch {
    fn new() -> Result<Switch, Error> {
        Ok(Switch { turn: Mutex::default(), chat: Cancel::new()?, is_dropped: Mutex::default() })
    }

    fn is_over(&self) -> bool {
        self.chat.is_thrown()
    }

    /// Stops the turn; says whether there is one.
    fn stop_turn(&self) -> bool {
        let turn = lock(&self.turn);
        turn.iter().for_each(|cancel| cancel.throw());
        turn.is_some()
    }
}

/// Ctrl-C on a terminal stops the turn, or drops what is typed; every other signal ends the chat.
fn listen(switch: &Arc<Switch>, on_terminal: bool) -> Result<(), Error> {
    let switch = switch.clone();
    signals::hear(move |signal| match signal {
        sys::SIGTSTP => exec::suspend(),
        sys::SIGINT if on_terminal => {
            if !switch.stop_turn() {
                *lock(&switch.is_dropped) = true;
                logging::write(&format!("\n{}", Lines::PROMPT));
            }
        }
        _ => {
            switch.chat.throw();
            switch.stop_turn();
        }
    })
}

struct Chat<'a> {
    typed: &'a Typed,
    config: &'a Config,
    engine: &'a Engine,
    site: &'a dyn Site,
    /// What is asked for but the prompt. Files and pictures go with the next one only.
    request: Request,
    /// What the next prompt is the input of. It goes with that one only, too.
    file: Option<PromptFile>,
    session: Option<String>,
    format: OutputFormat,
    switch: Arc<Switch>,
}

impl Chat<'_> {
    /// Does what a message says. Returns the status of its failure, or 0.
    fn take(&mut self, message: &str) -> Result<u8, Error> {
        let text = message.trim();
        let done = match text.strip_prefix('/') {
            _ if text.is_empty() => return Ok(0),
            Some(prompt) if prompt.starts_with('/') => return self.ask(prompt),
            Some(command) if message.starts_with('/') => self.command(command),
            _ => return self.ask(text),
        };
        Ok(done.map_or_else(|error| complain(&error), |()| 0))
    }

    fn command(&mut self, line: &str) -> Result<(), Error> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let given = || match rest.trim() {
            "" => Err(Error::Invalid(format!("`/{name}` needs a word behind it: {COMMANDS}"))),
            word => Ok(word.to_owned()),
        };
        match name {
            "model" => self.request.model = Some(given()?),
            "backend" => {
                // A model of the one before means nothing to it.
                (self.request.backend, self.request.model) = (Some(given()?), None);
            }
            "file" => {
                let file = given()?;
                read_text(&self.engine.world.cwd, &file)?;
                self.request.files.get_or_insert_default().push(file);
            }
            "new" => self.session = None,
            "save" => self.save(&given()?)?,
            _ => return Err(Error::Invalid(format!("there is no `/{name}`: {COMMANDS}"))),
        }
        Ok(())
    }

    /// Puts a prompt to the backend, and prints its answer.
    fn ask(&mut self, text: &str) -> Result<u8, Error> {
        let cancel = Arc::new(Cancel::new()?);
        *lock(&self.switch.turn) = Some(cancel.clone());
        let result = self.turn(text, cancel);
        *lock(&self.switch.turn) = None;
        let Printed { status, error, session } = result?;
        self.session = session.or(self.session.take());
        // They were sent, unless nothing was.
        if error.is_none() {
            (self.request.files, self.request.images, self.file) = (None, None, None);
        }
        Ok(status)
    }

    fn turn(&self, text: &str, cancel: Arc<Cancel>) -> Result<Printed, Error> {
        let session = self.session.as_deref().map(|id| self.site.sessions().find(id)).transpose();
        let checked = session.and_then(|session| {
            let asked = Asked {
                request: &self.request,
                session: session.as_ref(),
                wait_limit: Some(Duration::ZERO),
                replay: false,
                lines: false,
                alone: false,
                cancel,
            };
            let defaults = self.engine.defaults(self.config, None);
            let files = self.request.files.as_deref().unwrap_or_default();
            let prompt = || {
                let text = prompt_with_files(Some(text.to_owned()), files, &defaults)?;
                Ok(match &self.file {
                    Some(file) => file.fill(&text).into(),
                    None => text.into(),
                })
            };
            self.site.check(asked, Box::new(prompt))
        });
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => {
                print::refusal(self.format, self.request.backend.as_deref(), &error);
                return Ok(Printed { status: complain(&error), error: Some(error), session: None });
            }
        };
        let facts = checked.facts();
        prompt::warn(&facts.warnings);
        if facts.dry_run {
            super::say(&checked.describe(self.format))?;
            return Ok(Printed { status: 0, error: None, session: None });
        }
        let printed = prompt::print(self.typed, &self.engine.world.env, self.config, self.format, checked)?;
        printed.status_with(|| self.site.installed());
        Ok(printed)
    }

    /// Writes the conversation to a new file, as text for people.
    fn save(&self, file: &str) -> Result<(), Error> {
        let id = self.session.as_deref();
        let id = id.ok_or_else(|| Error::Invalid("there is nothing to save yet".to_owned()))?;
        let sessions = self.site.sessions();
        let session = sessions.find(id)?;
        let text = markdown(&session, &sessions.turns(&session.id)?);
        let path = self.engine.world.cwd.join(file);
        let fail = |error| Error::File { verb: "write", path: path.clone(), error };
        let mut out = OpenOptions::new().write(true).create_new(true).open(&path).map_err(fail)?;
        // Half of it would stand in the way of another try.
        let written = out.write_all(text.as_bytes()).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        });
        written.map_err(fail)
    }
}

/// What is typed or piped in, message by message.
struct Lines {
    switch: Arc<Switch>,
    on_terminal: bool,
    /// Standard input, without a buffer in which something could be while it is waited for.
    input: File,
    /// Read, and not yet taken.
    read: Vec<u8>,
    is_at_end: bool,
}

impl Lines {
    const PROMPT: &str = "> ";
    const MORE: &str = ". ";

    fn of(switch: Arc<Switch>, on_terminal: bool) -> Result<Lines, Error> {
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?.into();
        Ok(Lines { switch, on_terminal, input, read: Vec::new(), is_at_end: false })
    }

    /// The next message: a line, with those behind it while each ends with a backslash or is in the middle of what was pasted.
    /// None at the end.
    fn message(&mut self) -> Result<Option<String>, Error> {
        let _typing = self.on_terminal.then(Typing::begin);
        self.say(Lines::PROMPT);
        let mut message: Option<String> = None;
        while let Some(line) = self.line()? {
            if std::mem::take(&mut *lock(&self.switch.is_dropped)) {
                message = None;
            }
            let mut text = message.map_or(String::new(), |before| before + "\n") + &line;
            let is_pasting = text.rfind(PASTE.0).is_some_and(|from| !text[from..].contains(PASTE.1));
            match text.strip_suffix('\\') {
                _ if is_pasting => {}
                Some(more) => text.truncate(more.len()),
                None => return Ok(Some(text.replace(PASTE.0, "").replace(PASTE.1, ""))),
            }
            if !is_pasting {
                self.say(Lines::MORE);
            }
            message = Some(text);
        }
        if self.on_terminal {
            logging::write("\n");
        }
        Ok(message.filter(|_| !self.switch.is_over()))
    }

    fn say(&self, prompt: &str) {
        if self.on_terminal {
            logging::write(prompt);
        }
    }

    /// The next line without its end; none when there are no more, or the chat is over.
    fn line(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]);
                return Ok(Some(line.trim_end_matches('\r').to_owned()));
            }
            if self.is_at_end || self.switch.is_over() {
                let rest = std::mem::take(&mut self.read);
                let rest = String::from_utf8_lossy(&rest).into_owned();
                return Ok(Some(rest).filter(|rest| !rest.is_empty() && !self.switch.is_over()));
            }
            let mut watches = [Watch::readable(self.input.as_fd()), self.switch.chat.watch()];
            sys::poll(&mut watches, Duration::MAX).map_err(unreadable)?;
            if watches[0].woke() {
                let mut piece = [0; 4096];
                match self.input.read(&mut piece) {
                    Ok(0) => self.is_at_end = true,
                    Ok(count) => self.read.extend(&piece[..count]),
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    }
                    Err(error) => return Err(unreadable(error)),
                }
            }
        }
    }
}

/// While this is held, the terminal marks what is pasted, and does not show the marks.
struct Typing(Option<sys::ShownControls>);

impl Typing {
    fn begin() -> Typing {
        let marks = world::stderr_can_be_drawn_on().then(sys::hide_controls).flatten();
        if marks.is_some() {
            logging::write("\x1b[?2004h");
        }
        Typing(marks)
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        if self.0.is_some() {
            logging::write("\x1b[?2004l");
        }
    }
}
