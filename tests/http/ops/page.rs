//! `GET /docs`: one page with everything in it, which runs its own script and no other.

use crate::util::scene::Scene;
use clinvk::base::encoding::base64;
use clinvk::base::sha256;
use serde_json::json;

/// What stands between two words of the page.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = page.split_once(from).unwrap_or_else(|| panic!("{from} is not in the page"));
    rest.split_once(to).unwrap_or_else(|| panic!("{to} is not in the page")).0
}

#[test]
fn the_page_is_open_and_needs_nothing_else() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "a-key-of-ours")]);
    let page = server.get("/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
    // What it would load, it would load by one of these.
    for word in [" src=", "@import", "url(", "//cdn", "http://", "https://"] {
        assert!(!page.body.contains(word), "`{word}` in the page");
    }
    assert!(page.body.len() < 25_000, "{} bytes", page.body.len());
    for name in ["prompt", "backend", "key", "send", "stop", "output", "status"] {
        assert_eq!(page.body.matches(&format!("id=\"{name}\"")).count(), 1, "#{name}");
    }
    let policy = page.header("content-security-policy").unwrap();
    let hash = |text: &str| format!("'sha256-{}'", base64(&sha256::digest(text.as_bytes())));
    let (script, style) =
        (between(&page.body, "<script>", "</script>"), between(&page.body, "<style>", "</style>"));
    for rule in [
        "default-src 'none'",
        &format!("script-src {}", hash(script)),
        &format!("style-src {}", hash(style)),
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|known| known == rule), "{rule} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ] {
        for answer in [&page, &server.get("/openapi.json")] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
    }
    assert_eq!(server.ask("HEAD", "/docs").send().head().status, 200);
}
