//! What there is to know about the API: for people as one page that can try a prompt, for programs as OpenAPI. Both are
//! data that is compiled in; nothing of them depends on a request.

use crate::base::encoding::base64;
use crate::base::sha256;
use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use std::sync::LazyLock;

/// OpenAPI 3.1, kept by hand. A test holds it to the routes and to the fields that requests have.
const OPENAPI: &str = include_str!("openapi.json");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page with everything that it needs in it.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (format!("<style>{STYLE}</style>"), format!("<script>{SCRIPT}</script>"));
    include_str!("page.html").replace("<!-- style -->", &style).replace("<!-- script -->", &script)
});

/// What the page may do: run this one script, and talk to the server that it came from. Nothing that an answer brings
/// with it can run, not even where the page would let it in.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", base64(&sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        hash(SCRIPT),
        hash(STYLE),
    )
});

/// `GET /`: a person is led to the page, a program told what there is.
pub(crate) fn root(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    add(call, &[("Vary", "Accept")]);
    if call.exchange.head.text("accept").is_some_and(|accept| accept.contains("text/html")) {
        add(call, &[("Location", "/docs")]);
        call.answer(303, "text/plain; charset=utf-8", "see /docs\n");
        return Ok(());
    }
    let version = env!("CARGO_PKG_VERSION");
    let surfaces = "/api/v1, /openai/v1 and /anthropic; described in /openapi.json and, for people, in /docs";
    answer(call, "text/plain; charset=utf-8", &format!("clinvk {version}: {surfaces}\n"));
    Ok(())
}

/// `GET /docs`
pub(crate) fn docs(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    add(call, &[("Content-Security-Policy", &POLICY), ("Cross-Origin-Opener-Policy", "same-origin")]);
    answer(call, "text/html; charset=utf-8", &PAGE);
    Ok(())
}

/// `GET /openapi.json`
pub(crate) fn openapi(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, "application/json", OPENAPI);
    Ok(())
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
