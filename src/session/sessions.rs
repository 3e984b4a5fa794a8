//! What the command line asks of sessions, wherever they are kept: in a store of this machine, or by a server.

use super::find::{Filter, Listing};
use super::model::Session;
use super::store::Store;
use crate::model::error::Error;

pub(crate) trait Sessions {
    /// The one that a filter takes that was used last.
    fn newest(&self, only: &Filter, progress: &mut dyn FnMut(usize)) -> Result<Session, Error>;

    /// Those that a filter takes, last used first: `Store::list`.
    fn list(
        &self,
        filter: &Filter,
        offset: usize,
        limit: usize,
        most: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Listing, Error>;

    /// The one that a word means.
    fn find(&self, word: &str) -> Result<Session, Error>;
}

impl Sessions for Store {
    fn newest(&self, only: &Filter, progress: &mut dyn FnMut(usize)) -> Result<Session, Error> {
        match self.entries(only, 0, 1, progress)?.first() {
            Some(entry) => self.load(&entry.id).map(|session| self.settled(session)),
            None => Err(only.no_session()),
        }
    }

    fn list(
        &self,
        filter: &Filter,
        offset: usize,
        limit: usize,
        most: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Listing, Error> {
        Store::list(self, filter, offset, limit, most, progress)
    }

    fn find(&self, word: &str) -> Result<Session, Error> {
        Store::find(self, word)
    }
}
