//! The table of hostile requests: what the server answers to each, and what becomes of the connection.

use super::server::{Client, SHORT, TestServer, limits};
use crate::util::scene::Scene;
use Ending::{Closed, Open, Waits};
use clinvk::http::net::{Limits, Listen};
use std::thread;

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    /// The next request is answered.
    Open,
    /// Nothing more is said, and it ends.
    Closed,
    /// More has to come: at the deadline it is refused with 408.
    Waits,
}

type Row = (&'static str, &'static [u8], &'static [u16], Ending);

/// Name, bytes, the statuses that are heard, and the ending.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    ("valid POST", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", &[200], Open),
    ("no Host (1.1)", b"GET / HTTP/1.1\r\n\r\n", &[400], Closed),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400], Closed),
    ("garbage", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", &[400], Closed),
    ("garbage no CRLF", b"asdkjhaskdjh\0\x01", &[], Waits),
    ("empty request line CRLF first", b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("bare LF", b"GET / HTTP/1.1\nHost: x\n\n", &[], Waits),
    ("bare LF inside header then CRLF", b"GET / HTTP/1.1\r\nA: b\nContent-Length: 3\r\nHost: x\r\n\r\n", &[400], Closed),
    ("bare CR inside header", b"GET / HTTP/1.1\r\nA: b\rC: d\r\nHost: x\r\n\r\n", &[400], Closed),
    ("NUL in header value", b"GET / HTTP/1.1\r\nA: b\0c\r\nHost: x\r\n\r\n", &[400], Closed),
    ("latin1 header", b"GET / HTTP/1.1\r\nA: caf\xe9\r\nHost: x\r\n\r\n", &[200], Open),
    ("utf8 in path", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("obs-fold", b"GET / HTTP/1.1\r\nA: b\r\n c\r\nHost: x\r\n\r\n", &[400], Closed),
    ("space before colon", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", &[400], Closed),
    ("header w/o colon", b"GET / HTTP/1.1\r\nfoobar\r\n\r\n", &[400], Closed),
    ("empty header name", b"GET / HTTP/1.1\r\n: x\r\nHost: x\r\n\r\n", &[400], Closed),
    ("ctl chars in header name", b"GET / HTTP/1.1\r\nA@(),;b: x\r\nHost: x\r\n\r\n", &[400], Closed),
    ("lowercase method", b"get / HTTP/1.1\r\nHost: x\r\n\r\n", &[200], Open),
    ("unknown method FOO", b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", &[200], Open),
    ("method w/ ctl", b"F\x01O / HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("4-part req line", b"GET / HTTP/1.1 extra\r\nHost: x\r\n\r\n", &[400], Closed),
    ("double space req line", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("tab in req line", b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("HTTP/0.9", b"GET /\r\n\r\n", &[400], Closed),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", &[505], Closed),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", &[505], Closed),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505], Closed),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", &[200], Closed),
    ("HTTP/1.0 keep-alive", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200], Open),
    ("Connection: close", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &[200], Closed),
    ("HEAD", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", &[200], Open),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &[404], Open),
    ("absolute-form", b"GET http://evil.com/hello?x HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Open),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("percent path", b"GET /%65cho%2f..%2f HTTP/1.1\r\nHost: x\r\n\r\n", &[404], Open),
    ("dotdot path", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", &[404], Open),
    ("fragment/no slash", b"GET foo#bar HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("chunked upload", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[200], Open),
    ("chunked + trailer", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", &[200], Open),
    ("chunked +5 size", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", &[400], Closed),
    ("chunked huge size", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n0\r\n\r\n", &[400], Closed),
    ("chunked bad size", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", &[400], Closed),
    ("TE: gzip only", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[501], Closed),
    ("TE: identity", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", &[400], Closed),
    ("CL+TE smuggle", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("TE \"chunked, identity\"", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[501], Closed),
    ("TE xchunked", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\nhello", &[400], Closed),
    ("TE in HTTP/1.0", b"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[400], Closed),
    ("dup CL same", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &[200], Open),
    ("dup CL differ 5,33", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 33\r\n\r\nhelloGET /smuggled HTTP/1.1\r\n\r\n", &[400], Closed),
    ("CL \"5, 5\"", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", &[400], Closed),
    ("CL +5", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", &[400], Closed),
    ("CL -1", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nhello", &[400], Closed),
    ("CL abc", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\nhello", &[400], Closed),
    ("CL 2^64", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\nhello", &[400], Closed),
    ("CL>body (500 of 5)", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhello", &[], Waits),
    ("CL>body (5000 of 5)", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhello", &[], Waits),
    ("POST no CL", b"POST /echo HTTP/1.1\r\nHost: x\r\n\r\n", &[200], Open),
    ("POST no CL w/ body", b"POST /echo HTTP/1.1\r\nHost: x\r\n\r\nhello world\r\n", &[200], Waits),
    ("GET with body", b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", &[200], Open),
    ("Expect: foo", b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: foo\r\nContent-Length: 5\r\n\r\nhello", &[417], Closed),
    ("Connection: upgrade", b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", &[200], Open),
    ("pipelined x3", b"GET /slow?ms=300 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 200, 200], Open),
    ("handler drops Request", b"GET /drop HTTP/1.1\r\nHost: x\r\n\r\n", &[404], Open),
    ("handler panics", b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n", &[500], Closed),
    ("TE: identity header, /big", b"GET /big?n=100000 HTTP/1.1\r\nHost: x\r\nTE: identity\r\n\r\n", &[200], Open),
    ("TE: chunked;q=nan", b"GET / HTTP/1.1\r\nHost: x\r\nTE: chunked;q=nan, identity;q=1\r\n\r\n", &[200], Open),
    // What is not in the table of http-door.md.
    ("absolute form of this host", b"GET http://X?q HTTP/1.1\r\nHost: x\r\n\r\n", &[200], Open),
    ("absolute form of another one, with a body", b"POST http://y/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", &[400], Open),
    ("absolute form without Host", b"GET http://x/ HTTP/1.0\r\n\r\n", &[400], Closed),
    ("absolute form with a user", b"GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Open),
    ("another scheme", b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("fragment", b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("star without OPTIONS", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("nothing but lines", b"\r\n\r\n", &[400], Closed),
    ("HTTP/1.1 in small letters", b"GET / http/1.1\r\nHost: x\r\n\r\n", &[400], Closed),
    ("HTTP/3", b"GET / HTTP/3\r\nHost: x\r\n\r\n", &[400], Closed),
    ("Host with a space", b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", &[400], Closed),
    ("Host with a path", b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", &[400], Closed),
    ("two Hosts in 1.0", b"GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", &[400], Closed),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: x\r\nA: \x7f\r\n\r\n", &[400], Closed),
    ("tabs around a value", b"GET / HTTP/1.1\r\nHost:\t x \t\r\n\r\n", &[200], Open),
    ("an empty CL", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", &[400], Closed),
    ("CL in hex", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello", &[400], Closed),
    ("CL with a space in it", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\nhello", &[400], Closed),
    ("CL 5 and 05", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 05\r\n\r\nhello", &[200], Open),
    ("an empty TE", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", &[400], Closed),
    ("TE twice", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[501], Closed),
    ("TE chunked in capitals", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n", &[200], Open),
    ("chunk with an extension", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\na\r\n0\r\n\r\n", &[200], Open),
    ("chunk with a space before its size", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n", &[400], Closed),
    ("chunk with a space behind its size", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", &[400], Closed),
    ("chunk without a size", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n", &[400], Closed),
    ("chunk size 0x1", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", &[400], Closed),
    ("chunk that ends with LF", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", &[400], Closed),
    ("chunk longer than it says", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", &[400], Closed),
    ("LF in a chunk extension", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;\n\r\na\r\n0\r\n\r\n", &[400], Closed),
    ("trailer that is no field", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n", &[400], Closed),
    ("chunks that nobody reads", b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[401], Open),
    ("broken chunks that nobody reads", b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", &[401], Closed),
    ("a little that nobody reads", b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", &[401], Open),
    ("much that nobody reads", b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\nhello", &[401], Closed),
    ("too large", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\nhello", &[413], Closed),
    ("too large, and asked before", b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n", &[413], Closed),
    ("too large in chunks", b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\nhello", &[413], Closed),
    ("asked before, and not wanted", b"POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", &[401], Closed),
    ("asked before a body of nothing", b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", &[200], Open),
    ("asked before in capitals", b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-CONTINUE\r\nContent-Length: 5\r\n\r\nhello", &[100, 200], Open),
    ("asked before in 1.0", b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", &[200], Closed),
    ("Connection: close among others", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n", &[200], Closed),
    ("Connection: close in a second field", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a\r\nConnection: close\r\n\r\n", &[200], Closed),
    ("no answer", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", &[500], Open),
    ("pipelined with bodies", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 200, 404], Open),
    ("pipelined behind a refusal", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 400], Closed),
];

/// The rows that are too long to be written out.
pub fn long_rows() -> Vec<(&'static str, Vec<u8>, &'static [u16], Ending)> {
    let get =
        |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes();
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    let field = |length: usize| format!("A: {}\r\n", "a".repeat(length - "A: \r\n".len()));
    let rest = get("/", "").len();
    let trailer = |fields: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{fields}\r\n")
            .into_bytes()
    };
    vec![
        ("100KB request line", get(&target(100_000), ""), &[431], Closed),
        ("10MB request line", get(&target(10_000_000), ""), &[431], Closed),
        ("10MB header", get("/", &field(10_000_000)), &[431], Closed),
        ("100k headers", get("/", &"A: b\r\n".repeat(100_000)), &[431], Closed),
        ("the longest target", get(&target(8192), ""), &[404], Open),
        ("a target too long", get(&target(8193), ""), &[414], Closed),
        ("the longest head", get("/", &field(32_768 - rest)), &[200], Open),
        ("a head too long", get("/", &field(32_769 - rest)), &[431], Closed),
        ("most headers", get("/", &"A: b\r\n".repeat(99)), &[200], Open),
        ("too many headers", get("/", &"A: b\r\n".repeat(100)), &[431], Closed),
        ("most trailer fields", trailer(&"A: b\r\n".repeat(100)), &[200], Open),
        ("too many trailer fields", trailer(&"A: b\r\n".repeat(101)), &[400], Closed),
        ("the longest trailer", trailer(&field(32_766)), &[200], Open),
        ("a trailer too long", trailer(&field(32_767)), &[400], Closed),
        (
            "the largest body",
            [&b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"[..], &[b'x'; 1 << 20]]
                .concat(),
            &[200],
            Open,
        ),
    ]
}

/// Says the bytes and compares what is heard.
#[track_caller]
fn holds(name: &str, mut client: Client, bytes: &[u8], statuses: &[u16], ending: Ending) {
    let mut stream = client.stream.try_clone().unwrap();
    let own = bytes.to_vec();
    // Whoever refuses does not read all of it.
    let writer = thread::spawn(move || _ = std::io::Write::write_all(&mut stream, &own));
    let mut heard = Vec::new();
    let awaited = statuses.len() + usize::from(ending == Waits);
    for _ in 0..awaited {
        heard.push(client.hears(!bytes.starts_with(b"HEAD")));
    }
    writer.join().unwrap();
    let mut expected = statuses.to_vec();
    expected.extend((ending == Waits).then_some(408));
    let seen: Vec<u16> = heard.iter().map(|answer| answer.status).collect();
    assert_eq!(seen, expected, "{name}: {heard:?}");
    match ending {
        Open => client.goes_on(),
        Closed | Waits => client.is_left(),
    }
}

fn table_holds(listen: impl Fn(&str) -> Listen) {
    let server = |name: &str, limits| TestServer::at(vec![listen(name)], limits, super::server::routes);
    let patient = server("patient", limits());
    let impatient = server("impatient", Limits { head: SHORT, read: SHORT, ..limits() });
    for (name, bytes, statuses, ending) in TABLE {
        let server = if *ending == Waits { &impatient } else { &patient };
        holds(name, server.client(), bytes, statuses, *ending);
    }
    for (name, bytes, statuses, ending) in long_rows() {
        holds(name, patient.client(), &bytes, statuses, ending);
    }
}

#[test]
fn the_table_holds_over_tcp() {
    table_holds(|_| Listen::Tcp("127.0.0.1".to_owned(), 0));
}

#[test]
fn the_table_holds_over_a_unix_socket() {
    let scene = Scene::new();
    table_holds(|name| Listen::Unix(scene.path("tmp").join(name)));
}

#[test]
fn a_client_that_asks_before_its_body_is_told_and_then_answered() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    let head = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(client.asks(head).status, 100);
    let answer = client.asks(b"hello");
    assert_eq!((answer.status, answer.text()), (200, "hello".to_owned()));
    client.goes_on();
}

#[test]
fn whoever_closes_its_half_after_the_request_is_gone() {
    let server = TestServer::new(limits());
    let mut client = server.client();
    client.says(b"GET /slow?ms=600000 HTTP/1.1\r\nHost: x\r\n\r\n");
    client.says_no_more();
    client.is_left();
}
