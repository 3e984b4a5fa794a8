//! Many clients at once, and what they may use up.

use super::server::{Client, SHORT, TestServer, limits, routes, text};
use crate::util::run::alone;
use crate::util::scene::{PATIENCE, until};
use clinvk::http::net::Limits;
use std::fs;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// Asks for what takes longer than any test.
const AT_WORK: &[u8] = b"GET /slow?n=600000 HTTP/1.1\r\nHost: x\r\n\r\n";

/// So many clients, all connected.
fn crowd(server: &TestServer, count: usize) -> Vec<Client> {
    let crowd = (0..count).map(|_| server.client()).collect();
    until("the crowd", || server.gauges.connections() >= count);
    crowd
}

/// A figure of this process, in KiB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// All 64 are in the service at the same time, and all of them stay connected.
#[test]
fn clients_that_come_at_once_and_stay_are_all_served() {
    let (inside, all) = (Mutex::new(0), Condvar::new());
    let server = TestServer::doing(limits(), move |exchange| {
        let mut count = inside.lock().unwrap();
        *count += 1;
        all.notify_all();
        let (count, waited) = all.wait_timeout_while(count, PATIENCE, |count| *count < 64).unwrap();
        drop(count);
        exchange.respond(text(if waited.timed_out() { 504 } else { 200 }, "hello")).unwrap();
    });
    let mut clients: Vec<Client> = thread::scope(|scope| {
        let one = || scope.spawn(|| server.client());
        let all: Vec<_> = (0..64).map(|_| one()).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    clients.iter_mut().for_each(|client| client.says(GET));
    for client in &mut clients {
        assert_eq!(client.hears(true).status, 200);
    }
}

#[test]
fn a_thousand_idle_clients_and_a_thousand_slow_ones_hold_up_nobody() {
    alone("http::net::crowds::a_thousand_idle_clients_and_a_thousand_slow_ones_hold_up_nobody", "", || {
        clinvk::base::sys::raise_open_files().unwrap();
        let server = TestServer::new(Limits { head: SHORT * 10, ..limits() });
        // Each says something as soon as it is there: one that never has is not waited for as long as it may take to connect
        // all of them.
        let client = |begin: fn(&mut Client)| {
            let mut client = server.client();
            begin(&mut client);
            client
        };
        let thousand = |begin| -> Vec<Client> { (0..1000).map(|_| client(begin)).collect() };
        let mut health = client(Client::goes_on);
        let mut idle = thousand(Client::goes_on);
        health.goes_on();
        let mut slow = thousand(|client| client.says(b"GET / HTTP/1.1\r\nHost: x\r\nA: "));
        health.goes_on();
        server.is_well();
        for client in &mut slow {
            assert_eq!(client.hears(true).status, 408);
        }
        until("the end of the slow ones", || server.gauges.connections() <= 1001);
        health.goes_on();
        idle.iter_mut().for_each(Client::goes_on);
    });
}

#[test]
fn slow_bodies_in_every_place_give_way_at_their_deadline() {
    let server = TestServer::new(Limits { connections: 8, read: SHORT * 5, ..limits() });
    let mut slow = crowd(&server, 8);
    for client in &mut slow {
        client.says(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na");
    }
    until("all of them are at work", || server.client().asks(GET).status == 503);
    for client in &mut slow {
        assert_eq!(client.hears(true).status, 408);
        client.is_left();
    }
    drop(slow);
    until("the end of the slow ones", || server.gauges.connections() == 0);
    server.is_well();
}

#[test]
fn whoever_is_one_too_many_hears_so_at_once_until_somebody_leaves() {
    let server = TestServer::new(Limits { connections: 3, ..limits() });
    let mut inside = crowd(&server, 3);
    inside.iter_mut().for_each(|client| client.says(AT_WORK));
    until("all of them are at work", || server.client().asks(GET).status == 503);
    for _ in 0..100 {
        let mut client = server.client();
        let answer = client.asks(GET);
        let says = r#"{"error":{"kind":"busy","message":"there are too many connections: try again in a second","request_id":null}}"#;
        assert_eq!((answer.status, answer.text().trim_end()), (503, says));
        let fields = ["retry-after", "connection"].map(|name| answer.header(name).unwrap());
        assert_eq!(fields, ["1", "close"]);
        client.is_left();
    }
    inside.pop();
    until("the one that left", || server.gauges.connections() == 2);
    server.is_well();
}

/// A connection is at rest some moments after its client has the answer, and at work some after its client has asked:
/// nothing tells a client when.
fn at_rest() {
    thread::sleep(Duration::from_millis(300));
}

/// faults.md B3 and G9.
#[test]
fn whoever_has_said_nothing_for_the_longest_time_gives_way() {
    for limits in [Limits { connections: 3, ..limits() }, Limits { per_address: 3, ..limits() }] {
        let server = TestServer::new(limits);
        let mut clients = crowd(&server, 3);
        // The last one that was heard is the last to go; one that is at work does not.
        for index in [1, 2, 0] {
            assert_eq!(clients[index].asks(GET).status, 200);
            at_rest();
        }
        clients[1].says(AT_WORK);
        at_rest();
        let mut first = server.client();
        assert_eq!(first.asks(GET).status, 200);
        clients[2].is_left();
        at_rest();
        let mut second = server.client();
        assert_eq!(second.asks(GET).status, 200);
        clients[0].is_left();
        // Half a head is no request.
        first.says(b"GET / HTTP/1.1\r\n");
        at_rest();
        let newer: Vec<Client> = (0..2).map(|_| server.client()).collect();
        for mut client in newer {
            assert_eq!(client.asks(GET).status, 200);
        }
        first.is_left();
        second.is_left();
    }
}

#[test]
fn what_was_only_declared_takes_no_memory() {
    alone("http::net::crowds::what_was_only_declared_takes_no_memory", "", || {
        let server = TestServer::doing(limits(), |exchange| {
            let body = exchange.body(usize::MAX);
            exchange.respond(text(if body.is_ok() { 200 } else { 400 }, "")).unwrap_or_default();
        });
        server.client().asks(GET);
        let before = memory("VmPeak");
        let mut clients = Vec::new();
        for framing in ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"] {
            for path in ["/", "/unread"] {
                let mut client = server.client();
                let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\nffffffff\r\nabc");
                client.says(head.as_bytes());
                clients.push(client);
            }
        }
        until("the four", || server.gauges.connections() >= 4);
        clients.iter().for_each(Client::says_no_more);
        clients.iter_mut().for_each(|client| assert_eq!(client.hears(true).status, 400));
        // Virtual memory, so that even what was never touched would show. Their stacks and what a thread's heap reserves
        // are in it: 66 MB each.
        let grown = memory("VmPeak") - before;
        assert!(grown < 1_000_000, "{grown} KiB");
    });
}

/// What is refused while it is still talking is not kept: 10 MB of head.
#[test]
fn a_head_without_end_takes_no_memory() {
    alone("http::net::crowds::a_head_without_end_takes_no_memory", "", || {
        let server = TestServer::new(limits());
        let bytes = [b"GET / HTTP/1.1\r\nA: ", &vec![b'a'; 10_000_000][..]].concat();
        server.is_well();
        let before = memory("VmHWM");
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for client in &mut clients {
            client.says(&bytes);
            assert_eq!(client.hears(true).status, 431);
        }
        let grown = memory("VmHWM") - before;
        assert!(grown < 10_000, "{grown} KiB");
    });
}

/// Each of them has said much once.
#[test]
fn an_idle_client_takes_little_memory() {
    alone("http::net::crowds::an_idle_client_takes_little_memory", "", || {
        let server = TestServer::new(limits());
        let mut clients = crowd(&server, 500);
        clients.iter_mut().for_each(Client::goes_on);
        let before = memory("VmRSS");
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(30_000));
        for client in &mut clients {
            assert_eq!(client.asks(long.as_bytes()).status, 200);
        }
        let grown = memory("VmRSS").saturating_sub(before);
        assert!(grown < 6_000, "{grown} KiB");
    });
}

/// 64 descriptors for both sides: more clients are connected than can be let in, until most of them leave.
#[test]
fn without_descriptors_nobody_is_let_in_and_then_everybody_again() {
    let name = "http::net::crowds::without_descriptors_nobody_is_let_in_and_then_everybody_again";
    alone(name, "ulimit -n 64", || {
        let server = TestServer::new(limits());
        // It has all that it needs for itself.
        server.is_well();
        let mut clients: Vec<Client> = Vec::new();
        while let Ok(client) = Client::of(&server.addresses[0]) {
            clients.push(client);
        }
        let inside = server.gauges.connections();
        assert!(inside < clients.len(), "{inside} of {} are inside", clients.len());
        // Each of the others needs a second descriptor.
        clients.drain(..clients.len() * 2 / 3);
        server.is_well();
    });
}

/// What is counted comes back to nothing.
#[test]
fn no_descriptor_is_lost() {
    alone("http::net::crowds::no_descriptor_is_lost", "", || {
        let server = TestServer::doing(limits(), |exchange| {
            exchange.watch().unwrap();
            routes(exchange);
        });
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        server.is_well();
        until("the end of the first one", || server.gauges.connections() == 0);
        let before = descriptors();
        for n in 0..200 {
            let mut client = server.client();
            client.asks(GET);
            client.says(
                [&b"GET /nothing HTTP/2.0\r\n\r\n"[..], b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n", GET]
                    [n % 3],
            );
        }
        until("the end of all", || server.gauges.connections() == 0);
        until("their descriptors", || descriptors() <= before);
    });
}
