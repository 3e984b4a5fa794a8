//! Lengths of time as people and vendors write them: one reader for all of them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
