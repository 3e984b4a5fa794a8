//! `clinvk sessions`: looks at sessions and looks after them.

use super::flags::Typed;
use super::{input, say, table};
use crate::config::Config;
use crate::error::Error;
use crate::session::{self, Entry, Filter, Session, Status, Store, Tokens, Turn};
use crate::world::{self, World};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

const SUBCOMMANDS: &[&str] = &[
    "list", "show", "delete", "clean", "fork", "rename", "tag", "untag", "pause", "export", "import", "stats", "fsck",
];

/// The shortest beginning of an id that something may be deleted by.
const SHORTEST_TO_DELETE: usize = 8;

/// Runs it. Everything is printed; the exit status is returned.
///
/// # Errors
/// What the store says no to.
pub fn run(typed: &Typed, world: &World, config: &Config) -> Result<u8, Error> {
    let store = Store::at(&world.home);
    let operands: Vec<&str> = typed.operands.iter().map(String::as_str).collect();
    match operands[..] {
        ["list"] => list(typed, world, &store),
        ["show", id] => show(typed, &store, id),
        ["delete", _, ..] => delete(&store, &operands[1..]),
        ["clean"] => clean(typed, &store, config),
        ["fork", id] => fork(&store, id),
        ["rename", id, title] => edit(&store, id, |session| session.title = title.to_owned()),
        ["tag", id, tag, ..] => {
            let _ = tag;
            edit(&store, id, |session| {
                for tag in &operands[2..] {
                    if !session.tags.iter().any(|known| known == tag) {
                        session.tags.push((*tag).to_owned());
                    }
                }
            })
        }
        ["untag", id, _, ..] => edit(&store, id, |session| session.tags.retain(|tag| !operands[2..].contains(&tag.as_str()))),
        ["pause", id] => pause(&store, id),
        ["export", id] => export(typed, &store, id),
        ["import", file] => import(&store, file),
        ["stats"] => stats(typed, &store),
        ["fsck"] => fsck(typed, &store),
        [] => Err(Error::Invalid(format!("`sessions` needs one of: {}", SUBCOMMANDS.join(", ")))),
        [given, ..] if !SUBCOMMANDS.contains(&given) => Err(Error::Unknown {
            what: "sessions command",
            given: given.to_owned(),
            known: SUBCOMMANDS.iter().map(|&name| name.to_owned()).collect(),
        }),
        [name, ..] => Err(Error::Invalid(format!("wrong number of words behind `sessions {name}`: see clinvk(1)"))),
    }
}

fn filter(typed: &Typed, world: Option<&World>) -> Result<Filter, Error> {
    let word = |name| typed.value(name).map(str::to_owned);
    let status = typed.value("status").map(|given| {
        let known = || Status::WORDS.iter().map(|&word| word.to_owned()).collect();
        Status::parse(given).ok_or_else(|| Error::Unknown { what: "status", given: given.to_owned(), known: known() })
    });
    let here = world.filter(|_| typed.has("here"));
    Ok(Filter {
        backend: word("backend"),
        status: status.transpose()?,
        tag: word("tag"),
        model: word("model"),
        dir: here.map(|world| input::directory(&world.cwd, ".")).transpose()?,
        since: typed.value("since").map(since).transpose()?,
        before: None,
        text: word("search"),
    })
}

/// A point in time: so long ago, or a date.
fn since(word: &str) -> Result<String, Error> {
    if word.len() >= 10 && word.starts_with(|digit: char| digit.is_ascii_digit()) && word.as_bytes()[4] == b'-' {
        return Ok(word.to_owned());
    }
    Ok(ago(age("since", word)?))
}

/// An age: `30d`, `12h`, `2w`, `90m`.
fn age(flag: &str, word: &str) -> Result<Duration, Error> {
    let wrong = || Error::Invalid(format!("`--{flag} {word}`: expected an age such as 30d, 12h or 2w"));
    let (number, unit) = word.split_at(word.len() - word.chars().next_back().map_or(0, char::len_utf8));
    let seconds: u64 = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}

fn ago(age: Duration) -> String {
    let (secs, nanos) = world::now();
    world::timestamp((secs.saturating_sub(age.as_secs()), nanos))
}

fn count(typed: &Typed, flag: &str, default: usize) -> Result<usize, Error> {
    match typed.value(flag) {
        None => Ok(default),
        Some(word) => word.parse().map_err(|_| Error::Invalid(format!("`--{flag} {word}`: expected a whole number"))),
    }
}

fn list(typed: &Typed, world: &World, store: &Store) -> Result<u8, Error> {
    let (limit, offset) = (count(typed, "limit", 20)?, count(typed, "offset", 0)?);
    let listing = store.list(&filter(typed, Some(world))?, offset, limit, &mut progress("reading sessions"))?;
    listing.problems.iter().for_each(|problem| log::warn!("{problem}"));
    if typed.has("json") {
        return say(&format!("{:#}\n", json!({"sessions": listing.sessions, "limit": limit, "offset": offset})));
    }
    say(&table::table(&listing.sessions))
}

fn show(typed: &Typed, store: &Store, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    let turns = if typed.has("turns") { store.turns(&session.id)? } else { Vec::new() };
    if typed.has("json") {
        let document = if typed.has("turns") { json!({"session": session, "turns": turns}) } else { json!(session) };
        return say(&format!("{document:#}\n"));
    }
    let safe = |text: &str| text.lines().map(|line| table::safe(line) + "\n").collect::<String>();
    let told = turns.iter().map(|turn| format!("\n> {}\n{}", safe(&turn.prompt).trim_end(), safe(&turn.answer)));
    say(&(table::fields(&session) + &told.collect::<String>()))
}

fn delete(store: &Store, words: &[&str]) -> Result<u8, Error> {
    // All of them are found before the first one is deleted.
    let found = words.iter().map(|word| match word.len() {
        0..SHORTEST_TO_DELETE => Err(Error::Invalid(format!(
            "`{word}` is too short to delete by: give at least {SHORTEST_TO_DELETE} characters of the id"
        ))),
        _ => store.find(word),
    });
    for session in found.collect::<Result<Vec<Session>, Error>>()? {
        store.delete(&session.id)?;
        say(&format!("deleted {}\n", session.id))?;
    }
    Ok(0)
}

fn clean(typed: &Typed, store: &Store, config: &Config) -> Result<u8, Error> {
    let mut filter = filter(typed, None)?;
    if !typed.has("all") {
        let age = match typed.value("older-than") {
            Some(word) => age("older-than", word)?,
            None if filter.status.is_some() => Duration::ZERO,
            None if config.session.retention_days == 0 => {
                return say("nothing is cleaned: session.retention_days is 0, which is for ever\n");
            }
            None => Duration::from_secs(u64::from(config.session.retention_days) * 86_400),
        };
        if age.is_zero() && filter.status.is_none() {
            return Err(Error::Invalid("`--older-than` 0 would clean all: `--all` is for that".to_owned()));
        }
        filter.before = (!age.is_zero()).then(|| ago(age));
    }
    let mut cleaned = 0;
    for entry in store.entries(&filter, 0, usize::MAX, &mut progress("reading sessions"))? {
        if typed.has("dry-run") {
            say(&format!("would delete {}  {}\n", entry.id, table::safe(&entry.title)))?;
        } else if let Err(error) = store.delete(&entry.id) {
            // One that is in use now is no reason to keep the others.
            log::warn!("{error}");
            continue;
        }
        cleaned += 1;
    }
    let verb = if typed.has("dry-run") { "would delete" } else { "deleted" };
    say(&format!("{verb} {cleaned} sessions\n"))
}

/// A new session with the same past. The vendor's own session stays with the first one: the new one's next turn replays.
fn fork(store: &Store, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    let fork = Session {
        id: world::random_id()?,
        parent_id: Some(session.id.clone()),
        backend_session_id: None,
        status: Status::Completed,
        last_error: None,
        created_at: world::timestamp(world::now()),
        last_used_at: world::timestamp(world::now()),
        ..session
    };
    let turns = store.turns(fork.parent_id.as_deref().unwrap_or_default())?;
    store.append_turns(&fork.id, &turns)?;
    store.add(&fork)?;
    say(&format!("{}\n", fork.id))
}

fn edit(store: &Store, id: &str, change: impl FnOnce(&mut Session)) -> Result<u8, Error> {
    store.update(&store.find(id)?.id, false, change).map(|_| 0)
}

fn pause(store: &Store, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    if session.status == Status::Active {
        return Err(Error::SessionBusy { id: session.id, pid: None });
    }
    edit(store, &session.id, |session| session.status = Status::Paused)
}

/// One session as one document.
#[derive(Serialize, Deserialize)]
struct Document {
    clinvk_session: u32,
    session: Session,
    turns: Vec<Turn>,
}

fn export(typed: &Typed, store: &Store, id: &str) -> Result<u8, Error> {
    let session = store.find(id)?;
    let turns = store.turns(&session.id)?;
    if typed.has("markdown") {
        let told: String = turns.iter().map(|turn| format!("\n## {}\n\n{}\n", turn.prompt, turn.answer)).collect();
        return say(&format!("# {}\n\n{}, {}\n{told}", session.title, session.backend, session.created_at));
    }
    let document = Document { clinvk_session: 1, session, turns };
    let text = serde_json::to_string_pretty(&document).map_err(|error| Error::Internal(error.to_string()))?;
    say(&(text + "\n"))
}

fn import(store: &Store, file: &str) -> Result<u8, Error> {
    let fail = |error| Error::File { verb: "read", path: file.into(), error };
    let text = match file {
        "-" => std::io::read_to_string(std::io::stdin()).map_err(fail)?,
        _ => std::fs::read_to_string(file).map_err(fail)?,
    };
    let wrong = |problem: String| Error::Invalid(format!("`{file}` is no exported session: {problem}"));
    let Document { mut session, turns, .. } = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if session.status == Status::Active {
        session.status = Status::Completed;
    }
    // Never in place of one that is here: then it becomes another one.
    if !session::is_id(&session.id) || store.load(&session.id).is_ok() {
        session.id = world::random_id()?;
        session.backend_session_id = None;
    }
    store.add(&session)?;
    store.append_turns(&session.id, &turns)?;
    say(&format!("{}\n", session.id))
}

/// Counts and tokens of a group.
#[derive(Default, Serialize)]
struct Sum {
    sessions: usize,
    turns: u64,
    #[serde(flatten)]
    tokens: Tokens,
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        self.sessions += 1;
        self.turns += entry.turn_count;
        self.tokens.add(&entry.token_usage);
    }
}

fn stats(typed: &Typed, store: &Store) -> Result<u8, Error> {
    let entries = store.entries(&Filter::default(), 0, usize::MAX, &mut progress("reading sessions"))?;
    let (mut total, mut groups) = (Sum::default(), BTreeMap::<&str, BTreeMap<String, Sum>>::new());
    for entry in &entries {
        total.add(entry);
        let day = entry.last_used_at.chars().take(10).collect();
        for (group, name) in
            [("backend", entry.backend.clone()), ("day", day), ("status", entry.status.word().to_owned())]
        {
            groups.entry(group).or_default().entry(name).or_default().add(entry);
        }
    }
    if typed.has("json") {
        return say(&format!("{:#}\n", json!({"total": total, "by": groups})));
    }
    let line = |name: &str, sum: &Sum| {
        let tokens = &sum.tokens;
        format!(
            "{:<24} {:>9} {:>9} {:>13} {:>13}\n",
            table::safe(name), sum.sessions, sum.turns, tokens.input_tokens, tokens.output_tokens
        )
    };
    let mut text = format!("{:<24} {:>9} {:>9} {:>13} {:>13}\n", "", "SESSIONS", "TURNS", "INPUT", "OUTPUT");
    text += &line("total", &total);
    for (group, sums) in &groups {
        text += &format!("by {group}\n");
        text += &sums.iter().map(|(name, sum)| line(&format!("  {name}"), sum)).collect::<String>();
    }
    say(&text)
}

fn fsck(typed: &Typed, store: &Store) -> Result<u8, Error> {
    let findings = session::fsck(store, typed.has("dry-run"), &mut progress("reading sessions"))?;
    if typed.has("json") {
        let findings: Vec<_> =
            findings.iter().map(|finding| json!({"kind": finding.kind, "finding": finding.sentence})).collect();
        return say(&format!("{:#}\n", json!({"findings": findings, "repaired": !typed.has("dry-run")})));
    }
    for finding in &findings {
        say(&format!("{}: {}\n", finding.kind, table::safe(&finding.sentence)))?;
    }
    say(&match (findings.len(), typed.has("dry-run")) {
        (0, _) => "nothing is wrong\n".to_owned(),
        (found, true) => format!("{found} findings, nothing was changed\n"),
        (found, false) => format!("{found} findings, repaired\n"),
    })
}

/// Says on a terminal how far a long reading is, about four times a second.
pub fn progress(what: &str) -> impl FnMut(usize) {
    let (shown, mut last) = (world::stderr_is_terminal(), Instant::now());
    move |done| {
        if shown && last.elapsed() > Duration::from_millis(250) {
            last = Instant::now();
            let _ = write!(std::io::stderr(), "\r{what}: {done}\x1b[K");
        }
    }
}
