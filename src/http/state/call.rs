//! One request on its way through the layers to its handler: what is known of it, and the ways to answer.

use crate::base::encoding::percent_decoded;
use crate::base::json;
use crate::base::text::{nearest, without_mark};
use crate::engine::request;
use crate::exec::{Cancel, Control};
use crate::http::front::errors::{Cause, Fault, Surface};
use crate::http::front::keys::Key;
use crate::http::net::memory::{Held, MOMENT};
use crate::http::net::{BodyError, Exchange, Response};
use crate::http::state::runs::Run;
use crate::http::state::server::Server;
use crate::http::state::streaming::StreamingResponse;
use crate::model::error::Kind;
use crate::model::fields::{Fields, Object};
use crate::session::Filter;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One request.
pub struct Call<'a, 'c> {
    /// What all requests share.
    pub(crate) server: &'a Arc<Server>,
    /// The client's side.
    pub(crate) exchange: &'a mut Exchange<'c>,
    /// Whose request it is.
    pub(crate) who: Who,
    /// What stands at the places that the route leaves open.
    pub(crate) params: Vec<String>,
    /// The fields of the query, decoded; of a path of our own API alone.
    pub(crate) query: Vec<(String, String)>,
    /// The route, where the path has one.
    pub(crate) route: Option<&'static Route>,
    /// Headers of every answer.
    pub(crate) headers: Vec<(String, String)>,
    /// When it came.
    pub(crate) since: Instant,
}

/// The fields of a query that mean each of their values.
const REPEATED: &[&str] = &["tag"];

/// The header that says how long a busy session is waited for.
const WAIT: &str = "x-clinvk-wait";

/// What answers a request.
pub(crate) type Handler = fn(&mut Call<'_, '_>) -> Result<(), Fault>;

/// One path.
pub struct Route {
    /// The path; `{id}` stands for one part, `{id...}` for all that follow.
    pub path: &'static str,
    /// Its methods, as the header `Allow` has them.
    pub(crate) allow: &'static str,
    /// The fields of a query that it reads.
    pub query: &'static [&'static str],
    /// No key is needed.
    pub open: bool,
    /// What answers each method. A GET handler answers HEAD too.
    pub methods: &'static [(&'static str, Handler)],
}

/// Whose request it is: all that outlives the connection.
#[derive(Clone)]
pub(crate) struct Who {
    /// The request's id.
    pub(crate) request: String,
    /// The dialect of its path.
    pub(crate) surface: Surface,
    /// The route's pattern, for logs and metrics.
    pub(crate) route: &'static str,
    /// The client's address, or `unix`.
    pub(crate) client: String,
    /// The key that it came with.
    pub(crate) key: Option<Arc<Key>>,
    /// The trace that it belongs to, as W3C's `traceparent` has it.
    pub(crate) trace: Option<String>,
    /// How long what it runs may take.
    pub(crate) limits: Limits,
}

/// What a job has to work with.
pub(crate) struct Work<'a> {
    /// What all requests share.
    pub(crate) server: &'a Arc<Server>,
    /// Whose work it is.
    pub(crate) who: &'a Who,
    /// What it has of the memory.
    pub(crate) held: &'a Held,
    /// Its entry in the list of what runs.
    pub(crate) run: &'a Run,
    /// Stops it.
    pub(crate) cancel: &'a Arc<Cancel>,
    /// A client may read its events while it runs.
    pub(crate) streamed: bool,
    /// The whole answer is wanted at the end.
    pub(crate) keeps_answer: bool,
}

/// The longest times of what a request runs; zero is for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// A run whose answer comes whole.
    pub(crate) whole: Duration,
    /// A run whose answer is streamed.
    pub(crate) streamed: Duration,
    /// Without any output of the program: no run holds a slot for ever.
    pub(crate) stall: Duration,
    /// Until the first of the answer.
    pub(crate) first_byte: Duration,
}

impl Limits {
    /// Puts them over what was asked for: less is granted, more is not.
    pub(crate) fn over(&self, mut control: Control, streamed: bool) -> Control {
        let wall = if streamed { self.streamed } else { self.whole };
        let limits = [
            (&mut control.wall, wall),
            (&mut control.stall, self.stall),
            (&mut control.first_byte, self.first_byte),
        ];
        for (asked, most) in limits {
            if asked.is_zero() || (!most.is_zero() && *asked > most) {
                *asked = most;
            }
        }
        control
    }
}

impl Who {
    /// To whom what is made belongs.
    pub(crate) fn owner(&self) -> Option<String> {
        self.key.as_ref().map(|key| key.owner.clone())
    }

    /// Whether it may see what belongs to that key, or to none. Without keys nothing is hidden.
    pub(crate) fn sees(&self, owner: Option<&str>) -> bool {
        self.key.as_ref().is_none_or(|key| key.admin || owner == Some(&key.owner))
    }

    /// The sessions that it may see.
    pub(crate) fn filter(&self) -> Filter {
        let owner = self.key.as_ref().filter(|key| !key.admin).map(|key| key.owner.clone());
        Filter { owner, ..Filter::default() }
    }
}

impl<'c> Call<'_, 'c> {
    /// The most bytes that a body may have, and the rule that says so.
    pub(crate) fn most_body(&self) -> (usize, &'static str) {
        let (of_body, of_memory) =
            (self.server.config.server.max_request_body_bytes, self.exchange.memory().longest_body());
        match of_body <= of_memory {
            true => (of_body, "server.max_request_body_bytes"),
            false => (of_memory, "server.max_memory_bytes"),
        }
    }

    /// Takes memory for what is made of the body, if it is there.
    pub(crate) fn afford(&self, bytes: usize) -> Result<(), Fault> {
        let since = Instant::now();
        if self.exchange.held().grow(bytes, || since.elapsed() < MOMENT) {
            return Ok(());
        }
        if bytes > self.exchange.memory().most() / 2 {
            let sentence = "this has more in it than there is memory for (server.max_memory_bytes)";
            return Err(Fault::new(Cause::TooLarge, sentence));
        }
        Err(Fault::no_memory())
    }

    /// The body.
    ///
    /// # Errors
    /// When it is too large, too slow or malformed, there is no memory for it, or the client left.
    pub(crate) fn body(&mut self) -> Result<Vec<u8>, Fault> {
        let coding = self.exchange.head.get("content-encoding").map(String::from_utf8_lossy);
        if let Some(coding) = coding.filter(|coding| !coding.trim().eq_ignore_ascii_case("identity")) {
            return Err(Fault::coded_body(&coding));
        }
        let (most, rule) = self.most_body();
        self.exchange.body(most).map_err(|error| match error {
            BodyError::TooLarge => Fault::too_large(most, rule),
            BodyError::NoRoom => Fault::no_memory(),
            BodyError::TimedOut => Fault::too_slow(),
            BodyError::Malformed(what) => {
                Fault::of(Kind::InvalidRequest, format!("the body is malformed: {what}"))
            }
            BodyError::Gone => Fault::of(Kind::Cancelled, "the client left"),
        })
    }

    /// The body, with the memory for all of its values.
    pub(crate) fn whole_body(&mut self) -> Result<Vec<u8>, Fault> {
        let body = self.body()?;
        self.afford(json::weight(&body))?;
        Ok(body)
    }

    /// The body as an object with exactly these fields.
    pub(crate) fn object<T: Fields>(&mut self) -> Result<T, Fault> {
        let body = self.whole_body()?;
        read_object(&body)
    }

    /// How long it waits for a session that another run holds, where its header says so.
    pub(crate) fn wait_limit(&self) -> Result<Option<Duration>, Fault> {
        let Some(word) = self.exchange.head.text(WAIT) else { return Ok(None) };
        let wrong =
            || Fault::of(Kind::InvalidRequest, format!("`{WAIT}: {word}`: expected seconds, such as 30"));
        request::limit(word.trim()).map(Some).ok_or_else(wrong)
    }

    /// Answers with JSON.
    pub(crate) fn json(&mut self, value: impl Display) -> Result<(), Fault> {
        self.answer(200, "application/json", value.to_string());
        Ok(())
    }

    pub(crate) fn answer(&mut self, status: u16, content_type: &str, body: impl Into<Vec<u8>>) {
        let mut headers = self.headers.clone();
        headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        if let Err(error) = self.exchange.respond(Response { status, headers, body: body.into() }) {
            log::debug!("{}: the client left before its answer: {error}", self.who.request);
        }
    }

    /// Answers with a failure, in the dialect of the path. After the head of a stream there is nothing left to say.
    pub(crate) fn fail(&mut self, fault: &Fault) {
        let (surface, had) = (self.who.surface, self.headers.len());
        self.headers.extend(fault.headers(surface));
        let body = fault.body(surface, &self.who.request);
        if self.exchange.sent().is_none() {
            self.answer(fault.status(surface), "application/json", body);
        }
        self.headers.truncate(had);
    }

    /// A streamed answer of that type.
    pub(crate) fn response(&mut self, content_type: &str) -> StreamingResponse<'_, 'c> {
        let mut headers = self.headers.clone();
        headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        headers.push(("Cache-Control".to_owned(), "no-cache".to_owned()));
        headers.push(("X-Accel-Buffering".to_owned(), "no".to_owned()));
        StreamingResponse::new(self.exchange, headers)
    }

    /// The switch that is thrown when the client leaves.
    pub(crate) fn cancel(&mut self) -> Result<Arc<Cancel>, Fault> {
        Ok(self.exchange.watch()?)
    }

    /// Reads the query of our own API, and holds it against the fields that the route reads. The others' clients send what
    /// they like.
    pub(crate) fn read_query(&mut self, route: &Route) -> Result<(), Fault> {
        if route.path.starts_with("/api/") {
            self.query = pairs(&self.exchange.head.query);
        }
        for (at, (name, _)) in self.query.iter().enumerate() {
            let problem = match nearest(name, route.query.iter().copied()) {
                _ if !REPEATED.contains(&&**name)
                    && self.query[..at].iter().any(|(seen, _)| seen == name) =>
                {
                    format!("the query has `{name}` twice")
                }
                _ if route.query.contains(&&**name) => continue,
                Some(near) => format!("the query has an unknown field `{name}`: did you mean `{near}`?"),
                None if route.query.is_empty() => {
                    format!("the query has a field `{name}`: this path takes none")
                }
                None => {
                    let known = route.query.join(", ");
                    format!("the query has an unknown field `{name}`: known are {known}")
                }
            };
            return Err(Fault::of(Kind::InvalidRequest, problem));
        }
        Ok(())
    }

    /// The value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.queries(name).next()
    }

    /// The values of one that may be there several times.
    pub(crate) fn queries(&self, name: &str) -> impl Iterator<Item = String> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

/// An object with exactly these fields. No body at all is an empty object.
pub(crate) fn read_object<T: Fields>(body: &[u8]) -> Result<T, Fault> {
    if without_mark(body).iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    match json::from_slice::<Object<T>>(body) {
        Ok(Object(fields)) => Ok(fields),
        Err(error) => Err(Fault::of(Kind::InvalidRequest, format!("the body is not as expected: {error}"))),
    }
}

/// The pairs of a query, decoded.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let part = |text: &str| percent_decoded(&text.replace('+', " "));
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (part(name), part(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let expected = [("a", "1 2"), ("b", ""), ("c", "=")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("a=1+2&b&&c=%3D"), expected);
    }
}
