//! What is a failure, of which kind, and how long codex may try.

use super::{codex, end, ending, hear, in_turn, note, progress, retry, sent, task};
use crate::util::replay::is_warning;
use clinvk::backend::{Backend, Ended, Steps};
use clinvk::model::error::Kind;
use clinvk::model::task::Task;
use serde_json::{Value, json};

#[test]
fn retries_are_bounded_and_codex_is_asked_to_stop() {
    let again = |n: u32| {
        retry(
            &format!("Reconnecting... {n}/5"),
            json!({"responseStreamDisconnected": {"httpStatusCode": 401}}),
            "no such key",
        )
    };
    for allowed in [0, 2] {
        let mut dialogue = in_turn(&Task { vendor_retries: allowed, ..task("hi") });
        for n in 0..allowed {
            assert_eq!(ending(&hear(&mut *dialogue, &[again(n)])), None, "{allowed}: {n}");
        }
        let steps = hear(&mut *dialogue, &[again(allowed)]);
        let stop = json!({"id": 4, "method": "turn/interrupt", "params": {"threadId": "T", "turnId": "U"}});
        assert_eq!(sent(&steps), [stop], "{allowed}");
        assert_eq!(ending(&steps), Some((Some(Kind::Login), "no such key".to_owned())), "{allowed}");
        assert_eq!(
            hear(&mut *dialogue, &[end(json!({"status": "interrupted"}))]),
            [],
            "{allowed}: told twice"
        );
    }
}

/// It says so when it has tried for 3 s, and then goes on for ever.
#[test]
fn waiting_for_the_network_is_not_waited_for() {
    let info = json!({"responseStreamDisconnected": {"httpStatusCode": null}});
    let lines =
        [retry("Reconnecting... waiting for network", info, "Connection failed: error sending request")];
    let steps = hear(&mut *in_turn(&Task { vendor_retries: 9, ..task("hi") }), &lines);
    assert_eq!(
        ending(&steps),
        Some((Some(Kind::Unreachable), "Connection failed: error sending request".to_owned()))
    );
}

/// A long turn may stumble now and then: only failures in a row count.
#[test]
fn a_request_that_worked_forgives_the_failed_ones_before_it() {
    let again = retry("Reconnecting... 1/5", json!("other"), "cut");
    let good = note("thread/tokenUsage/updated", json!({"tokenUsage": {"total": {}, "last": {}}}));
    let lines = [again.clone(), again.clone(), good, again.clone(), again.clone()];
    let mut dialogue = in_turn(&task("hi"));
    assert_eq!(ending(&hear(&mut *dialogue, &lines)), None);
    assert!(ending(&hear(&mut *dialogue, &[again])).is_some());
}

#[test]
fn the_kind_of_a_failure_comes_from_its_name_then_its_status_then_its_words() {
    let status = |name: &str, status: Value| json!({name: {"httpStatusCode": status}});
    for (info, words, kind, sentence) in [
        (json!("contextWindowExceeded"), "too much", Kind::ContextTooLong, "too much"),
        (json!("usageLimitExceeded"), "x", Kind::Quota, "x"),
        (json!("rateLimitExceeded"), "x", Kind::Quota, "x"),
        (json!("serverOverloaded"), "x", Kind::Overloaded, "x"),
        (json!("internalServerError"), "x", Kind::Overloaded, "x"),
        (json!("modelNotFound"), "x", Kind::UnknownModel, "x"),
        (json!("cyberPolicy"), "x", Kind::Refusal, "x"),
        // faults.md D2: what refuses has a name of its own, or only words.
        (json!("bioPolicy"), "x", Kind::Refusal, "x"),
        (
            json!("other"),
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            Kind::Refusal,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
        ),
        (json!("tooManyDenials"), "x", Kind::PermissionDenied, "x"),
        (json!("unauthorized"), "x", Kind::Login, "x"),
        (json!("badRequest"), "bad parameter", Kind::InvalidRequest, "bad parameter"),
        (json!("other"), "what?", Kind::Crash, "what?"),
        (json!("sandboxError"), "no landlock", Kind::Crash, "no landlock"),
        (json!("a new word"), "x", Kind::Crash, "x"),
        (Value::Null, "x", Kind::Crash, "x"),
        (json!(7), "x", Kind::Crash, "x"),
        (status("httpConnectionFailed", json!(401)), "x", Kind::Login, "x"),
        (status("httpConnectionFailed", json!(403)), "quota", Kind::Login, "quota"),
        (status("httpConnectionFailed", json!(404)), "x", Kind::UnknownModel, "x"),
        (status("responseTooManyFailedAttempts", json!(429)), "x", Kind::Quota, "x"),
        (status("responseStreamDisconnected", json!(503)), "x", Kind::Overloaded, "x"),
        (status("httpConnectionFailed", json!(413)), "x", Kind::ContextTooLong, "x"),
        (
            status("httpConnectionFailed", Value::Null),
            "Connection failed: x",
            Kind::Unreachable,
            "Connection failed: x",
        ),
        (
            json!("other"),
            r#"{"error": {"message": "Unsupported value: effort"}}"#,
            Kind::InvalidRequest,
            "Unsupported value: effort",
        ),
        (
            json!("other"),
            r#"{"error": {"message": "m", "code": "context_length_exceeded"}}"#,
            Kind::ContextTooLong,
            "m",
        ),
        (
            json!("other"),
            r#"{"detail": "The 'x' model is not supported"}"#,
            Kind::UnknownModel,
            "The 'x' model is not supported",
        ),
    ] {
        let error = json!({"message": words, "codexErrorInfo": info, "additionalDetails": null});
        let steps = hear(&mut *in_turn(&task("hi")), &[end(json!({"status": "failed", "error": error}))]);
        assert_eq!(ending(&steps), Some((Some(kind), sentence.to_owned())), "{info} {words}");
    }
}

#[test]
fn a_refused_request_of_ours_is_the_failure_in_its_own_words() {
    for (id, error, kind) in [
        (2, json!({"code": -32600, "message": "no rollout found for thread id 01"}), Kind::SessionNotFound),
        (
            2,
            json!({"code": -32600, "message": "invalid session id: invalid character"}),
            Kind::SessionNotFound,
        ),
        (2, json!({"code": -32600, "message": "thread 01 already has an active writer"}), Kind::SessionBusy),
        (
            2,
            json!({"code": -32600, "message": "failed to load configuration: Model provider `x` not found"}),
            Kind::VendorFlag,
        ),
        (
            3,
            json!({"code": -32602, "message": "Input exceeds the maximum length of 1048576 characters.",
            "data": {"input_error_code": "input_too_large"}}),
            Kind::InvalidRequest,
        ),
        (5, json!({"code": -32600, "message": "Invalid request: unknown variant"}), Kind::VendorFlag),
    ] {
        let mut dialogue = codex().dialogue(&task("hi"));
        let steps = hear(&mut *dialogue, &[json!({"id": id, "error": error})]);
        assert_eq!(
            ending(&steps),
            Some((Some(kind), error["message"].as_str().unwrap().to_owned())),
            "{id} {error}"
        );
    }
    // The turn was over before it could be interrupted.
    let steps = hear(
        &mut *in_turn(&task("hi")),
        &[json!({"id": 4, "error": {"code": -32600, "message": "no turn"}})],
    );
    assert_eq!(steps, []);
}

#[test]
fn a_codex_that_is_too_old_is_refused_by_name() {
    let greet = |agent: Value| {
        let mut dialogue = codex().dialogue(&task("hi"));
        hear(&mut *dialogue, &[json!({"id": 1, "result": {"userAgent": agent}})])
    };
    for old in ["clinvk/0.150.0 (Debian)", "clinvk/0.99.1", "other-name/0.159.3 (x)"] {
        let steps = greet(json!(old));
        let version = old.split(['/', ' ']).nth(1).unwrap();
        let message = format!("codex {version} is too old: clinvk needs 0.160.0 or newer");
        assert_eq!(
            (ending(&steps), sent(&steps)),
            (Some((Some(Kind::NotInstalled), message)), vec![]),
            "{old}"
        );
    }
    for (agent, warnings) in [
        (json!("clinvk/0.160.0 (x)"), 0),
        (json!("clinvk/1.0.0-alpha.1"), 0),
        (json!("codex"), 1),
        (Value::Null, 1),
        (json!("clinvk/ x"), 1),
    ] {
        let steps = greet(agent.clone());
        assert_eq!(
            (sent(&steps).len(), progress(&steps).len(), ending(&steps)),
            (2, warnings, None),
            "{agent}"
        );
    }
}

#[test]
fn only_a_completed_turn_is_a_success() {
    for (turn, kind) in [
        // Nothing was said and nothing was done.
        (json!({"status": "completed"}), Some(Kind::Unreadable)),
        (json!({"status": "failed"}), Some(Kind::Crash)),
        (json!({"status": "failed", "error": null}), Some(Kind::Crash)),
        (json!({"status": "interrupted"}), Some(Kind::Cancelled)),
        (json!({"status": "inProgress"}), Some(Kind::Unreadable)),
        (json!({}), Some(Kind::Unreadable)),
        (Value::Null, Some(Kind::Unreadable)),
    ] {
        let (ending, _) = ending(&hear(&mut *in_turn(&task("hi")), &[end(turn.clone())])).unwrap();
        assert_eq!(ending, kind, "{turn}");
    }
    let others =
        json!({"method": "turn/completed", "params": {"threadId": "H", "turn": {"status": "completed"}}});
    assert_eq!(hear(&mut *in_turn(&task("hi")), &[others]), [], "a helper's turn");
}

#[test]
fn an_end_without_a_result_is_told_in_the_words_of_standard_error() {
    for (code, stderr, kind, words) in [
        (Some(0), "", Kind::Crash, "the backend ended with exit status 0 and said nothing on standard error"),
        (Some(0), "config.toml", Kind::Crash, "the backend ended with exit status 0: config.toml"),
        (
            Some(101),
            "thread main panicked",
            Kind::Crash,
            "the backend ended with exit status 101: thread main panicked",
        ),
        (
            Some(1),
            "Error: Unknown feature flag: bogus",
            Kind::VendorFlag,
            "the backend ended with exit status 1: Error: Unknown feature flag: bogus",
        ),
        (
            Some(1),
            "Error: CODEX_HOME points to \"/nope\"",
            Kind::VendorFlag,
            "the backend ended with exit status 1: Error: CODEX_HOME points to \"/nope\"",
        ),
    ] {
        let mut steps = Steps::new();
        in_turn(&task("hi")).eof(&Ended { code, signal: None, stderr: stderr.into() }, &mut steps);
        assert_eq!(ending(&steps), Some((Some(kind), words.to_owned())), "{stderr}");
    }
}

#[test]
fn no_line_makes_it_panic_or_believe_in_success() {
    let methods = [
        "error",
        "turn/started",
        "turn/completed",
        "item/started",
        "item/completed",
        "item/agentMessage/delta",
        "item/reasoning/summaryTextDelta",
        "item/reasoning/summaryPartAdded",
        "thread/tokenUsage/updated",
        "warning",
        "configWarning",
        "mcpServer/startupStatus/updated",
        "deprecationNotice",
        "item/commandExecution/requestApproval",
        "mcpServer/elicitation/request",
        "item/permissions/requestApproval",
        "no/such/method",
    ];
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"id": null}),
    ];
    let keys = [
        "item",
        "turn",
        "error",
        "tokenUsage",
        "delta",
        "itemId",
        "message",
        "requestedSchema",
        "permissions",
    ];
    let mut dialogue = in_turn(&task("hi"));
    let mut fresh = codex().dialogue(&task("hi"));
    let mut steps = Steps::new();
    for line in [
        "",
        "garbage",
        "{",
        "null",
        "7",
        "[]",
        "\"x\"",
        "{}",
        "{\"id\":null}",
        "{\"id\":99,\"result\":{}}",
        "\u{0}",
    ] {
        dialogue.line(line, &mut steps);
        fresh.line(line, &mut steps);
    }
    steps.retain(|step| !is_warning(step));
    assert_eq!(steps, []);
    for method in methods {
        for value in &values {
            let whole = json!({"method": method, "params": value});
            let parts =
                keys.iter().map(|key| json!({"method": method, "params": {*key: value, "willRetry": false}}));
            for mut line in parts.chain([whole]) {
                for asks in [false, true] {
                    if asks {
                        line["id"] = value.clone();
                    }
                    let mut dialogue = in_turn(&task("hi"));
                    let steps = hear(&mut *dialogue, &[line.clone()]);
                    assert!(!matches!(ending(&steps), Some((None, _))), "{line}");
                }
            }
        }
    }
    for id in 1..=5 {
        for value in &values {
            for line in [json!({"id": id, "result": value}), json!({"id": id, "error": value})] {
                let steps = hear(&mut *codex().dialogue(&task("hi")), std::slice::from_ref(&line));
                assert!(!matches!(ending(&steps), Some((None, _))), "{line}");
            }
        }
    }
}
