//! What every request passes and every answer has.

use super::access::{KEYS, prompt};
use super::{kind, refused, scene};
use crate::util::scene::{Scene, until};
use serde_json::json;

#[test]
fn whoever_asks_too_often_is_told_when_to_come_back() {
    let scene = scene(
        json!({"rate_limit_enabled": true, "rate_limit_rps": 1, "rate_limit_burst": 3, "keys": {"boss": {"rate_limit_burst": 1000}}}),
    );
    let server = scene.serve_with([], &KEYS);
    let get = |key: &str| server.ask("GET", "/health").header("X-Api-Key", key).answer();
    let limited = (0..100).map(|_| get("alice-secret")).find(|answer| answer.status == 429).unwrap();
    assert_eq!(
        (kind(&limited), limited.header("retry-after")),
        (refused("rate_limited", 429), Some("1")),
        "{limited}"
    );
    assert_eq!(get("bob-secret").status, 200, "each key has its own");
    assert!((0..50).all(|_| get("boss-secret").status == 200));
    // Guesses count against the address, whatever they are.
    let guesses: Vec<u16> = (0..20).map(|number| get(&format!("guess-{number}-secret")).status).collect();
    assert!(guesses.contains(&429), "{guesses:?}");
}

#[test]
fn proxies_are_believed_only_where_they_are_trusted() {
    for (trusted, client) in [(json!([]), "127.0.0.1"), (json!(["127.0.0.0/8", "10.0.0.1"]), "203.0.113.9")] {
        let scene = scene(json!({"trusted_proxies": trusted}));
        let server = scene.serve(["--log-format", "json"]);
        let forwarded = "198.51.100.1, 203.0.113.9, 10.0.0.1";
        server.ask("GET", "/health").header("X-Forwarded-For", forwarded).answer();
        let log = server.stop().err;
        assert!(log.contains(&format!("\"client\":\"{client}\"")), "{log}");
    }
}

#[test]
fn ids_and_traces_are_taken_over_where_they_are_sane() {
    let scene = Scene::playing("printf %s \"$TRACEPARENT\"");
    let server = scene.serve([]);
    let id = |given: &str| {
        server
            .ask("GET", "/health")
            .header("X-Request-Id", given)
            .answer()
            .header("x-request-id")
            .unwrap()
            .to_owned()
    };
    assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
    for insane in ["a b", "ü", &"x".repeat(200), "a\"b"] {
        assert!(id(insane) != insane && id(insane).len() >= 16);
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = prompt(&server, &[("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"))]).json();
    let said = answer["output"].as_str().unwrap();
    assert!(said.starts_with(&format!("00-{trace}-")) && !said.contains("00f067aa0ba902b7"), "{said}");
    assert_eq!(
        prompt(&server, &[("traceparent", "nonsense")]).json()["output"],
        "",
        "no trace, no answer of this fake"
    );
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_comes_or_when_it_is() {
    let scene = scene(json!({"max_request_body_bytes": 100}));
    let server = scene.serve([]);
    let large = "x".repeat(101);
    let declared = server.ask("POST", "/api/v1/prompt").body(large.clone()).answer();
    assert!(
        kind(&declared) == refused("invalid_request", 413)
            && declared.body.contains("max_request_body_bytes"),
        "{declared}"
    );
    let chunked = server.ask("POST", "/api/v1/prompt").chunked(&large).answer();
    assert_eq!(kind(&chunked), refused("invalid_request", 413));
    assert_eq!(server.post("/api/v1/prompt", &json!({"prompt": "x"})).status, 200);
}

#[test]
fn a_unix_socket_needs_no_host_and_goes_with_the_server() {
    let scene = scene(json!({}));
    let socket = scene.path("run/clinvk.sock");
    let run = scene.clinvk(["serve", "--socket", socket.to_str().unwrap()]);
    let mut process = run.start();
    process.says("Press Ctrl+C to stop\n");
    let ask = |line: &str| {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream
            .write_all(format!("{line}\r\nHost: anything.example\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("GET /health HTTP/1.1").starts_with("HTTP/1.1 200 "));
    process.signal(clinvk::base::sys::SIGTERM);
    assert_eq!(process.end().status, 0);
    assert!(!socket.exists());
}

#[test]
fn metrics_are_labelled_by_route_and_need_a_key_unless_they_are_public() {
    let scene = scene(json!({"metrics_enabled": true}));
    let server = scene.serve_with([], &KEYS);
    assert_eq!(server.get("/metrics").status, 401);
    let get = |path: &str| server.ask("GET", path).header("X-Api-Key", "alice-secret").answer();
    get("/api/v1/sessions/0123456789abcdef0123456789abcdef");
    get("/no/such/path");
    prompt(&server, &[("X-Api-Key", "alice-secret")]);
    // The answer does not wait for the end of its run, and it is the end that is counted.
    until("the run is counted", || get("/metrics").body.contains("clinvk_runs_total{"));
    let text = get("/metrics").body;
    for line in [
        r#"clinvk_http_requests_total{route="/api/v1/sessions/{id}",method="GET",status="404"} 1"#,
        r#"clinvk_http_requests_total{route="unknown",method="GET",status="404"} 1"#,
        r#"clinvk_runs_total{backend="echo",kind="ok"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("0123456789abcdef") && !text.contains("/no/such"), "{text}");
    let public = scene.serve_with([], &[KEYS[0], ("CLINVK_SERVER_METRICS_PUBLIC", "true")]);
    assert_eq!(public.get("/metrics").status, 200);
}
