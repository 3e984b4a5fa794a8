//! What the command line asks of sessions, wherever they are kept: in a store of this machine, or by a server.

use super::find::{Filter, Listing, Page};
use super::model::{Session, Turn};
use super::store::Store;
use crate::model::error::Error;

/// What is changed of a session.
pub(crate) enum Edit {
    Title(String),
    AddTags(Vec<String>),
    RemoveTags(Vec<String>),
}

impl Edit {
    /// Makes the change.
    pub(crate) fn make(self, session: &mut Session) -> Result<(), Error> {
        match self {
            Edit::Title(title) => session.set_title(title),
            Edit::AddTags(tags) => session.add_tags(&tags),
            Edit::RemoveTags(tags) => {
                session.tags.retain(|tag| !tags.contains(tag));
                Ok(())
            }
        }
    }
}

pub(crate) trait Sessions {
    /// The one that a filter takes that was used last.
    fn newest(&self, only: &Filter, progress: &mut dyn FnMut(usize)) -> Result<Session, Error>;

    /// A page of those that a filter takes: `Store::list`.
    fn list(&self, filter: &Filter, page: Page, progress: &mut dyn FnMut(usize)) -> Result<Listing, Error>;

    /// The one that a word means.
    fn find(&self, word: &str) -> Result<Session, Error>;

    /// The id of the one that a word means: `Store::find_id`.
    fn find_id(&self, word: &str) -> Result<String, Error>;

    /// The turns of a session, oldest first.
    fn turns(&self, id: &str) -> Result<Vec<Turn>, Error>;

    /// Id and title of all that a filter takes.
    fn names(&self, filter: &Filter, progress: &mut dyn FnMut(usize))
    -> Result<Vec<(String, String)>, Error>;

    /// Removes a session if it is still one of those. Returns whether it was.
    fn delete(&self, id: &str, only: &Filter) -> Result<bool, Error>;

    /// Removes a session.
    fn remove(&self, id: &str) -> Result<(), Error>;

    /// Makes another one with the same past. Returns its id.
    fn fork(&self, session: Session) -> Result<String, Error>;

    /// Changes a session; returns it as it is then.
    fn change(&self, id: &str, edit: Edit) -> Result<Session, Error>;
}

impl Sessions for Store {
    fn newest(&self, only: &Filter, progress: &mut dyn FnMut(usize)) -> Result<Session, Error> {
        match self.entries(only, Page::first(1), progress)?.first() {
            Some(entry) => self.load(&entry.id).map(|session| self.settled(session)),
            None => Err(only.no_session()),
        }
    }

    fn list(&self, filter: &Filter, page: Page, progress: &mut dyn FnMut(usize)) -> Result<Listing, Error> {
        Store::list(self, filter, page, progress)
    }

    fn find(&self, word: &str) -> Result<Session, Error> {
        Store::find(self, word)
    }

    fn find_id(&self, word: &str) -> Result<String, Error> {
        Store::find_id(self, word)
    }

    fn turns(&self, id: &str) -> Result<Vec<Turn>, Error> {
        Store::turns(self, id)
    }

    fn names(
        &self,
        filter: &Filter,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<(String, String)>, Error> {
        let entries = self.entries(filter, Page::ALL, progress)?;
        Ok(entries.into_iter().map(|entry| (entry.id, entry.title)).collect())
    }

    fn delete(&self, id: &str, only: &Filter) -> Result<bool, Error> {
        Store::delete(self, id, only)
    }

    fn remove(&self, id: &str) -> Result<(), Error> {
        Store::remove(self, id)
    }

    fn fork(&self, session: Session) -> Result<String, Error> {
        let owner = session.owner.clone();
        Store::fork(self, session, owner)
    }

    fn change(&self, id: &str, edit: Edit) -> Result<Session, Error> {
        self.update(id, |session| edit.make(session))
    }
}
