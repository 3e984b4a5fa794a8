//! The sessions that a server keeps.

use super::site::There;
use crate::base::encoding::percent_encoded;
use crate::base::json::{json, take};
use crate::model::error::Error;
use crate::session::{Edit, Filter, Listing, Page, Session, Sessions, Turn, is_id};
use serde::Deserialize;
use serde_json::Value;

/// Most sessions of one answer.
const AT_ONCE: usize = 1000;

/// Sessions as the API has them.
const SESSIONS: &str = "/api/v1/sessions";

fn path(id: &str) -> String {
    format!("{SESSIONS}/{}", percent_encoded(id))
}

impl There<'_> {
    /// A session as the server tells it.
    fn session(&self, mut value: Value) -> Result<Session, Error> {
        if let Some(fields) = value.as_object_mut() {
            // It says once more what is in another field.
            fields.remove("usage");
        }
        serde_json::from_value(value)
            .map_err(|error| self.address.failed(format!("it sent a session that is none: {error}")))
    }

    /// What one request asks for of the sessions that a filter takes.
    fn part(&self, filter: &Filter, offset: usize, limit: usize) -> Result<Listing, Error> {
        let Filter { backend, status, tags, model, dir, since, before, text, owner: _, hidden: _ } = filter;
        let dir = dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        let status = status.map(|status| status.word().to_owned());
        let (limit, offset) = (Some(limit.to_string()), Some(offset.to_string()));
        let given = [
            ("backend", backend),
            ("status", &status),
            ("model", model),
            ("workdir", &dir),
            ("since", since),
            ("before", before),
            ("search", text),
            ("limit", &limit),
            ("offset", &offset),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given = given.chain(tags.iter().map(|tag| ("tag", tag)));
        let query: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        let mut answer = self.ask("GET", &format!("{SESSIONS}?{}", query.join("&")), None)?;
        let list = |value: Value| if let Value::Array(list) = value { list } else { Vec::new() };
        let sessions = list(take(&mut answer, "sessions")).into_iter();
        Ok(Listing {
            sessions: sessions.map(|session| self.session(session)).collect::<Result<_, _>>()?,
            problems: list(take(&mut answer, "problems"))
                .iter()
                .filter_map(|problem| problem.as_str().map(str::to_owned))
                .collect(),
            total: answer["total"].as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(0),
        })
    }
}

impl Sessions for There<'_> {
    fn newest(&self, only: &Filter, _: &mut dyn FnMut(usize)) -> Result<Session, Error> {
        self.part(only, 0, 1)?.sessions.pop().ok_or_else(|| only.no_session())
    }

    fn list(&self, filter: &Filter, page: Page, progress: &mut dyn FnMut(usize)) -> Result<Listing, Error> {
        let Page { offset, limit, counted } = page;
        let (mut all, mut asked) = (Listing::default(), 0);
        loop {
            let number = (limit - asked).min(AT_ONCE);
            let from = offset.saturating_add(asked);
            let some = self.part(filter, from, number)?;
            asked += number;
            // Whatever it says how many there are.
            let is_over = some.sessions.is_empty() && some.problems.is_empty();
            all.sessions.extend(some.sessions);
            all.problems.extend(some.problems);
            all.total = some.total.min(counted);
            progress(all.sessions.len());
            if is_over || asked == limit || from.saturating_add(number) >= some.total {
                return Ok(all);
            }
        }
    }

    fn find(&self, word: &str) -> Result<Session, Error> {
        if word.is_empty() {
            // The path would be that of all.
            return Err(Error::SessionNotFound { given: String::new() });
        }
        self.session(self.ask("GET", &path(word), None)?)
    }

    fn find_id(&self, word: &str) -> Result<String, Error> {
        // One whose file makes no sense can be removed by its whole id, and be found by nothing.
        if is_id(word) { Ok(word.to_owned()) } else { self.find(word).map(|session| session.id) }
    }

    fn turns(&self, id: &str) -> Result<Vec<Turn>, Error> {
        let mut answer = self.ask("GET", &format!("{}/turns", path(id)), None)?;
        Vec::deserialize(take(&mut answer, "turns"))
            .map_err(|error| self.address.failed(format!("it sent a turn that is none: {error}")))
    }

    fn names(
        &self,
        filter: &Filter,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<(String, String)>, Error> {
        let all = self.list(filter, Page::ALL, progress)?;
        all.problems.iter().for_each(|problem| log::warn!("{problem}"));
        Ok(all.sessions.into_iter().map(|session| (session.id, session.title)).collect())
    }

    fn delete(&self, id: &str, only: &Filter) -> Result<bool, Error> {
        // It may have been used since it was chosen.
        let now = self.find(id)?;
        let is_one = only.before.as_ref().is_none_or(|before| now.last_used_at < *before);
        if is_one { self.remove(id).map(|()| true) } else { Ok(false) }
    }

    fn remove(&self, id: &str) -> Result<(), Error> {
        self.ask("DELETE", &path(id), None).map(drop)
    }

    fn fork(&self, session: Session) -> Result<String, Error> {
        let fork = self.ask("POST", &format!("{}/fork", path(&session.id)), Some(&json!({})))?;
        self.session(fork).map(|fork| fork.id)
    }

    fn change(&self, id: &str, edit: Edit) -> Result<Session, Error> {
        let change = match edit {
            Edit::Title(title) => json!({"title": title}),
            tags => {
                let mut session = self.find(id)?;
                tags.make(&mut session)?;
                json!({"tags": (session.tags)})
            }
        };
        self.session(self.ask("PATCH", &path(id), Some(&change))?)
    }
}
