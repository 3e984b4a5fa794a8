//! Requests that are sent again: by their `Idempotency-Key` they get the answer of the first, or wait for it with it.

use super::call::Who;
use super::faults::Fault;
use super::runs::Run;
use crate::error::Kind;
use crate::sha256;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
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
    ///
    /// # Errors
    /// When the key is empty or too long.
    pub fn of(who: &Who, key: &str) -> Result<Place, Fault> {
        if key.is_empty() || key.len() > LONGEST {
            let sentence =
                format!("an Idempotency-Key has 1 to {LONGEST} characters, this one {}", key.len());
            return Err(Fault::of(Kind::InvalidRequest, sentence));
        }
        Ok(Place { owner: who.owner(), route: who.route, key: key.to_owned() })
    }
}

struct First {
    digest: [u8; 32],
    run: Arc<Run>,
    at: Instant,
}

/// The requests that came with a key.
#[derive(Default)]
pub struct Idempotency(Mutex<HashMap<Place, First>>);

impl Idempotency {
    /// The run of the first request with that key and body; `begin` makes it when this is the first.
    ///
    /// # Errors
    /// When the first one had another body, or the run cannot begin.
    pub fn first(
        &self,
        place: &Place,
        body: &[u8],
        begin: impl FnOnce() -> Result<Arc<Run>, Fault>,
    ) -> Result<Arc<Run>, Fault> {
        let digest = sha256::digest(body);
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.retain(|_, first| first.at.elapsed() < KEPT && is_worth_keeping(&first.run));
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
}

/// A failure that may pass is no answer: whoever sends the request again wants another try.
fn is_worth_keeping(run: &Run) -> bool {
    match run.result() {
        None => !run.cancel.is_thrown(),
        Some(end) => end.status < 400 || matches!(end.status, 400 | 403 | 404 | 413 | 422),
    }
}
