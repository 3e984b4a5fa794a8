//! One client at a time: what it hears, and what the service learns of it.

use super::house::{Answer, Client, SHORT, TestServer, limits, routes, text};
use crate::util::scene::{PATIENCE, Scene, until};
use clinvk::http::net::{BodyError, Exchange, Limits, Listen, Sent};
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

fn get(path: &str) -> Vec<u8> {
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

/// Serves until it is cancelled, and tells each step.
fn watched(tell: mpsc::Sender<&'static str>) -> impl Fn(&mut Exchange<'_>) {
    move |exchange| {
        let cancel = exchange.watch().unwrap();
        if exchange.head.path == "/stream" {
            exchange.stream(200, &[]).unwrap();
            exchange.send(b"first").unwrap();
        }
        tell.send("begun").unwrap();
        let mut watch = [cancel.watch()];
        clinvk::base::sys::poll(&mut watch, PATIENCE).unwrap();
        tell.send(if cancel.is_thrown() { "thrown" } else { "never" }).unwrap();
    }
}

#[test]
fn the_switch_is_thrown_when_the_client_leaves_although_nothing_is_sent() {
    for path in ["/whole", "/stream"] {
        for how in ["closes", "says no more", "resets"] {
            let (tell, told) = mpsc::channel();
            let server = TestServer::doing(limits(), watched(tell));
            let mut client = server.client();
            client.says(&get(path));
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "begun");
            let kept = match how {
                "closes" => {
                    drop(client);
                    None
                }
                "says no more" => {
                    client.says_no_more();
                    Some(client)
                }
                _ => {
                    reset(client);
                    None
                }
            };
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "thrown", "{path}, {how}");
            if let Some(mut client) = kept.filter(|_| path == "/whole") {
                client.is_left();
            }
        }
    }
}

/// Requests of which the end of what the client says is no leaving (faults.md F4), and over what they come.
const LAST_WORDS: [(&str, &str, &str); 4] = [
    ("TCP", "HTTP/1.1", "Connection: close\r\n"),
    ("TCP", "HTTP/1.0", ""),
    ("Unix", "HTTP/1.1", ""),
    ("Unix", "HTTP/1.1", "Connection: close\r\n"),
];

fn listen(scene: &Scene, family: &str) -> Vec<Listen> {
    match family {
        "TCP" => vec![Listen::Tcp("127.0.0.1".to_owned(), 0)],
        _ => vec![Listen::Unix(scene.path("tmp/socket"))],
    }
}

#[test]
fn a_client_that_ends_only_its_own_side_hears_its_answer() {
    let scene = Scene::new();
    for (family, version, field) in LAST_WORDS {
        // At once, in pieces, and after a while in which nothing is said.
        for (path, expected) in [("/whole", "hello"), ("/stream", "first and last"), ("/late", "hello")] {
            let (tell, told) = mpsc::channel();
            let server = TestServer::at(listen(&scene, family), limits(), move |exchange| {
                let cancel = exchange.watch().unwrap();
                if exchange.head.path == "/stream" {
                    exchange.stream(200, &[]).unwrap();
                    exchange.send(b"first ").unwrap();
                }
                if exchange.head.path != "/whole" {
                    clinvk::base::sys::poll(&mut [cancel.watch()], SHORT).unwrap();
                }
                tell.send(cancel.is_thrown()).unwrap();
                if exchange.head.path == "/stream" {
                    exchange.send(b"and last").unwrap();
                    exchange.finish().unwrap();
                } else {
                    exchange.respond(text(200, "hello")).unwrap();
                }
            });
            let mut client = server.client();
            client.says(format!("GET {path} {version}\r\nHost: x\r\n{field}\r\n").as_bytes());
            client.says_no_more();
            let what = format!("{family} {version} {field:?} {path}");
            assert!(!told.recv_timeout(PATIENCE).unwrap(), "{what}");
            let answer = client.hears(true);
            assert!(!answer.cut && answer.text() == expected, "{what}: {answer:?}");
            client.is_left();
        }
    }
}

#[test]
fn a_client_that_may_end_its_own_side_has_left_when_its_connection_is_gone() {
    let scene = Scene::new();
    for (family, version, field) in LAST_WORDS {
        // A close says the same as the end of one side over TCP, until something is written.
        for (path, resets) in [("/idle", family == "TCP"), ("/stream", false)] {
            let (tell, told) = mpsc::channel();
            let server = TestServer::at(listen(&scene, family), limits(), move |exchange| {
                let cancel = exchange.watch().unwrap();
                tell.send("begun").unwrap();
                if exchange.head.path == "/idle" {
                    clinvk::base::sys::poll(&mut [cancel.watch()], PATIENCE).unwrap();
                } else {
                    let _ = exchange.stream(200, &[]);
                    let since = Instant::now();
                    while exchange.send(b"piece").is_ok() && since.elapsed() < PATIENCE {
                        clinvk::base::sys::poll(&mut [cancel.watch()], Duration::from_millis(10)).unwrap();
                    }
                    // The other one may be the first to see it.
                    clinvk::base::sys::poll(&mut [cancel.watch()], PATIENCE).unwrap();
                }
                tell.send(if cancel.is_thrown() { "thrown" } else { "never" }).unwrap();
            });
            let mut client = server.client();
            client.says(format!("GET {path} {version}\r\nHost: x\r\n{field}\r\n").as_bytes());
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "begun");
            if resets {
                reset(client)
            } else {
                drop(client)
            }
            let what = format!("{family} {version} {field:?} {path}");
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "thrown", "{what}");
        }
    }
}

#[test]
fn the_switch_of_one_client_is_not_thrown_when_another_one_leaves() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits(), watched(tell));
    let (mut one, mut two) = (server.client(), server.client());
    one.says(&get("/whole"));
    two.says(&get("/whole"));
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "begun");
    }
    drop(one);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "thrown");
    assert!(told.recv_timeout(SHORT).is_err(), "thrown for the other one");
    drop(two);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "thrown");
}

/// A connection that lives on is watched in its next request too, and what it says meanwhile is no leaving.
#[test]
fn a_client_that_talks_on_has_not_left() {
    let (tell, told) = mpsc::channel();
    let server = TestServer::doing(limits(), move |exchange| {
        let cancel = exchange.watch().unwrap();
        let again = exchange.watch().unwrap();
        clinvk::base::sys::poll(&mut [cancel.watch()], SHORT).unwrap();
        tell.send((cancel.is_thrown(), again.is_thrown())).unwrap();
        exchange.respond(text(200, "hello")).unwrap();
    });
    let mut client = server.client();
    client.says(&get("/").repeat(3));
    for _ in 0..3 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (false, false));
        assert_eq!(client.hears(true).status, 200);
    }
}

/// Closes so that the other side sees a reset: with something unread.
fn reset(mut client: Client) {
    client.says(b"");
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (from, size) = (std::ptr::from_ref(&linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
    #[allow(unsafe_code)]
    // SAFETY: `linger` lives through the call, and `size` is its size.
    let set = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&client.stream),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            from,
            size,
        )
    };
    assert_eq!(set, 0);
}

#[test]
fn a_thousand_clients_that_reset_right_after_their_request_hurt_nobody() {
    let server = TestServer::new(limits());
    for n in 0..1000 {
        let mut client = server.client();
        client.says(&get(["/", "/slow?ms=1", "/big?n=100000", "/three", "/endless"][n % 5]));
        reset(client);
    }
    server.is_well();
    until("the end of the others", || server.gauges.connections() == 0);
}

/// Over TCP the system notices too; over a Unix socket only we do.
#[test]
fn a_reader_that_stalls_is_cut_and_nobody_else() {
    let scene = Scene::new();
    for listen in [Listen::Tcp("127.0.0.1".to_owned(), 0), Listen::Unix(scene.path("tmp/socket"))] {
        let (tell, told) = mpsc::channel();
        let server = TestServer::at(vec![listen], Limits { write: SHORT, ..limits() }, move |exchange| {
            routes(exchange);
            tell.send(()).unwrap();
        });
        let (mut stalled, mut reading) = (server.client(), server.client());
        stalled.says(&get("/endless"));
        reading.says(&get("/endless"));
        assert_eq!(reading.hears_head().status, 200);
        let deadline = Instant::now() + PATIENCE;
        while told.try_recv().is_err() {
            assert_eq!(reading.hears_chunk().unwrap().len(), 4096);
            assert!(Instant::now() < deadline, "never cut");
        }
        // The other one has been cut; this one goes on beyond all that buffers could hold.
        for _ in 0..10_000 {
            assert_eq!(reading.hears_chunk().unwrap().len(), 4096);
        }
        assert!(stalled.hears(true).cut);
    }
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
