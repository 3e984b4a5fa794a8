//! One client: its requests one after the other, each led through a service, and what becomes of the connection.

use crate::exec::Cancel;
use crate::http::net::accept::{Shared, TOO_MANY};
use crate::http::net::body::{Body, BodyError, Reader};
use crate::http::net::head::{self, Halt, Head, Request};
use crate::http::net::memory::{COPIES, Held, Memory};
use crate::http::net::places::Place;
use crate::http::net::response::{self, Framing};
use crate::http::net::socket::Socket;
use crate::http::net::watch::{Leaving, Watched};
use crate::model::error::Error;
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How much of a request that was not wanted is read and dropped, so that its client hears the answer.
const MOST_DROPPED: usize = 256 << 10;
/// How long that may take.
const DROPPING: Duration = Duration::from_millis(500);
/// How long a client may say nothing for whom there is only a place to ask how the server is.
const FOR_HEALTH: Duration = Duration::from_secs(1);

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// At this address.
    Ip(IpAddr),
    /// On this machine, at a Unix socket.
    Unix,
}

/// An answer that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, from 200 on.
    pub status: u16,
    /// Header fields. What may not stand in a value becomes `?`; those that say the framing are the connection's own.
    pub headers: Vec<(String, String)>,
    /// The body. A HEAD request gets its length only.
    pub body: Vec<u8>,
}

/// What was answered, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The status code.
    pub status: u16,
    /// How many bytes of the body were sent.
    pub bytes: u64,
}

/// One client's connection.
pub(crate) struct Connection {
    reader: Reader<Socket>,
    peer: Peer,
    place: Place,
    shared: Arc<Shared>,
}

/// What becomes of a connection.
enum Next {
    /// The next request.
    Request,
    /// It ends as soon as the client has heard the answer.
    Goodbye,
    /// It ends now.
    Cut,
}

impl Connection {
    pub(crate) fn new(
        stream: Arc<TcpStream>,
        peer: Peer,
        place: Place,
        shared: Arc<Shared>,
    ) -> io::Result<Connection> {
        let tcp = matches!(peer, Peer::Ip(_));
        let socket = Socket::new(stream, shared.drain.clone(), tcp, shared.limits.get().write)?;
        Ok(Connection { reader: Reader::new(socket), peer, place, shared })
    }

    /// Serves the client until one of the two has had enough.
    pub(crate) fn serve(mut self) {
        // A client that connects has something to say; only a client that was served before may think about it.
        let mut wait_limit = self.shared.limits.get().head;
        if self.place.is_for_health {
            wait_limit = wait_limit.min(FOR_HEALTH);
        }
        loop {
            match self.request(wait_limit) {
                Next::Request => wait_limit = self.shared.limits.get().idle,
                Next::Goodbye => return self.say_goodbye(),
                Next::Cut => return,
            }
        }
    }

    fn request(&mut self, wait_limit: Duration) -> Next {
        if self.reader.held().is_empty() {
            self.reader.rest();
            self.place.rest();
            self.reader.source().idle_within(wait_limit);
            let heard = self.reader.source().peek();
            if heard.is_err() && self.place.is_for_health {
                return self.refuse(503, TOO_MANY);
            }
            // What it asks is under way before it is read: in between it would look like a client that is silent. Nobody
            // waits for an answer to nothing.
            let is_heard = matches!(heard, Ok(1..))
                && self.place.work()
                && matches!(self.reader.fill(Reader::<Socket>::FOR_A_HEAD), Ok(1..));
            if !is_heard {
                return Next::Cut;
            }
        }
        // Many drops of a head are no more than silence.
        if !head::is_whole(self.reader.held()) {
            self.place.rest();
        }
        self.reader.source().read_within(self.shared.limits.get().head);
        let request = match head::read(&mut self.reader) {
            Ok(request) => request,
            Err(Halt::Gone) => return Next::Cut,
            Err(Halt::TimedOut) => return self.refuse(408, "the head took too long to come"),
            Err(Halt::Refused(refusal)) => return self.refuse(refusal.status, refusal.message),
        };
        let shared = self.shared.clone();
        if !self.place.work() {
            return Next::Cut;
        }
        if self.place.is_for_health && !shared.service.tells_health(&request.head.path) {
            return self.refuse(503, TOO_MANY);
        }
        let misdirected = request.misdirected;
        let mut exchange = Exchange::new(self, request);
        let served = if misdirected {
            exchange
                .respond(response::refusal(400, "the target names another server than Host does"))
                .map_err(drop)
        } else {
            catch_unwind(AssertUnwindSafe(|| shared.service.serve(&mut exchange))).map_err(drop)
        };
        exchange.end(served.is_err())
    }

    /// Answers a request that is not let in.
    fn refuse(&mut self, status: u16, message: &str) -> Next {
        log::debug!("refused a request: {status}, {message}");
        match self.reader.source().write(&response::last_words(status, message)) {
            Ok(()) => Next::Goodbye,
            Err(_) => Next::Cut,
        }
    }

    /// Says that there is nothing more to come, and reads on for a moment: a connection that is closed with bytes unread
    /// takes the answer away from its client.
    fn say_goodbye(mut self) {
        let socket = self.reader.source();
        socket.end_writing();
        socket.read_within(DROPPING);
        let (mut buffer, mut left) = (vec![0; 16 << 10], MOST_DROPPED);
        while let Ok(read @ 1..) = socket.read(&mut buffer) {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }
}

/// How far the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing was said.
    Nothing,
    /// The head of a stream was sent; in chunks or up to the end of the connection.
    Stream { chunked: bool },
    /// All of it was sent.
    Whole,
}

/// One request and its answer.
pub struct Exchange<'c> {
    /// What came before the body.
    pub head: Head,
    /// Who asks.
    pub peer: Peer,
    connection: &'c mut Connection,
    length: Option<u64>,
    body: Body,
    awaits_continue: bool,
    keep_alive: bool,
    answer: Answer,
    sent: Option<Sent>,
    watched: Option<Watched>,
    /// What its body, and what came of it, have of the memory.
    held: Arc<Held>,
    /// A write failed, or the client left in the middle of its body.
    gone: bool,
}

impl Exchange<'_> {
    fn new(connection: &mut Connection, request: Request) -> Exchange<'_> {
        let keep_alive = request.keep_alive && !connection.place.is_for_health;
        Exchange {
            peer: connection.peer,
            held: connection.shared.limits.get().memory.hold(),
            connection,
            length: request.length,
            body: Body::new(request.length),
            awaits_continue: request.expects_continue,
            keep_alive,
            head: request.head,
            answer: Answer::Nothing,
            sent: None,
            watched: None,
            gone: false,
        }
    }

    /// How long the body says it is; `None` for one in chunks.
    pub fn declared_length(&self) -> Option<u64> {
        self.length
    }

    /// What the request has of the memory. Whatever outlives the exchange takes it along.
    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// All the memory that there is for requests.
    pub(crate) fn memory(&self) -> &Memory {
        self.held.memory()
    }

    /// Reads the whole body, at most `most` bytes, within its deadline. It waits for room in the memory first; a client
    /// that waits to be told is told then. No more memory is used than what has come.
    ///
    /// # Errors
    /// When it is too large, too slow or malformed, there is no room, or the client left; then the connection ends with
    /// the answer.
    pub fn body(&mut self, most: usize) -> Result<Vec<u8>, BodyError> {
        if self.length.is_some_and(|length| length > most as u64) {
            return Err(BodyError::TooLarge);
        }
        let limits = self.connection.shared.limits.get();
        // A body in chunks does not say how long it is: it claims what has come.
        if let Some(length @ 1..) = self.length {
            let (drain, leaving) = (self.connection.shared.drain.clone(), self.leaving());
            let stream = self.connection.reader.source().stream();
            let goes_on = || !drain.over.is_thrown() && !leaving.watch(&stream).is_awake();
            if !self.held.claim(length as usize * COPIES, limits.wait, goes_on) {
                return Err(BodyError::NoRoom);
            }
        }
        if std::mem::take(&mut self.awaits_continue) {
            self.write(response::CONTINUE).map_err(|_| BodyError::Gone)?;
        }
        let reader = &mut self.connection.reader;
        reader.source().read_body_within(limits.read, self.length.unwrap_or(0), limits.memory.clone());
        let body = self.body.read(reader, most, |part| self.held.grow(part * COPIES, || false));
        self.gone |= body == Err(BodyError::Gone);
        body
    }

    /// How this client would leave. Over TCP a client that closes its socket and one that closes only its own side look
    /// the same until something is written to them. Programs that keep their connections alive close them only to leave;
    /// a client that has announced its last request waits for the answer. Over a Unix socket the two differ at once.
    fn leaving(&self) -> Leaving {
        let looks_alike = self.keep_alive && self.peer != Peer::Unix;
        if looks_alike { Leaving::Silence } else { Leaving::Disconnection }
    }

    /// A switch that is thrown when the client leaves, or when the drain's grace is over. The client is watched until the
    /// exchange ends.
    pub fn watch(&mut self) -> Result<Arc<Cancel>, Error> {
        if let Some(watched) = &self.watched {
            return Ok(watched.cancel().clone());
        }
        let cancel = Arc::new(Cancel::new()?);
        let stream = self.connection.reader.source().stream();
        self.watched = Some(self.connection.shared.watcher.add(stream, self.leaving(), cancel.clone()));
        Ok(cancel)
    }

    /// The server is about to stop: nothing long should begin.
    pub fn is_draining(&self) -> bool {
        self.connection.shared.drain.asked.is_thrown()
    }

    /// Answers.
    pub fn respond(&mut self, response: Response) -> io::Result<()> {
        let bodiless = matches!(response.status, 204 | 304);
        let framing = if bodiless { Framing::Unsaid } else { Framing::Length(response.body.len()) };
        let head = self.begin(response.status, &response.headers, framing)?;
        self.answer = Answer::Whole;
        if bodiless || self.head.method == "HEAD" {
            return self.write(&head);
        }
        self.count(response.body.len());
        self.write_all(&[&head, &response.body])
    }

    /// Begins an answer that comes in pieces. Its head is sent at once.
    pub fn stream(&mut self, status: u16, headers: &[(String, String)]) -> io::Result<()> {
        let chunked = self.head.http11;
        // Only the end of the connection tells a client of 1.0 where the answer ends.
        self.keep_alive &= chunked;
        let framing = if chunked { Framing::Chunked } else { Framing::Unsaid };
        let bytes = self.begin(status, headers, framing)?;
        self.answer = Answer::Stream { chunked };
        self.write(&bytes)
    }

    /// Sends one piece of a streamed answer: one chunk, one write.
    ///
    /// # Errors
    /// When the client left, or has taken nothing for too long; or nothing is streamed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Answer::Stream { chunked } = self.answer else {
            return Err(io::Error::other("nothing is streamed"));
        };
        // An empty chunk would be the end.
        if bytes.is_empty() || self.head.method == "HEAD" {
            return Ok(());
        }
        self.count(bytes.len());
        if !chunked {
            return self.write(bytes);
        }
        let size = format!("{:x}\r\n", bytes.len());
        self.write_all(&[size.as_bytes(), bytes, b"\r\n"])
    }

    /// Ends a streamed answer. One that is not ended is cut, so that its reader knows that something is missing.
    pub fn finish(&mut self) -> io::Result<()> {
        let Answer::Stream { chunked } = self.answer else {
            return Err(io::Error::other("nothing is streamed"));
        };
        self.answer = Answer::Whole;
        if chunked && self.head.method != "HEAD" { self.write(b"0\r\n\r\n") } else { Ok(()) }
    }

    /// What was answered so far.
    pub fn sent(&self) -> Option<Sent> {
        self.sent
    }

    /// The head of the one answer.
    fn begin(&mut self, status: u16, headers: &[(String, String)], framing: Framing) -> io::Result<Vec<u8>> {
        if self.answer != Answer::Nothing {
            return Err(io::Error::other("there is an answer already"));
        }
        // A client that was never told to send its body may or may not do so: where its next request begins is not known.
        self.keep_alive &=
            !self.is_draining() && !self.awaits_continue && self.body.may_end_within(MOST_DROPPED as u64);
        let connection = match (self.keep_alive, self.head.http11) {
            (false, _) => Some("close"),
            (true, false) => Some("keep-alive"),
            (true, true) => None,
        };
        self.sent = Some(Sent { status, bytes: 0 });
        Ok(response::head(status, headers, framing, connection))
    }

    fn count(&mut self, bytes: usize) {
        if let Some(sent) = &mut self.sent {
            sent.bytes += bytes as u64;
        }
    }

    /// Writes the parts of one message: in one go, unless that would make a copy of something large.
    fn write_all(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        /// One more system call costs less than copying more than this.
        const COPIED: usize = 64 << 10;
        if parts.iter().map(|part| part.len()).sum::<usize>() <= COPIED {
            return self.write(&parts.concat());
        }
        parts.iter().try_for_each(|part| self.write(part))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.connection.reader.source().write(bytes);
        self.gone |= result.is_err();
        result
    }

    /// The service is done with it, or panicked.
    fn end(mut self, panicked: bool) -> Next {
        let watched = self.watched.take();
        let left = self.gone || watched.is_some_and(|watched| watched.cancel().is_thrown());
        self.keep_alive &= !panicked;
        match self.answer {
            // A client that left is not waiting for it.
            Answer::Nothing if left => return Next::Cut,
            Answer::Nothing => {
                if self.respond(response::refusal(500, "the server made a mistake")).is_err() {
                    return Next::Cut;
                }
            }
            Answer::Stream { .. } => return Next::Cut,
            Answer::Whole if self.gone => return Next::Cut,
            Answer::Whole => {}
        }
        if !self.keep_alive {
            return Next::Goodbye;
        }
        let reader = &mut self.connection.reader;
        reader.source().read_within(DROPPING);
        match self.body.skip(reader, MOST_DROPPED) {
            Ok(()) => Next::Request,
            Err(BodyError::Gone) => Next::Cut,
            Err(_) => Next::Goodbye,
        }
    }
}
