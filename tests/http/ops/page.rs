//! `GET /docs`: a page that runs the scripts of its own server and no other.

use crate::util::http::Server;
use crate::util::scene::Scene;
use serde_json::json;
use std::collections::BTreeSet;

fn serve() -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "a-key-of-ours")]);
    (scene, server)
}

/// What stands between quotes behind a word, everywhere in a text.
fn quoted<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// The files below `/docs/` that the page and its scripts name.
fn files(server: &Server) -> BTreeSet<String> {
    let page = server.get("/docs").body;
    let of_page = quoted(&page, "href=\"docs/").into_iter().chain(quoted(&page, "src=\"docs/"));
    let mut ahead: Vec<String> = of_page.map(str::to_owned).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = ahead.pop() {
        if found.insert(name.clone()) {
            let file = server.get(&format!("/docs/{name}")).body;
            ahead.extend(quoted(&file, "from \"./").into_iter().map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_page_is_open_and_may_do_nothing_but_what_it_needs() {
    let (_scene, server) = serve();
    let page = server.get("/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
    assert_eq!(page.header("content-security-policy"), Some(policy));
    for word in ["<style", "style=", "onclick", "<script>", "http://", "https://"] {
        assert!(!page.body.contains(word), "`{word}` in the page");
    }
    for name in
        ["prompt", "backend", "model", "workdir", "approval", "images", "key", "send", "stop", "status"]
    {
        assert_eq!(page.body.matches(&format!("id=\"{name}\"")).count(), 1, "#{name}");
        let is_labelled = page.body.contains(&format!("for=\"{name}\""));
        assert!(is_labelled || ["send", "stop", "status"].contains(&name), "#{name} has no label");
    }
    assert!(page.body.contains(env!("CARGO_PKG_VERSION")), "{page}");
}

#[test]
fn what_the_page_is_made_of_is_open_typed_small_and_of_this_server() {
    let (_scene, server) = serve();
    let files = files(&server);
    assert!(files.len() == 9, "{files:?}");
    let mut bytes = server.get("/docs").body.len();
    for name in &files {
        let file = server.get(&format!("/docs/{name}"));
        let expected = if name.ends_with(".css") { "text/css" } else { "text/javascript" };
        let expected = format!("{expected}; charset=utf-8");
        assert_eq!((file.status, file.header("content-type")), (200, Some(&*expected)), "{name}");
        // What a script would load or could make of a text.
        let body = file.body.replace("http://www.w3.org/2000/svg", "");
        for word in ["@import", "url(", "http://", "https://", "innerHTML", "eval(", "localStorage", "cookie"]
        {
            assert!(!body.contains(word), "`{word}` in {name}");
        }
        bytes += file.body.len();
    }
    assert!(bytes < 41_500, "{bytes} bytes");
}

#[test]
fn all_of_the_page_is_asked_for_again_and_is_what_it_says() {
    let (_scene, server) = serve();
    for path in ["/docs", "/docs/page.js", "/docs/page.css", "/openapi.json"] {
        let answer = server.get(path);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        assert_eq!(server.ask("HEAD", path).send().head().status, 200, "{path}");
        let refused = server.ask("POST", path).header("X-Api-Key", "a-key-of-ours").answer();
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
}

#[test]
fn a_file_that_the_page_does_not_have_is_not_there() {
    let (_scene, server) = serve();
    for path in ["/docs/page.html", "/docs/../openapi.json", "/docs/%2e%2e%2fpage.rs", "/docs/a/page.js"] {
        let answer = server.ask("GET", path).header("X-Api-Key", "a-key-of-ours").answer();
        assert_eq!(answer.status, 404, "{path} {answer}");
    }
}

#[test]
fn with_a_slash_behind_it_the_page_is_where_its_files_are() {
    let (_scene, server) = serve();
    let answer = server.get("/docs/");
    assert_eq!((answer.status, answer.header("location")), (303, Some("../docs")), "{answer}");
}
