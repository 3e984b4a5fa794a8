//! Which conversation a request goes on with, and whether it may be gone on with later: by a header, by the id of a
//! response, or by what was said.

use super::history::{self, Parties};
use super::{Chat, Part, Role, Turn, transcript};
use crate::backend::Backend;
use crate::base::sync::lock;
use crate::exec::Cancel;
use crate::http::front::errors::{Cause, Fault};
use crate::http::native::sessions;
use crate::http::net::memory::COPIES;
use crate::http::state::call::Call;
use crate::http::state::reuse::Previous;
use crate::http::state::server::Server;
use crate::model::error::{Error, Kind};
use crate::model::outcome::Outcome;
use crate::model::task::TaskOption;
use crate::session::Session;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a request that waits for another one looks.
const LOOK: Duration = Duration::from_millis(20);

/// The header that names a session of ours, or turns reuse off.
const HEADER: &str = "x-clinvk-session";

/// The session that a request names.
pub(crate) fn named(call: &Call<'_, '_>) -> Result<Option<Session>, Fault> {
    let id = header(call).filter(|word| *word != "off");
    id.map(|id| sessions::find(call, id)).transpose()
}

fn header<'a>(call: &'a Call<'_, '_>) -> Option<&'a str> {
    call.exchange.head.text(HEADER).map(str::trim).filter(|word| !word.is_empty())
}

/// A request's place in a conversation. What it has taken is let go with it, and what cannot be continued is removed.
pub(crate) struct Thread {
    server: Arc<Server>,
    parties: Parties,
    /// The session that it continues.
    pub(crate) session: Option<Session>,
    way: Way,
    /// What was said before, where no session knows it that could be continued.
    earlier: Vec<Turn>,
    /// How many of the request's turns the session knows already.
    known: usize,
    /// It can be gone on with by a history that extends it.
    by_history: bool,
    /// It can be gone on with by its response's id.
    by_id: bool,
    sessions: Mutex<Sessions>,
}

/// The sessions of ours that the request uses.
#[derive(Default)]
struct Sessions {
    /// The one that has the conversation now.
    kept: Option<String>,
    /// Those in which a run began.
    begun: Vec<String>,
}

/// How the session was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There is none.
    New,
    /// By what was said: should it be gone, all can be said again.
    History,
    /// By the id of its last response.
    Response,
    /// By its name, and it is one of those that are kept for clients.
    Kept,
    /// By its name, and it stays.
    Named,
}

impl Thread {
    /// The place that a request asks for; where nothing is kept, `chat.store` becomes false. `named`: the session that it names.
    /// Fails when that is taken, or when the request continues a response that is not there.
    pub(crate) fn of(
        call: &Call<'_, '_>,
        named: Option<Session>,
        chat: &mut Chat,
        backend: &dyn Backend,
        model: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Thread, Fault> {
        let server = call.server;
        let parties = Parties {
            owner: call.who.owner(),
            backend: backend.name().to_owned(),
            model: model.map(str::to_owned),
        };
        let mut thread = Thread::new(server.clone(), parties);
        // The new turn alone: the session has the others.
        let last = chat.turns.len().saturating_sub(1);
        if let Some(session) = named {
            chat.store = false;
            let until = Instant::now() + call.wait_limit()?.unwrap_or_default();
            thread.way = loop {
                match server.lasting.reuse.by_name(&session.id) {
                    true => break Way::Kept,
                    false if !session.hidden => break Way::Named,
                    // Another request has it.
                    false if Instant::now() >= until => {
                        return Err(Error::SessionBusy { id: session.id, pid: None }.into());
                    }
                    false if cancel.wait(LOOK) => return Err(Error::Cancelled.into()),
                    false => {}
                }
            };
            (thread.session, thread.known) = (Some(session), last);
            return Ok(thread);
        }
        let is_on = server.lasting.reuse.is_on() && header(call).is_none();
        chat.store &= is_on;
        thread.by_id = chat.store;
        if let Some(id) = &chat.previous {
            let gone = || Fault::no_response(id);
            match server.lasting.reuse.by_response(&thread.parties.key_of_response(id), !chat.store) {
                None => return Err(gone()),
                Some(Previous::End(session)) => {
                    thread.session = Some(loaded(server, &session).ok_or_else(gone)?);
                    thread.way = Way::Response;
                }
                Some(Previous::Within(session, turns)) => {
                    // What is said again counts as what is said.
                    let size = server.engine.store.size_of_turns(&session);
                    call.afford(size.saturating_mul(COPIES))?;
                    thread.earlier = said(server, &session, turns).ok_or_else(gone)?;
                }
            }
            return Ok(thread);
        }
        // Only a vendor's own session is worth it: anything else says the whole conversation again, too.
        let can_go_on = backend.vendor_sessions().is_some() && backend.honours(TaskOption::Resume).is_ok();
        let is_private = chat.echo["store"] == false;
        thread.by_history = is_on && chat.is_free() && can_go_on && !is_private;
        let goes_on = matches!(
            &chat.turns[..],
            [.., Turn { role: Role::Assistant, .. }, Turn { role: Role::User, .. }]
        );
        if thread.by_history && goes_on {
            let key = thread.parties.key(chat, &chat.turns[..last]);
            let session = server.lasting.reuse.by_history(&key).and_then(|session| loaded(server, &session));
            if session.is_some() {
                (thread.session, thread.way, thread.known) = (session, Way::History, last);
            }
        }
        Ok(thread)
    }

    fn new(server: Arc<Server>, parties: Parties) -> Thread {
        Thread {
            server,
            parties,
            session: None,
            way: Way::New,
            earlier: Vec::new(),
            known: 0,
            by_history: false,
            by_id: false,
            sessions: Mutex::default(),
        }
    }

    /// It may be continued.
    pub(crate) fn keeps(&self) -> bool {
        self.session.is_some() || self.by_history || self.by_id
    }

    /// What is said in it.
    pub(crate) fn render(&self, chat: &Chat) -> transcript::Rendered {
        if self.earlier.is_empty() && self.known == 0 {
            return transcript::render(chat);
        }
        let turns = self.earlier.iter().chain(&chat.turns[self.known..]).cloned().collect();
        transcript::render(&Chat { turns, ..chat.clone() })
    }

    /// A run has begun, in this session of ours.
    pub(crate) fn begin(&self, session: Option<&str>) {
        lock(&self.sessions).begun.extend(session.map(str::to_owned));
    }

    /// It went well: the conversation can be gone on with from here, if all of it is in the session.
    pub(crate) fn keep(&self, outcome: &Outcome, chat: &Chat, answer: &str, response: &str) {
        let session = outcome.session.as_ref().filter(|_| outcome.session_failure.is_none());
        let Some(session) = session.filter(|_| self.way != Way::Named) else { return };
        // Another backend's session would be no use to a client that asks this one again.
        let by_history = self.by_history && self.parties.backend == outcome.backend;
        let history = by_history.then(|| self.parties.key(chat, &history::with_answer(&chat.turns, answer)));
        let response = self.by_id.then(|| self.parties.key_of_response(response));
        if history.is_some() || response.is_some() || self.way == Way::Kept {
            self.server.lasting.reuse.keep(session, history, response);
            lock(&self.sessions).kept = Some(session.clone());
        }
    }

    /// The failure is one of the session that was found, and not of what was asked in it.
    pub(crate) fn may_begin_anew(&self, fault: &Fault) -> bool {
        let of_session =
            [Kind::SessionNotFound, Kind::SessionBusy, Kind::SessionNotResumable, Kind::SessionStore];
        self.way == Way::History && of_session.iter().any(|kind| fault.cause == Cause::Kind(*kind))
    }

    /// The same conversation from its beginning. The session is removed, whether a run began in it or not.
    pub(crate) fn anew(&self) -> Thread {
        lock(&self.sessions).begun.extend(self.session.iter().map(|session| session.id.clone()));
        let mut thread = Thread::new(self.server.clone(), self.parties.clone());
        (thread.by_history, thread.by_id) = (self.by_history, self.by_id);
        thread
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let (reuse, sessions) = (&self.server.lasting.reuse, lock(&self.sessions));
        let Sessions { kept, begun } = &*sessions;
        let own = self.session.as_ref().map(|session| &session.id);
        // A try that was not what had been asked for.
        let others = begun.iter().filter(|id| kept.as_ref() != Some(id) && own != Some(id));
        others.for_each(|id| reuse.forget(id));
        let Some(own) = own.filter(|id| kept.as_ref() != Some(id)) else { return };
        match self.way {
            Way::New | Way::Named => {}
            // The vendor's session may have a question without an answer; all of it will be said again.
            Way::History if begun.contains(own) => reuse.forget(own),
            // A try that failed may be made again.
            Way::History | Way::Response | Way::Kept => reuse.release(own),
        }
    }
}

/// The session that was taken. One that is not there any more is kept no longer.
fn loaded(server: &Server, id: &str) -> Option<Session> {
    let session = server.engine.store.load(id).ok();
    if session.is_none() {
        server.lasting.reuse.forget(id);
    }
    session
}

/// What was said in the first turns of a session; none where that is not stored.
fn said(server: &Server, id: &str, turns: usize) -> Option<Vec<Turn>> {
    let mut good = server.engine.store.turns(id).ok()?;
    good.retain(|turn| turn.error.is_none());
    let say = |role, text| Turn { role, name: None, parts: vec![Part::Text(text)] };
    let said = good.into_iter().take(turns);
    let said = said.flat_map(|turn| [say(Role::User, turn.prompt), say(Role::Assistant, turn.answer.into())]);
    Some(said.collect()).filter(|said: &Vec<Turn>| said.len() == 2 * turns)
}
