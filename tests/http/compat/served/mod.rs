//! The surfaces of other vendors over HTTP, by the real binary: what their clients get, in which order, and what is left
//! behind.

mod bounds;
mod failures;
mod kept;
mod names;
mod shapes;
mod threads;

use crate::util::http::{Answer, Server, Stream};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};

const CHAT: &str = "/openai/v1/chat/completions";
const COMPLETIONS: &str = "/openai/v1/completions";
const RESPONSES: &str = "/openai/v1/responses";
const MESSAGES: &str = "/anthropic/v1/messages";

/// A server with echo as its default backend, with these keys of echo and of the server.
fn with_echo(echo: Value, server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": echo}, "server": server}));
    let running = scene.serve([]);
    (scene, running)
}

fn echo() -> (Scene, Server) {
    with_echo(json!({}), json!({}))
}

/// What each endpoint is asked when it is asked for this.
fn asking(path: &str, words: &str) -> Value {
    match path {
        COMPLETIONS => json!({"model": "m", "prompt": words}),
        RESPONSES => json!({"model": "m", "input": words}),
        _ => json!({"model": "m", "messages": [{"role": "user", "content": words}]}),
    }
}

/// The same as a stream.
fn streaming(path: &str, words: &str) -> Value {
    with(asking(path, words), json!({"stream": true}))
}

/// A body with these fields, too.
fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// The text of a whole answer, in any of the dialects.
#[track_caller]
fn text(answer: &Answer) -> String {
    let told = answer.json();
    let places = ["/choices/0/message/content", "/content/0/text", "/output/0/content/0/text"];
    let text = places.iter().find_map(|place| told.pointer(place)?.as_str());
    text.unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
}

/// The next frame that has this in it.
#[track_caller]
fn frame_with(stream: &mut Stream, words: &str) -> String {
    loop {
        let chunk = stream.chunk();
        assert!(!chunk.is_empty(), "the stream ended without {words:?}");
        if chunk.contains(words) {
            return chunk;
        }
    }
}

#[test]
fn each_word_is_sent_before_the_next_one_is_there() {
    for (path, last) in [
        (CHAT, "data: [DONE]\n\n"),
        (MESSAGES, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        (RESPONSES, "}}\n\n"),
        ("/openai/v1/completions", "data: [DONE]\n\n"),
    ] {
        let scene = Scene::playing("cat >/dev/null; for n in 1 2 3; do printf 'word%s ' $n; await go; done");
        let mut go = scene.fifo("go");
        let server = scene.serve([]);
        let body = match path {
            "/openai/v1/completions" => json!({"model": "m", "prompt": "x", "stream": true}),
            _ => streaming(path, "x"),
        };
        let mut stream = server.post_stream(path, &body);
        let head = stream.head();
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, Some("text/event-stream; charset=utf-8"))
        );
        assert_eq!(head.header("x-clinvk-backend"), Some("fake"), "{head}");
        for number in 1..=3 {
            frame_with(&mut stream, &format!("word{number}"));
            go.tell();
        }
        let rest = stream.rest(&head);
        assert!(rest.ends_with(last), "{path}: {rest}");
    }
}

#[test]
fn a_client_that_leaves_ends_its_run_and_the_whole_tree() {
    const STUBBORN: &str = r#"trap '' TERM INT; "$here/sleep" 1000 & setsid "$here/sleep" 1001 & daemon; printf 'started '; tell up; while :; do wait; done"#;
    for path in [CHAT, MESSAGES, RESPONSES] {
        for stream in [true, false] {
            let scene = Scene::playing(STUBBORN);
            let mut up = scene.fifo("up");
            let server = scene.serve([]);
            let asked = server.post_stream(path, &with(asking(path, "x"), json!({"stream": stream})));
            up.told();
            drop(asked);
            let own = server.process.pid;
            until("the tree is gone", || scene.processes().keys().all(|pid| *pid == own));
            until("the run is over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
            until("no session is left", || kept(&scene) == 0);
            server.stop();
            scene.is_deserted();
        }
    }
}

#[test]
fn many_at_once_are_all_answered() {
    let (_scene, server) =
        with_echo(json!({}), json!({"max_runs": 4, "queue_length": 64, "queue_timeout_secs": 60}));
    let streams: Vec<Stream> = (0..64)
        .map(|number| {
            server.post_stream(
                CHAT,
                &with(asking(CHAT, &format!("word{number}")), json!({"stream": number % 2 == 0})),
            )
        })
        .collect();
    for (number, mut stream) in streams.into_iter().enumerate() {
        let mut answer = stream.head();
        answer.body = stream.rest(&answer);
        assert!(answer.status == 200 && answer.body.contains(&format!("word{number}")), "{answer}");
    }
}

/// How many sessions are on the disk, those that no listing shows too.
fn kept(scene: &Scene) -> usize {
    let sessions = std::fs::read_dir(scene.path("home/.clinvk/sessions")).into_iter().flatten().flatten();
    let is_session = |name: &str| name.len() == 37 && name.ends_with(".json");
    sessions.filter(|entry| entry.file_name().to_str().is_some_and(is_session)).count()
}
