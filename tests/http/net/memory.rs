//! Memory that clients choose (faults.md B1 and F2): the real server, and what the kernel says of it.

use crate::util::http::Server;
use crate::util::scene::{PATIENCE, Scene, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

const MIB: usize = 1 << 20;
const PROMPT: &str = "/api/v1/prompt";
const CHAT: &str = "/openai/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
/// What a server needs besides: threads, a debug build's stacks, the allocator's own.
const BESIDES: usize = 16 * MIB;

/// So many bytes of the server's memory, by their name in its status.
fn memory(server: &Server, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn serving(of_server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": of_server}));
    let server = scene.serve([]);
    (scene, server)
}

/// A list that is all structure.
fn list(bytes: usize, item: &str) -> String {
    format!("[{}{item}]", format!("{item},").repeat(bytes / (item.len() + 1)))
}

#[test]
fn one_body_costs_at_most_three_times_its_size_whatever_is_in_it() {
    const SIZE: usize = 8 * MIB;
    let (numbers, texts) = (list(SIZE, "1"), list(SIZE, "\"\""));
    let objects = list(SIZE, r#"{"a":1}"#);
    let text = "x".repeat(SIZE);
    let asking = r#""messages":[{"role":"user","content":"x"}],"max_tokens":9"#;
    let table = [
        (PROMPT, format!(r#"{{"prompt":"x","metadata":{{"a":{numbers}}}}}"#), 413),
        (PROMPT, format!(r#"{{"prompt":"x","metadata":{{"a":"{text}"}}}}"#), 400),
        (PROMPT, format!(r#"{{"prompt":"x","tags":{texts}}}"#), 413),
        (PROMPT, format!(r#"{{"prompt":"x","json_schema":{{"a":{objects}}}}}"#), 413),
        (PROMPT, format!(r#"{{"prompt":"x","junk":{numbers}}}"#), 413),
        (PROMPT, format!(r#"{{"prompt":"{text}","backend":"nope"}}"#), 404),
        (PROMPT, format!(r#"{{"prompt":"{text}","ephemeral":true}}"#), 200),
        (CHAT, format!(r#"{{"model":"echo","junk":{numbers},{asking}}}"#), 200),
        (CHAT, format!(r#"{{"model":"echo","junk":{objects},{asking}}}"#), 200),
        (CHAT, format!(r#"{{"model":"echo","messages":{numbers}}}"#), 413),
        (CHAT, format!(r#"{{"model":"echo","tools":{objects},{asking}}}"#), 413),
        (CHAT, format!(r#"{{"model":"nope/nope","messages":[{{"role":"user","content":"{text}"}}]}}"#), 404),
        (MESSAGES, format!(r#"{{"model":"echo","junk":{numbers},{asking}}}"#), 200),
        ("/openai/v1/responses", format!(r#"{{"model":"echo","junk":{numbers},"input":"x"}}"#), 200),
    ];
    let (_scene, server) = serving(json!({"strict_models": true}));
    let idle = memory(&server, "VmHWM");
    let mut most = 0;
    for (path, body, status) in table {
        let (shown, length) = (format!("{body:.60}"), body.len());
        let answer = server.ask("POST", path).header("Content-Type", "application/json").body(body).answer();
        assert_eq!(answer.status, status, "{path} {shown}: {:.300}", answer.body);
        // An answer that repeats the body counts as much as the body.
        most = most.max(3 * (length + answer.body.len()) + BESIDES);
        let grown = memory(&server, "VmHWM") - idle;
        assert!(grown < most, "{path} {shown}: {} MiB", grown / MIB);
    }
    // What is freed goes back to the system.
    until("the memory is given back", || memory(&server, "VmRSS") < idle + BESIDES);
}

/// A request whose body is announced and does not come.
fn announce(server: &Server, path: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn all_requests_together_stay_within_the_bound_and_the_others_hear_when_to_come_again() {
    const MOST: usize = 32 * MIB;
    const SIZE: usize = 8 * MIB;
    let (_scene, server) = serving(json!({"max_memory_bytes": MOST, "queue_timeout_secs": 1}));
    let idle = memory(&server, "VmHWM");
    // One has the room and sends half of its body; the others send theirs into the pipe.
    let mut first = announce(&server, PROMPT, SIZE);
    first.write_all(&vec![b' '; SIZE / 2]).unwrap();
    until("the first half is there", || memory(&server, "VmRSS") > idle + SIZE / 3);
    let mut others: Vec<(&str, TcpStream)> = [PROMPT, CHAT, MESSAGES]
        .into_iter()
        .cycle()
        .take(12)
        .map(|path| (path, announce(&server, path, SIZE)))
        .collect();
    for (path, other) in &mut others {
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        let status = if *path == PROMPT { "HTTP/1.1 503 " } else { "HTTP/1.1 429 " };
        let told = answer.to_lowercase();
        assert!(
            answer.starts_with(status)
                && told.contains("retry-after: ")
                && told.contains("server.max_memory_bytes"),
            "{path}: {answer}"
        );
    }
    // A few large requests keep nobody else out.
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.post(PROMPT, &json!({"prompt": "small"})).status, 200);
    // Many in chunks, which say nothing of their length, are cut when there is no more room.
    let piece = format!("{:x}\r\n{}\r\n", MIB, " ".repeat(MIB));
    let mut chunked: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = TcpStream::connect(&server.address).unwrap();
            let head =
                format!("POST {PROMPT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..8 {
        // One that was refused does not take any more.
        chunked.iter_mut().for_each(|stream| _ = stream.write_all(piece.as_bytes()));
    }
    // What the first one asks is answered: it had its room.
    let rest = [vec![b' '; SIZE / 2 - 14], br#"{"prompt":"x"}"#.to_vec()].concat();
    first.write_all(&rest).unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let grown = memory(&server, "VmHWM") - idle;
    assert!(grown < MOST + BESIDES, "{} MiB", grown / MIB);
}

/// Wherever both pass, neither is copied as a whole but for the answer's own text.
#[test]
fn a_long_prompt_and_its_long_answer_are_there_once() {
    const SIZE: usize = 5 * MIB;
    let text = "x".repeat(SIZE);
    for (path, body) in [
        (PROMPT, json!({"prompt": text, "ephemeral": true})),
        (CHAT, json!({"model": "echo", "messages": [{"role": "user", "content": text}]})),
    ] {
        let (_scene, server) = serving(json!({}));
        let idle = memory(&server, "VmHWM");
        let answer = server.post(path, &body);
        assert!(answer.status == 200 && answer.body.len() > SIZE, "{path}: {answer:.300}");
        let grown = memory(&server, "VmHWM") - idle;
        assert!(grown < 4 * SIZE, "{path}: {} MiB", grown / MIB);
    }
}

/// A body that comes too slowly to be there in time gives way to those that wait for its memory.
#[test]
fn a_body_that_does_not_come_keeps_the_memory_from_nobody() {
    const SIZE: usize = 8 * MIB;
    let (_scene, server) =
        serving(json!({"max_memory_bytes": 32 * MIB, "queue_timeout_secs": 50, "read_timeout_secs": 60}));
    let mut silent = announce(&server, PROMPT, SIZE);
    silent.write_all(b"{").unwrap();
    let idle = memory(&server, "VmRSS");
    assert!(idle > 0);
    let body = format!(r#"{{"prompt":"x"{}}}"#, " ".repeat(SIZE));
    assert_eq!(server.ask("POST", PROMPT).body(body).answer().status, 200, "within the wait");
    let mut told = [0; 12];
    silent.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 408");
}

/// Answers count too: those that find no room are told so, and the server does not grow beyond its bound.
#[test]
fn answers_count_as_bodies_do() {
    const MOST: usize = 24 * MIB;
    let scene = Scene::new();
    let echo = json!({"flood_bytes": 16 * MIB});
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": echo},
        "server": {"max_memory_bytes": MOST}}));
    let server = scene.serve([]);
    let idle = memory(&server, "VmHWM");
    let answer = server.post(PROMPT, &json!({"prompt": "x", "ephemeral": true}));
    assert_eq!(
        (answer.status, answer.json()["error"]["kind"].as_str()),
        (503, Some("busy")),
        "{answer:.300}"
    );
    assert!(answer.header("retry-after").is_some() && answer.body.contains("server.max_memory_bytes"));
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 99});
    assert_eq!(server.post(CHAT, &body).status, 429);
    let grown = memory(&server, "VmHWM") - idle;
    assert!(grown < MOST + BESIDES, "{} MiB", grown / MIB);
    // One that is only passed on is not kept, and needs none.
    let body = json!({"prompt": "x", "ephemeral": true, "output_format": "stream-json"});
    let mut stream = server.post_stream(PROMPT, &body);
    let head = stream.head();
    let rest = stream.rest(&head);
    assert!(
        head.status == 200 && rest.len() > 16 * MIB,
        "{} bytes: {head:.400}, {}",
        rest.len(),
        &rest[rest.len().saturating_sub(600)..]
    );
}

/// Results that wait for their client have a part of the memory: the oldest give way.
#[test]
fn results_that_are_kept_have_a_bound_and_the_oldest_go() {
    let scene = Scene::new();
    let echo = json!({"flood_bytes": MIB});
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": echo},
        "server": {"max_memory_bytes": 32 * MIB}}));
    let server = scene.serve([]);
    let ids: Vec<String> = (0..12)
        .map(|_| {
            let body = json!({"prompt": "x", "ephemeral": true, "detach": true});
            let id = server.post(PROMPT, &body).json()["run_id"].as_str().unwrap().to_owned();
            until("it is over", || server.get(&format!("/api/v1/runs/{id}")).json()["state"] != "running");
            id
        })
        .collect();
    let there = |id: &String| server.get(&format!("/api/v1/runs/{id}")).status == 200;
    assert!(!there(&ids[0]) && there(&ids[11]), "{:?}", ids.iter().map(there).collect::<Vec<_>>());
}

/// What was stored over time is not all in memory at once when it is replayed, and is not told beyond the bound.
#[test]
fn a_long_conversation_is_replayed_within_the_bound() {
    const MOST: usize = 32 * MIB;
    let (_scene, server) = serving(json!({"max_memory_bytes": MOST}));
    let idle = memory(&server, "VmHWM");
    let long = "word ".repeat(700 << 10);
    let id = server.post(PROMPT, &json!({"prompt": long})).json()["session_id"].as_str().unwrap().to_owned();
    let resume = format!("/api/v1/sessions/{id}/resume");
    for _ in 0..6 {
        assert_eq!(server.post(&resume, &json!({"prompt": long})).status, 200);
    }
    assert_eq!(server.post(&resume, &json!({"prompt": "last"})).status, 200);
    let told = server.post(&resume, &json!({"prompt": "now", "replay": true})).json();
    let output = told["output"].as_str().unwrap();
    assert!(output.contains("last") && output.ends_with("now") && output.len() < MIB, "{output:.300}");
    assert_eq!(server.get(&format!("/api/v1/sessions/{id}/turns")).status, 413);
    let grown = memory(&server, "VmHWM") - idle;
    assert!(grown < MOST + BESIDES, "{} MiB", grown / MIB);
}
