//! `/sessions`: what belongs to the client, and nothing else.

use crate::base::json::json;
use crate::base::time::moment;
use crate::engine::request::Pairs;
use crate::http::front::errors::Fault;
use crate::http::native::deliver::{Format, Job, deliver, key};
use crate::http::state::call::{Call, read_object};
use crate::model::error::{Error, Kind};
use crate::model::fields::fields;
use crate::session::{Filter, Page, Session, Status, Turn, is_id};
use serde_json::Value;
use std::path::PathBuf;

/// How many sessions a listing has when nothing is said.
const LIMIT: usize = 50;
const MOST: usize = 1000;

/// The session of that id, whole or its unique beginning, if it is one that the client may see.
pub(crate) fn find(call: &Call<'_, '_>, id: &str) -> Result<Session, Fault> {
    let found = match call.server.engine.store.find(id) {
        Ok(session) if call.who.sees(session.owner.as_deref()) => Ok(session),
        // Which others there are is not the client's business.
        Err(Error::SessionAmbiguous { .. }) | Ok(_) => Err(Error::SessionNotFound { given: id.to_owned() }),
        // Whose it is cannot be known, and the message has its whole id.
        Err(Error::SessionBroken { .. }) if !call.who.sees(None) => {
            Err(Error::SessionNotFound { given: id.to_owned() })
        }
        Err(error) => Err(error),
    };
    Ok(found?)
}

/// `GET /sessions`
pub(crate) fn list(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let number = |name: &'static str, default: usize| match call.query(name) {
        None => Ok(default),
        Some(word) => {
            word.parse().map_err(|_| Fault::invalid(name, format!("`{name}={word}`: expected a number")))
        }
    };
    let limit = match number("limit", LIMIT)? {
        0 => MOST,
        limit => limit.min(MOST),
    };
    let offset = number("offset", 0)?;
    let status = match call.query("status") {
        None => None,
        Some(word) => Some(Status::parse(&word).ok_or_else(|| {
            Fault::invalid("status", format!("`status={word}`: known are {}", Status::WORDS.join(", ")))
        })?),
    };
    let time = |name: &'static str| match call.query(name) {
        None => Ok(None),
        // Times are compared as texts, as all sessions have them.
        Some(word) => {
            let text = word.trim_end_matches('Z').to_owned();
            let midnight = if text.len() == "2026-01-31".len() { "T00:00:00" } else { "" };
            let is_one = moment(&format!("{text}{midnight}Z")).is_some_and(|(_, rest)| rest.is_empty());
            let problem = format!("`{name}={word}`: expected a time such as 2026-01-31T12:00:00Z, or a date");
            is_one.then_some(Some(text)).ok_or_else(|| Fault::invalid(name, problem))
        }
    };
    let filter = Filter {
        since: time("since")?,
        before: time("before")?,
        dir: call.query("workdir").map(PathBuf::from),
        backend: call.query("backend"),
        status,
        model: call.query("model"),
        tags: call.queries("tag").collect(),
        text: call.query("search"),
        ..call.who.filter()
    };
    let store = &call.server.engine.store;
    // The number of all needs the index alone; files are read of those that are shown.
    let listing = store.list(&filter, Page { offset, limit, counted: usize::MAX }, &mut |_| {})?;
    let answer = json!({
        "sessions": listing.sessions.iter().map(Session::to_json).collect::<Vec<_>>(),
        "problems": listing.problems,
        "total": listing.total,
        "limit": limit,
        "offset": offset,
    });
    call.json(answer)
}

/// `GET /sessions/{id}`
pub(crate) fn one(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let session = find(call, &call.params[0])?;
    call.json(session.to_json())
}

/// `GET /sessions/{id}/turns`
pub(crate) fn turns(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    /// What each byte of a stored turn costs: read, told by all its names, and written.
    const TOLD: usize = 6;
    let session = find(call, &call.params[0])?;
    let store = &call.server.engine.store;
    call.afford(store.size_of_turns(&session.id).saturating_mul(TOLD))?;
    let turns = store.turns(&session.id)?;
    let turns: Vec<Value> = turns.iter().map(Turn::to_json).collect();
    call.json(json!({"id": session.id, "turns": turns}))
}

fields! {
    /// What may be changed of a session.
    pub struct Change {
        title: String, "its name for people";
        tags: Vec<String>, "its tags, in place of those it has";
        metadata: Pairs, "what its makers want to keep with it, in place of what is there: at most 16 pairs";
    }
}

/// `PATCH /sessions/{id}`
pub(crate) fn change(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let session = find(call, &call.params[0])?;
    let change: Change = call.object()?;
    let store = &call.server.engine.store;
    let changed = store.update(&session.id, |session| {
        change.title.map_or(Ok(()), |title| session.set_title(title))?;
        change.metadata.map_or(Ok(()), |Pairs(pairs)| session.set_metadata(pairs))?;
        change.tags.map_or(Ok(()), |tags| session.set_tags(&tags))
    })?;
    call.json(changed.to_json())
}

/// `DELETE /sessions/{id}`
pub(crate) fn delete(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let given = &call.params[0];
    // Whose a broken one is cannot be known: a key that sees all may remove it by its whole id.
    let id = match call.who.sees(None) && is_id(given) {
        true => call.server.engine.store.find_id(given)?,
        false => find(call, given)?.id,
    };
    if given.len() < 8 {
        return Err(Fault::of(
            Kind::InvalidRequest,
            "8 characters of the id or more are needed to delete by",
        ));
    }
    let (engine, session) = (&call.server.engine, call.server.engine.store.load(&id));
    match session {
        // What no list has is no user's to go on with, elsewhere either.
        Ok(session) if session.hidden => engine.forget(&session)?,
        _ => engine.store.remove(&id)?,
    }
    call.json(json!({"deleted": true, "id": id}))
}

/// `POST /sessions/{id}/fork`
pub(crate) fn fork(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let session = find(call, &call.params[0])?;
    let body = call.whole_body()?;
    let (key, ()) = (key(call, &body)?, read_object(&body)?);
    let job: Job = Box::new(move |work, _| {
        let store = &work.server.engine.store;
        let id = store.fork(session, work.who.owner())?;
        Ok(store.load(&id)?.to_json().to_string())
    });
    deliver(call, key, Format::Json, false, job)
}
