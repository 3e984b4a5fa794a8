//! clinvk-api(7) is written by hand: this holds it to the tables.

use crate::cli::manual::page;
use crate::util::scene::Scene;
use clinvk::batch::compare::OfCompare;
use clinvk::batch::{OfStep, OfTask, Settings, Steps};
use clinvk::engine::request::{OfSession, Request};
use clinvk::http::compat::{Dialect, Effect, anthropic, chat, completions, responses};
use clinvk::http::front::errors::{Cause, Fault, Surface};
use clinvk::http::native::{batch, prompt, sessions};
use clinvk::http::routes::ROUTES;
use clinvk::http::state::metrics::{Gauges, Metrics};
use clinvk::model::error::Kind;
use clinvk::model::fields::{Field, Fields};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The items of a part of clinvk-api(7): what stands behind `.It`.
#[track_caller]
fn items(part: &str) -> Vec<String> {
    let page = page("clinvk-api.7");
    let inside = page.lines().skip_while(|line| *line != part).skip(1);
    let inside = inside.take_while(|line| !line.starts_with(".Ss ") && !line.starts_with(".Sh "));
    let items: Vec<String> = inside.filter_map(|line| line.strip_prefix(".It ")).map(str::to_owned).collect();
    assert!(!items.is_empty(), "no items in {part}");
    items
}

/// The names in an item, without commas and macros.
fn names(item: &str) -> Vec<&str> {
    item.split_whitespace().filter(|word| *word != "," && !["Li", "Va"].contains(word)).collect()
}

#[test]
fn the_page_of_the_api_has_every_native_route_and_no_other() {
    let items = items(".Ss Routes");
    let documented: BTreeSet<&str> = items.iter().filter_map(|item| item.strip_prefix("Li ")).collect();
    let is_native = |path: &str| Surface::of(path) == Surface::Native;
    let routes = ROUTES.iter().filter(|route| is_native(route.path));
    let routes: Vec<String> = routes
        .flat_map(|route| route.methods.iter().map(|(method, _)| format!("{method} {}", route.path)))
        .collect();
    assert_eq!(documented, routes.iter().map(String::as_str).collect());
}

/// A field's type in the words of the manual.
fn in_words(kind: &str) -> &'static str {
    match &*kind.replace(' ', "") {
        "String" | "Text" => "text",
        "bool" => "true or false",
        "u32" | "Workers" => "number",
        "Value" => "JSON",
        "Pairs" | "Servers" | "Caller" => "object",
        "Vec<String>" => "list",
        "Vec<Picture>" => "list of pictures",
        "Span" => "time",
        "Tools" => "list or text",
        word if word.starts_with("Word<") => "word",
        other => panic!("`{other}` has no word in this test"),
    }
}

/// Holds a part to a table. `besides`: an item that no table has.
#[track_caller]
fn agrees<T: Fields>(part: &str, besides: &[&str]) {
    let mut fields: Vec<Field> = Vec::new();
    T::list(&mut fields);
    let of_table = fields.iter().map(|field| {
        let names: Vec<&str> = [field.name].into_iter().chain(field.aliases.iter().copied()).collect();
        format!("Va {} Pq {}", names.join(" , "), in_words(field.kind))
    });
    let expected: BTreeSet<String> = of_table.chain(besides.iter().map(|item| (*item).to_owned())).collect();
    assert_eq!(items(part).into_iter().collect::<BTreeSet<_>>(), expected, "{part}");
}

#[test]
fn the_page_of_the_api_has_every_field_and_no_other() {
    agrees::<Request>(".Ss Options of a prompt", &[]);
    agrees::<(OfSession, prompt::Extra)>(".Ss Options of a run", &[]);
    agrees::<Settings>(".Ss Fields of parallel", &["Va tasks Pq list"]);
    agrees::<OfTask>(".Ss Options of a task", &[]);
    agrees::<(OfCompare, batch::Extra)>(".Ss Options of a comparison", &[]);
    agrees::<Steps>(".Ss Fields of chain", &["Va steps Pq list"]);
    agrees::<OfStep>(".Ss Options of a step", &[]);
    agrees::<sessions::Change>(".Ss Fields of a session's change", &[]);
}

/// The page and openapi.json are both held to the code where that has tables; here, to each other.
#[test]
fn the_page_of_the_api_and_openapi_agree() {
    let document: Value = serde_json::from_str(include_str!("../../src/http/ops/openapi.json")).unwrap();
    let members = |value: &Value| -> BTreeSet<String> {
        value["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let all = |part: &str| -> BTreeSet<String> {
        items(part).iter().flat_map(|item| names(item)).map(str::to_owned).collect()
    };
    let schemas = &document["components"]["schemas"];
    assert_eq!(all(".Ss The answer"), members(&schemas["Answer"]));
    let query = document["paths"]["/api/v1/sessions"]["get"]["parameters"].as_array().unwrap();
    let query: BTreeSet<String> =
        query.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(all(".Ss Query of sessions"), query);
    let mut events = BTreeMap::new();
    for event in schemas["Event"]["oneOf"].as_array().unwrap() {
        let content = &event["properties"]["content"];
        let content = if content["$ref"].is_null() { content } else { &schemas["Usage"] };
        let kind = event["properties"]["type"]["const"].as_str().unwrap();
        events.insert(kind.to_owned(), members(content));
    }
    let of_page = items(".Ss Unified events").into_iter().map(|item| {
        let names = names(&item);
        (names[0].to_owned(), names[1..].iter().map(|name| (*name).to_owned()).collect())
    });
    assert_eq!(of_page.collect::<BTreeMap<String, BTreeSet<String>>>(), events);
}

#[test]
fn the_page_of_the_api_has_every_kind_with_its_status() {
    let of_kinds = Kind::ALL.iter().map(|kind| Fault::of(*kind, ""));
    let others = [
        Fault::no_path("GET", "/", &[]),
        Fault::coded_body("gzip"),
        Fault::method("PUT", "GET"),
        Fault::too_large(1, ""),
        Fault::too_slow(),
        Fault::other_request(),
        Fault::no_run("x"),
        Fault::new(Cause::Foreign, "x"),
        Fault::new(Cause::Foreign, "x"),
    ];
    let row = |fault: Fault| {
        let body: Value = serde_json::from_str(&fault.body(Surface::Native, "x")).unwrap();
        (fault.status(Surface::Native).to_string(), body["error"]["kind"].as_str().unwrap().to_owned())
    };
    let known: BTreeSet<(String, String)> = of_kinds.chain(others).map(row).collect();
    let mut documented = BTreeSet::new();
    for item in items(".Ss Failures") {
        let names = names(&item);
        documented.extend(names[1..].iter().map(|kind| (names[0].to_owned(), (*kind).to_owned())));
    }
    assert_eq!(documented, known);
}

#[test]
fn the_page_of_the_api_has_every_kind_with_its_status_for_other_vendors_clients() {
    let row =
        |kind: &Kind| (Fault::of(*kind, "").status(Surface::OpenAi).to_string(), kind.word().to_owned());
    let known: BTreeSet<(String, String)> = Kind::ALL.iter().map(row).collect();
    let mut documented = BTreeSet::new();
    for item in items(".Sh FAILURES OF OTHER VENDORS' SURFACES") {
        let names = names(&item);
        documented.extend(names[1..].iter().map(|kind| (names[0].to_owned(), (*kind).to_owned())));
    }
    assert_eq!(documented, known);
}

#[test]
fn the_page_of_the_api_has_every_metric() {
    let gauges = Gauges { footprint: Some((1, 1)), ..Gauges::default() };
    let text = Metrics::default().render(&gauges);
    let known: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let items = items(".Ss Metrics");
    assert_eq!(items.iter().flat_map(|item| names(item)).collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_page_of_the_api_has_every_field_of_the_log() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": {"log_commands": true}}));
    let server = scene.serve(["--log-format", "json"]);
    assert_eq!(server.post("/api/v1/prompt", &json!({"prompt": "a secret"})).status, 200);
    let log = server.stop().err;
    assert!(!log.contains("a secret"), "{log}");
    let mut said = BTreeMap::new();
    for line in log.lines() {
        let Value::Object(mut facts) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        let what = facts.remove("message").unwrap();
        assert!(facts.remove("time").is_some() && facts.remove("level").is_some(), "{line}");
        said.insert(what.as_str().unwrap().to_owned(), facts.keys().cloned().collect::<BTreeSet<_>>());
    }
    let of_page = items(".Ss Log").into_iter().map(|item| {
        let names = names(&item);
        (names[0].to_owned(), names[1..].iter().map(|name| (*name).to_owned()).collect())
    });
    assert_eq!(of_page.collect::<BTreeMap<String, BTreeSet<String>>>(), said);
}

#[test]
fn the_page_of_the_api_says_what_becomes_of_each_field_of_other_vendors() {
    let text = json!("x");
    let messages = json!([{"role": "user", "content": "x"}]);
    let endpoints: [(&str, &dyn Dialect, &str, Value); 4] = [
        (".Ss Fields of chat/completions", &chat::ChatCompletions, "messages", messages.clone()),
        (".Ss Fields of completions", &completions::Completions, "prompt", text.clone()),
        (".Ss Fields of responses", &responses::Responses, "input", text.clone()),
        (".Ss Fields of messages", &anthropic::Messages, "messages", messages),
    ];
    for (part, dialect, asked, words) in endpoints {
        let items = items(part);
        let of_page: BTreeSet<(&str, &str)> =
            items.iter().map(|item| item.strip_prefix("Va ").unwrap().split_once(" Pq ").unwrap()).collect();
        assert_eq!(of_page.len(), items.len(), "{part}");
        let of_code = dialect.fields().iter().flat_map(|(effect, names)| {
            let word = match effect {
                Effect::Honoured => "honoured",
                Effect::Emulated => "emulated",
                Effect::Refused => "refused",
                Effect::Ignored => "ignored",
            };
            names.iter().map(move |name| (*name, word))
        });
        let ignored: BTreeSet<(&str, &str)> =
            of_page.iter().copied().filter(|(_, effect)| *effect == "ignored").collect();
        assert_eq!(of_page, of_code.chain(ignored.iter().copied()).collect(), "{part}");
        let read = |name: &str, value: &Value| {
            let mut body = json!({asked: words});
            body[name] = value.clone();
            dialect.read(&body)
        };
        for (name, _) in &ignored {
            assert_eq!(read(name, &json!(1)).unwrap().ignored, [*name], "{part}");
        }
        // What has an effect is never named as ignored, or not for every value: there is one of these that it takes.
        let values = [
            json!("low"),
            json!(1),
            json!(true),
            json!({}),
            json!([]),
            words.clone(),
            json!("required"),
            json!({"type": "text"}),
        ];
        let with_effect = dialect.fields().iter().filter(|(effect, _)| *effect != Effect::Ignored);
        for name in with_effect.flat_map(|(_, names)| *names) {
            let has_effect = |value: &Value| match read(name, value) {
                Ok(chat) => chat.ignored.is_empty(),
                Err(fault) => fault.param == Some(*name) || *name == "tools",
            };
            // Tools have one together with what forces a call.
            assert!(*name == "tools" || values.iter().any(has_effect), "{part}: {name}");
        }
    }
}
