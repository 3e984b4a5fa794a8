//! An answer that takes its time. The status line is held until there is something of the answer, so that a run that fails
//! at once is still a failure by its status; after that only the stream itself can tell.

use crate::http::net::{Exchange, Response};
use std::io;
use std::time::{Duration, Instant};

/// Some clients give up on a server that says nothing at all: then the status line is held no longer.
const HELD: Duration = Duration::from_secs(20);
/// So long a stream may be silent before it says that it is alive. Proxies cut at 60 s.
const SILENCE: Duration = Duration::from_secs(15);

/// Whether a blank before a JSON answer is worth it yet. Node's clients give up after 300 s, and all skip blanks; but one
/// commits us to status 200, and a run that ends before needs none.
pub fn needs_keepalive(waited: Duration, limit: Option<Duration>) -> bool {
    const CLIENTS_WAIT: Duration = Duration::from_secs(300);
    const EARLY_ENOUGH: Duration = Duration::from_secs(240);
    waited >= EARLY_ENOUGH && limit.is_none_or(|limit| limit > CLIENTS_WAIT)
}

/// A streamed answer.
pub(crate) struct StreamingResponse<'a, 'c> {
    exchange: &'a mut Exchange<'c>,
    headers: Vec<(String, String)>,
    held: String,
    open: bool,
    since: Instant,
    last: Instant,
}

impl<'a, 'c> StreamingResponse<'a, 'c> {
    /// An answer with these headers, of which nothing is sent yet.
    pub(crate) fn new(
        exchange: &'a mut Exchange<'c>,
        headers: Vec<(String, String)>,
    ) -> StreamingResponse<'a, 'c> {
        let now = Instant::now();
        StreamingResponse { exchange, headers, held: String::new(), open: false, since: now, last: now }
    }

    /// A header, in place of one of that name, as long as the status line is held.
    pub(crate) fn header(&mut self, name: &str, value: String) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value));
    }

    /// The client has the status line.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Says this, but only once there is something of the answer.
    pub(crate) fn hold(&mut self, text: &str) -> io::Result<()> {
        if self.open {
            return self.send(text);
        }
        self.held.push_str(text);
        Ok(())
    }

    /// Says this, and what was held before it.
    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.begin()?;
        self.last = Instant::now();
        if self.held.is_empty() {
            return self.exchange.send(text.as_bytes());
        }
        let all = std::mem::take(&mut self.held) + text;
        self.exchange.send(all.as_bytes())
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.open {
            return Ok(());
        }
        self.open = true;
        self.exchange.stream(200, &self.headers)
    }

    /// A while of silence has passed: what was held for long enough is said, and so is what keeps the client waiting.
    pub(crate) fn idle(&mut self, keep_alive: impl FnOnce() -> String) -> io::Result<()> {
        if !self.open && self.since.elapsed() >= HELD {
            return self.send("");
        }
        if self.open && self.last.elapsed() >= SILENCE { self.send(&keep_alive()) } else { Ok(()) }
    }

    /// The same for an answer that is one JSON value at its end. `limit`: the longest time until it is there.
    pub(crate) fn idle_before_json(&mut self, limit: Option<Duration>) -> io::Result<()> {
        if needs_keepalive(self.since.elapsed(), limit) && self.last.elapsed() >= SILENCE {
            self.send("\n")
        } else {
            Ok(())
        }
    }

    /// The answer as one JSON text: with its length, unless blanks were sent before it.
    pub(crate) fn whole(&mut self, text: String) -> io::Result<()> {
        if self.open {
            self.send(&text)?;
            return self.exchange.finish();
        }
        self.open = true;
        let (headers, body) = (std::mem::take(&mut self.headers), text.into_bytes());
        self.exchange.respond(Response { status: 200, headers, body })
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if !self.open {
            self.send("")?;
        }
        self.exchange.finish()
    }
}
