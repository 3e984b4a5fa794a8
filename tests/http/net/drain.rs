//! How the listener closes.

use super::server::{Client, SHORT, TestServer, limits, routes, text};
use crate::util::scene::{PATIENCE, until};
use clinvk::http::net::{Exchange, Limits};
use std::sync::{Mutex, mpsc};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// `/held` is answered when the test says so, `/endless-run` says `alive` until it is cancelled.
fn held() -> (impl Fn(&mut Exchange<'_>) + Send + Sync, mpsc::Sender<()>, mpsc::Receiver<&'static str>) {
    let (let_go, held) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let held = Mutex::new(held);
    let does = move |exchange: &mut Exchange<'_>| match exchange.head.path.as_str() {
        "/held" => {
            tell.send("held").unwrap();
            held.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            let draining = if exchange.is_draining() { "draining" } else { "serving" };
            exchange.respond(text(200, draining)).unwrap();
        }
        "/endless-run" => {
            let cancel = exchange.watch().unwrap();
            exchange.stream(200, &[]).unwrap();
            exchange.send(b"alive").unwrap();
            tell.send("running").unwrap();
            clinvk::base::sys::poll(&mut [cancel.watch()], PATIENCE).unwrap();
            tell.send(if cancel.is_thrown() { "cancelled" } else { "never cancelled" }).unwrap();
            if exchange.head.query == "urgent" {
                until("the second time", || cancel.is_urgent());
                tell.send("cancelled at once").unwrap();
            }
            // Who has left does not hear it.
            let _ = exchange.send(b"cancelled").and_then(|()| exchange.finish());
        }
        _ => routes(exchange),
    };
    (does, let_go, told)
}

#[track_caller]
fn hears(told: &mpsc::Receiver<&'static str>, word: &str) {
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), word);
}

#[test]
fn a_drain_lets_idle_clients_go_and_the_others_finish() {
    let (does, let_go, told) = held();
    let mut server = TestServer::doing(limits(), does);
    let address = server.addresses[0].clone();
    let (mut idle, mut new, mut in_flight, mut endless) =
        (server.client(), server.client(), server.client(), server.client());
    idle.goes_on();
    until("the one that says nothing", || server.gauges.connections() == 4);
    in_flight.says(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(&told, "held");
    endless.says(b"GET /endless-run HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(&told, "running");
    server.stop();
    idle.is_left();
    new.is_left();
    assert!(Client::of(&address).is_err(), "somebody was let in");
    let_go.send(()).unwrap();
    let answer = in_flight.hears(true);
    assert_eq!((answer.text(), answer.header("connection")), ("draining".to_owned(), Some("close")));
    in_flight.is_left();
    assert!(!server.is_over() && told.try_recv().is_err(), "the grace is not over");
    drop(endless);
    hears(&told, "cancelled");
    server.ended();
}

#[test]
fn what_outlives_the_grace_is_cancelled_and_may_still_say_so() {
    let (does, _let_go, told) = held();
    let mut server = TestServer::doing(Limits { drain: SHORT, ..limits() }, does);
    let mut endless = server.client();
    endless.says(b"GET /endless-run HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(&told, "running");
    server.stop();
    hears(&told, "cancelled");
    let answer = endless.hears(true);
    assert_eq!((answer.text(), answer.cut), ("alivecancelled".to_owned(), false));
    server.ended();
}

#[test]
fn a_door_with_nobody_inside_closes_at_once() {
    let mut server = TestServer::new(limits());
    server.is_well();
    server.stop();
    server.ended();
}

#[test]
fn what_was_said_before_the_drain_is_answered() {
    let (does, let_go, told) = held();
    let mut server = TestServer::doing(limits(), does);
    let (mut idle, mut client) = (server.client(), server.client());
    idle.goes_on();
    client.goes_on();
    client.says(&[b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n", GET].concat());
    hears(&told, "held");
    server.stop();
    idle.is_left();
    let_go.send(()).unwrap();
    // It is told now, and what it had said after that is not begun.
    assert_eq!(client.hears(true).header("connection"), Some("close"));
    client.is_left();
    server.ended();
}

#[test]
fn the_second_word_takes_away_every_grace() {
    let (does, _let_go, told) = held();
    let mut server = TestServer::doing(limits(), does);
    let mut endless = server.client();
    endless.says(b"GET /endless-run?urgent HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(&told, "running");
    server.stop();
    server.stop();
    hears(&told, "cancelled");
    hears(&told, "cancelled at once");
    assert_eq!(endless.hears(true).text(), "alivecancelled");
    server.ended();
}

#[test]
fn a_request_that_never_ends_does_not_outlive_the_grace() {
    let mut server = TestServer::new(Limits { drain: SHORT, ..limits() });
    let (mut head, mut body, mut stalled) = (server.client(), server.client(), server.client());
    head.says(b"GET /");
    body.says(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    stalled.says(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(stalled.hears_head().status, 200);
    server.stop();
    head.is_left();
    body.is_left();
    server.ended();
}

/// Whatever asks for a switch when it is too late gets one that is thrown.
#[test]
fn what_begins_after_the_grace_is_cancelled_from_the_start() {
    let (tell, told) = mpsc::channel();
    let (let_go, go) = mpsc::channel::<()>();
    let go = Mutex::new(go);
    let mut server = TestServer::doing(Limits { drain: SHORT, ..limits() }, move |exchange| {
        tell.send("begun").unwrap();
        if exchange.head.path == "/late" {
            go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        let cancel = exchange.watch().unwrap();
        clinvk::base::sys::poll(&mut [cancel.watch()], PATIENCE).unwrap();
        tell.send(if cancel.is_thrown() { "thrown" } else { "not thrown" }).unwrap();
    });
    let (mut late, mut early) = (server.client(), server.client());
    late.says(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(&told, "begun");
    early.says(GET);
    hears(&told, "begun");
    server.stop();
    hears(&told, "thrown");
    let_go.send(()).unwrap();
    hears(&told, "thrown");
    server.ended();
}
