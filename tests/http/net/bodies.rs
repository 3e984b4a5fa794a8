//! What the service learns of a request: its head, its body, how it was answered.

use super::server::{Answer, Client, SHORT, TestServer, limits, routes, text};
use crate::util::scene::PATIENCE;
use clinvk::http::net::{BodyError, Limits, Sent};
use std::sync::mpsc;

#[test]
fn the_log_learns_what_was_sent() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits(), move |exchange| {
        let before = exchange.sent();
        routes(exchange);
        tell.send((before, exchange.sent())).unwrap();
    });
    let mut client = server.client();
    for (request, status, bytes) in [
        ("GET /", 200, 5),
        ("GET /nowhere", 404, 12),
        ("HEAD /", 200, 0),
        ("GET /three", 200, 11),
        ("GET /big?n=100000", 200, 100_000),
    ] {
        client.asks(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (None, Some(Sent { status, bytes })), "{request}");
    }
}

#[test]
fn the_head_is_what_was_sent() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits(), move |exchange| {
        tell.send((exchange.head.clone(), exchange.peer, exchange.declared_length())).unwrap();
        exchange.respond(text(200, "")).unwrap();
    });
    server.client().asks(
        b"get /a%20b//../c?d=%2F?e HTTP/1.1\r\nHOST: x\r\nA-B:  c  \r\na-b: \xe9\r\nContent-Length: 3\r\n\r\nabc",
    );
    let (head, peer, length) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (head.method.as_str(), head.path.as_str(), head.query.as_str(), head.http11),
        ("get", "/a%20b//../c", "d=%2F?e", true)
    );
    assert_eq!(head.all("a-b").collect::<Vec<_>>(), [&b"c"[..], b"\xe9"]);
    assert_eq!((head.text("a-b"), head.text("host"), head.get("nothing")), (Some("c"), Some("x"), None));
    assert_eq!((peer, length), (clinvk::http::net::Peer::Ip([127, 0, 0, 1].into()), Some(3)));
}

/// The service reads the body as `read` says, tells what it got, and answers 200.
#[track_caller]
fn body_of(most: usize, limits: Limits, request: &[u8]) -> (Result<Vec<u8>, BodyError>, Answer, Client) {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits, move |exchange| {
        tell.send(exchange.body(most)).unwrap();
        let _ = exchange.respond(text(200, "hello"));
    });
    let mut client = server.client();
    client.says(request);
    let body = told.recv_timeout(PATIENCE).unwrap();
    (body, client.hears(true), client)
}

#[test]
fn a_body_may_be_as_large_as_is_wanted() {
    let of = |most, framing: &str, body: &str| {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}");
        body_of(most, limits(), request.as_bytes()).0
    };
    let chunks = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(of(5, "Content-Length: 5", "abcde"), Ok(b"abcde".to_vec()));
    assert_eq!(of(4, "Content-Length: 5", "abcde"), Err(BodyError::TooLarge));
    assert_eq!(of(5, "Transfer-Encoding: chunked", chunks), Ok(b"abcde".to_vec()));
    assert_eq!(of(4, "Transfer-Encoding: chunked", chunks), Err(BodyError::TooLarge));
    assert_eq!(of(0, "Content-Length: 0", ""), Ok(vec![]));
}

#[test]
fn a_body_that_does_not_come_in_time_ends_the_connection_with_its_answer() {
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\nabc");
        let limits = Limits { read: SHORT, ..limits() };
        let (body, answer, mut client) = body_of(100, limits, request.as_bytes());
        assert_eq!((body, answer.status), (Err(BodyError::TimedOut), 200), "{framing}");
        assert_eq!(answer.header("connection"), Some("close"));
        client.is_left();
    }
}

/// Every byte comes well within the time; all of them together do not.
#[test]
fn the_time_for_a_body_is_for_all_of_it() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(Limits { read: SHORT * 2, ..limits() }, move |exchange| {
        tell.send(exchange.body(100_000)).unwrap();
    });
    let mut client = server.client();
    client.says(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    let body = loop {
        client.says(b"x");
        if let Ok(body) = told.recv_timeout(SHORT / 10) {
            break body;
        }
    };
    assert_eq!(body, Err(BodyError::TimedOut));
}

#[test]
fn the_time_for_a_head_is_for_all_of_it() {
    let server = TestServer::new(Limits { head: SHORT * 2, ..limits() });
    let mut client = server.client();
    client.says(b"GET / HTTP/1.1\r\nHost: x\r\nA: ");
    client.stream.set_read_timeout(Some(SHORT / 10)).unwrap();
    while client.stream.peek(&mut [0]).is_err() {
        client.says(b"x");
    }
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.hears(true).status, 408);
}

#[test]
fn whoever_leaves_in_the_middle_of_its_body_is_gone() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits(), move |exchange| tell.send(exchange.body(100)).unwrap());
    let mut client = server.client();
    client.says(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc");
    client.says_no_more();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Err(BodyError::Gone));
    client.is_left();
}

/// Its client has more to say than anybody reads, and hears the answer all the same.
#[test]
fn an_early_refusal_is_heard_by_a_client_that_is_still_talking() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    client.says(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    client.says(&vec![b'x'; 200_000]);
    let answer = client.hears(true);
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    client.is_left();
}

/// Whether its body still comes, nobody knows.
#[test]
fn a_client_that_asked_before_its_body_and_was_refused_is_told_that_the_connection_ends() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    let head = b"POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let answer = client.asks(head);
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
}

#[test]
fn a_silent_connection_ends_without_a_word() {
    let (of_new, of_used) = (Limits { head: SHORT, ..limits() }, Limits { idle: SHORT, ..limits() });
    TestServer::new(of_new).client().is_left();
    let server = TestServer::new(of_used);
    let mut client = server.client();
    client.goes_on();
    client.is_left();
}
