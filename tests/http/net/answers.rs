//! What one client hears.

use super::server::{Answer, TestServer, limits, routes, text};
use crate::util::scene::{PATIENCE, until};
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// The header fields of an answer but its date, in their order.
fn fields(answer: &Answer) -> Vec<String> {
    let undated = answer.headers.iter().filter(|(name, _)| name != "date");
    undated.map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn an_answer_has_a_date_a_server_and_a_length() {
    let server = TestServer::new(limits());
    let answer = server.client().asks(&get("/"));
    let date = answer.header("date").unwrap();
    assert!(date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{date}");
    assert_eq!(fields(&answer), ["server: clinvk", "content-length: 5"]);
}

#[test]
fn a_refusal_of_the_door_says_why_in_json() {
    let server = TestServer::new(limits());
    let answer = server.client().asks(b"GET / HTTP/1.1\r\n\r\n");
    let says = r#"{"error":{"kind":"invalid_request","message":"there is no Host","request_id":null}}"#;
    assert_eq!((answer.status, answer.text().trim_end()), (400, says));
    let expected =
        ["server: clinvk", "content-type: application/json", "content-length: 84", "connection: close"];
    assert_eq!(fields(&answer), expected);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    for _ in 0..1000 {
        client.goes_on();
    }
    assert_eq!(server.gauges.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = TestServer::doing(limits(), |exchange| {
        let body = exchange.body(100);
        let answer = format!("{} {body:?}", exchange.head.path);
        exchange.respond(text(200, answer)).unwrap();
    });
    let mut client = server.client();
    let one = |n: usize| format!("POST /{n} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{}", n % 10);
    client.says((0..500).map(one).collect::<String>().as_bytes());
    for n in 0..500 {
        assert_eq!(client.hears(true).text(), format!("/{n} Ok([{}])", b'0' + (n % 10) as u8));
    }
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    for (path, framing) in [
        ("/", "content-length: 5"),
        ("/big?n=100000", "content-length: 100000"),
        ("/three", "transfer-encoding: chunked"),
    ] {
        let answer = client.asks(&[b"HEAD ", path.as_bytes(), b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert!(answer.status == 200 && fields(&answer).contains(&framing.to_owned()), "{path}: {answer:?}");
        client.goes_on();
    }
}

#[test]
fn a_status_without_a_body_has_none() {
    let server = TestServer::doing(limits(), |exchange| match exchange.head.path.as_str() {
        "/" => routes(exchange),
        path => exchange.respond(text(path[1..].parse().unwrap(), "never seen")).unwrap(),
    });
    let mut client = server.client();
    for status in [204, 304] {
        let answer = client.asks(&get(&format!("/{status}")));
        assert_eq!((answer.status, fields(&answer)), (status, vec!["server: clinvk".to_owned()]));
        client.goes_on();
    }
}

#[test]
fn a_stream_comes_in_chunks() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    client.says(&get("/three"));
    let head = client.hears_head();
    assert_eq!(fields(&head), ["server: clinvk", "content-type: text/plain", "transfer-encoding: chunked"]);
    for chunk in ["one", "two", "three", ""] {
        assert_eq!(client.hears_chunk().unwrap(), chunk.as_bytes());
    }
    client.goes_on();
}

#[test]
fn a_stream_for_a_client_of_1_0_ends_with_the_connection() {
    let server = TestServer::new(limits());
    for fields_of_request in ["", "Connection: keep-alive\r\n"] {
        let mut client = server.client();
        let answer = client.asks(format!("GET /three HTTP/1.0\r\n{fields_of_request}\r\n").as_bytes());
        assert_eq!(fields(&answer), ["server: clinvk", "content-type: text/plain", "connection: close"]);
        assert_eq!(answer.text(), "onetwothree");
        client.is_left();
    }
}

#[test]
fn a_client_of_1_0_is_told_that_its_connection_lives() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    let answer = client.asks(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    client.goes_on();
}

#[test]
fn every_piece_of_a_stream_is_heard_before_the_next_one_is_made() {
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let server = TestServer::doing(limits(), move |exchange| {
        exchange.stream(200, &[]).unwrap();
        for _ in 0..3 {
            exchange.send(b"piece").unwrap();
            told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        exchange.finish().unwrap();
    });
    let mut client = server.client();
    client.says(&get("/"));
    assert_eq!(client.hears_head().status, 200);
    for _ in 0..3 {
        assert_eq!(client.hears_chunk().unwrap(), b"piece");
        tell.send(()).unwrap();
    }
    assert_eq!(client.hears_chunk().unwrap(), b"");
}

#[test]
fn what_a_service_says_begins_no_header_of_its_own() {
    let server = TestServer::doing(limits(), |exchange| {
        let evil = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            evil("X-A", "b\r\nSet-Cookie: c\r\n\r\n<script>"),
            evil("X-B\r\nSet-Cookie", "d"),
            evil("Content-Length", "1"),
            evil("Transfer-Encoding", "chunked"),
            evil("Connection", "close"),
        ];
        match exchange.head.path.as_str() {
            "/whole" => exchange.respond(clinvk::http::net::Response {
                status: 200,
                headers,
                body: b"hello".to_vec(),
            }),
            "/stream" => {
                exchange.stream(200, &headers).unwrap();
                exchange.finish()
            }
            _ => exchange.respond(text(200, "hello")),
        }
        .unwrap();
    });
    let mut client = server.client();
    for (path, framing) in [("/whole", "content-length: 5"), ("/stream", "transfer-encoding: chunked")] {
        let answer = client.asks(&get(path));
        assert_eq!(fields(&answer), ["server: clinvk", "x-a: b??Set-Cookie: c????<script>", framing]);
        client.goes_on();
    }
}

#[test]
fn a_panic_is_a_500_for_its_own_client_and_nothing_for_others() {
    let server = TestServer::new(limits());
    let (mut other, mut client) = (server.client(), server.client());
    other.goes_on();
    let answer = client.asks(&get("/panic"));
    let says = r#"{"error":{"kind":"internal","message":"the server made a mistake","request_id":null}}"#;
    assert_eq!((answer.status, answer.text().trim_end()), (500, says));
    assert_eq!(answer.header("connection"), Some("close"));
    client.is_left();
    other.goes_on();
}

#[test]
fn a_panic_in_the_middle_of_a_stream_cuts_it() {
    let server = TestServer::new(limits());
    let (mut other, mut client) = (server.client(), server.client());
    other.goes_on();
    let answer = client.asks(&get("/panic-late"));
    assert!(answer.cut && answer.text() == "one", "{answer:?}");
    client.is_left();
    other.goes_on();
}

#[test]
fn a_stream_that_is_not_finished_is_cut() {
    let server = TestServer::doing(limits(), |exchange| {
        exchange.stream(200, &[]).unwrap();
        exchange.send(b"half").unwrap();
    });
    let mut client = server.client();
    let answer = client.asks(&get("/"));
    assert!(answer.cut && answer.text() == "half", "{answer:?}");
}

/// Whoever watches a descriptor keeps its connection open.
#[test]
fn a_cut_is_heard_although_the_client_was_watched() {
    let server = TestServer::doing(limits(), |exchange| {
        exchange.watch().unwrap();
        exchange.stream(200, &[]).unwrap();
    });
    assert!(server.client().asks(&get("/")).cut);
}

#[test]
fn there_is_one_answer_only() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits(), move |exchange| {
        let nothing_yet = [exchange.send(b"x").is_err(), exchange.finish().is_err()];
        exchange.respond(text(200, "hello")).unwrap();
        let again = [
            exchange.respond(text(200, "again")).is_err(),
            exchange.stream(200, &[]).is_err(),
            exchange.send(b"x").is_err(),
            exchange.finish().is_err(),
        ];
        tell.send((nothing_yet, again)).unwrap();
    });
    let mut client = server.client();
    client.goes_on();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ([true; 2], [true; 4]));
    client.goes_on();
}

/// A client that hears the end of the answer need not wait until we have stopped listening.
#[test]
fn the_end_of_a_connection_is_heard_with_the_answer() {
    let server = TestServer::new(limits());
    let since = Instant::now();
    for _ in 0..100 {
        let mut client = server.client();
        client.says(b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.hears(true).text(), "hello");
        client.is_left();
    }
    // Half a second each, if it were so.
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
}

#[test]
fn http_2_is_refused_or_not_taken_up() {
    let server = TestServer::new(limits());
    let curl = |flag: &str| {
        let url = format!("{}/", server.addresses[0]);
        let args = ["-sS", flag, "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"];
        let out = Command::new("curl").args(args).arg(url).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    // It does not understand the refusal, but it gets one.
    assert!(!curl("--http2-prior-knowledge").0);
    assert_eq!(curl("--http2"), (true, "200 1.1".to_owned()));
    until("the end of the connections", || server.gauges.connections() == 0);
}
