//! Every path that there is, with its methods. Parser, manual page, `openapi.json` and metrics' labels go by this table.

use super::compat::{catalogue, serve as compat};
use crate::base::encoding::percent_decoded;
use crate::http::front::errors::Fault;
use crate::http::native;
use crate::http::ops::{health, page};
use crate::http::state::call::{Handler, Route};

const fn get(path: &'static str, open: bool, methods: &'static [(&'static str, Handler)]) -> Route {
    Route { path, allow: "GET, HEAD", query: &[], open, methods }
}

const fn post(path: &'static str, methods: &'static [(&'static str, Handler)]) -> Route {
    Route { path, allow: "POST", query: &[], open: false, methods }
}

/// All paths.
pub const ROUTES: &[Route] = &[
    get("/health", true, &[("GET", health::health)]),
    get("/live", true, &[("GET", health::live)]),
    get("/ready", true, &[("GET", health::ready)]),
    get("/metrics", false, &[("GET", health::metrics)]),
    get("/", true, &[("GET", page::root)]),
    get("/docs", true, &[("GET", page::docs)]),
    get("/docs/{file}", true, &[("GET", page::file)]),
    get("/openapi.json", true, &[("GET", page::openapi)]),
    post("/api/v1/prompt", &[("POST", native::prompt::prompt)]),
    post("/api/v1/parallel", &[("POST", native::batch::parallel)]),
    post("/api/v1/compare", &[("POST", native::batch::compare)]),
    post("/api/v1/chain", &[("POST", native::batch::chain)]),
    get("/api/v1/backends", false, &[("GET", native::backends::list)]),
    get("/api/v1/backends/{name}", false, &[("GET", native::backends::one)]),
    get("/api/v1/pool", false, &[("GET", native::pool::look)]),
    Route {
        query: &[
            "backend", "status", "model", "workdir", "tag", "search", "since", "before", "limit", "offset",
        ],
        ..get("/api/v1/sessions", false, &[("GET", native::sessions::list)])
    },
    Route {
        path: "/api/v1/sessions/{id}",
        allow: "GET, HEAD, PATCH, DELETE",
        query: &[],
        open: false,
        methods: &[
            ("GET", native::sessions::one),
            ("PATCH", native::sessions::change),
            ("DELETE", native::sessions::delete),
        ],
    },
    post("/api/v1/sessions/{id}/resume", &[("POST", native::prompt::resume)]),
    post("/api/v1/sessions/{id}/fork", &[("POST", native::sessions::fork)]),
    get("/api/v1/sessions/{id}/turns", false, &[("GET", native::sessions::turns)]),
    post("/openai/v1/chat/completions", &[("POST", compat::chat)]),
    post("/openai/v1/responses", &[("POST", compat::responses)]),
    post("/openai/v1/completions", &[("POST", compat::completions)]),
    get("/openai/v1/models", false, &[("GET", catalogue::openai_models)]),
    get("/openai/v1/models/{id...}", false, &[("GET", catalogue::openai_model)]),
    get("/anthropic", true, &[("GET", compat::probe)]),
    post("/anthropic/v1/messages", &[("POST", compat::messages)]),
    post("/anthropic/v1/messages/count_tokens", &[("POST", compat::count_tokens)]),
    get("/anthropic/v1/models", false, &[("GET", catalogue::anthropic_models)]),
    get("/anthropic/v1/models/{id...}", false, &[("GET", catalogue::anthropic_model)]),
    get("/api/v1/runs", false, &[("GET", native::runs::list)]),
    Route {
        path: "/api/v1/runs/{id}",
        allow: "GET, HEAD, DELETE",
        query: &[],
        open: false,
        methods: &[("GET", native::runs::one), ("DELETE", native::runs::cancel)],
    },
    get("/api/v1/runs/{id}/events", false, &[("GET", native::runs::events)]),
];

impl Route {
    /// What answers that method.
    pub(crate) fn handler(&self, method: &str) -> Result<Handler, Fault> {
        let asked = if method == "HEAD" { "GET" } else { method };
        let found = self.methods.iter().find(|(known, _)| *known == asked);
        found.map(|(_, handler)| *handler).ok_or_else(|| Fault::method(method, self.allow))
    }
}

/// The route of a path and what stands at its open places, decoded.
pub(crate) fn find(path: &str) -> Option<(&'static Route, Vec<String>)> {
    let parts = parts(path);
    ROUTES.iter().find_map(|route| Some((route, matched(route.path, &parts)?)))
}

/// The paths that were probably meant by one that leads nowhere: without doubled slashes, below the name of a surface.
pub(crate) fn meant(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let behind_version = parts.strip_prefix(&["v1"]).unwrap_or(&parts).join("/");
    let below = ["/openai/v1/", "/anthropic/v1/", "/api/v1/"].map(|above| format!("{above}{behind_version}"));
    let meant = [format!("/{}", parts.join("/"))].into_iter().chain(below);
    meant.filter(|path| !behind_version.is_empty() && find(path).is_some()).collect()
}

/// The parts of a path. Clients of the compatible surfaces put as many `v1` before theirs as they like. A doubled slash
/// is an empty part, at the beginning too: what a proxy keeps from `/metrics` does not come as `//metrics`.
fn parts(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    if matches!(parts.first(), Some(&"openai" | &"anthropic")) {
        let versions = parts[1..].iter().take_while(|part| **part == "v1").count();
        parts.drain(1..1 + versions);
        if parts.len() > 1 {
            parts.insert(1, "v1");
        }
    }
    parts
}

fn matched(pattern: &'static str, parts: &[&str]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = parts.iter();
    for wanted in pattern[1..].split('/') {
        let part = rest.next()?;
        if wanted.ends_with("...}") {
            let all: Vec<&str> = std::iter::once(part).chain(rest).copied().collect();
            found.push(percent_decoded(&all.join("/")));
            return Some(found);
        }
        match wanted.starts_with('{') {
            true if part.is_empty() => return None,
            true => found.push(percent_decoded(part)),
            false if wanted != *part => return None,
            false => {}
        }
    }
    rest.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_route() {
        type Found = (&'static str, &'static [&'static str]);
        let table: &[(&str, Option<Found>)] = &[
            ("/health", Some(("/health", &[]))),
            ("/health/", Some(("/health", &[]))),
            ("/api/v1/sessions", Some(("/api/v1/sessions", &[]))),
            ("/api/v1/sessions/ab%2fc", Some(("/api/v1/sessions/{id}", &["ab/c"]))),
            ("/api/v1/sessions/x/fork", Some(("/api/v1/sessions/{id}/fork", &["x"]))),
            ("/api/v1/sessions/x/knife", None),
            ("/api/v1/sessions//fork", None),
            ("/openai/v1/models", Some(("/openai/v1/models", &[]))),
            ("/openai/models", Some(("/openai/v1/models", &[]))),
            ("/openai/v1/v1/models", Some(("/openai/v1/models", &[]))),
            ("/openai/v1//models", None),
            ("//openai/v1/models", None),
            ("//metrics", None),
            ("/metrics//", None),
            ("/", Some(("/", &[]))),
            ("*", None),
            ("/../etc/passwd", None),
        ];
        for (path, expected) in table {
            let found = find(path).map(|(route, params)| (route.path, params));
            let expected =
                expected.map(|(path, params)| (path, params.iter().map(|part| (*part).to_owned()).collect()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn allow_names_the_methods_there_are() {
        for route in ROUTES {
            let mut known: Vec<&str> = route.methods.iter().map(|(method, _)| *method).collect();
            if known.contains(&"GET") && !known.contains(&"HEAD") {
                known.insert(1, "HEAD");
            }
            assert_eq!(route.allow, known.join(", "), "{}", route.path);
            assert!(
                find(route.path).is_some_and(|(found, _)| found.path == route.path),
                "{} is hidden",
                route.path
            );
        }
    }
}
