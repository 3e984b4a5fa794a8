//! Failures in the dialects: the two tables (design.md section 5, client-contract.md section 4), row by row.

use clinvk::http::front::errors::{Cause, Fault, Surface, quota_is_used_up};
use clinvk::model::error::{Error, Failure, Kind, Limit};
use clinvk::model::retry_after::wait_in;
use serde_json::{Value, json};
use std::time::Duration;

/// Status and headers on a surface, in one line.
fn head(fault: &Fault, surface: Surface) -> String {
    let headers = fault.headers(surface).into_iter().map(|(name, value)| format!(" {name}:{value}"));
    format!("{}{}", fault.status(surface), headers.collect::<String>())
}

fn body(fault: &Fault, surface: Surface) -> Value {
    serde_json::from_str(&fault.body(surface, "req_1")).unwrap()
}

/// What a failure is on all surfaces: the three heads, OpenAI's type and code, Anthropic's type.
fn row(fault: &Fault) -> [String; 5] {
    let openai = body(fault, Surface::OpenAi)["error"].clone();
    let code = openai["code"].as_str().unwrap_or("-");
    [
        head(fault, Surface::Native),
        head(fault, Surface::OpenAi),
        format!("{} {code}", openai["type"].as_str().unwrap()),
        head(fault, Surface::Anthropic),
        body(fault, Surface::Anthropic)["error"]["type"].as_str().unwrap().to_owned(),
    ]
}

/// Kind, native, compatible, OpenAI's type and code, Anthropic's type.
const KINDS: &[(&str, &str, &str, &str, &str)] = &[
    ("invalid_request", "400", "400", "invalid_request_error -", "invalid_request_error"),
    ("unknown_backend", "404", "404", "invalid_request_error model_not_found", "not_found_error"),
    ("unknown_model", "404", "404", "invalid_request_error model_not_found", "not_found_error"),
    ("not_installed", "503", "400", "invalid_request_error not_installed", "invalid_request_error"),
    ("config", "500", "500 x-should-retry:false", "server_error config", "api_error"),
    ("session_not_found", "404", "404", "invalid_request_error session_not_found", "not_found_error"),
    ("session_busy", "409", "400", "invalid_request_error session_busy", "invalid_request_error"),
    (
        "session_not_resumable",
        "409",
        "400",
        "invalid_request_error session_not_resumable",
        "invalid_request_error",
    ),
    ("session_store", "500", "500 x-should-retry:false", "server_error session_store", "api_error"),
    ("remote", "502", "502 x-should-retry:false", "server_error backend_error", "api_error"),
    ("timeout", "504", "504 x-should-retry:false", "server_error timeout", "timeout_error"),
    ("cancelled", "499", "499", "server_error cancelled", "api_error"),
    (
        "unauthorized",
        "401 www-authenticate:Bearer",
        "401 www-authenticate:Bearer x-should-retry:false",
        "invalid_request_error invalid_api_key",
        "authentication_error",
    ),
    ("policy", "403", "403", "permission_error policy", "permission_error"),
    (
        "rate_limited",
        "429 retry-after:1",
        "429 retry-after:1",
        "rate_limit_error rate_limit_exceeded",
        "rate_limit_error",
    ),
    (
        "busy",
        "503 retry-after:5",
        "429 retry-after:5",
        "rate_limit_error rate_limit_exceeded",
        "rate_limit_error",
    ),
    ("draining", "503 retry-after:5", "503 retry-after:5", "server_error overloaded", "overloaded_error"),
    ("quota", "429", "429 retry-after:20", "rate_limit_error rate_limit_exceeded", "rate_limit_error"),
    ("login", "502", "400", "invalid_request_error login", "invalid_request_error"),
    ("vendor_flag", "502", "400", "invalid_request_error vendor_flag", "invalid_request_error"),
    ("refusal", "502", "400", "invalid_request_error refusal", "invalid_request_error"),
    ("overloaded", "502", "503 retry-after:10", "server_error overloaded", "overloaded_error"),
    ("unreachable", "502", "503 retry-after:10", "server_error overloaded", "overloaded_error"),
    (
        "context_too_long",
        "400",
        "400",
        "invalid_request_error context_length_exceeded",
        "invalid_request_error",
    ),
    ("turn_limit", "502", "400", "invalid_request_error turn_limit", "invalid_request_error"),
    ("permission_denied", "502", "400", "invalid_request_error permission_denied", "invalid_request_error"),
    ("crash", "502", "502 x-should-retry:false", "server_error backend_error", "api_error"),
    ("unreadable", "502", "502 x-should-retry:false", "server_error backend_error", "api_error"),
    ("internal", "500", "500 x-should-retry:false", "server_error internal", "api_error"),
];

#[test]
fn every_kind_is_what_the_tables_say() {
    assert_eq!(KINDS.iter().map(|row| row.0).collect::<Vec<&str>>(), Kind::WORDS);
    for (word, native, compatible, openai, anthropic) in KINDS {
        let fault = Fault::of(Kind::parse(word).unwrap(), "no");
        let expected = [*native, compatible, openai, compatible, anthropic].map(str::to_owned);
        assert_eq!(row(&fault), expected, "{word}");
        let native = body(&fault, Surface::Native);
        assert_eq!(native, json!({"error": {"kind": word, "message": "no", "request_id": "req_1"}}));
    }
}

#[test]
fn what_is_wrong_before_there_is_a_run_is_in_the_dialect_too() {
    let bad = "invalid_request_error";
    for (fault, native, compatible, openai, anthropic) in [
        (Fault::unsupported("n", "no"), "400", "400", "invalid_request_error unsupported_value", bad),
        (Fault::invalid("input", "no"), "400", "400", "invalid_request_error -", bad),
        (Fault::no_model("x"), "404", "404", "invalid_request_error model_not_found", "not_found_error"),
        (
            Fault::no_path("GET", "/x", &[]),
            "404",
            "404",
            "invalid_request_error unknown_url",
            "not_found_error",
        ),
        (Fault::coded_body("gzip"), "415", "415", "invalid_request_error -", bad),
        (
            Fault::method("PUT", "GET, HEAD"),
            "405 allow:GET, HEAD",
            "405 allow:GET, HEAD",
            "invalid_request_error -",
            bad,
        ),
        (
            Fault::too_large(5, "rule"),
            "413",
            "413",
            "invalid_request_error request_too_large",
            "request_too_large",
        ),
        (
            Fault::new(Cause::Foreign, "http://x"),
            "403",
            "403",
            "invalid_request_error origin_not_allowed",
            "permission_error",
        ),
        (
            Fault::new(Cause::Foreign, "x"),
            "403",
            "403",
            "invalid_request_error origin_not_allowed",
            "permission_error",
        ),
        (
            Fault::new(Cause::UsedUp, "no"),
            "429",
            "429 x-should-retry:false",
            "insufficient_quota insufficient_quota",
            "rate_limit_error",
        ),
    ] {
        // On 405 the method comes first, and nothing is tried again.
        let expected = [native, compatible, openai, compatible, anthropic].map(str::to_owned);
        assert_eq!(row(&fault), expected, "{fault:?}");
    }
}

#[test]
fn a_path_has_its_dialect_whether_there_is_anything_or_not() {
    for (path, surface) in [
        ("/openai/v1/chat/completions", Surface::OpenAi),
        ("/openai", Surface::OpenAi),
        ("/openai?x", Surface::OpenAi),
        ("//openai/v1", Surface::OpenAi),
        ("/anthropic/v1/v1/messages", Surface::Anthropic),
        ("/anthropic", Surface::Anthropic),
        ("/openaix/v1", Surface::Native),
        ("/api/v1/openai", Surface::Native),
        ("/", Surface::Native),
        ("", Surface::Native),
    ] {
        assert_eq!(Surface::of(path), surface, "{path}");
    }
}

#[test]
fn sentences_have_the_words_that_clients_look_for() {
    let said = |fault: &Fault| {
        let words = |surface| body(fault, surface)["error"]["message"].as_str().unwrap().to_owned();
        (words(Surface::OpenAi), words(Surface::Anthropic))
    };
    let long = |words: &str| said(&Fault::of(Kind::ContextTooLong, words));
    for (vendor, openai, anthropic) in [
        // As the vendors were recorded.
        (
            "Prompt is too long · the request is ~210000 tokens (limit 200000) but this conversation is only ~1537 tokens",
            "maximum context length",
            "prompt is too long: 210000 tokens > 200000 maximum",
        ),
        (
            "Codex ran out of room in the model's context window.",
            "maximum context length",
            "prompt is too long: Codex ran",
        ),
        (
            "The input token count (1,200,000) exceeds the maximum number of tokens allowed (1048576).",
            "maximum context length",
            "prompt is too long: 1200000 tokens > 1048576 maximum",
        ),
        (
            "This model's maximum context length is 128000 tokens.",
            "This model's maximum context length is 128000 tokens.",
            "prompt is too long: This model's",
        ),
        (
            "prompt is too long: 9 tokens > 8 maximum",
            "maximum context length",
            "prompt is too long: 9 tokens > 8 maximum",
        ),
        (
            "Request too large (max 32MB). 413",
            "maximum context length",
            "prompt is too long: Request too large",
        ),
    ] {
        let (ours, theirs) = long(vendor);
        assert!(ours.contains(openai) && ours.contains(vendor), "{ours}");
        assert!(theirs.starts_with(anthropic) && theirs.contains(vendor), "{theirs}");
    }
    let words = |words: &str| words.to_owned();
    assert_eq!(
        said(&Fault::unauthorized()),
        (words("Incorrect API key provided."), words("invalid x-api-key"))
    );
    assert_eq!(said(&Fault::no_model("x")), (words("The model `x` does not exist"), words("model: x")));
    assert_eq!(
        said(&Fault::of(Kind::Login, "rate_limit: log in")),
        (words("rate limit: log in"), words("rate_limit: log in")),
        "litellm takes the word for a rate limit"
    );
    assert!(said(&Fault::of(Kind::Quota, "rate_limit")).0.contains("rate_limit"), "where it is one");
}

#[test]
fn no_openai_body_but_a_429_has_the_word_rate_limit() {
    for kind in Kind::ALL {
        let fault = Fault::of(*kind, "vendor said rate_limit_error");
        let has_it = fault.body(Surface::OpenAi, "req_1").contains("rate_limit");
        assert_eq!(has_it, fault.status(Surface::OpenAi) == 429, "{}", kind.word());
    }
}

#[test]
fn our_errors_keep_their_kind_and_sentence() {
    let error = Error::TimedOut { limit: Limit::Wall, after: Duration::from_secs(3) };
    let sentence = error.to_string();
    let fault = Fault::from(error);
    assert_eq!((fault.status(Surface::Native), fault.message), (504, sentence));
}

/// The recorded sentences of a used-up quota and of rate limits.
#[test]
fn a_used_up_quota_is_no_rate_limit() {
    let codex = include_str!("../../../data/codex/error-429-quota.log");
    let claude = include_str!("../../../data/claude/07-429-json-maxretries0.jsonl");
    let used_up = "Quota exceeded. Check your plan and billing details.";
    let limited = "API Error: Request rejected (429) · This request would exceed your rate limit";
    let too_many = "exceeded retry limit, last status: 429 Too Many Requests";
    assert!(codex.contains(used_up) && claude.contains(limited));
    assert!(include_str!("../../../data/codex/error-429.log").contains(too_many));
    for (sentence, is_used_up) in [
        (used_up, true),
        ("Credit balance is too low", true),
        ("You've hit your usage limit. Try again in 3 days 4 hours 21 minutes.", true),
        ("Claude AI usage limit reached|1795350666", true),
        ("You exceeded your current quota, please check your plan and billing details.", true),
        ("You have exhausted your daily quota on this model.", true),
        ("insufficient_quota", true),
        (limited, false),
        (too_many, false),
        ("The stand-in refuses.", false),
        // Gemini's quota of a minute, in the words of one of a day.
        (
            "You exceeded your current quota, please check your plan and billing details. Please retry in 34.07s.",
            false,
        ),
        ("Quota exceeded for quota metric 'requests' and limit 'requests per minute'", false),
        ("Resource has been exhausted (e.g. check quota).", false),
        ("Rate limit reached on requests per day (RPD): Limit 200. Please try again in 7m12s.", false),
    ] {
        let wait = wait_in(sentence, 0);
        assert_eq!(quota_is_used_up(sentence, wait), is_used_up, "{sentence}");
        let fault = Fault::of_failure(&Failure::new(Kind::Quota, sentence), 0);
        assert_eq!(fault.cause == Cause::UsedUp, is_used_up, "{sentence}");
        let names =
            |surface| fault.headers(surface).into_iter().map(|(name, _)| name).collect::<Vec<String>>();
        assert_eq!(
            names(Surface::OpenAi),
            [if is_used_up { "x-should-retry" } else { "retry-after" }],
            "{sentence}"
        );
    }
    let other = Fault::of_failure(&Failure::new(Kind::Login, "check your billing"), 0);
    assert_eq!(other.cause, Cause::Kind(Kind::Login));
}

#[test]
fn a_time_in_a_sentence_is_when_to_try_again() {
    // 2026-11-22T14:00:00Z
    let now = 1_795_356_000;
    for (sentence, millis) in [
        ("Please try again in 20s.", Some(20_000)),
        ("Please try again in 1m30.5s. Visit ...", Some(90_500)),
        ("try again in 6ms", Some(6)),
        ("Please retry in 34.074824224s.", Some(34_074)),
        ("Try again in 3 days 4 hours 21 minutes.", Some(((3 * 24 + 4) * 60 + 21) * 60_000)),
        ("try again in 1 hour, 2 minutes and 3 seconds", Some(3_723_000)),
        ("Your quota will reset after 12h3m1s.", Some(43_381_000)),
        ("Retry-After: 30", Some(30_000)),
        ("retry after 5 seconds", Some(5_000)),
        ("try again at 2026-11-22T14:00:20Z", Some(20_000)),
        ("resets at 2026-11-22T14:01:00.123Z.", Some(60_000)),
        ("resets at 2026-11-23T14:00:00+00:00", Some(86_400_000)),
        // What is past, too far, or not understood, is no time.
        ("resets at 2026-11-22T13:59:59Z", None),
        ("resets at 2026-13-22T14:00:00Z", None),
        ("resets at 2026-11-22T14:00:20", None),
        ("resets at 2026-11-22T14:00:20-05:00", None),
        ("try again at Nov 22nd, 2026 3:04 PM.", None),
        ("limit reached, resets 3pm", None),
        ("try again in a moment", None),
        ("try again in 5 attempts", None),
        ("try again in 3 days 4 houses", None),
        ("try again in 1.2.3s", None),
        ("try again in 400 days", None),
        ("try again in 1e9s", None),
        ("try again in 99999999999999999999999999999999 days", None),
        ("try again in -5s", None),
        ("try again in ", None),
        ("resets at é026-11-22T14:00:20Z", None),
        ("", None),
    ] {
        let wait = wait_in(sentence, now).map(|wait| wait.as_millis());
        assert_eq!(wait, millis, "{sentence}");
    }
}

#[test]
fn days_are_counted_as_the_calendar_has_them() {
    for (moment, secs) in [
        ("1970-01-01T00:00:01Z", 1),
        ("2000-02-29T00:00:00Z", 951_782_400),
        ("2000-03-01T00:00:00Z", 951_868_800),
        ("2024-12-31T23:59:59Z", 1_735_689_599),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
    ] {
        let now = secs - 1;
        let wait = wait_in(&format!("resets at {moment}"), now);
        assert_eq!(wait, Some(Duration::from_secs(1)), "{moment}");
    }
}

#[test]
fn a_known_time_is_told_in_whole_seconds() {
    for (millis, seconds) in [(20, "1"), (20_000, "20"), (20_001, "21"), (0, "1")] {
        let wait = Some(Duration::from_millis(millis));
        let fault = Fault { retry_after: wait, ..Fault::of(Kind::Quota, "slow down") };
        for surface in [Surface::Native, Surface::OpenAi, Surface::Anthropic] {
            assert_eq!(fault.headers(surface), [("retry-after".to_owned(), seconds.to_owned())], "{millis}");
        }
    }
}
