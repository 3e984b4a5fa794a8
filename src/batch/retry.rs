//! When a failed run is worth another try, and how long to wait for it.

use crate::base::world;
use crate::engine::fallback::passes_on;
use crate::model::error::{Failure, Kind};
use crate::model::outcome::Outcome;
use crate::model::retry_after::wait_in;
use std::time::Duration;

/// The pause before the second try; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longer pauses only where the vendor has said so.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A vendor that wants to be left alone for longer is not waited for: that is for another day.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);

/// Reasons that pass by themselves.
pub(crate) fn may_pass(kind: Kind) -> bool {
    matches!(kind, Kind::Quota | Kind::Overloaded | Kind::Timeout)
}

/// The failure after which a run may succeed: its own, or that of one who was asked before, where whoever stood in could not
/// answer either.
pub(crate) fn worth(outcome: &Outcome) -> Option<&Failure> {
    let last = outcome.failure.as_ref()?;
    let before = outcome.tried.iter().rev().map(|(_, failure)| failure).filter(|_| passes_on(last.kind));
    std::iter::once(last).chain(before).find(|failure| may_pass(failure.kind))
}

/// How long to wait after so many tries: what the failure's message says, else longer each time. `chance` spreads those
/// who wait for the same. None is too long.
pub(crate) fn pause(tries: u32, message: &str, chance: u16) -> Option<Duration> {
    let spread = |pause: Duration| pause.mul_f64(f64::from(chance) / f64::from(u16::MAX));
    match wait_in(message, world::now().0) {
        Some(wait) if wait > LONGEST_WAIT => None,
        // Never sooner than was asked for.
        Some(wait) => Some(wait + spread(FIRST_PAUSE)),
        None => {
            let whole = FIRST_PAUSE.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_PAUSE);
            Some(whole / 2 + spread(whole / 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_shorter_than_was_asked_for() {
        let millis = |tries, message, chance| pause(tries, message, chance).map(|pause| pause.as_millis());
        assert_eq!(
            [1, 2, 3, 10, u32::MAX].map(|tries| (millis(tries, "", 0), millis(tries, "", u16::MAX))),
            [(500, 1000), (1000, 2000), (2000, 4000), (30_000, 60_000), (30_000, 60_000)]
                .map(|(least, most)| (Some(least), Some(most)))
        );
        assert_eq!(
            (millis(1, "retry after 90s", 0), millis(5, "retry after 90s", u16::MAX)),
            (Some(90_000), Some(91_000))
        );
        assert_eq!(millis(1, "resets in 3 days", 0), None);
    }
}
