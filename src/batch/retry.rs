//! When a failed run is worth another try, and how long to wait for it.

use crate::error::Kind;
use std::time::Duration;

/// The pause before the second try; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longer pauses only where the vendor has said so.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A vendor that wants to be left alone for longer is not waited for: that is for another day.
const LONGEST_WISH: Duration = Duration::from_secs(6 * 3600);

/// Reasons that pass by themselves.
pub fn may_pass(kind: Kind) -> bool {
    matches!(kind, Kind::Quota | Kind::Overloaded | Kind::Timeout)
}

/// How long to wait after so many tries: what the failure's message says, else longer each time. `chance` spreads those
/// who wait for the same. None is too long.
pub fn pause(tries: u32, message: &str, chance: u16) -> Option<Duration> {
    let spread = |pause: Duration| pause.mul_f64(f64::from(chance) / f64::from(u16::MAX));
    match retry_after(message) {
        Some(wish) if wish > LONGEST_WISH => None,
        // Never sooner than was asked for.
        Some(wish) => Some(wish + spread(FIRST_PAUSE)),
        None => {
            let whole = FIRST_PAUSE.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_PAUSE);
            Some(whole / 2 + spread(whole / 2))
        }
    }
}

/// The words behind which vendors say when to come back.
const CUES: &[&str] = &[
    "retry after",
    "retry-after",
    "try again in",
    "try again after",
    "retry in",
    "reset after",
    "resets in",
];

/// When the vendor wants to be asked again, where the message says so: `retry after 30`, `try again in 1m20.5s`,
/// `resets in 2 hours 5 minutes`.
pub fn retry_after(message: &str) -> Option<Duration> {
    let message = message.to_lowercase();
    CUES.iter().find_map(|cue| {
        let (_, behind) = message.split_once(cue)?;
        duration(behind.trim_start_matches([' ', ':', '=', '"', '~']))
    })
}

/// The length of time with which a text begins: numbers with units, or one number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest, mut is_first) = (0.0, text, true);
    loop {
        let digits =
            rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..digits].trim_end_matches('.').parse::<f64>() else { break };
        let behind = rest[digits..].trim_start();
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &behind[..letters] {
            "ms" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ if is_first => return Duration::try_from_secs_f64(number).ok(),
            _ => break,
        };
        total += number * unit;
        is_first = false;
        rest = behind[letters..].trim_start_matches([' ', ',']);
    }
    (!is_first).then_some(total).and_then(|total| Duration::try_from_secs_f64(total).ok())
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
            assert_eq!(retry_after(message).map(|pause| pause.as_secs_f64()), seconds, "{message}");
        }
    }

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
