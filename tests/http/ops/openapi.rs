//! `openapi.json` is written by hand: this holds it to the routes, to the fields that requests have, and to the server.

use crate::util::scene::Scene;
use clinvk::batch::compare::OfCompare;
use clinvk::batch::{OfStep, OfTask, Settings, State, Steps};
use clinvk::engine::request::{OfSession, Request};
use clinvk::http::native::{batch, prompt, sessions};
use clinvk::http::routes::ROUTES;
use clinvk::model::error::Kind;
use clinvk::model::fields::{Field, Fields};
use clinvk::model::task::{Approval, Effort, OutputFormat, Sandbox};
use clinvk::session::Status;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../src/http/ops/openapi.json")).unwrap()
}

/// Method and path of everything that is served, as OpenAPI writes them.
fn served() -> BTreeSet<(String, String)> {
    let of_route = |route: &clinvk::http::state::call::Route| {
        let path = route.path.replace("...}", "}");
        route.methods.iter().map(|(method, _)| ((*method).to_owned(), path.clone())).collect::<Vec<_>>()
    };
    ROUTES.iter().flat_map(of_route).collect()
}

/// Method, path and operation of everything that is described.
fn described(document: &Value) -> Vec<(String, String, &Map<String, Value>)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (name, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            found.push((name.to_uppercase(), path.clone(), operation.as_object().unwrap()));
        }
    }
    found
}

#[test]
fn it_has_every_route_and_no_other() {
    let document = document();
    let described: BTreeSet<_> =
        described(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(described, served());
}

#[test]
fn queries_have_the_fields_that_routes_read() {
    let document = document();
    for route in ROUTES.iter().filter(|route| route.path.starts_with("/api/")) {
        let parameters = document["paths"][route.path]["get"]["parameters"].as_array();
        let of_query = parameters.into_iter().flatten().filter(|parameter| parameter["in"] == "query");
        let names: Vec<&str> = of_query.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(names, route.query, "{}", route.path);
    }
}

#[test]
fn open_routes_are_those_without_security() {
    let document = document();
    for (method, path, operation) in described(&document) {
        if let Some(route) = ROUTES.iter().find(|route| route.path.replace("...}", "}") == path) {
            assert_eq!(operation.get("security") == Some(&json!([])), route.open, "{method} {path}");
        }
    }
}

#[test]
fn what_stands_open_in_a_path_is_a_parameter() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let open = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let open: BTreeSet<&str> = open.collect();
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            let lists = [&item["parameters"], &operation["parameters"]];
            let all = lists.into_iter().filter_map(Value::as_array).flatten();
            let all = all.map(|parameter| known(&document, parameter));
            let of_path: BTreeSet<&str> = all
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(of_path, open, "{method} {path}");
        }
    }
}

/// What a reference means; what is none is itself.
fn known<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        None => value,
        Some(name) => {
            let pointer = name.strip_prefix('#').unwrap_or_else(|| panic!("{name} is not in the document"));
            document.pointer(pointer).unwrap_or_else(|| panic!("{name} leads nowhere"))
        }
    }
}

/// Everything in a value, itself first.
fn everything<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| everything(member, found)),
        Value::Array(items) => items.iter().for_each(|item| everything(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut all = Vec::new();
    everything(&document, &mut all);
    let references: BTreeSet<&str> = all.iter().filter_map(|value| value["$ref"].as_str()).collect();
    for name in &references {
        assert!(known(&document, &json!({"$ref": name})).is_object(), "{name}");
    }
    let mut components = BTreeSet::new();
    for (group, members) in document["components"].as_object().unwrap() {
        if group != "securitySchemes" {
            components.extend(
                members.as_object().unwrap().keys().map(|name| format!("#/components/{group}/{name}")),
            );
        }
    }
    let used =
        references.into_iter().filter(|name| !name.contains("/properties/")).map(str::to_owned).collect();
    assert_eq!(components, used);
}

/// A field's type as a schema.
fn schema(kind: &str) -> Value {
    let text = json!({"type": "string"});
    let named = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    match &*kind.replace(' ', "") {
        "String" | "Text" => text,
        "bool" => json!({"type": "boolean"}),
        "u32" => json!({"type": "integer", "minimum": 0}),
        "Workers" => json!({"type": "integer", "minimum": 1, "maximum": 1024}),
        "Value" => json!({}),
        "Servers" | "Caller" => json!({"type": "object"}),
        "Pairs" => json!({"type": "object", "maxProperties": 16}),
        "Vec<String>" => json!({"type": "array", "items": text}),
        "Vec<Picture>" => json!({"type": "array", "items": named("Picture")}),
        "Span" => named("Span"),
        "Tools" => named("Tools"),
        "Word<Approval>" => named("ApprovalMode"),
        "Word<Sandbox>" => named("SandboxMode"),
        "Word<OutputFormat>" => named("OutputFormat"),
        "Word<Effort>" => named("Effort"),
        "Word<Status>" => named("SessionStatus"),
        other => panic!("`{other}` has no schema in this test"),
    }
}

/// Holds a schema to a table. `besides`: what it has that no table has.
#[track_caller]
fn agrees<T: Fields>(name: &str, besides: &[&str]) {
    let document = document();
    let properties = document["components"]["schemas"][name]["properties"].as_object().unwrap();
    let mut fields: Vec<Field> = Vec::new();
    T::list(&mut fields);
    let mut expected: BTreeSet<&str> = besides.iter().copied().collect();
    for field in fields {
        let place = format!("{name}.{}", field.name);
        let mut property = properties.get(field.name).unwrap_or_else(|| panic!("{place} is missing")).clone();
        let help = property.as_object_mut().unwrap().remove("description").unwrap_or_default();
        assert!(help.as_str().unwrap_or("").starts_with(field.help), "{place}: {help}: {}", field.help);
        // The bounds of what is stored are in no table of types.
        let bounds = ["maxItems", "maxLength"];
        property.as_object_mut().unwrap().retain(|key, _| !bounds.contains(&key.as_str()));
        if let Some(items) = property.get_mut("items").and_then(Value::as_object_mut) {
            items.retain(|key, _| !bounds.contains(&key.as_str()));
        }
        assert_eq!(property, schema(field.kind), "{place}");
        for alias in field.aliases {
            let same = json!({"$ref": format!("#/components/schemas/{name}/properties/{}", field.name)});
            assert_eq!(properties.get(*alias), Some(&same), "{name}.{alias}");
        }
        expected.insert(field.name);
        expected.extend(field.aliases);
    }
    let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(known, expected, "{name}");
}

#[test]
fn requests_have_the_fields_of_their_tables() {
    agrees::<Request>("Request", &[]);
    agrees::<(OfSession, prompt::Extra)>("RunOptions", &[]);
    agrees::<sessions::Change>("SessionChange", &[]);
    agrees::<(OfCompare, batch::Extra)>("CompareOptions", &[]);
    agrees::<OfTask>("TaskOptions", &[]);
    agrees::<OfStep>("StepOptions", &[]);
    agrees::<Settings>("Parallel", &["tasks"]);
    agrees::<Steps>("Chain", &["steps"]);
}

#[test]
fn words_are_those_of_the_code() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for (place, words) in [
        (&schemas["ApprovalMode"], Approval::WORDS),
        (&schemas["SandboxMode"], Sandbox::WORDS),
        (&schemas["OutputFormat"], OutputFormat::WORDS),
        (&schemas["Effort"], Effort::WORDS),
        (&schemas["SessionStatus"], Status::WORDS),
        (&schemas["Kind"], Kind::WORDS),
        (&schemas["Result"]["properties"]["status"], State::WORDS),
    ] {
        assert_eq!(place["enum"], json!(words));
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let types: Vec<&Value> = schemas["Event"]["oneOf"].as_array().unwrap().iter().collect();
    let types: Vec<&Value> = types.iter().map(|one| &one["properties"]["type"]["const"]).collect();
    assert_eq!(json!(types), schemas["EventType"]["enum"]);
}

/// What of a value does not stand in its schema: wrong types, members that are not described, words that are none.
fn strangers(document: &Value, value: &Value, schema: &Value, place: &str) -> Vec<String> {
    let schema = known(document, schema);
    let either = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
    let at = |what: &str| vec![format!("{place}: {value} is {what}")];
    if let Some(only) = schema.get("const") {
        return if value == only { Vec::new() } else { at(&format!("not {only}")) };
    }
    if !schema["enum"].is_null() && !either("enum").contains(value) {
        return at("no word of the list");
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |known: &Value| known == kind || (known == "number" && kind == "integer");
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(is),
        one => is(one),
    };
    if !fits {
        return at(&format!("no {}", schema["type"]));
    }
    let parts: Vec<Value> = either("allOf");
    let choices = either("oneOf");
    let mut found = Vec::new();
    if let Some(members) = value.as_object() {
        let is_described = !schema["properties"].is_null();
        for (name, member) in members {
            let place = format!("{place}.{name}");
            let own = schema["properties"].get(name);
            let inherited =
                parts.iter().find_map(|part| known(document, part)["properties"].get(name).cloned());
            match own.cloned().or(inherited) {
                Some(schema) => found.extend(strangers(document, member, &schema, &place)),
                None if is_described => found.push(format!("{place} is not described")),
                None => {}
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(strangers(document, item, &schema["items"], &format!("{place}[{index}]")));
    }
    let wrong = choices.iter().map(|choice| {
        // What stands beside the choices was looked at above.
        let beside = schema["properties"].as_object().zip(choice["properties"].as_object());
        let mut value = value.clone();
        if let (Some((_, own)), Some(members)) = (beside, value.as_object_mut()) {
            members.retain(|name, _| own.contains_key(name));
        }
        strangers(document, &value, choice, place)
    });
    let wrong: Vec<_> = wrong.collect();
    if !wrong.is_empty() && wrong.iter().all(|wrong| !wrong.is_empty()) {
        // The choice that comes nearest says most.
        found.extend(wrong.into_iter().min_by_key(Vec::len).unwrap());
    }
    found
}

#[test]
fn the_server_says_what_it_describes() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let server = scene.serve([]);
    let served = server.get("/openapi.json");
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")), "{served}");
    let document = served.json();
    let post =
        |path: &str, body: Value| (("post", path.to_owned(), path.to_owned()), server.post(path, &body));
    let get = |path: &str, of: &str| (("get", of.to_owned(), path.to_owned()), server.get(path));
    let first = server.post("/api/v1/prompt", &json!({"prompt": "one"})).json();
    let id = first["session_id"].as_str().unwrap();
    let session =
        |rest: &str| (format!("/api/v1/sessions/{id}{rest}"), format!("/api/v1/sessions/{{id}}{rest}"));
    let change = server.ask("PATCH", &session("").0).json(&json!({"title": "new"})).answer();
    let detached = server.post("/api/v1/prompt", &json!({"prompt": "two", "detach": true}));
    let run = format!("/api/v1/runs/{}", detached.json()["run_id"].as_str().unwrap());
    let answers = [
        post("/api/v1/prompt", json!({"prompt": "one"})),
        post("/api/v1/prompt", json!({"prompt": "one", "dry_run": true})),
        (("post", "/api/v1/prompt".to_owned(), "detach".to_owned()), detached),
        post("/api/v1/prompt", json!({"promt": "one"})),
        post("/api/v1/prompt", json!({"prompt": "one", "backend": "codex"})),
        post(
            "/api/v1/parallel",
            json!({"tasks": [{"prompt": "one", "id": "a"}, {"prompt": "b", "backend": "nobody"}]}),
        ),
        post("/api/v1/compare", json!({"prompt": "one", "backends": ["echo", "codex"]})),
        post("/api/v1/chain", json!({"steps": [{"prompt": "one", "name": "a"}, {"prompt": "{{previous}}"}]})),
        get("/api/v1/backends", "/api/v1/backends"),
        get("/api/v1/backends/echo", "/api/v1/backends/{name}"),
        get("/api/v1/backends/nobody", "/api/v1/backends/{name}"),
        get("/api/v1/sessions", "/api/v1/sessions"),
        get(&session("").0, &session("").1),
        (("patch", session("").1, "change".to_owned()), change),
        get(&session("/turns").0, &session("/turns").1),
        (
            ("post", session("/resume").1, "resume".to_owned()),
            server.post(&session("/resume").0, &json!({"prompt": "two"})),
        ),
        (("post", session("/fork").1, "fork".to_owned()), server.post(&session("/fork").0, &json!({}))),
        (("delete", session("").1, "delete".to_owned()), server.ask("DELETE", &session("").0).answer()),
        get("/api/v1/runs", "/api/v1/runs"),
        get(&run, "/api/v1/runs/{id}"),
        (
            ("delete", "/api/v1/runs/{id}".to_owned(), "cancel".to_owned()),
            server.ask("DELETE", &run).answer(),
        ),
        get("/health", "/health"),
        get("/live", "/live"),
        get("/ready", "/ready"),
    ];
    let mut found = Vec::new();
    for ((method, path, what), answer) in &answers {
        let responses = &document["paths"][path][method]["responses"];
        let response = responses.get(answer.status.to_string()).unwrap_or(&responses["default"]);
        let schema = &known(&document, response)["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{method} {path}: {} is not described", answer.status);
        let place = format!("{method} {what} {}", answer.status);
        found.extend(strangers(&document, &answer.json(), schema, &place));
    }
    let streamed = server.ask("POST", "/api/v1/prompt").header("Accept", "application/x-ndjson");
    for event in streamed.json(&json!({"prompt": "one"})).answer().lines() {
        found.extend(strangers(&document, &event, &document["components"]["schemas"]["Event"], "event"));
    }
    assert!(found.is_empty(), "{found:#?}");
}
