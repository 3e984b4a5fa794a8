//! Which conversation a request goes on with, and whether it may be gone on with later: by a header, by the id of a
//! response, or by what was said.

use super::reuse::{self, Key};
use super::{Chat, Format, Role, Turn, transcript};
use crate::backend::Backend;
use crate::engine::Outcome;
use crate::error::Kind;
use crate::http::call::Call;
use crate::http::faults::{Cause, Fault};
use crate::http::native::sessions;
use crate::http::server::Server;
use crate::session::Session;
use crate::task::Opt;
use std::cell::RefCell;
use std::sync::Arc;

/// The header that names a session of ours, or turns reuse off.
const HEADER: &str = "x-clinvk-session";

/// The session that a request names.
///
/// # Errors
/// When it is not there, or another's.
pub fn named(call: &Call<'_, '_>) -> Result<Option<Session>, Fault> {
    let id = header(call).filter(|word| *word != "off");
    id.map(|id| sessions::find(call, id)).transpose()
}

fn header<'a>(call: &'a Call<'_, '_>) -> Option<&'a str> {
    call.exchange.head.text(HEADER).map(str::trim).filter(|word| !word.is_empty())
}

/// A request's place in a conversation. When it is dropped, whatever came of the request, a session that nobody can go on
/// with is removed.
pub struct Thread {
    server: Arc<Server>,
    /// The session that it continues.
    pub session: Option<Session>,
    /// How it came by that.
    origin: Origin,
    /// What is said of the request's turns: the session knows those before.
    from: usize,
    /// It is kept for a history that extends it: what its key is made of.
    by_history: Option<ByHistory>,
    /// It is kept for its response's id: whose it is.
    by_id: Option<Option<String>>,
    /// The sessions that runs of it have begun or continued.
    begun: RefCell<Vec<String>>,
    /// The one of these that somebody can go on with.
    kept: RefCell<Option<String>>,
}

/// How a thread came by its session.
enum Origin {
    /// It has none.
    New,
    /// The client named it.
    Named,
    /// By a response's id, taken from among those that are kept under these keys: a try that fails may be made again.
    Response(Vec<Key>),
    /// The same, but nothing of the request is to be kept: the session stays where it is, and is only read.
    Aside,
    /// By what was said: should it be gone, all can be said again.
    History,
}

/// Whose history it is, and with whom.
#[derive(Clone)]
struct ByHistory {
    owner: Option<String>,
    backend: String,
    model: Option<String>,
}

impl ByHistory {
    fn key(&self, chat: &Chat, turns: &[Turn]) -> Key {
        reuse::key(self.owner.as_deref(), &self.backend, self.model.as_deref(), chat, turns)
    }
}

impl Thread {
    /// What the request says of it. `named`: the session that it names.
    ///
    /// # Errors
    /// When it continues a response that is not there.
    pub fn of(
        call: &Call<'_, '_>,
        named: Option<Session>,
        chat: &Chat,
        backend: &dyn Backend,
        model: Option<&str>,
    ) -> Result<Thread, Fault> {
        let (server, owner) = (call.server, call.who.owner());
        // The new turn alone: the session has the others.
        let last = chat.turns.len().saturating_sub(1);
        let mut thread = Thread::new(server.clone());
        if let Some(session) = named {
            // What is kept for a history that extends it is not true of it any more.
            server.reuse.release(&session.id);
            (thread.session, thread.origin, thread.from) = (Some(session), Origin::Named, last);
            return Ok(thread);
        }
        let is_on = server.reuse.is_on() && header(call).is_none();
        let is_stored = is_on && chat.store && call.who.route == "/openai/v1/responses";
        thread.by_id = is_stored.then(|| owner.clone());
        if let Some(id) = &chat.previous {
            let key = reuse::key_of_response(owner.as_deref(), id);
            let is_aside = !is_stored && backend.honours(Opt::Ephemeral).is_ok();
            let kept = if is_aside { server.reuse.find(&key) } else { server.reuse.take(&key) };
            let kept = kept.ok_or_else(|| Fault::no_response(id))?;
            let session = server.engine.store.load(&kept.session).map_err(|_| Fault::no_response(id))?;
            thread.session = Some(session);
            thread.origin = if is_aside { Origin::Aside } else { Origin::Response(kept.keys) };
            return Ok(thread);
        }
        // Only a vendor's own session is worth it: anything else says the whole conversation again, too.
        let is_text = chat.forced.is_none() && chat.format == Format::Text;
        let can_go_on = backend.keeps().is_some() && backend.honours(Opt::Resume).is_ok();
        if !(is_on && is_text && can_go_on) {
            return Ok(thread);
        }
        let by_history =
            ByHistory { owner, backend: backend.name().to_owned(), model: model.map(str::to_owned) };
        let goes_on = matches!(
            &chat.turns[..],
            [.., Turn { role: Role::Assistant, .. }, Turn { role: Role::User, .. }]
        );
        let found = goes_on.then(|| by_history.key(chat, &chat.turns[..last]));
        let found = found.and_then(|key| server.reuse.take(&key));
        let session = found.and_then(|found| server.engine.store.load(&found.session).ok());
        if let Some(session) = session {
            (thread.session, thread.origin, thread.from) = (Some(session), Origin::History, last);
        }
        thread.by_history = Some(by_history);
        Ok(thread)
    }

    fn new(server: Arc<Server>) -> Thread {
        Thread {
            server,
            session: None,
            origin: Origin::New,
            from: 0,
            by_history: None,
            by_id: None,
            begun: RefCell::default(),
            kept: RefCell::default(),
        }
    }

    /// The same conversation from its beginning.
    pub fn anew(&self) -> Thread {
        let mut new = Thread::new(self.server.clone());
        (new.by_history, new.by_id) = (self.by_history.clone(), self.by_id.clone());
        new
    }

    /// The session is kept beyond the request.
    pub fn keeps(&self) -> bool {
        match self.origin {
            Origin::New => self.by_history.is_some() || self.by_id.is_some(),
            Origin::Aside => false,
            Origin::Named | Origin::Response(_) | Origin::History => true,
        }
    }

    /// What is said in it.
    pub fn render(&self, chat: &Chat) -> transcript::Rendered {
        match self.from {
            0 => transcript::render(chat),
            from => transcript::render(&Chat { turns: chat.turns[from..].to_vec(), ..chat.clone() }),
        }
    }

    /// A run of it works in that session.
    pub fn begin(&self, session: Option<&str>) {
        self.begun.borrow_mut().extend(session.map(str::to_owned));
    }

    /// The conversation went well: it can be gone on with from here, if all of it is in the session.
    pub fn keep(&self, outcome: &Outcome, chat: &Chat, answer: &str, response: &str) {
        let Some(session) = outcome.session.as_ref().filter(|_| outcome.session_failure.is_none()) else {
            return;
        };
        let mut keys = Vec::new();
        // Another backend's session would be no use to whoever asks this one again.
        if let Some(by_history) = self.by_history.as_ref().filter(|by| by.backend == outcome.backend) {
            keys.push(by_history.key(chat, &reuse::with_answer(&chat.turns, answer)));
        }
        if let Some(owner) = &self.by_id {
            keys.push(reuse::key_of_response(owner.as_deref(), response));
        }
        if !keys.is_empty() {
            *self.kept.borrow_mut() = Some(session.clone());
            self.hand_back(session, keys);
        }
    }

    fn hand_back(&self, session: &str, keys: Vec<Key>) {
        let gone = self.server.reuse.keep(session.to_owned(), keys);
        gone.iter().for_each(|id| self.server.forget(id));
    }

    /// The failure is one of the session that was found, and not of what was asked in it.
    pub fn may_begin_anew(&self, fault: &Fault) -> bool {
        let of_session =
            [Kind::SessionNotFound, Kind::SessionBusy, Kind::SessionNotResumable, Kind::SessionStore];
        let was_found = matches!(self.origin, Origin::History);
        was_found && of_session.iter().any(|kind| fault.cause == Cause::Kind(*kind))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let kept = self.kept.take();
        let own = self.session.as_ref().map(|session| &session.id);
        let begun = self.begun.take();
        let others = begun.iter().filter(|id| Some(*id) != own && Some(*id) != kept.as_ref());
        others.for_each(|id| self.server.forget(id));
        let Some(session) = self.session.as_ref().filter(|session| kept.as_ref() != Some(&session.id)) else {
            return;
        };
        match &self.origin {
            // Nobody lists it, so that nobody else would ever remove it.
            Origin::Named if session.hidden => self.hand_back(&session.id, Vec::new()),
            Origin::Named | Origin::Aside | Origin::New => {}
            Origin::Response(keys) => self.hand_back(&session.id, keys.clone()),
            Origin::History => self.server.forget(&session.id),
        }
    }
}
