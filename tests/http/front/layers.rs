//! The layers before the server's handlers: who is let in, from where, how often, how large; and what every answer has.

use crate::util::http::{Answer, Server};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;

/// Two keys, and one that sees all.
const KEYS: [(&str, &str); 1] = [("CLINVK_API_KEYS", "alice=alice-secret,bob=bob-secret,boss=boss-secret")];

fn scene(server: Value) -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": server}));
    scene
}

fn kind(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["kind"].as_str().unwrap_or_default().to_owned())
}

fn refused(kind: &str, status: u16) -> (u16, String) {
    (status, kind.to_owned())
}

/// A prompt with these headers.
#[track_caller]
fn prompt(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let ask = headers
        .iter()
        .fold(server.ask("POST", "/api/v1/prompt"), |ask, (name, value)| ask.header(name, value));
    ask.json(&json!({"prompt": "x"})).answer()
}

#[test]
fn with_keys_nothing_runs_without_one() {
    let scene = scene(json!({}));
    let server = scene.serve_with([], &KEYS);
    for headers in [
        &[][..],
        &[("X-Api-Key", "wrong-secret")],
        &[("Authorization", "Bearer wrong-secret")],
        &[("Authorization", "Basic alice-secret")],
        &[("Authorization", "alice-secret")],
        &[("X-Api-Key", "")],
    ] {
        let answer = prompt(&server, headers);
        assert_eq!(kind(&answer), refused("unauthorized", 401), "{headers:?}: {answer}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for headers in [
        &[("X-Api-Key", "alice-secret")][..],
        &[("Authorization", "Bearer alice-secret")],
        &[("authorization", "bearer alice-secret")],
        &[("X-Api-Key", "wrong-secret"), ("Authorization", "Bearer alice-secret")],
    ] {
        assert_eq!(prompt(&server, headers).status, 200, "{headers:?}");
    }
    for path in ["/health", "/live", "/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/api/v1/backends", "/api/v1/sessions", "/api/v1/runs", "/metrics", "/nope"] {
        assert_eq!(kind(&server.get(path)), refused("unauthorized", 401), "{path}");
    }
}

#[test]
fn what_was_made_with_a_key_is_anothers_404() {
    let scene = scene(json!({"keys": {"boss": {"admin": true}}}));
    scene.clinvk(["of the command line"]).prints("of the command line\n");
    let server = scene.serve_with([], &KEYS);
    let get = |key: &str, path: &str| {
        server.ask("GET", path).header("X-Api-Key", &format!("{key}-secret")).answer()
    };
    let made = prompt(&server, &[("X-Api-Key", "alice-secret")]).json();
    let id = made["session_id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(
        (get("alice", &path).status, get("bob", &path).status, get("boss", &path).status),
        (200, 404, 200)
    );
    let total = |key: &str| get(key, "/api/v1/sessions").json()["total"].clone();
    assert_eq!((total("alice"), total("bob"), total("boss")), (json!(1), json!(0), json!(2)));
    let body = json!({"prompt": "y", "session_id": id});
    let other = server.ask("POST", "/api/v1/prompt").header("X-Api-Key", "bob-secret").json(&body).answer();
    assert_eq!(kind(&other), refused("session_not_found", 404));
    for (method, path) in
        [("DELETE", path.clone()), ("PATCH", path.clone()), ("POST", format!("{path}/fork"))]
    {
        let other = server.ask(method, &path).header("X-Api-Key", "bob-secret").json(&json!({})).answer();
        assert_eq!(kind(&other), refused("session_not_found", 404), "{method} {path}");
    }
    let again = |key: &str| {
        let ask = server.ask("POST", "/api/v1/prompt").header("X-Api-Key", &format!("{key}-secret"));
        ask.header("Idempotency-Key", "k").json(&json!({"prompt": "x"})).answer().json()["session_id"].clone()
    };
    let alices = again("alice");
    assert!(again("bob") != alices && again("alice") == alices);
}

#[test]
fn a_key_may_do_less_than_the_server() {
    let scene = scene(json!({
        "max_approval_mode": "none",
        "keys": {"bob": {"allowed_backends": ["claude"], "max_approval_mode": "always"}, "alice": {"max_approval_mode": "auto"}},
    }));
    let server = scene.serve_with([], &KEYS);
    let ask = |key: &str, body: &Value| {
        server.ask("POST", "/api/v1/prompt").header("X-Api-Key", &format!("{key}-secret")).json(body).answer()
    };
    let refusal = ask("bob", &json!({"prompt": "x"}));
    assert!(
        kind(&refusal) == refused("policy", 403) && refusal.body.contains("server.keys.bob.allowed_backends"),
        "{refusal}"
    );
    let none = json!({"prompt": "x", "approval_mode": "none"});
    let refusal = ask("alice", &none);
    assert!(
        refusal.status == 403 && refusal.body.contains("server.keys.alice.max_approval_mode"),
        "{refusal}"
    );
    assert_eq!(ask("boss", &none).status, 200);
    let tasks = json!({"tasks": [{"prompt": "x", "approval_mode": "none"}, {"prompt": "y"}]});
    let ask = server.ask("POST", "/api/v1/parallel").header("X-Api-Key", "alice-secret");
    let told = ask.json(&tasks).answer().json();
    assert!(told["results"][0]["kind"] == "policy" && told["results"][1]["output"] == "y", "{told}");
}

#[test]
fn directories_are_compared_without_links_and_by_whole_parts() {
    let scene = scene(json!({}));
    for dir in ["allowed", "allowed/blocked", "allowedtoo"] {
        fs::create_dir(scene.path(dir)).unwrap();
    }
    std::os::unix::fs::symlink(scene.path("allowedtoo"), scene.path("allowed/link")).unwrap();
    scene.edit_config(|config| {
        config["server"] = json!({
            "default_workdir": scene.text("allowed"),
            "allowed_workdir_prefixes": [scene.text("allowed")],
            "blocked_workdir_prefixes": [scene.text("allowed/blocked")],
        });
    });
    let server = scene.serve([]);
    let status = |body: Value| server.post("/api/v1/prompt", &body).status;
    let at = |dir: &str| status(json!({"prompt": "x", "workdir": scene.text(dir)}));
    assert_eq!((at("allowed"), status(json!({"prompt": "x"}))), (200, 200));
    assert_eq!((at("allowedtoo"), at("allowed/link"), at("allowed/blocked"), at("")), (403, 403, 403, 403));
    assert_eq!(status(json!({"prompt": "x", "workdir": "/"})), 403);
    assert_eq!(status(json!({"prompt": "x", "workdir": "../allowedtoo"})), 403);
    assert_eq!(status(json!({"prompt": "x", "add_dirs": [scene.text("allowedtoo")]})), 403);
}

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
fn without_keys_only_this_machine_is_let_in() {
    let scene = scene(json!({}));
    for host in ["0.0.0.0", "::"] {
        let seen = scene.clinvk(["serve", "--port", "0", "--host", host]).seen();
        assert!(
            seen.status == 3 && seen.err.contains("CLINVK_API_KEYS") && seen.out.is_empty(),
            "{host}: {seen}"
        );
    }
    let server = scene.serve_with(["--host", "0.0.0.0"], &KEYS);
    assert!(server.address.starts_with("0.0.0.0:"), "{}", server.address);
    let loopback = scene.serve(["--host", "::1"]);
    assert_eq!(loopback.get("/health").status, 200, "{}", loopback.address);
}

#[test]
fn a_source_of_keys_without_a_key_keeps_the_server_from_starting() {
    for (name, value, words) in [
        ("CLINVK_API_KEYS", " , ", "CLINVK_API_KEYS"),
        ("CLINVK_API_KEYS_GOPASS_PATH", "clinvk/keys", "`gopass` is not on PATH"),
    ] {
        let scene = scene(json!({}));
        // The system may have a gopass.
        let run = scene.clinvk(["serve", "--port", "0"]).env("PATH", scene.text("bin"));
        let seen = run.env(name, value).seen();
        assert!(seen.status == 3 && seen.err.contains(words) && seen.out.is_empty(), "{name}: {seen}");
    }
    let scene = scene(json!({}));
    let file = scene.file("keys", "alice=alice-secret\n");
    let run = || scene.clinvk(["serve", "--port", "0"]).env("CLINVK_SERVER_API_KEYS_FILE", &file);
    let seen = run().seen();
    assert!(
        seen.status == 3 && seen.err.contains(&*file.replace(scene.path("").to_str().unwrap(), "ROOT/")),
        "others can read it: {seen}"
    );
    let mode = |mode| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o600);
    let mut server = scene.serve_with([], &[("CLINVK_SERVER_API_KEYS_FILE", &file)]);
    let status = |server: &Server, key: &str| {
        server.ask("GET", "/api/v1/runs").header("X-Api-Key", key).answer().status
    };
    assert_eq!((status(&server, "alice-secret"), status(&server, "bob-secret")), (200, 401));
    scene.file("keys", "bob=bob-secret\n");
    until("the file is read again", || status(&server, "bob-secret") == 200);
    assert_eq!(status(&server, "alice-secret"), 401);
    // One that breaks later keeps the last good keys.
    scene.file("keys", "\n");
    server.process.warns("the last good API keys hold");
    assert_eq!(status(&server, "bob-secret"), 200);
}

#[test]
fn a_broken_configuration_keeps_the_server_from_starting() {
    for server in [
        json!({"trusted_proxies": ["nonsense"]}),
        json!({"cors_allowed_origins": ["*"]}),
        json!({"allowed_workdir_prefixes": ["/nowhere/at/all"]}),
        json!({"max_approval_mode": "nome"}),
    ] {
        let seen = scene(server.clone()).clinvk(["serve", "--port", "0"]).seen();
        assert!(seen.status == 3 && seen.out.is_empty(), "{server}: {seen}");
    }
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

#[test]
fn keys_that_are_no_text_are_not_taken_for_none() {
    use std::os::unix::ffi::OsStrExt;
    let keys = std::ffi::OsStr::from_bytes(b"alice-\xff-secret");
    scene(json!({}))
        .clinvk(["serve", "--port", "0"])
        .env("CLINVK_API_KEYS", keys)
        .fails(1, "clinvk: the variable CLINVK_API_KEYS is not valid UTF-8\n");
}

#[test]
fn a_broken_session_is_not_told_of_to_whoever_has_a_key() {
    let scene = scene(json!({"keys": {"boss": {"admin": true}}}));
    let server = scene.serve_with([], &KEYS);
    let made = prompt(&server, &[("X-Api-Key", "alice-secret")]).json();
    let id = made["session_id"].as_str().unwrap();
    scene.file(&format!("home/.clinvk/sessions/{id}.json"), "{");
    let get = |key: &str| {
        let ask = server.ask("GET", &format!("/api/v1/sessions/{}", &id[..1]));
        ask.header("X-Api-Key", &format!("{key}-secret")).answer()
    };
    let bobs = get("bob");
    assert_eq!(kind(&bobs), refused("session_not_found", 404));
    assert!(!bobs.body.contains(id), "{bobs}");
    assert_eq!(kind(&get("boss")), refused("session_store", 500));
}

/// faults.md F9: each place where backends are named.
#[test]
fn a_key_limited_to_some_backends_sees_no_others() {
    let keys = json!({"bob": {"allowed_backends": ["one", "gone"]}});
    let scene = scene(json!({"keys": keys, "models": {"mine": "one", "theirs": "two"}}));
    let program = scene.fake("one", "printf done");
    scene.edit_config(|config| {
        let gone = scene.text("bin/gone");
        config["backends"] = json!({
            "one": {"command": [program], "models": {"small": "s"}}, "two": {"command": [program]},
            "gone": {"command": [gone]}, "lost": {"command": [gone]},
        });
        config["default_backend"] = json!("two");
    });
    let server = scene.serve_with([], &KEYS);
    let get = |key: &str, path: &str| server.ask("GET", path).header("X-Api-Key", key).answer();
    let names = |told: &Value, list: &str, name: &str| -> Vec<String> {
        told[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    for (path, list, name, of_bob) in [
        ("/api/v1/backends", "backends", "name", &["gone", "one"][..]),
        ("/health", "backends", "name", &["gone", "one"]),
        ("/openai/v1/models", "data", "id", &["mine", "one", "one/small"]),
        ("/anthropic/v1/models", "data", "id", &["mine", "one", "one/small"]),
    ] {
        let mut seen = names(&get("bob-secret", path).json(), list, name);
        seen.sort();
        assert_eq!(seen, of_bob, "{path}");
        let all = names(&get("alice-secret", path).json(), list, name);
        assert!(all.len() > seen.len() && all.contains(&"two".to_owned()), "{path}: {all:?}");
    }
    // What needs no key shows what the server allows.
    assert!(names(&server.get("/health").json(), "backends", "name").contains(&"two".to_owned()));
    let default = |key| get(key, "/api/v1/backends").json()["default"].clone();
    assert_eq!((default("bob-secret"), default("alice-secret")), (Value::Null, json!("two")));
    // One that is not there cannot be told from one that may not be used.
    for name in ["two", "nobody"] {
        let refusal = get("bob-secret", &format!("/api/v1/backends/{name}"));
        assert_eq!(kind(&refusal), refused("policy", 403), "{refusal}");
        for (path, body) in [
            ("/api/v1/prompt", json!({"prompt": "x", "backend": name})),
            ("/openai/v1/models/two", Value::Null),
            ("/api/v1/parallel", json!({"tasks": [{"prompt": "x", "backend": name}]})),
            ("/api/v1/compare", json!({"prompt": "x", "backends": [name, "one"]})),
            ("/api/v1/chain", json!({"steps": [{"prompt": "x", "backend": name}]})),
        ] {
            let method = if body.is_null() { "GET" } else { "POST" };
            let told = server.ask(method, path).header("X-Api-Key", "bob-secret").json(&body).answer();
            assert!(!told.body.contains("lost") && !told.body.contains("echo"), "{path}: {told}");
        }
    }
    assert_eq!(get("bob-secret", "/api/v1/backends/one").status, 200);
    assert_eq!(kind(&get("alice-secret", "/api/v1/backends/nobody")), refused("unknown_backend", 404));
}

#[test]
fn all_backends_are_all_that_a_key_may_use() {
    let keys = json!({
        "alice": {"allowed_backends": ["echo"]}, "bob": {"allowed_backends": ["one", "gone"]},
        "carol": {"allowed_backends": ["gone"]},
    });
    let scene = scene(json!({"keys": keys}));
    let program = scene.fake("one", "printf done");
    scene.edit_config(|config| {
        let gone = scene.text("bin/gone");
        config["backends"] = json!({
            "one": {"command": [program]}, "two": {"command": [program]},
            "gone": {"command": [gone]}, "lost": {"command": [gone]},
        });
    });
    let server =
        scene.serve_with([], &[("CLINVK_API_KEYS", "alice=alice-secret,bob=bob-secret,carol=carol-secret")]);
    let ask = |key: &str| {
        let ask = server.ask("POST", "/api/v1/compare").header("X-Api-Key", key);
        ask.json(&json!({"prompt": "x", "all_backends": true})).answer()
    };
    let told = ask("bob-secret").json();
    let missing = json!(["backend `gone` is not installed: it is not asked"]);
    assert!(
        told["backends"] == json!(["one"]) && told["agree"] == true && told["warnings"] == missing,
        "{told}"
    );
    // None that is left is an error that says so.
    let none = ask("alice-secret");
    assert!(kind(&none) == refused("policy", 403) && none.body.contains("that may be used here"), "{none}");
    let absent = ask("carol-secret");
    assert!(
        kind(&absent) == refused("not_installed", 503) && absent.body.contains("asked: gone\""),
        "{absent}"
    );
}

/// `clinvk serve` with so many descriptors.
fn with_descriptors(scene: &Scene, count: usize) -> Server {
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let limited = format!("ulimit -n {count}; exec {clinvk} serve --port 0");
    let mut process = scene.program("/bin/sh").args(["-c", &limited]).start();
    process.says("Press Ctrl+C to stop\n");
    let said = process.said();
    let address = said.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
    Server { address: address.unwrap_or_default().to_owned(), process }
}

/// faults.md F3: what the system lacks is not the client's fault, and no program's that is there, and it passes.
#[test]
fn without_descriptors_the_server_is_busy_and_nothing_else() {
    let scene = scene(json!({}));
    let mut busy = 0;
    for count in [17, 19, 22, 26, 60] {
        let server = with_descriptors(&scene, count);
        let chat = json!({"model": "echo", "messages": [{"role": "user", "content": "x"}]});
        for (path, body, status) in [
            ("/api/v1/prompt", json!({"prompt": "x"}), 503),
            ("/api/v1/parallel", json!({"tasks": [{"prompt": "x"}]}), 503),
            ("/openai/v1/chat/completions", chat.clone(), 429),
        ] {
            let answer = server.post(path, &body);
            let is_refused = answer.status == status && answer.header("retry-after").is_some();
            let is_result = answer.status == 200 && answer.body.contains(r#""kind":"busy""#);
            let is_answered = answer.status == 200 && !answer.body.contains(r#""failed":1"#);
            assert!(is_refused || is_result || is_answered, "{count} {path}: {answer}");
            busy += usize::from(!is_answered);
        }
    }
    assert!(busy > 0, "no count was small enough");
}

/// faults.md B3: idle clients that hold every descriptor keep nobody out, and it is said at the start what there is room for.
#[test]
fn with_few_descriptors_the_server_says_so_and_answers_all_the_same() {
    let scene = scene(json!({}));
    let server = with_descriptors(&scene, 256);
    let idle: Vec<TcpStream> = (0..512).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(prompt(&server, &[]).status, 200);
    drop(idle);
    let said = server.stop().err;
    assert!(
        said.contains("a limit of 256 open files leaves room for 64 connections, not for 1024"),
        "{said}"
    );
}

/// faults.md G9: all places are at work, and it can still be asked how the server is.
#[test]
fn some_places_are_kept_for_questions_of_health() {
    let scene = scene(json!({"max_connections": 4, "max_runs": 4}));
    scene.edit_config(|config| config["backends"] = json!({"echo": {"hang": true}}));
    let server = scene.serve([]);
    let body = json!({"prompt": "x"});
    let _at_work: Vec<_> = (0..4).map(|_| server.post_stream("/api/v1/prompt", &body)).collect();
    // One is for this very question.
    let busy = |answer: Answer| (answer.status, answer.header("retry-after").map(str::to_owned));
    until("all of them are at work", || server.get("/api/v1/backends").status == 503);
    // Clients that say nothing do not take these places, either.
    let _silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    for path in ["/live", "/ready", "/health"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(busy(server.get("/api/v1/runs")), (503, Some("1".to_owned())));
}

/// faults.md B4: a finished run that is kept holds no descriptor.
#[test]
fn results_that_are_kept_hold_no_descriptors() {
    let scene = scene(json!({}));
    let server = scene.serve([]);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", server.process.pid)).unwrap().count();
    let detached = || {
        let body = json!({"prompt": "x", "ephemeral": true, "detach": true});
        let id = server.post("/api/v1/prompt", &body).json()["run_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/runs/{id}");
        until("it is over", || server.get(&path).json()["state"] != "running");
    };
    detached();
    until("nothing is under way", || server.get("/api/v1/runs").json()["runs"][0]["state"] == "done");
    let before = descriptors();
    (0..20).for_each(|_| detached());
    until("their descriptors", || descriptors() <= before + 2);
}
