//! Which session a prompt continues: `-c`, `resume ID`, `resume --last`, or one chosen from a list.

use super::flags::{Name, Typed};
use super::sessions::progress;
use super::table;
use crate::base::sys;
use crate::base::world;
use crate::engine::request::Request;
use crate::engine::site::Site;
use crate::model::error::Error;
use crate::session::{Filter, Page, Session, Sessions};
use std::io::{self, Read, Write};
use std::path::Path;

/// How many sessions the list to choose from has.
const CHOICE: usize = 20;

/// The session that the command line means, if it means one, and what is left of the operands for the prompt.
pub(crate) fn chosen<'a>(
    typed: &'a Typed,
    request: &Request,
    site: &dyn Site,
    auto_resume: bool,
) -> Result<(Option<Session>, &'a [String]), Error> {
    let operands = &typed.operands[..];
    let (resumes, here) = (typed.command == "resume", typed.has(Name::Here));
    if !resumes && !typed.has(Name::Continue) && !auto_resume {
        return Ok((None, operands));
    }
    let dir = Path::new(request.workdir.as_deref().unwrap_or("."));
    let dir = (here || !resumes).then(|| site.directory(dir)).transpose()?;
    let only = Filter { backend: request.backend.clone(), dir, ..Filter::default() };
    let sessions = site.sessions();
    let newest = || sessions.newest(&only, &mut progress("reading sessions"));
    match operands {
        _ if !resumes => match newest() {
            Err(Error::NoSession { .. }) if !typed.has(Name::Continue) => Ok((None, operands)),
            found => Ok((Some(found?), operands)),
        },
        _ if typed.has(Name::Last) => Ok((Some(newest()?), operands)),
        [id, rest @ ..] if !here && !typed.has(Name::Interactive) => Ok((Some(sessions.find(id)?), rest)),
        _ => Ok((Some(choose(sessions, &only)?), operands)),
    }
}

/// Prints a list on the terminal and takes a number.
fn choose(sessions: &dyn Sessions, filter: &Filter) -> Result<Session, Error> {
    if !world::stdin_is_terminal() || !world::stderr_is_terminal() {
        let sentence = "which session? give its id or `--last`: only a terminal can be asked";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    let mut sessions =
        sessions.list(filter, Page::first(CHOICE), &mut progress("reading sessions"))?.sessions;
    if sessions.is_empty() {
        return Err(filter.no_session());
    }
    let ask = |error| Error::File { verb: "ask on", path: "the terminal".into(), error };
    let mut terminal = io::stderr().lock();
    for (number, session) in sessions.iter().enumerate() {
        writeln!(terminal, "{:>3}  {}", number + 1, table::line(session)).map_err(ask)?;
    }
    loop {
        write!(terminal, "session (1-{}): ", sessions.len()).map_err(ask)?;
        terminal.flush().map_err(ask)?;
        let Some(word) = typed_line().map_err(ask)? else { return Err(Error::Cancelled) };
        match word.trim().parse::<usize>() {
            Ok(number) if (1..=sessions.len()).contains(&number) => {
                return Ok(sessions.swap_remove(number - 1));
            }
            _ => writeln!(terminal, "a number from 1 to {}, please", sessions.len()).map_err(ask)?,
        }
    }
}

/// A line that was typed; none at the end of the input.
pub(super) fn typed_line() -> io::Result<Option<String>> {
    let (mut input, mut line, mut byte) = (sys::Waiting(io::stdin().lock()), Vec::new(), [0]);
    while input.read(&mut byte)? > 0 {
        if byte == *b"\n" {
            return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
        }
        line.extend(byte);
    }
    Ok(None)
}
