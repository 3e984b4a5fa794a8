//! A listener with a service behind it, and clients that say bytes and hear answers.

use crate::util::scene::PATIENCE;
use clinvk::base::sync::Current;
use clinvk::http::net::memory::Memory;
use clinvk::http::net::{Acceptor, BodyError, Exchange, Gauges, Limits, Listen, Response, Service};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// More than any test takes.
const LONG: Duration = Duration::from_secs(600);
/// Less than anybody wants to wait.
pub const SHORT: Duration = Duration::from_millis(300);

/// No limit that a test would notice.
pub fn limits() -> Limits {
    let (memory, wait) = (Memory::new(1 << 40), LONG);
    Limits {
        head: LONG,
        idle: LONG,
        read: LONG,
        write: LONG,
        connections: 5000,
        per_address: 0,
        memory,
        wait,
        drain: LONG,
        descriptors: 0,
    }
}

struct Does<F>(F);

impl<F: Fn(&mut Exchange<'_>) + Send + Sync> Service for Does<F> {
    fn serve(&self, exchange: &mut Exchange<'_>) {
        (self.0)(exchange);
    }
}

/// A closure as a service.
pub fn service(does: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Arc<dyn Service> {
    Arc::new(Does(does))
}

/// An answer with a text.
pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response { status, headers: vec![], body: body.into() }
}

/// The routes that the table of hostile requests expects. What a client does not stay to hear is no failure.
pub fn routes(exchange: &mut Exchange<'_>) {
    let number = |exchange: &Exchange<'_>| {
        exchange.head.query.split_once('=').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
    };
    let response = match exchange.head.path.as_str() {
        "/" => text(200, "hello"),
        "/echo" => match exchange.body(1 << 20) {
            Ok(body) => text(200, body),
            Err(BodyError::TooLarge) => text(413, ""),
            Err(BodyError::NoRoom) => text(503, ""),
            Err(BodyError::TimedOut) => text(408, ""),
            Err(BodyError::Malformed(why)) => text(400, why),
            Err(BodyError::Gone) => return,
        },
        "/unread" => text(401, "no"),
        "/slow" => {
            let (cancel, until) =
                (exchange.watch().unwrap(), Instant::now() + Duration::from_millis(number(exchange)));
            while Instant::now() < until {
                if cancel.is_thrown() {
                    return;
                }
                // Being slow is what it is for.
                thread::sleep(Duration::from_millis(2));
            }
            text(200, "slow")
        }
        "/big" => text(200, vec![b'x'; number(exchange) as usize]),
        "/panic" => panic!("as it was asked to"),
        "/panic-late" => {
            exchange.stream(200, &[]).unwrap();
            exchange.send(b"one").unwrap();
            panic!("as it was asked to")
        }
        "/nothing" => return,
        "/three" => {
            exchange.stream(200, &[("Content-Type".to_owned(), "text/plain".to_owned())]).unwrap();
            for part in ["one", "", "two", "three"] {
                exchange.send(part.as_bytes()).unwrap();
            }
            return exchange.finish().unwrap();
        }
        // Until its client leaves or takes nothing more.
        "/endless" => {
            let _ = exchange.stream(200, &[]);
            while exchange.send(&[b'x'; 4096]).is_ok() {}
            return;
        }
        _ => text(404, "nothing here"),
    };
    let _ = exchange.respond(response);
}

/// A listener that is being served.
pub struct TestServer {
    /// Where clients can connect.
    pub addresses: Vec<String>,
    /// What it counts.
    pub gauges: Arc<Gauges>,
    stop: File,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl TestServer {
    /// On loopback, with `routes`.
    pub fn new(limits: Limits) -> TestServer {
        TestServer::doing(limits, routes)
    }

    /// On loopback, with this service.
    pub fn doing(limits: Limits, does: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> TestServer {
        TestServer::at(vec![Listen::Tcp("127.0.0.1".to_owned(), 0)], limits, does)
    }

    /// Elsewhere.
    pub fn at(
        listens: Vec<Listen>,
        limits: Limits,
        does: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
    ) -> TestServer {
        let acceptor = Acceptor::open(listens).unwrap();
        let (addresses, gauges) = (acceptor.addresses(), acceptor.gauges());
        let (read, write) = clinvk::base::sys::pipe().unwrap();
        let thread = thread::spawn(move || {
            acceptor.serve(Current::new(limits.within_open_files()), service(does), read)
        });
        TestServer { addresses, gauges, stop: File::from(write), thread: Some(thread) }
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client::of(&self.addresses[0]).unwrap()
    }

    /// Answers to one request of a client that stays.
    #[track_caller]
    pub fn is_well(&self) {
        let seen = self.client().asks(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((seen.status, seen.text()), (200, "hello".to_owned()));
    }

    /// Tells it to stop.
    pub fn stop(&mut self) {
        self.stop.write_all(b"\n").unwrap();
    }

    /// It has returned, or does so now.
    pub fn ended(mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// It has returned already.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(|thread| thread.is_finished())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.stop.write_all(b"\n\n");
        if let Some(thread) = self.thread.take().filter(|_| !thread::panicking()) {
            thread.join().unwrap().unwrap();
        }
    }
}

/// A client's side of a connection.
pub struct Client {
    /// Of either family.
    pub stream: TcpStream,
    held: Vec<u8>,
}

impl Client {
    /// Connects to an address as the listener prints it.
    pub fn of(address: &str) -> io::Result<Client> {
        let stream = match address.strip_prefix("unix:") {
            Some(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)),
            None => TcpStream::connect(address.strip_prefix("http://").unwrap())?,
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, held: Vec::new() })
    }

    /// Says this. Whether anybody still listens shows in what is heard.
    pub fn says(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing more will come.
    pub fn says_no_more(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Says this and hears the answer.
    #[track_caller]
    pub fn asks(&mut self, bytes: &[u8]) -> Answer {
        self.says(bytes);
        self.hears(!bytes.starts_with(b"HEAD"))
    }

    /// Hears one answer, with a body unless it is to HEAD.
    #[track_caller]
    pub fn hears(&mut self, with_body: bool) -> Answer {
        let mut answer = self.hears_head();
        if !with_body || matches!(answer.status, 100..=199 | 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.hears_chunk() {
                answer.body.extend(&chunk);
                if chunk.is_empty() {
                    return answer;
                }
            }
            answer.cut = true;
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.cut = !self.holds(|held| held.len() >= length);
            answer.body = self.held.drain(..length.min(self.held.len())).collect();
        } else {
            self.holds(|_| false);
            answer.body = std::mem::take(&mut self.held);
        }
        answer
    }

    /// Hears the head of an answer.
    #[track_caller]
    pub fn hears_head(&mut self) -> Answer {
        let end = |held: &[u8]| held.windows(4).position(|part| part == b"\r\n\r\n");
        assert!(self.holds(|held| end(held).is_some()), "the connection ended: {:?}", self.shown());
        let head: Vec<u8> = self.held.drain(..end(&self.held).unwrap() + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Answer { status, headers: lines.map(header).collect(), body: Vec::new(), cut: false }
    }

    /// Hears a chunk; the last one is empty. None when the connection ends before it is whole.
    pub fn hears_chunk(&mut self) -> Option<Vec<u8>> {
        let line = |held: &[u8]| held.windows(2).position(|part| part == b"\r\n");
        if !self.holds(|held| line(held).is_some()) {
            return None;
        }
        let end = line(&self.held).unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&self.held[..end]).unwrap(), 16).unwrap();
        let whole = end + 2 + size + 2;
        if !self.holds(|held| held.len() >= whole) {
            return None;
        }
        let chunk: Vec<u8> = self.held.drain(..whole).collect();
        assert!(chunk.ends_with(b"\r\n"), "{chunk:?}");
        Some(chunk[end + 2..whole - 2].to_vec())
    }

    /// The connection ends, and nothing more is said.
    #[track_caller]
    pub fn is_left(&mut self) {
        self.holds(|held| !held.is_empty());
        assert!(self.held.is_empty(), "more was said: {:?}", self.shown());
    }

    /// The connection is good for another request.
    #[track_caller]
    pub fn goes_on(&mut self) {
        let seen = self.asks(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((seen.status, seen.text()), (200, "hello".to_owned()));
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.held).chars().take(300).collect()
    }

    /// Reads until it is enough. False when the connection ended before.
    #[track_caller]
    fn holds(&mut self, enough: impl Fn(&[u8]) -> bool) -> bool {
        let mut buffer = [0; 16 << 10];
        while !enough(&self.held) {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => self.held.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("nothing more came: {:?}", self.shown())
                }
                // A reset ends it too.
                Err(_) => return false,
            }
        }
        true
    }
}

/// What a client heard.
#[derive(Clone, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The connection ended before its end.
    pub cut: bool,
}

impl Answer {
    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.text().chars().take(300).collect();
        write!(
            f,
            "{} {:?} {body:?} ({} bytes, cut: {})",
            self.status,
            self.headers,
            self.body.len(),
            self.cut
        )
    }
}
