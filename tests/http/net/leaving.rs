//! A client that leaves, or stalls, or only ends its own side.

use super::answers::get;
use super::server::{Client, SHORT, TestServer, limits, routes, text};
use crate::util::scene::{PATIENCE, Scene, until};
use clinvk::http::net::{Exchange, Limits, Listen};
use std::sync::mpsc;
use std::time::{Duration, Instant};

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
