//! What vendors' sentences say besides their kind: whether the quota is used up, how long the conversation was.

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

/// The sentence with the words by which clients of OpenAI know that a conversation is too long.
pub(crate) fn maximum_context_length(said: &str) -> String {
    if said.contains("maximum context length") {
        return said.to_owned();
    }
    format!("the maximum context length is exceeded: {said}")
}

/// The same for clients of Anthropic, which want the numbers too, where the vendor says them.
pub(crate) fn prompt_is_too_long(said: &str) -> String {
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
