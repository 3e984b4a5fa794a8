//! When a vendor wants to be asked again, as far as its sentences say so.

use crate::base::time::leading;
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
    let moments = behind(AT).into_iter().filter_map(moment);
    let waits = moments.filter_map(|moment| moment.checked_sub(now)).map(Duration::from_secs);
    spans.map(|(span, _)| span).chain(waits).find(|wait| *wait <= LONGEST)
}

/// The moment that a text begins with, in seconds since 1970: `2026-11-22t14:00:00z`, with or without a fraction.
fn moment(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b't'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| text.as_bytes().get(*at) == Some(mark)) {
        return None;
    }
    let behind = text.get(19..)?;
    let fraction =
        behind.strip_prefix('.').map(|rest| rest.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    if !["z", "+00:00"].iter().any(|zone| fraction.unwrap_or(behind).starts_with(zone)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // The inverse of `world::timestamp`: years start in March, so that the leap day is the last one.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leaps + (153 * shifted_month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
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
