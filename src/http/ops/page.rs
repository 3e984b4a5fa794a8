//! What there is to know about the API: for people as a page that is a small console, for programs as OpenAPI. Both are data
//! that is compiled in; nothing of them depends on a request.

use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use std::sync::LazyLock;

/// OpenAPI 3.1, kept by hand. A test holds it to the routes and to the fields that requests have.
const OPENAPI: &str = include_str!("openapi.json");

/// The page; what else it needs is beside it.
static PAGE: LazyLock<String> =
    LazyLock::new(|| include_str!("page/page.html").replace("<!-- version -->", env!("CARGO_PKG_VERSION")));

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What stands below the page: name, type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("page.js", SCRIPT, include_str!("page/page.js")),
    ("common.js", SCRIPT, include_str!("page/common.js")),
    ("conversation.js", SCRIPT, include_str!("page/conversation.js")),
    ("transcript.js", SCRIPT, include_str!("page/transcript.js")),
    ("sessions.js", SCRIPT, include_str!("page/sessions.js")),
    ("runs.js", SCRIPT, include_str!("page/runs.js")),
    ("figures.js", SCRIPT, include_str!("page/figures.js")),
    ("reference.js", SCRIPT, include_str!("page/reference.js")),
];

/// What the page may do: run and show the files of the server that it came from, and talk to it. What an answer brings
/// along is no such file: it cannot run, not even where the page would let it in. Pictures are those that the user sends.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// `GET /`: a person is led to the page, a program told what there is.
pub(crate) fn root(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    add(call, &[("Vary", "Accept")]);
    if call.exchange.head.text("accept").is_some_and(|accept| accept.contains("text/html")) {
        lead(call, "docs");
        return Ok(());
    }
    let version = env!("CARGO_PKG_VERSION");
    let surfaces = "/api/v1, /openai/v1 and /anthropic; described in /openapi.json and, for people, in /docs";
    answer(call, "text/plain; charset=utf-8", &format!("clinvk {version}: {surfaces}\n"));
    Ok(())
}

/// `GET /docs`
pub(crate) fn docs(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    if call.exchange.head.path.ends_with('/') {
        // What the page loads is named from where it is.
        lead(call, "../docs");
        return Ok(());
    }
    add(call, &[("Content-Security-Policy", POLICY), ("Cross-Origin-Opener-Policy", "same-origin")]);
    answer(call, "text/html; charset=utf-8", &PAGE);
    Ok(())
}

/// `GET /docs/{file}`
pub(crate) fn file(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let found = FILES.iter().find(|(name, ..)| *name == call.params[0]);
    let Some((_, content_type, text)) = found else {
        return Err(Fault::no_path("GET", &call.exchange.head.path, &["/docs".to_owned()]));
    };
    answer(call, content_type, text);
    Ok(())
}

/// `GET /openapi.json`
pub(crate) fn openapi(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, "application/json", OPENAPI);
    Ok(())
}

/// Leads a browser elsewhere, as seen from here: below a proxy the server may not be at the root.
fn lead(call: &mut Call<'_, '_>, place: &str) {
    add(call, &[("Location", place)]);
    call.answer(303, "text/plain; charset=utf-8", "see /docs\n");
}

fn answer(call: &mut Call<'_, '_>, content_type: &str, body: &str) {
    let common = [
        ("Cache-Control", "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ];
    add(call, &common);
    call.answer(200, content_type, body);
}

fn add(call: &mut Call<'_, '_>, headers: &[(&str, &str)]) {
    call.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
}
