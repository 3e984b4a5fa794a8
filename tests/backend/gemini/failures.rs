//! What gemini's failures and its silences are: bare answers of servers (faults.md D3), lines that cannot be read (A6), commands
//! that outlive a turn (A1).

use super::{after_prompt, answered, chunk, ending, opened, task, update};
use clinvk::backend::{Step, Steps};
use clinvk::model::event::Event;
use serde_json::json;

/// As 0.61.0 passes them on: the status of an answer without a body stands in a body that it makes, its own code is 500.
#[test]
fn a_bare_answer_of_a_server_is_what_its_status_says() {
    let made = |code: u16, status: &str, message: &str| {
        json!({"error": {"message": message, "code": code, "status": status}}).to_string()
    };
    for (code, message, kind, sentence) in [
        (
            500,
            made(404, "Not Found", ""),
            "unknown_model",
            "the server answers with status 404 and says no more",
        ),
        (
            500,
            "<html><body>Not Found</body></html>".to_owned(),
            "unknown_model",
            "<html><body>Not Found</body></html>",
        ),
        (500, "404 page not found".to_owned(), "unknown_model", "404 page not found"),
        (500, r#"{"detail":"Not Found"}"#.to_owned(), "unknown_model", r#"{"detail":"Not Found"}"#),
        (
            500,
            "models/x is not found for API version v1beta".to_owned(),
            "unknown_model",
            "models/x is not found for API version v1beta",
        ),
        (502, made(502, "Bad Gateway", "<html>Bad Gateway</html>"), "overloaded", "<html>Bad Gateway</html>"),
        (401, made(401, "Unauthorized", ""), "login", "the server answers with status 401 and says no more"),
        (
            400,
            made(400, "Bad Request", ""),
            "invalid_request",
            "the server answers with status 400 and says no more",
        ),
        (
            429,
            made(429, "Too Many Requests", ""),
            "quota",
            "the server answers with status 429 and says no more",
        ),
        (
            500,
            made(503, "Service Unavailable", ""),
            "overloaded",
            "the server answers with status 503 and says no more",
        ),
        (
            500,
            "Cannot read properties of undefined".to_owned(),
            "crash",
            "Cannot read properties of undefined",
        ),
    ] {
        let error = json!({"jsonrpc": "2.0", "id": 3, "error": {"code": code, "message": message}});
        let steps = after_prompt(&task("hi"), &[error]);
        let told = steps.iter().find_map(|step| match step {
            Step::Finished(Err(failure)) => Some(failure.message.as_str()),
            _ => None,
        });
        assert_eq!((ending(&steps), told), (kind, Some(sentence)), "{message}");
    }
}

#[test]
fn a_line_that_somebody_waits_for_ends_the_run() {
    for (line, end) in [
        (r#"{"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"#, "unreadable"),
        (r#"{"jsonrpc":"2.0","id":3,"result":{"stopReason":"#, "unreadable"),
        (r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":{"#, "-"),
        ("Debugger attached.", "-"),
    ] {
        let mut steps = Steps::new();
        opened(&task("hi")).line(line, &mut steps);
        assert_eq!(ending(&steps), end, "{line}");
        let told = steps
            .iter()
            .any(|step| matches!(step, Step::Event(Event::Progress { stage, .. }) if stage == "warning"));
        assert!(told, "{line}");
    }
}

#[test]
fn a_command_in_the_background_is_warned_of_at_the_end() {
    let result = |text: &str| {
        let content = json!([{"type": "content", "content": {"type": "text", "text": text}}]);
        update(
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "run_shell_command__a", "status": "completed",
            "title": "sleep 3", "content": content}),
        )
    };
    for (name, output, warned) in [
        ("background", "Command moved to background (PID: 26304). Output hidden. Press Ctrl+B to view.", 1),
        ("foreground", "made", 0),
    ] {
        let steps = after_prompt(&task("hi"), &[result(output), chunk("It runs."), answered()]);
        let warnings = steps
            .iter()
            .filter(|step| matches!(step, Step::Event(Event::Progress { stage, .. }) if stage == "warning"));
        assert_eq!((warnings.count(), ending(&steps)), (warned, "ok"), "{name}");
    }
}
