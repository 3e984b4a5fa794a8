//! Which conversation a request goes on with, and whether it may be gone on with later: by a header, by the id of a
//! response, or by what was said.

use super::history;
use super::{Chat, Format, Part, Role, Turn, transcript};
use crate::backend::Backend;
use crate::base::sync::lock;
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

/// The header that names a session of ours, or turns reuse off.
const HEADER: &str = "x-clinvk-session";

/// The session that a request names.
pub fn named(call: &Call<'_, '_>) -> Result<Option<Session>, Fault> {
    let id = header(call).filter(|word| *word != "off");
    id.map(|id| sessions::find(call, id)).transpose()
}

fn header<'a>(call: &'a Call<'_, '_>) -> Option<&'a str> {
    call.exchange.head.text(HEADER).map(str::trim).filter(|word| !word.is_empty())
}

/// A request's place in a conversation. What it has taken is let go with it, and what cannot be continued is removed.
pub struct Thread {
    server: Arc<Server>,
    /// The session that it continues.
    pub session: Option<Session>,
    way: Way,
    /// What was said before, where no session knows it that could be continued.
    earlier: Vec<Turn>,
    /// What is said of the request's turns: the session knows those before.
    from: usize,
    /// It can be gone on with by a history that extends it: what its key is made of.
    by_history: Option<Speakers>,
    /// It can be gone on with by its response's id: whose it is.
    by_id: Option<Option<String>>,
    /// The session of ours that has the conversation now, and those that were begun for it.
    sessions: Mutex<(Option<String>, Vec<String>)>,
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

/// Who speaks with whom: owner, backend, model.
type Speakers = (Option<String>, String, Option<String>);

impl Thread {
    /// What the request says of it; where nothing is kept, the request is told so. `named`: the session that it names.
    ///
    /// # Errors
    /// When that is taken, or when it continues a response that is not there.
    pub fn of(
        call: &Call<'_, '_>,
        named: Option<Session>,
        chat: &mut Chat,
        backend: &dyn Backend,
        model: Option<&str>,
    ) -> Result<Thread, Fault> {
        let (server, owner) = (call.server.clone(), call.who.owner());
        // The new turn alone: the session has the others.
        let last = chat.turns.len().saturating_sub(1);
        if let Some(session) = named {
            chat.store = false;
            let way = match server.reuse.by_name(&session.id) {
                true => Way::Kept,
                false if session.hidden => {
                    return Err(Error::SessionBusy { id: session.id, pid: None }.into());
                }
                false => Way::Named,
            };
            let mut thread = Thread::continuing(server, session, way);
            thread.from = last;
            return Ok(thread);
        }
        let is_on = server.reuse.is_on() && header(call).is_none();
        chat.store &= is_on;
        let by_id = chat.store.then(|| owner.clone());
        if let Some(id) = &chat.previous {
            let key = history::key_of_response(owner.as_deref(), id);
            let mut thread = match server.reuse.by_response(&key, !chat.store) {
                None => return Err(Fault::no_response(id)),
                Some(Previous::End(session)) => {
                    let session = loaded(&server, &session).ok_or_else(|| Fault::no_response(id))?;
                    Thread::continuing(server, session, Way::Response)
                }
                Some(Previous::Within(session, turns)) => {
                    // What is said again counts as what is said.
                    let size = server.engine.store.size_of_turns(&session);
                    call.afford(size.saturating_mul(COPIES))?;
                    let earlier = said(&server, &session, turns).ok_or_else(|| Fault::no_response(id))?;
                    let mut thread = Thread::new(server);
                    thread.earlier = earlier;
                    thread
                }
            };
            thread.by_id = by_id;
            return Ok(thread);
        }
        // Only a vendor's own session is worth it: anything else says the whole conversation again, too.
        let is_text = chat.forced.is_none() && chat.format == Format::Text;
        let can_go_on = backend.vendor_sessions().is_some() && backend.honours(TaskOption::Resume).is_ok();
        let is_private = chat.echo["store"] == false;
        if !(is_on && is_text && can_go_on) || is_private {
            let mut thread = Thread::new(server);
            thread.by_id = by_id;
            return Ok(thread);
        }
        let goes_on = matches!(
            &chat.turns[..],
            [.., Turn { role: Role::Assistant, .. }, Turn { role: Role::User, .. }]
        );
        let key = || history::key(owner.as_deref(), backend.name(), model, chat, &chat.turns[..last]);
        let session = goes_on.then(key).and_then(|key| server.reuse.by_history(&key));
        let by_history = Some((owner, backend.name().to_owned(), model.map(str::to_owned)));
        let mut thread = match session.and_then(|session| loaded(&server, &session)) {
            Some(session) => Thread::continuing(server, session, Way::History),
            None => Thread::new(server),
        };
        thread.from = if thread.session.is_some() { last } else { 0 };
        (thread.by_history, thread.by_id) = (by_history, by_id);
        Ok(thread)
    }

    fn new(server: Arc<Server>) -> Thread {
        Thread {
            server,
            session: None,
            way: Way::New,
            earlier: Vec::new(),
            from: 0,
            by_history: None,
            by_id: None,
            sessions: Mutex::default(),
        }
    }

    fn continuing(server: Arc<Server>, session: Session, way: Way) -> Thread {
        let mut thread = Thread::new(server);
        (thread.session, thread.way) = (Some(session), way);
        thread
    }

    /// It may be continued.
    pub fn keeps(&self) -> bool {
        self.session.is_some() || self.by_history.is_some() || self.by_id.is_some()
    }

    /// What is said in it.
    pub fn render(&self, chat: &Chat) -> transcript::Rendered {
        if self.earlier.is_empty() && self.from == 0 {
            return transcript::render(chat);
        }
        let turns = self.earlier.iter().chain(&chat.turns[self.from..]).cloned().collect();
        transcript::render(&Chat { turns, ..chat.clone() })
    }

    /// A run has begun, in this session of ours.
    pub fn begin(&self, session: Option<&str>) {
        let mut sessions = lock(&self.sessions);
        sessions.1.extend(session.map(str::to_owned));
    }

    /// It went well: the conversation can be gone on with from here, if all of it is in the session.
    pub fn keep(&self, outcome: &Outcome, chat: &Chat, answer: &str, response: &str) {
        let session = outcome.session.as_ref().filter(|_| outcome.session_failure.is_none());
        let Some(session) = session.filter(|_| self.way != Way::Named) else { return };
        // Another backend's session would be no use to a client that asks this one again.
        let by_history = self.by_history.as_ref().filter(|(_, backend, _)| *backend == outcome.backend);
        let history = by_history.map(|(owner, backend, model)| {
            let turns = history::with_answer(&chat.turns, answer);
            history::key(owner.as_deref(), backend, model.as_deref(), chat, &turns)
        });
        let response = self.by_id.as_ref().map(|owner| history::key_of_response(owner.as_deref(), response));
        if history.is_some() || response.is_some() || self.way == Way::Kept {
            self.server.reuse.keep(session, history, response);
            lock(&self.sessions).0 = Some(session.clone());
        }
    }

    /// The failure is one of the session that was found, and not of what was asked in it.
    pub fn may_begin_anew(&self, fault: &Fault) -> bool {
        let of_session =
            [Kind::SessionNotFound, Kind::SessionBusy, Kind::SessionNotResumable, Kind::SessionStore];
        self.way == Way::History && of_session.iter().any(|kind| fault.cause == Cause::Kind(*kind))
    }

    /// The same conversation from its beginning. The session is removed, whether a run began in it or not.
    pub fn anew(&self) -> Thread {
        lock(&self.sessions).1.extend(self.session.iter().map(|session| session.id.clone()));
        let mut thread = Thread::new(self.server.clone());
        (thread.by_history, thread.by_id) = (self.by_history.clone(), self.by_id.clone());
        thread
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let (reuse, sessions) = (&self.server.reuse, lock(&self.sessions));
        let (kept, begun) = (&sessions.0, &sessions.1);
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
        server.reuse.forget(id);
    }
    session
}

/// What was said in the first turns of a session; none where that is not stored.
fn said(server: &Server, id: &str, turns: usize) -> Option<Vec<Turn>> {
    let stored = server.engine.store.turns(id).ok()?;
    let good: Vec<_> = stored.into_iter().filter(|turn| turn.error.is_none()).take(turns).collect();
    let say = |role, text| Turn { role, name: None, parts: vec![Part::Text(text)] };
    (good.len() == turns).then(|| {
        good.into_iter()
            .flat_map(|turn| [say(Role::User, turn.prompt), say(Role::Assistant, turn.answer.into())])
            .collect()
    })
}
