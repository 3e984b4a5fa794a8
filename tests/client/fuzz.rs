//! Answers of a server, changed by chance: they are read or refused with a sentence, and reading them ends.

use crate::util::fuzz::{self, Bytes, Chance, FEW};
use clinvk::client::events::event;
use clinvk::client::http::{Address, Ask, Next};
use clinvk::exec::Cancel;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

#[test]
fn whatever_a_server_says_it_is_an_event_or_none() {
    let of = |kind: &str, content: Value| json!({"type": kind, "content": content});
    let told = [
        of("init", json!({"model": "m", "backend_session_id": "s"})),
        of("tool_use", json!({"tool_id": "1", "tool_name": "n", "input": {"a": [1]}, "parent": "p"})),
        of("plan", json!({"entries": [{"content": "c", "priority": "high", "status": "pending"}]})),
        of("progress", json!({"stage": "void", "characters": 3, "message": "m", "model": "x"})),
        of("token_usage", json!({"input_tokens": 1, "output_tokens": 2})),
        of(
            "done",
            json!({"kind": "quota", "error": "e", "exit_code": 3, "duration_seconds": 1.5, "usage": {"input_tokens": 5},
            "warnings": ["the session was not saved: e"], "tried": [{"backend": "b", "kind": "quota"}], "cost": 0.5}),
        ),
    ];
    let draw = |chance: &mut Chance| {
        let mut value = told[chance.below(told.len())].clone();
        (0..1 + chance.below(3)).for_each(|_| fuzz::value(chance, &mut value, &told));
        value
    };
    fuzz::target("events of a server", FEW, draw, |value, _| {
        event(value);
        Ok(())
    });
}

const REPLIES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\": \"text\"}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n4;x=y\r\n 1}\n\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\n{\"error\":{\"kind\":\"x\"}}\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
];
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"HTTP/1.1 ",
    b"200 ",
    b"100 ",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"\0",
    b"\xff",
    b":",
    b"a",
    b"-1",
];

#[test]
fn whatever_a_server_answers_is_read_to_its_end_or_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address =
        Address::parse(&format!("http://{}", listener.local_addr().unwrap()), Path::new("/")).unwrap();
    let (say, said) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for answer in said {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut part) = (Vec::new(), [0; 1024]);
            while !head.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut part).unwrap();
                assert!(length > 0, "{}", String::from_utf8_lossy(&head));
                head.extend_from_slice(&part[..length]);
            }
            // One who does not read to the end has closed it.
            let _ = stream.write_all(&answer).and_then(|()| stream.shutdown(Shutdown::Write));
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let draw = |chance: &mut Chance| {
        let (from, other) = (chance.of_these(REPLIES), chance.of_these(REPLIES));
        (Bytes(fuzz::bytes(chance, from, WORDS, &[other])), chance.one_in(2))
    };
    let cancel = Cancel::new().unwrap();
    fuzz::target("answers of a server", FEW, draw, |(Bytes(bytes), in_lines), _| {
        say.send(bytes.clone()).unwrap();
        let ask = Ask { method: "GET", path: "/", accept: "*/*", ..Ask::default() };
        let Ok(mut reply) = ask.send(&address) else { return Ok(()) };
        if !in_lines {
            return match reply.whole() {
                Ok(body) if body.len() > bytes.len() => {
                    Err(format!("{} bytes of {}", body.len(), bytes.len()))
                }
                _ => Ok(()),
            };
        }
        let mut read = 0;
        while let Ok(Next::Line(_) | Next::Nothing) = reply.line(&cancel, false) {
            read += 1;
            if read > 100_000 {
                return Err("it does not end".to_owned());
            }
        }
        Ok(())
    });
}
