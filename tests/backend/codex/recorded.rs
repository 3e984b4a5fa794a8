//! Recorded dialogues end as they did, and what they say was used is counted once.

use super::{hear, in_turn, played, task};
use clinvk::backend::Step;
use clinvk::model::event::{Event, Usage};
use clinvk::model::task::Task;
use serde_json::json;

#[test]
fn recorded_dialogues_end_as_they_did() {
    const HELLO: &str = "Hello from the stub.";
    const UNAUTHORIZED: &str =
        "unexpected status 401 Unauthorized: The stand-in refuses., url: http://127.0.0.1:39101/v1/responses";
    const TOO_MANY: &str = "exceeded retry limit, last status: 429 Too Many Requests";
    const BUSY: &str = "We’re currently experiencing high demand, which may cause temporary errors.";
    const CUT: &str =
        "stream disconnected before completion: Transport error: network error: error decoding response body";
    for (file, text, calls, ending, words) in [
        ("approve-command", HELLO, 2, "ok", ""),
        ("approve-escalation", HELLO, 2, "ok", ""),
        ("approve-patch", HELLO, 2, "ok", ""),
        ("cancel-command", "", 1, "cancelled", "codex interrupted the turn"),
        ("cut", "Hello from", 0, "unreachable", CUT),
        ("cut-once", HELLO, 1, "ok", ""),
        ("decline-command", HELLO, 2, "ok", ""),
        ("decline-patch", HELLO, 2, "ok", ""),
        ("empty", "", 1, "unreadable", "the model answered nothing, and did nothing"),
        ("error-400", "", 0, "invalid_request", "The stand-in refuses."),
        ("error-401", "", 0, "login", UNAUTHORIZED),
        ("error-401-interrupt", "", 0, "cancelled", "codex interrupted the turn"),
        ("error-404", "", 0, "unknown_model", "The model `x` does not exist"),
        ("error-429", "", 0, "quota", TOO_MANY),
        ("error-429-quota", "", 0, "quota", "Quota exceeded. Check your plan and billing details."),
        ("error-429-retry-after", "", 0, "quota", TOO_MANY),
        ("error-500", "", 0, "overloaded", BUSY),
        ("error-500-interrupt", "", 0, "cancelled", "codex interrupted the turn"),
        ("error-503", "", 0, "overloaded", "Selected model is at capacity. Please try a different model."),
        (
            "error-context",
            "",
            0,
            "context_too_long",
            "Codex ran out of room in the model's context window. Start a \
            new thread or clear earlier history before retrying.",
        ),
        ("mcp-accept", HELLO, 2, "ok", ""),
        ("mcp-broken", HELLO, 1, "ok", ""),
        ("mcp-decline", HELLO, 2, "ok", ""),
        ("no-key", "", 0, "login", "Missing environment variable: `STUB_API_KEY`."),
        ("refused", "", 0, "unreachable", "Connection failed: error sending request"),
        ("schema", "{\"answer\": \"42\"}", 1, "ok", ""),
        (
            "stream-error",
            "Hello from",
            0,
            "unreachable",
            "stream disconnected before completion: The stand-in broke off.",
        ),
        ("thinking", HELLO, 1, "ok", ""),
        ("two-messages", "one\n\nHello from the stub.", 2, "ok", ""),
    ] {
        let played = played(&task("hi there"), file);
        let failure = played.result.as_ref().and_then(|result| result.as_ref().err());
        let message = failure.map_or("", |failure| failure.message.as_str());
        let used = played.usage().map_or(0, |usage| usage.input / 100);
        assert_eq!(
            (played.text().as_str(), used, played.ending(), message),
            (text, calls, ending, words),
            "{file}"
        );
        let started = played.events.iter().filter(|event| match event {
            Event::Started { model, session } => model.as_deref() == Some("stub-model") && session.is_some(),
            _ => false,
        });
        assert_eq!(started.count(), 1, "{file}: {:#?}", played.events);
    }
}

/// One for every call of the model; what an earlier turn of the session used, and codex repeats, is no part of it.
#[test]
fn usage_is_that_of_this_turn_alone() {
    let resumed = Task { resume: Some("01a20351-4d99-7683-ad31-4a91a2f1feed".into()), ..task("hi there") };
    let one = Usage { input: 100, output: 12, cached: 40, reasoning: 5, cost: None };
    let two = Usage { input: 200, output: 24, cached: 80, reasoning: 10, cost: None };
    for (task, file) in [(task("hi there"), "two-messages"), (resumed, "resume")] {
        let played = played(&task, file);
        let told = played
            .events
            .iter()
            .filter_map(|event| if let Event::Usage(usage) = event { Some(*usage) } else { None });
        assert_eq!(told.collect::<Vec<_>>(), [one, two], "{file}");
        assert_eq!(played.ending(), "ok", "{file}");
    }
}

#[test]
fn usage_that_is_repeated_or_of_another_turn_does_not_count_and_that_of_helpers_does() {
    let used = |thread: &str, turn: &str, total: u64, last: u64| {
        let figures =
            |tokens: u64| json!({"inputTokens": tokens, "cachedInputTokens": 1, "outputTokens": tokens});
        json!({"method": "thread/tokenUsage/updated", "params": {"threadId": thread, "turnId": turn,
            "tokenUsage": {"total": figures(total), "last": figures(last)}}})
    };
    let lines =
        [used("T", "old", 500, 500), used("T", "U", 510, 10), used("T", "U", 510, 10), used("H", "V", 7, 7)];
    let steps = hear(&mut *in_turn(&task("hi")), &lines);
    let told: Vec<u64> = steps
        .iter()
        .filter_map(
            |step| if let Step::Event(Event::Usage(usage)) = step { Some(usage.output) } else { None },
        )
        .collect();
    assert_eq!(told, [10, 10, 17]);
}

#[test]
fn another_session_than_the_one_asked_for_is_none() {
    let played = played(&Task { resume: Some("other".into()), ..task("hi there") }, "resume");
    assert_eq!((played.ending(), played.text().as_str()), ("session_not_found", ""));
}
