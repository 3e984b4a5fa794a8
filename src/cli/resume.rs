//! Which session a prompt continues: `-c`, `resume ID`, `resume --last`, or one chosen from a list.

use super::flags::Typed;
use super::table;
use crate::error::Error;
use crate::session::{Filter, Session, Store};
use crate::world::{self, World};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

/// How many sessions the list to choose from has.
const CHOICE: usize = 20;

/// The session that the command line means, if it means one, and what is left of the operands for the prompt.
///
/// # Errors
/// When it means one that is not there.
pub fn chosen<'a>(
    typed: &'a Typed,
    world: &World,
    store: &Store,
    auto_resume: bool,
) -> Result<(Option<Session>, &'a [String]), Error> {
    let operands = &typed.operands[..];
    let cwd = std::fs::canonicalize(&world.cwd).unwrap_or_else(|_| world.cwd.clone());
    let dir = |here: bool| here.then(|| cwd.clone());
    if typed.command != "resume" {
        let newest = if typed.has("continue") || auto_resume { newest(typed, store, dir(true))? } else { None };
        if typed.has("continue") && newest.is_none() {
            return Err(Error::SessionNotFound {
                given: format!("in {} (`clinvk resume --last` takes the newest of all)", cwd.display()),
            });
        }
        return Ok((newest, operands));
    }
    if typed.has("last") {
        let newest = newest(typed, store, dir(typed.has("here")))?;
        let Some(newest) = newest else { return Err(Error::SessionNotFound { given: "--last".to_owned() }) };
        return Ok((Some(newest), operands));
    }
    match operands {
        [id, rest @ ..] if !typed.has("here") && !typed.has("interactive") => Ok((Some(store.find(id)?), rest)),
        _ => Ok((Some(choose(typed, store, dir(typed.has("here")))?), operands)),
    }
}

fn newest(typed: &Typed, store: &Store, dir: Option<PathBuf>) -> Result<Option<Session>, Error> {
    let filter = Filter { backend: typed.value("backend").map(str::to_owned), dir, ..Filter::default() };
    let listing = store.list(&filter, 0, 1, &mut |_| {})?;
    match listing.problems.first() {
        Some(problem) => Err(Error::Invalid(format!("the newest session cannot be read: {problem}"))),
        None => Ok(listing.sessions.into_iter().next()),
    }
}

/// Prints a list on the terminal and takes a number.
fn choose(typed: &Typed, store: &Store, dir: Option<PathBuf>) -> Result<Session, Error> {
    if !world::stdin_is_terminal() || !world::stderr_is_terminal() {
        return Err(Error::Invalid("which session? give its id or `--last`: only a terminal can be asked".to_owned()));
    }
    let filter = Filter { backend: typed.value("backend").map(str::to_owned), dir, ..Filter::default() };
    let mut sessions = store.list(&filter, 0, CHOICE, &mut |_| {})?.sessions;
    if sessions.is_empty() {
        return Err(Error::SessionNotFound { given: "to choose from".to_owned() });
    }
    let ask = |error| Error::File { verb: "ask on", path: "the terminal".into(), error };
    let mut terminal = io::stderr().lock();
    for (number, session) in sessions.iter().enumerate() {
        writeln!(terminal, "{:>3}  {}", number + 1, table::line(session)).map_err(ask)?;
    }
    loop {
        write!(terminal, "session (1-{}): ", sessions.len()).map_err(ask)?;
        terminal.flush().map_err(ask)?;
        let mut word = String::new();
        if io::stdin().lock().read_line(&mut word).map_err(ask)? == 0 {
            return Err(Error::Cancelled);
        }
        match word.trim().parse::<usize>() {
            Ok(number) if (1..=sessions.len()).contains(&number) => return Ok(sessions.swap_remove(number - 1)),
            _ => writeln!(terminal, "a number from 1 to {}, please", sessions.len()).map_err(ask)?,
        }
    }
}
