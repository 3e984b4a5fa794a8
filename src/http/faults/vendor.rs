//! What vendors' sentences say besides their kind: when to try again, whether the quota is used up, how long the
//! conversation was.

use std::time::Duration;

/// Whether a quota is used up, as opposed to a rate limit, which is over soon. `wait` is what `wait_in` found.
pub fn quota_is_used_up(message: &str, wait: Option<Duration>) -> bool {
    /// Who says this comes back within minutes, whatever else is said.
    const RATE: &[&str] = &["rate limit", "rate_limit", "too many requests", "per minute", "per second"];
    const USED_UP: &[&str] = &[
        "quota exceeded",
        "exceeded your current quota",
        "insufficient_quota",
        "exhausted your",
        "usage limit",
        "credit balance",
        "out of credits",
        "billing",
        "per day",
        "daily limit",
        "weekly limit",
        "hour limit",
        "spending limit",
    ];
    /// A wait that a program can sit out.
    const SOON: Duration = Duration::from_secs(600);
    let words = message.to_lowercase();
    let has = |patterns: &[&str]| patterns.iter().any(|pattern| words.contains(pattern));
    wait.is_none_or(|wait| wait > SOON) && !has(RATE) && has(USED_UP)
}

/// How long to wait by a vendor's sentence: `try again in 1m30s`, `retry in 34.07s`, `resets at 2026-11-22T14:00:00Z`.
/// Nothing is guessed: a time that is not wholly understood is none.
pub fn wait_in(message: &str, now: u64) -> Option<Duration> {
    /// Whoever says more does not mean this program.
    const LONGEST: Duration = Duration::from_secs(31 * 86_400);
    const IN: &[&str] =
        &["try again in ", "retry in ", "retry after ", "retry-after: ", "reset in ", "reset after "];
    const AT: &[&str] = &["try again at ", "retry at ", "resets at ", "reset at ", "available at "];
    let words = message.to_lowercase();
    let behind = |starts: &[&str]| -> Vec<&str> {
        starts.iter().filter_map(|start| words.split_once(start)).map(|(_, rest)| rest).collect()
    };
    let spans = behind(IN).into_iter().filter_map(span);
    let moments = behind(AT).into_iter().filter_map(moment);
    let waits = moments.filter_map(|moment| moment.checked_sub(now)).map(Duration::from_secs);
    spans.chain(waits).find(|wait| *wait <= LONGEST)
}

/// The span that a text begins with: numbers with their units. A number alone is seconds.
fn span(text: &str) -> Option<Duration> {
    let (mut seconds, mut rest, mut any) = (0.0, text, false);
    loop {
        let digits = rest.len()
            - rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.').len();
        // The last dot may be the sentence's.
        let number = rest[..digits].trim_end_matches('.');
        let Ok(amount) = number.parse::<f64>() else { break };
        let behind = &rest[number.len()..];
        let word = behind.trim_start_matches(' ');
        let unit: String = word.chars().take_while(char::is_ascii_alphabetic).collect();
        let factor = match unit.as_str() {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "" if !any => return Duration::try_from_secs_f64(amount).ok(),
            _ => return None,
        };
        (seconds, any) = (seconds + amount * factor, true);
        let behind = word[unit.len()..].trim_start_matches([' ', ',']);
        rest = behind.strip_prefix("and ").unwrap_or(behind);
    }
    any.then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
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

/// The sentence with the words by which clients of OpenAI know that a conversation is too long.
pub(super) fn maximum_context_length(said: &str) -> String {
    if said.contains("maximum context length") {
        return said.to_owned();
    }
    format!("the maximum context length is exceeded: {said}")
}

/// The same for clients of Anthropic, which want the numbers too, where the vendor has told them.
pub(super) fn prompt_is_too_long(said: &str) -> String {
    let mut numbers: Vec<u64> = said
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != ',')
        .filter_map(|word| word.replace(',', "").parse().ok())
        // Statuses and the like are smaller than any context.
        .filter(|number| *number >= 1000)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.as_slice() {
        _ if said.contains("prompt is too long") => said.to_owned(),
        [.., limit, tokens] => format!("prompt is too long: {tokens} tokens > {limit} maximum ({said})"),
        _ => format!("prompt is too long: {said}"),
    }
}
