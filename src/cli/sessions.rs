//! `clinvk sessions`: looks at sessions and looks after them.

use super::flags::{Name, Typed, bad_verb, known};
use super::prompt::{self, Where};
use super::{complain, say, say_either, say_json, table};
use crate::backend::Agents;
use crate::base::collect::inserted;
use crate::base::json::{self, json};
use crate::base::logging;
use crate::base::printable;
use crate::base::sys;
use crate::base::time;
use crate::base::world::{self, World};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::site::Site;
use crate::exec;
use crate::model::error::{Error, Kind};
use crate::session::{self, Edit, Filter, Finding, Page, Session, Sessions, Status, Store, Turn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many sessions a list shows when nothing is said.
const SHOWN: usize = 20;
/// How many are counted for people.
const COUNTED: usize = 1000;
/// The shortest beginning of an id that something may be deleted by.
const SHORTEST_TO_DELETE: usize = 8;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let operands: Vec<&str> = typed.operands.iter().map(String::as_str).collect();
    if typed.what().name == typed.command {
        return Err(bad_verb(typed));
    }
    let engine = Engine::of(world, config, Agents::Known);
    // The user's own server has those of this process.
    let is_there = matches!(prompt::place(typed, &engine.world, config)?, Where::At(_));
    if !is_there {
        engine.world.home()?;
    }
    let site = prompt::site(typed, &engine, config)?;
    let (site, sessions) = (&*site, site.sessions());
    match operands[..] {
        ["list"] => list(typed, site),
        ["show", id] => show(typed, sessions, id),
        ["delete", _, ..] => delete(typed, sessions, &operands[1..]),
        ["clean"] => clean(typed, site, config),
        ["fork", id] => fork(typed, sessions, id),
        ["rename", id, title] => edit(typed, sessions, id, Edit::Title(title.to_owned())),
        ["tag", id, _, ..] => edit(typed, sessions, id, Edit::AddTags(typed.operands[2..].to_vec())),
        ["untag", id, _, ..] => edit(typed, sessions, id, Edit::RemoveTags(typed.operands[2..].to_vec())),
        ["export", id] => export(typed, sessions, id),
        ["import" | "fsck", ..] if is_there => Err(Error::Invalid(format!(
            "`{}` is for the sessions of this machine: not with --server",
            typed.what().name
        ))),
        ["import", file] => import(typed, &engine.store, file),
        ["fsck"] => fsck(typed, &engine.world, &engine.store),
        _ => Err(bad_verb(typed)),
    }
}

fn filter(typed: &Typed, site: &dyn Site) -> Result<Filter, Error> {
    let word = |name| typed.value(name).map(str::to_owned);
    Ok(Filter {
        backend: word(Name::Backend),
        status: typed.value(Name::Status).map(|given| known("status", given)).transpose()?,
        tags: typed.values(Name::Tag).map(str::to_owned).collect(),
        model: word(Name::Model),
        dir: typed.has(Name::Here).then(|| site.directory(Path::new("."))).transpose()?,
        since: typed.value(Name::Since).map(since).transpose()?,
        text: word(Name::Search),
        ..Filter::default()
    })
}

/// A point in time: so long ago, or a date, or a date and a time in UTC.
fn since(word: &str) -> Result<String, Error> {
    if !word.contains('-') {
        return Ok(ago(age("since", word)?));
    }
    let midnight = if word.len() == "2026-01-31".len() { "T00:00:00Z" } else { "" };
    match is_time(&format!("{word}{midnight}")) {
        // Without the `Z`, it is before all the milliseconds of its second.
        true => Ok(word.trim_end_matches('Z').to_owned()),
        false => Err(Error::Invalid(format!(
            "`--since {word}`: expected an age such as 7d, a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z"
        ))),
    }
}

/// Whether it is a time of RFC 3339 as sessions have it, so that it compares as text.
fn is_time(word: &str) -> bool {
    let lengths = "2026-01-31T12:00:00Z".len()..="2026-01-31T12:00:00.000Z".len();
    lengths.contains(&word.len())
        && word.ends_with('Z')
        && !word.contains('t')
        && time::moment(word).is_some_and(|(_, rest)| rest.is_empty())
}

/// An age: `30d`, `12h`, `2w`, `1d12h`. Its unit has to be said: who types `--older-than 30` may mean days.
fn age(flag: &str, word: &str) -> Result<Duration, Error> {
    let has_unit = word.ends_with(|letter: char| letter.is_ascii_alphabetic());
    time::duration(word)
        .filter(|_| has_unit)
        .ok_or_else(|| Error::Invalid(format!("`--{flag} {word}`: expected an age such as 30d, 12h or 2w")))
}

fn ago(age: Duration) -> String {
    let (secs, nanos) = world::now();
    time::timestamp((secs.saturating_sub(age.as_secs()), nanos))
}

fn count(typed: &Typed, flag: Name, default: usize) -> Result<usize, Error> {
    Ok(typed.read(flag, "a whole number", |word| word.parse().ok())?.unwrap_or(default))
}

fn list(typed: &Typed, site: &dyn Site) -> Result<u8, Error> {
    let (limit, offset) = (count(typed, Name::Limit, SHOWN)?, count(typed, Name::Offset, 0)?);
    let at_most = if limit == 0 { usize::MAX } else { limit };
    // Programs get the number of all. People need not wait for it, where there are very many.
    let counted = if typed.has(Name::Json) { usize::MAX } else { offset.saturating_add(COUNTED) };
    let filter = filter(typed, site)?;
    let page = Page { offset, limit: at_most, counted };
    let listing = site.sessions().list(&filter, page, &mut progress("reading sessions"))?;
    listing.problems.iter().for_each(|problem| log::warn!("{problem}"));
    let total = listing.total;
    if typed.has(Name::Json) {
        let sessions: Vec<Value> = listing.sessions.iter().map(Session::to_json).collect();
        return say_json(&json!({"sessions": sessions, "total": total, "limit": limit, "offset": offset}));
    }
    let status = say(&table::table(&listing.sessions))?;
    // A user who said how many knows that there may be more.
    if !typed.has(Name::Limit) && !typed.has(Name::Quiet) && total > offset.saturating_add(limit) {
        let all = if total < counted { total.to_string() } else { format!("{counted} or more") };
        let shown = listing.sessions.len();
        logging::line(&format!("clinvk: {shown} of {all} sessions: `-n 0` lists all"));
    }
    Ok(status)
}

fn show(typed: &Typed, store: &dyn Sessions, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    let turns = if typed.has(Name::Turns) { store.turns(&session.id)? } else { Vec::new() };
    if typed.has(Name::Json) {
        let turns: Vec<Value> = turns.iter().map(Turn::to_json).collect();
        return say_json(&match typed.has(Name::Turns) {
            true => json!({"session": session.to_json(), "turns": turns}),
            false => session.to_json(),
        });
    }
    let safe = |text: &str| text.lines().map(|line| printable::safe(line) + "\n").collect::<String>();
    let failed = |turn: &Turn| {
        turn.error.as_ref().map_or(String::new(), |error| format!("(failed: {})\n", printable::safe(error)))
    };
    let told = turns
        .iter()
        .map(|turn| format!("\n> {}\n{}{}", safe(&turn.prompt).trim_end(), safe(&turn.answer), failed(turn)));
    say(&(table::fields(&session) + &told.collect::<String>()))
}

fn delete(typed: &Typed, store: &dyn Sessions, words: &[&str]) -> Result<u8, Error> {
    // All of them are found before the first one is deleted.
    let found = words.iter().map(|word| match word.len() {
        0..SHORTEST_TO_DELETE => Err(Error::Invalid(format!(
            "`{word}` is too short to delete by: give at least {SHORTEST_TO_DELETE} characters of the id"
        ))),
        _ => store.find_id(word),
    });
    // Two words may mean the same one.
    let ids: BTreeSet<String> = inserted(found.collect::<Result<Vec<_>, Error>>()?);
    for id in &ids {
        store.remove(id)?;
        if !typed.has(Name::Json) {
            say(&format!("deleted {id}\n"))?;
        }
    }
    if typed.has(Name::Json) { say_json(&json!({"deleted": ids})) } else { Ok(0) }
}

fn clean(typed: &Typed, site: &dyn Site, config: &Config) -> Result<u8, Error> {
    let mut filter = Filter { hidden: true, ..filter(typed, site)? };
    if !typed.has(Name::All) {
        let age = match typed.value(Name::OlderThan) {
            Some(word) => age("older-than", word)?,
            None if config.session.retention_days == 0 => {
                let sentence = "nothing is cleaned: session.retention_days is 0, which is for ever\n";
                return say_either(typed, json!({"deleted": []}), sentence);
            }
            None => Duration::from_secs(u64::from(config.session.retention_days) * 86_400),
        };
        if age.is_zero() {
            return Err(Error::Invalid("`--older-than` 0 would clean all: `--all` is for that".to_owned()));
        }
        filter.before = Some(ago(age));
    }
    let (dry_run, json) = (typed.has(Name::DryRun), typed.has(Name::Json));
    let (sessions, mut cleaned) = (site.sessions(), Vec::new());
    for (id, title) in sessions.names(&filter, &mut progress("reading sessions"))? {
        if dry_run {
            if !json {
                say(&format!("would delete {id}  {}\n", printable::safe(&title)))?;
            }
            cleaned.push(id);
            continue;
        }
        match sessions.delete(&id, &filter) {
            Ok(true) => cleaned.push(id),
            Ok(false) => {}
            Err(error) if error.kind() == Kind::SessionNotFound => {}
            // One that is in use now, or makes no sense, is no reason to keep the others.
            Err(error) if error.kind() == Kind::SessionBusy => log::warn!("{error}"),
            Err(error @ Error::SessionBroken { .. }) => log::warn!("{error}"),
            Err(error) => return Err(error),
        }
    }
    let (verb, name) = if dry_run { ("would delete", "would_delete") } else { ("deleted", "deleted") };
    say_either(typed, json!({name: cleaned}), &format!("{verb} {} sessions\n", cleaned.len()))
}

fn fork(typed: &Typed, store: &dyn Sessions, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    say_id(typed, &store.fork(session)?)
}

fn edit(typed: &Typed, store: &dyn Sessions, id: &str, edit: Edit) -> Result<u8, Error> {
    let changed = store.change(&store.find(id)?.id, edit)?;
    // There is nothing to say of it but to a program.
    say_either(typed, changed.to_json(), "")
}

fn say_id(typed: &Typed, id: &str) -> Result<u8, Error> {
    say_either(typed, json!({"id": id}), &format!("{id}\n"))
}

/// The format of what is exported.
const VERSION: u32 = 1;

/// One session as one document.
#[derive(Serialize, Deserialize)]
struct Document {
    clinvk_session: u32,
    session: Session,
    turns: Vec<Turn>,
}

fn export(typed: &Typed, store: &dyn Sessions, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    let turns = store.turns(&session.id)?;
    if typed.has(Name::Markdown) {
        return say(&markdown(&session, &turns));
    }
    let document = Document { clinvk_session: VERSION, session, turns };
    let text = serde_json::to_string_pretty(&document).map_err(|error| Error::Internal(error.to_string()))?;
    say(&printable::safe_json(text + "\n"))
}

/// A session as text for people.
pub(crate) fn markdown(session: &Session, turns: &[Turn]) -> String {
    let told: String =
        turns.iter().map(|turn| format!("\n## {}\n\n{}\n", turn.prompt, turn.answer)).collect();
    format!("# {}\n\n{}, {}\n{told}", session.title, session.backend, session.created_at)
}

fn import(typed: &Typed, store: &Store, file: &str) -> Result<u8, Error> {
    let fail = |error| Error::File { verb: "read", path: file.into(), error };
    let text = match file {
        "-" => std::io::read_to_string(sys::Waiting(std::io::stdin().lock())).map_err(fail)?,
        _ => std::fs::read_to_string(file).map_err(fail)?,
    };
    let wrong = |problem: String| Error::Invalid(format!("`{file}` is no exported session: {problem}"));
    let document: Document = json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let Document { clinvk_session: version, mut session, turns } = document;
    if version != VERSION {
        return Err(wrong(format!("its format is {version}, and this clinvk knows {VERSION}")));
    }
    if let Some(time) = [&session.created_at, &session.last_used_at].into_iter().find(|time| !is_time(time)) {
        return Err(wrong(format!(
            "`{}` is no time such as 2026-01-31T12:00:00.000Z",
            printable::safe(time)
        )));
    }
    if !session.working_dir.is_absolute() {
        return Err(wrong(format!("`{}` is not an absolute path", session.working_dir.display())));
    }
    session.check().map_err(|error| wrong(error.to_string()))?;
    if session.status == Status::Active {
        session.status = Status::Completed;
    }
    if !session::is_id(&session.id) {
        session.id = world::random_id()?;
    }
    // Never in place of one that is here: then it becomes another one.
    say_id(typed, &store.insert(session, &turns)?)
}

fn fsck(typed: &Typed, world: &World, store: &Store) -> Result<u8, Error> {
    let mut report = session::fsck(store, typed.has(Name::DryRun), &mut progress("reading sessions"));
    let left = exec::leftovers(world);
    if !typed.has(Name::DryRun) {
        exec::end_leftovers(&left);
    }
    let done = if typed.has(Name::DryRun) { "would be ended" } else { "ended" };
    report.findings.extend(left.iter().map(|left| Finding {
        kind: "process",
        sentence: format!(
            "process {} (`{}`) is left of a run whose clinvk was killed: {done}",
            left.pid, left.program
        ),
        repaired: !typed.has(Name::DryRun),
    }));
    let (found, repaired) =
        (report.findings.len(), report.findings.iter().filter(|found| found.repaired).count());
    if typed.has(Name::Json) {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|found| json!({"kind": found.kind, "finding": found.sentence, "repaired": found.repaired}))
            .collect();
        let mut document = json!({"findings": findings, "repaired": found > 0 && repaired == found});
        if let Some(error) = &report.failure {
            document["error"] = json!({"kind": error.kind().word(), "message": error.to_string()});
        }
        say_json(&document)?;
    } else {
        for finding in &report.findings {
            say(&format!("{}: {}\n", finding.kind, printable::safe(&finding.sentence)))?;
        }
        say(&match (found, typed.has(Name::DryRun)) {
            (0, _) if report.failure.is_some() => String::new(),
            (0, _) => "nothing is wrong\n".to_owned(),
            (_, true) => format!("{found} findings, nothing was changed\n"),
            (_, false) if repaired == found => format!("{found} findings, repaired\n"),
            (_, false) => format!("{found} findings, {repaired} repaired\n"),
        })?;
    }
    // What was found has been printed: no other document follows.
    Ok(report.failure.map_or(0, |error| complain(&error)))
}

/// Says on a terminal how far a long reading is, about four times a second, and takes it away at the end.
pub(crate) fn progress(what: &str) -> impl FnMut(usize) {
    struct Line(bool);
    impl Drop for Line {
        fn drop(&mut self) {
            if self.0 {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        }
    }
    let (watched, mut last, mut line) = (world::stderr_can_be_drawn_on(), Instant::now(), Line(false));
    move |done| {
        // All of it goes with the closure: it speaks once more when it is dropped.
        let line = &mut line;
        if watched && last.elapsed() > Duration::from_millis(250) {
            (last, line.0) = (Instant::now(), true);
            let _ = write!(std::io::stderr(), "\r{what}: {done}\x1b[K");
        }
    }
}
