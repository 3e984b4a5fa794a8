//! Finds sessions: by a filter, in the order of their last use, or by a word that means one. Reads the index, and the
//! files of what it found.

use super::journal::Entry;
use super::model::{INITIAL_PROMPT, Session, Status, shorten};
use super::store::{Store, is_id};
use crate::model::error::Error;
use std::path::PathBuf;

/// Which sessions are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub backend: Option<String>,
    /// That stand so.
    pub status: Option<Status>,
    pub tags: Vec<String>,
    pub model: Option<String>,
    /// Of this working directory.
    pub dir: Option<PathBuf>,
    /// Used at this time (RFC 3339) or later.
    pub since: Option<String>,
    /// Used before this time (RFC 3339).
    pub before: Option<String>,
    /// With this text in title or prompts, in any case.
    pub text: Option<String>,
    /// That belong to this API key.
    pub owner: Option<String>,
    /// Those that listings do not show, too.
    pub hidden: bool,
}

impl Filter {
    /// Every session, whether listings show it or not.
    pub(crate) fn any() -> Filter {
        Filter { hidden: true, ..Filter::default() }
    }

    /// The error of finding none.
    pub(crate) fn no_session(&self) -> Error {
        Error::NoSession { backend: self.backend.clone(), dir: self.dir.clone() }
    }

    /// Whether an entry is wanted, but for the text.
    fn takes(&self, entry: &Entry) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.backend, &entry.backend)
            && self.status.is_none_or(|status| status == entry.status)
            && self.tags.iter().all(|tag| entry.tags.contains(tag))
            && is(&self.model, entry.model.as_deref().unwrap_or(""))
            && (self.hidden || !entry.hidden)
            && (self.owner.is_none() || self.owner == entry.owner)
            && self.dir.as_ref().is_none_or(|dir| *dir == entry.working_dir)
            && self.since.as_ref().is_none_or(|since| entry.last_used_at >= *since)
            && self.before.as_ref().is_none_or(|before| entry.last_used_at < *before)
    }
}

/// Which part of what a filter takes is wanted, last used first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// So many are passed over.
    pub offset: usize,
    /// At most so many are given.
    pub limit: usize,
    /// All that the filter takes are counted to this number, which reads that much of the index.
    pub counted: usize,
}

impl Page {
    /// All of it.
    pub const ALL: Page = Page::first(usize::MAX);

    /// The first ones. The others are not counted.
    pub const fn first(limit: usize) -> Page {
        Page { offset: 0, limit, counted: 0 }
    }
}

/// What a listing found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The sessions, last used first.
    pub sessions: Vec<Session>,
    /// Files that could not be read, with the reason.
    pub problems: Vec<String>,
    /// How many the filter takes in all, as far as they were counted.
    pub(crate) total: usize,
}

impl Store {
    /// A page of the sessions that a filter takes. `progress` hears of a rebuild of the index.
    pub fn list(
        &self,
        filter: &Filter,
        page: Page,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Listing, Error> {
        let (entries, total) = self.page(filter, page, progress)?;
        let mut listing = Listing { total, ..Listing::default() };
        for entry in entries {
            match self.load(&entry.id) {
                // The index may be older than the file.
                Ok(session) => {
                    let session = self.settled(session);
                    listing.sessions.extend(self.takes(filter, &Entry::of(&session)).then_some(session));
                }
                // Deleted in this moment, or by hand.
                Err(Error::SessionNotFound { .. }) => {}
                Err(error) => listing.problems.push(error.to_string()),
            }
        }
        Ok(listing)
    }

    /// The same from the index: of the files only those are read that are called active, or may have a text in a later
    /// prompt.
    pub(crate) fn entries(
        &self,
        filter: &Filter,
        page: Page,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Entry>, Error> {
        self.page(filter, page, progress).map(|(entries, _)| entries)
    }

    /// The same, and how many there are in all, as far as they were counted.
    fn page(
        &self,
        filter: &Filter,
        page: Page,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Vec<Entry>, usize), Error> {
        let Page { offset, limit, counted } = page;
        let (mut found, mut passed) = (Vec::new(), 0);
        if !self.make_index(progress)? {
            return Ok((found, passed));
        }
        // Nothing changes the directory of a session, so lines without it need not be understood.
        let dir = filter.dir.as_ref().and_then(|dir| serde_json::to_string(dir).ok()).unwrap_or_default();
        self.journal.newest_first_of(
            |line| line.contains(&dir),
            |entry| {
                // One that says active may be of a process that died.
                let entry = match entry.status {
                    Status::Active => {
                        self.load(&entry.id).map_or(entry, |session| Entry::of(&self.settled(session)))
                    }
                    _ => entry,
                };
                if self.takes(filter, &entry) && self.has(&entry.id, "json") {
                    if passed >= offset && found.len() < limit {
                        found.push(entry);
                    }
                    passed += 1;
                }
                found.len() < limit || passed < counted
            },
        )?;
        Ok((found, passed))
    }

    /// Whether a filter takes an entry. Only a text that the entry does not have is looked for in the turns.
    pub(super) fn takes(&self, filter: &Filter, entry: &Entry) -> bool {
        if !filter.takes(entry) {
            return false;
        }
        let Some(text) = filter.text.as_ref().map(|text| text.to_lowercase()) else { return true };
        let has = |part: &str| part.to_lowercase().contains(&text);
        let is_all = entry.turn_count <= 1 && entry.initial_prompt.chars().count() < INITIAL_PROMPT;
        let turns = || self.turns(&entry.id).inspect_err(|error| log::warn!("{error}")).unwrap_or_default();
        let in_turns = || turns().iter().any(|turn| has(&turn.prompt));
        has(&entry.title) || has(&entry.initial_prompt) || (!is_all && in_turns())
    }

    /// The id of the one session that a word means, also of one whose file makes no sense: that by its whole id alone.
    pub(crate) fn find_id(&self, word: &str) -> Result<String, Error> {
        let lower = word.to_ascii_lowercase();
        if is_id(&lower) && self.has(&lower, "json") {
            return Ok(lower);
        }
        self.find(word).map(|session| session.id)
    }

    /// The one session that a word means: our id or the backend's, whole or the beginning of it.
    pub(crate) fn find(&self, word: &str) -> Result<Session, Error> {
        let lower = word.to_ascii_lowercase();
        if is_id(&lower) && self.has(&lower, "json") {
            return self.load(&lower).map(|session| self.settled(session));
        }
        let mut meant: Vec<(String, bool)> = Vec::new();
        if !word.is_empty() && self.make_index(&mut |_| {})? {
            let ours = format!("{{\"id\":\"{lower}");
            self.journal.newest_first_of(
                |line| line.starts_with(&ours) || line.contains(word),
                |entry| {
                    let theirs =
                        entry.backend_session_id.as_deref().filter(|theirs| theirs.starts_with(word));
                    // A newer line may not have been looked at, because it has another id of the backend's.
                    let theirs = theirs.filter(|_| {
                        let now = self.load(&entry.id);
                        now.is_ok_and(|now| now.backend_session_id == entry.backend_session_id)
                    });
                    let is_ours = entry.id.starts_with(&lower) && self.has(&entry.id, "json");
                    if is_ours || theirs.is_some() {
                        let is_whole = theirs == Some(word);
                        meant.push((entry.id, is_whole));
                    }
                    true
                },
            )?;
        }
        // The whole id of one is meant, even if it is the beginning of another's.
        let is_whole = meant.iter().any(|(_, is_whole)| *is_whole);
        let meant: Vec<String> =
            meant.into_iter().filter(|found| found.1 || !is_whole).map(|found| found.0).collect();
        match &meant[..] {
            [] => Err(Error::SessionNotFound { given: shorten(word, 80) }),
            [id] => self.load(id).map(|session| self.settled(session)),
            _ => Err(Error::SessionAmbiguous { given: word.to_owned(), meant }),
        }
    }
}
