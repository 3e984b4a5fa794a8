//! When a vendor wants to be asked again, as far as its sentences say so.

use crate::base::time::{leading, moment};
use std::time::Duration;

/// How long to wait by a vendor's sentence: `try again in 1m30s`, `retry in 34.07s`, `resets at 2026-11-22T14:00:00Z`.
/// Nothing is guessed: a time that is not wholly understood is none.
pub fn wait_in(message: &str, now: u64) -> Option<Duration> {
    /// A longer wait is not meant for this program.
    const LONGEST: Duration = Duration::from_secs(31 * 86_400);
    const IN: &[&str] = &[
        "try again in",
        "try again after",
        "retry in",
        "retry after",
        "retry-after",
        "reset in",
        "resets in",
        "reset after",
    ];
    const AT: &[&str] = &["try again at ", "retry at ", "resets at ", "reset at ", "available at "];
    let words = message.to_lowercase();
    let behind = |starts: &[&str]| -> Vec<&str> {
        starts.iter().filter_map(|start| words.split_once(start)).map(|(_, rest)| rest).collect()
    };
    let spans =
        behind(IN).into_iter().filter_map(|rest| leading(rest.trim_start_matches([' ', ':', '=', '"', '~'])));
    let moments = behind(AT).into_iter().filter_map(moment).map(|(moment, _)| moment);
    let waits = moments.filter_map(|moment| moment.checked_sub(now)).map(Duration::from_secs);
    spans.map(|(span, _)| span).chain(waits).find(|wait| *wait <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_say_when_to_come_back() {
        for (message, seconds) in [
            ("Rate limit reached. Please try again in 1m20.5s.", Some(80.5)),
            ("429: Retry-After: 30", Some(30.0)),
            ("quota exceeded, retry after 250ms", Some(0.25)),
            ("Your limit resets in 2 hours, 5 minutes", Some(7500.0)),
            ("Please retry in 12.345678901s.", Some(12.345_678_901)),
            ("try again in a while", None),
            ("usage limit reached", None),
            ("try again in 99999999999999999999999 days", None),
        ] {
            assert_eq!(wait_in(message, 0).map(|wait| wait.as_secs_f64()), seconds, "{message}");
        }
    }
}
