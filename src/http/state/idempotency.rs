//! Requests that are sent again: by their `Idempotency-Key` they get the answer of the first, or wait for it with it.

use crate::http::front::errors::Fault;
use crate::http::state::call::Who;
use crate::http::state::runs::Run;
use crate::model::error::Kind;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(600);
/// How many are kept; then the oldest go.
const MOST: usize = 1000;
/// The longest key.
const LONGEST: usize = 255;

/// Whose key it is, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    owner: Option<String>,
    route: &'static str,
    key: String,
}

impl Place {
    /// A key of that client on that route.
    pub(crate) fn of(who: &Who, key: &str) -> Result<Place, Fault> {
        if key.is_empty() || key.len() > LONGEST {
            let sentence =
                format!("an Idempotency-Key has 1 to {LONGEST} characters, this one {}", key.len());
            return Err(Fault::of(Kind::InvalidRequest, sentence));
        }
        Ok(Place { owner: who.owner(), route: who.route, key: key.to_owned() })
    }
}

/// What a request asks for, to compare it with another.
pub(crate) type Digest = [u8; 32];

struct First {
    digest: Digest,
    run: Arc<Run>,
    at: Instant,
}

/// The requests that came with a key.
#[derive(Default)]
pub(crate) struct Idempotency(Mutex<HashMap<Place, First>>);

impl Idempotency {
    /// The run of the first request with that key that was this one; `begin` makes it when this is the first.
    pub(crate) fn first(
        &self,
        place: &Place,
        digest: Digest,
        begin: impl FnOnce() -> Result<Arc<Run>, Fault>,
    ) -> Result<Arc<Run>, Fault> {
        let mut known = self.lock();
        match known.get(place) {
            Some(first) if first.digest == digest => return Ok(first.run.clone()),
            Some(_) => return Err(Fault::other_request()),
            None => {}
        }
        if known.len() >= MOST {
            let oldest = known.iter().min_by_key(|(_, first)| first.at).map(|(place, _)| place.clone());
            oldest.map(|place| known.remove(&place));
        }
        let run = begin()?;
        known.insert(place.clone(), First { digest, run: run.clone(), at: Instant::now() });
        Ok(run)
    }

    /// Forgets answers that no client asked for again in time.
    pub(crate) fn expire(&self) {
        drop(self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, First>> {
        let mut known = crate::base::sync::lock(&self.0);
        known.retain(|_, first| first.at.elapsed() < KEPT && is_worth_keeping(&first.run));
        known
    }
}

/// A failure that may pass is no answer: a client that sends the request again wants another try.
fn is_worth_keeping(run: &Run) -> bool {
    match run.status() {
        None => !run.is_cancelled(),
        Some(_) if run.is_forgotten() => false,
        Some(status) => status < 400 || matches!(status, 400 | 403 | 404 | 413 | 422),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cancel;
    use crate::http::state::runs::{Finished, Runs};

    #[test]
    fn nobody_has_to_come_for_what_is_kept_to_be_forgotten() {
        let (runs, known) = (Runs::default(), Idempotency::default());
        let cancel = Arc::new(Cancel::new().unwrap());
        let run = Run::new("id".to_owned(), "/x", String::new(), None, cancel);
        let place = Place { owner: None, route: "/x", key: "k".to_owned() };
        let run = known.first(&place, [0; 32], || Ok(Arc::new(run))).ok().unwrap();
        runs.keep(run.clone());
        run.finish(Finished::new(500, Vec::new(), String::new()));
        run.finish(Finished::new(200, Vec::new(), String::new()));
        assert_eq!(run.status(), Some(500), "an end is told once");
        let kept = Arc::downgrade(&run);
        drop(run);
        assert_eq!(kept.strong_count(), 2);
        runs.expire();
        known.expire();
        assert_eq!(kept.strong_count(), 0);
    }
}
