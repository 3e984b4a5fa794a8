//! Moments and lengths of time as people and vendors write them: one reader for all of them.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

/// The units, in seconds.
const UNITS: &[(f64, &[&str])] = &[
    (0.001, &["ms", "millisecond", "milliseconds"]),
    (1.0, &["s", "sec", "secs", "second", "seconds"]),
    (60.0, &["m", "min", "mins", "minute", "minutes"]),
    (3_600.0, &["h", "hr", "hrs", "hour", "hours"]),
    (86_400.0, &["d", "day", "days"]),
    (604_800.0, &["w", "week", "weeks"]),
];

/// A length of time: numbers with their units, such as `90s`, `5m`, `1h30m` or `1.5d`; a number alone is seconds. `None` for
/// anything else.
pub fn duration(word: &str) -> Option<Duration> {
    // A sentence may have blanks and commas; a word that has some is probably two.
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    leading(word).filter(|(_, rest)| is_word && rest.is_empty()).map(|(length, _)| length)
}

/// The length of time that a sentence begins with, `2 hours, 5 minutes and 3s` too, and what comes behind it.
pub fn leading(text: &str) -> Option<(Duration, &str)> {
    let (mut seconds, mut rest, mut behind) = (0.0, text, None);
    loop {
        let digits = rest.len()
            - rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.').len();
        // The last dot may be the sentence's.
        let number = rest[..digits].trim_end_matches('.');
        let Ok(amount) = number.parse::<f64>() else { break };
        let after = &rest[number.len()..];
        let word = after.trim_start_matches(' ');
        let unit: String = word.chars().take_while(char::is_ascii_alphabetic).collect();
        let factor = match UNITS.iter().find(|(_, names)| names.contains(&unit.as_str())) {
            Some((factor, _)) => factor,
            None if unit.is_empty() && behind.is_none() => {
                return Duration::try_from_secs_f64(amount).ok().map(|length| (length, after));
            }
            None => return None,
        };
        seconds += amount * factor;
        let after = &word[unit.len()..];
        let next = after.trim_start_matches([' ', ',']);
        (rest, behind) = (next.strip_prefix("and ").unwrap_or(next), Some(after));
    }
    Some((Duration::try_from_secs_f64(seconds).ok()?, behind?))
}

/// The time as RFC 3339 in UTC with milliseconds: `2026-11-22T12:34:56.789Z`.
pub fn timestamp((secs, nanos): (u64, u32)) -> String {
    // Days to a date by Howard Hinnant's `civil_from_days`: years start in March, so that the leap day is the last one.
    let (days, second) = (secs / 86_400, secs % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, nanos / 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The moment that a text begins with, in seconds since 1970, and what comes behind it: RFC 3339 in UTC, in letters of any
/// size, with or without a fraction.
pub fn moment(text: &str) -> Option<(u64, &str)> {
    const SHAPE: &str = "0000-00-00T00:00:00";
    let (stamp, behind) = text.split_at_checked(SHAPE.len())?;
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        mark => byte.eq_ignore_ascii_case(&mark),
    };
    if !stamp.bytes().zip(SHAPE.bytes()).all(fits) {
        return None;
    }
    let part = |at: Range<usize>, within: RangeInclusive<u64>| {
        stamp[at].parse().ok().filter(|number| within.contains(number))
    };
    let (year, month, day) = (part(0..4, 1..=9999)?, part(5..7, 1..=12)?, part(8..10, 1..=31)?);
    let (hour, minute, second) = (part(11..13, 0..=23)?, part(14..16, 0..=59)?, part(17..19, 0..=60)?);
    let zone = match behind.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|letter: char| letter.is_ascii_digit()),
        None => behind,
    };
    let rest = ["Z", "z", "+00:00"].iter().find_map(|utc| zone.strip_prefix(utc))?;
    // The inverse of `timestamp`.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = (shifted_year * 365 + leaps + (153 * shifted_month + 2) / 5 + day - 1).saturating_sub(719_468);
    Some((days * 86_400 + hour * 3600 + minute * 60 + second, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference is GNU date: `date -u -d @SECS +%FT%TZ`.
    #[test]
    #[allow(clippy::disallowed_methods)] // tests are outside the seams
    fn timestamps_agree_with_date() {
        for secs in [0, 951_782_399, 951_782_400, 1_709_164_800, 1_795_347_841, 4_107_542_400, 32_503_680_000]
        {
            let date = std::process::Command::new("date")
                .args(["-u", "-d", &format!("@{secs}"), "+%FT%T.000Z"])
                .output()
                .unwrap();
            let date = String::from_utf8(date.stdout).unwrap();
            assert_eq!(timestamp((secs, 0)), date.trim(), "{secs}");
            assert_eq!(moment(&date), Some((secs, "\n")));
        }
    }

    #[test]
    fn moments_are_of_utc_and_whole() {
        for text in ["2026-11-22t14:00:00z.", "2026-11-22T14:00:00.25Z.", "2026-11-22T14:00:00+00:00."] {
            assert_eq!(moment(text), Some((1_795_356_000, ".")), "{text}");
        }
        for text in [
            "2026-11-22T14:00:00",
            "2026-11-22T14:00:00+01:00",
            "2026-13-22T14:00:00Z",
            "2026-11-22 14:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-2éT14:00:00Z",
            "+026-11-22T14:00:00Z",
            "2026-11-22",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_strictly() {
        // faults.md C8: days, and a number alone.
        for (word, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0", 0),
            ("10", 10_000),
            ("1.5", 1_500),
            ("1d", 86_400_000),
            ("2w", 1_209_600_000),
            ("1d12h", 129_600_000),
            ("0.3s", 300),
            ("5min", 300_000),
        ] {
            assert_eq!(duration(word), Some(Duration::from_millis(millis)), "{word}");
        }
        for word in [
            "", "s", "5 m", "-5s", "+5s", "5sm", "5x", "1.2.3s", ".", "5s.", "5s3", "1h 5m", "nan", "1e3",
            "日", "soon",
        ] {
            assert_eq!(duration(word), None, "{word}");
        }
        assert_eq!(duration(&format!("{}w", "9".repeat(30))), None);
    }

    #[test]
    fn a_sentence_goes_on_behind_a_duration() {
        for (text, seconds, rest) in [
            ("1m20.5s. Then", 80.5, ". Then"),
            ("2 hours, 5 minutes and 3s", 7503.0, ""),
            ("30", 30.0, ""),
            ("2 days", 172_800.0, ""),
        ] {
            assert_eq!(leading(text), Some((Duration::from_secs_f64(seconds), rest)), "{text}");
        }
        for text in ["a while", "5 apples", ""] {
            assert_eq!(leading(text), None, "{text}");
        }
    }
}
