//! Which conversation a request goes on with, and whether it may be gone on with later: by a header, by the id of a
//! response, or by what was said.

use super::reuse::{self, Key};
use super::{Chat, Format, Role, Turn, transcript};
use crate::backend::Backend;
use crate::error::Kind;
use crate::http::call::Call;
use crate::http::faults::{Cause, Fault};
use crate::http::native::deliver::Work;
use crate::http::native::sessions;
use crate::http::runs::Run;
use crate::http::server::Server;
use crate::session::Session;
use crate::task::Opt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The header that names a session of ours, or turns reuse off.
const HEADER: &str = "x-clinvk-session";

/// A request's place in a conversation.
#[derive(Default)]
pub struct Thread {
    /// The session that it continues.
    pub session: Option<Session>,
    /// What is said of the request's turns: the session knows those before.
    from: usize,
    /// It was found by what was said: should it be gone, all can be said again.
    found: Option<Key>,
    /// It was named by a response's id: a try that fails may be made again.
    previous: Option<Key>,
    /// It is kept for a history that extends it: what its key is made of.
    by_history: Option<(Option<String>, String, Option<String>)>,
    /// It is kept for its response's id: whose it is.
    by_id: Option<Option<String>>,
    /// The session stays, whatever comes of this.
    is_named: bool,
    kept: AtomicBool,
}

impl Thread {
    /// What the request says of it.
    ///
    /// # Errors
    /// When it names a session or a response that is not there.
    pub fn of(
        call: &Call<'_, '_>,
        chat: &Chat,
        backend: &dyn Backend,
        model: Option<&str>,
    ) -> Result<Thread, Fault> {
        let (reuse, owner) = (&call.server.reuse, call.who.owner());
        let header = call.exchange.head.text(HEADER).map(str::trim).filter(|word| !word.is_empty());
        // The new turn alone: the session has the others.
        let last = chat.turns.len().saturating_sub(1);
        if let Some(id) = header.filter(|word| *word != "off") {
            let session = Some(sessions::find(call, id)?);
            return Ok(Thread { session, from: last, is_named: true, ..Thread::default() });
        }
        let is_on = reuse.is_on() && header.is_none();
        let by_id = (is_on && chat.store && call.who.route == "/openai/v1/responses").then(|| owner.clone());
        if let Some(id) = &chat.previous {
            let key = reuse::key_of_response(owner.as_deref(), id);
            let session = reuse.take(&key);
            let session = session.and_then(|session| call.server.engine.store.load(&session).ok());
            let session = Some(session.ok_or_else(|| Fault::no_response(id))?);
            return Ok(Thread { session, by_id, previous: Some(key), ..Thread::default() });
        }
        // Only a vendor's own session is worth it: anything else says the whole conversation again, too.
        let is_text = chat.forced.is_none() && chat.format == Format::Text;
        let can_go_on = backend.keeps().is_some() && backend.honours(Opt::Resume).is_ok();
        if !(is_on && is_text && can_go_on) {
            return Ok(Thread { by_id, ..Thread::default() });
        }
        let by_history = Some((owner.clone(), backend.name().to_owned(), model.map(str::to_owned)));
        let goes_on = matches!(
            &chat.turns[..],
            [.., Turn { role: Role::Assistant, .. }, Turn { role: Role::User, .. }]
        );
        let found =
            goes_on.then(|| reuse::key(owner.as_deref(), backend.name(), model, chat, &chat.turns[..last]));
        let session = found.and_then(|key| reuse.take(&key));
        let session = session.and_then(|session| call.server.engine.store.load(&session).ok());
        let (from, found) = if session.is_some() { (last, found) } else { (0, None) };
        Ok(Thread { session, from, found, by_history, by_id, ..Thread::default() })
    }

    /// The session is kept beyond the request.
    pub fn keeps(&self) -> bool {
        self.is_named || self.session.is_some() || self.by_history.is_some() || self.by_id.is_some()
    }

    /// What is said in it.
    pub fn render(&self, chat: &Chat) -> transcript::Rendered {
        match self.from {
            0 => transcript::render(chat),
            from => transcript::render(&Chat { turns: chat.turns[from..].to_vec(), ..chat.clone() }),
        }
    }

    /// The conversation went well: it can be gone on with from here.
    pub fn keep(&self, work: &Work<'_>, session: &str, chat: &Chat, answer: &str, response: &str) {
        let mut keys = Vec::new();
        if let Some((owner, backend, model)) = &self.by_history {
            let turns = reuse::with_answer(&chat.turns, answer);
            keys.push(reuse::key(owner.as_deref(), backend, model.as_deref(), chat, &turns));
        }
        if let Some(owner) = &self.by_id {
            keys.push(reuse::key_of_response(owner.as_deref(), response));
        }
        if !keys.is_empty() {
            self.kept.store(true, Ordering::SeqCst);
            work.server.reuse.keep(session.to_owned(), keys).iter().for_each(|id| work.server.forget(id));
        }
    }

    /// After the run: a session that nobody can go on with is removed, unless somebody named it.
    pub fn settle(&self, server: &Server, run: &Run) {
        if self.is_named || self.kept.load(Ordering::SeqCst) {
            return;
        }
        match (&self.session, self.previous) {
            (Some(session), Some(key)) => {
                server.reuse.keep(session.id.clone(), vec![key]).iter().for_each(|id| server.forget(id));
            }
            _ => run.sessions().iter().for_each(|id| server.forget(id)),
        }
    }

    /// The failure is one of the session that was found, and not of what was asked in it.
    pub fn may_begin_anew(&self, fault: &Fault) -> bool {
        let of_session =
            [Kind::SessionNotFound, Kind::SessionBusy, Kind::SessionNotResumable, Kind::SessionStore];
        self.found.is_some() && of_session.iter().any(|kind| fault.cause == Cause::Kind(*kind))
    }

    /// Removes the session.
    pub fn forget(&self, server: &Server) {
        self.session.iter().for_each(|session| server.forget(&session.id));
    }

    /// The same conversation from its beginning.
    pub fn anew(&self) -> Thread {
        Thread { by_history: self.by_history.clone(), by_id: self.by_id.clone(), ..Thread::default() }
    }
}
