//! Web pages: which may ask, and what they may read.

use super::access::{KEYS, prompt};
use super::{kind, refused, scene};
use serde_json::json;

#[test]
fn a_web_page_cannot_run_an_agent() {
    let scene = scene(json!({}));
    let server = scene.serve([]);
    let own = format!("http://{}", server.address);
    // A page whose name was made to mean our address.
    let rebound = prompt(&server, &[("Host", "evil.example:80"), ("Origin", "http://evil.example")]);
    assert_eq!(kind(&rebound), refused("policy", 403), "{rebound}");
    assert_eq!(kind(&prompt(&server, &[("Host", "evil.example")])), refused("policy", 403));
    // A page of another origin, without asking first: as text, as a form.
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let ask = server
            .ask("POST", "/api/v1/prompt")
            .header("Origin", "http://evil.example")
            .header("Content-Type", content_type);
        let answer = ask.body(r#"{"prompt": "x"}"#).answer();
        assert!(kind(&answer) == refused("policy", 403), "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(prompt(&server, &[("Origin", "null")]).status, 403);
    assert_eq!(prompt(&server, &[("Origin", &own)]).status, 200);
    for host in ["localhost", "127.0.0.1", "[::1]:8080", "192.168.1.7"] {
        assert_eq!(prompt(&server, &[("Host", host)]).status, 200, "{host}");
    }
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 5, "what was refused ran nothing");
}

#[test]
fn listed_pages_may_ask_and_read_errors_too() {
    let scene = scene(
        json!({"cors_allowed_origins": ["https://chat.example"], "max_request_body_bytes": 1000, "rate_limit_enabled": true, "rate_limit_rps": 1, "rate_limit_burst": 7}),
    );
    let server = scene.serve_with([], &KEYS);
    let page = ("Origin", "https://chat.example");
    let ask = |method: &str, path: &str| server.ask(method, path).header(page.0, page.1);
    let preflight = ask("OPTIONS", "/api/v1/prompt")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,x-stainless-os")
        .answer();
    let header = |name: &str| preflight.header(name);
    assert_eq!(
        (
            preflight.status,
            header("access-control-allow-origin"),
            header("access-control-allow-headers"),
            header("access-control-max-age")
        ),
        (204, Some("https://chat.example"), Some("authorization,x-stainless-os"), Some("300")),
        "{preflight}"
    );
    assert!(
        header("access-control-allow-methods").unwrap().contains("POST")
            && header("vary").unwrap().contains("Origin")
    );
    let foreign = server.ask("OPTIONS", "/api/v1/prompt").header("Origin", "https://evil.example");
    assert_eq!(foreign.header("Access-Control-Request-Method", "POST").answer().status, 403);
    // An OPTIONS that is no preflight is asked for its key.
    assert_eq!(ask("OPTIONS", "/api/v1/prompt").answer().status, 401);
    let large = "x".repeat(1001);
    for (status, answer) in [
        (401, ask("GET", "/api/v1/runs").answer()),
        (404, ask("GET", "/nope").header("X-Api-Key", "bob-secret").answer()),
        (413, ask("POST", "/api/v1/prompt").header("X-Api-Key", "bob-secret").body(large).answer()),
        (200, ask("GET", "/health").answer()),
    ] {
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, Some(page.1)),
            "{answer}"
        );
    }
    let limited =
        (0..20).map(|_| ask("GET", "/health").answer()).find(|answer| answer.status == 429).unwrap();
    assert_eq!(limited.header("access-control-allow-origin"), Some(page.1), "{limited}");
}
