//! The nine layers between the listener and a handler, outermost first. Each is a function that calls the next one, or answers
//! instead of it.

use super::routes;
use crate::base::json::json;
use crate::base::sync::Current;
use crate::http::front::errors::{Cause, Fault, Surface};
use crate::http::front::keys;
use crate::http::front::origin::OriginHeaders;
use crate::http::front::rate::{self, Rate};
use crate::http::front::request_id::{self, Trace};
use crate::http::net::{Exchange, Peer, Service};
use crate::http::state::call::{Call, Handler, Limits, Who};
use crate::http::state::server::Server;
use crate::model::error::Kind;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A layer. An `Err` goes outwards to the logger, which answers it.
type Layer = fn(&mut Call<'_, '_>, Next<'_>) -> Result<(), Fault>;

/// The layers. The order is part of the interface: what is counted, who is asked for a key, what a panic costs.
const CHAIN: &[Layer] =
    &[request_id, real_ip, recover, logger, request_size, rate_limit, auth, timeout, cors];

/// What comes behind a layer.
struct Next<'a> {
    layers: &'a [Layer],
}

impl Next<'_> {
    fn go(self, call: &mut Call<'_, '_>) -> Result<(), Fault> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer(call, Next { layers }),
            None => handle(call),
        }
    }
}

/// The server as a connection sees it: by the configuration that holds when a request begins.
pub(crate) struct Front(pub(crate) Arc<Current<Server>>);

impl Service for Front {
    fn serve(&self, exchange: &mut Exchange<'_>) {
        serve(&self.0.get(), exchange);
    }

    fn tells_health(&self, path: &str) -> bool {
        let found = routes::find(path).map(|(route, _)| route.path);
        matches!(found, Some("/live" | "/ready" | "/health"))
    }

    fn is_of_many(&self, address: IpAddr) -> bool {
        self.0.get().proxies.trusts(address)
    }
}

/// Answers one request.
fn serve(server: &Arc<Server>, exchange: &mut Exchange<'_>) {
    let path = exchange.head.path.clone();
    let found = routes::find(&path);
    let (route, params) = found.map_or((None, Vec::new()), |(route, params)| (Some(route), params));
    let client = match exchange.peer {
        Peer::Ip(address) => address.to_string(),
        Peer::Unix => "unix".to_owned(),
    };
    let who = Who {
        request: String::new(),
        surface: if route.is_some() { Surface::of(&path) } else { dialect(&path) },
        route: route.map_or("unknown", |route| route.path),
        client,
        key: None,
        trace: None,
        limits: Limits::default(),
    };
    let (query, headers, since) = (Vec::new(), Vec::new(), Instant::now());
    let mut call = Call { server, exchange, who, params, query, route, headers, since };
    // Every answer that a listed page may read says so, errors of any layer too.
    let of_page = server.origins.headers(&origin_headers(&call));
    call.headers.extend(of_page.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let Err(fault) = (Next { layers: CHAIN }).go(&mut call) {
        call.fail(&fault);
    }
}

/// The dialect of a path that leads nowhere: its own, or that of the one path that was meant.
fn dialect(path: &str) -> Surface {
    match (Surface::of(path), &*routes::meant(path)) {
        (Surface::Native, [meant]) => Surface::of(meant),
        (surface, _) => surface,
    }
}

/// The innermost: what the route says.
fn handle(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let method = call.exchange.head.method.clone();
    let handler: Handler = match call.route {
        Some(route) => {
            let handler = route.handler(&method)?;
            call.read_query(route)?;
            handler
        }
        None => {
            let path = &call.exchange.head.path;
            return Err(Fault::no_path(&method, path, &routes::meant(path)));
        }
    };
    handler(call)
}

/// Takes the client's id of the request when it is a sane one, else makes one; it is in every answer and log line. The
/// trace that the request belongs to goes on to the backend.
fn request_id(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    let head = &call.exchange.head;
    call.who.request = request_id::request_id(head.get("x-request-id"))?;
    let trace = head.get("traceparent").and_then(Trace::parse).map(|trace| trace.child()).transpose()?;
    call.who.trace = trace.map(|trace| trace.header());
    for name in ["X-Request-Id", "Request-Id"] {
        call.headers.push((name.to_owned(), call.who.request.clone()));
    }
    next.go(call)
}

/// Finds out who asks where proxies stand between.
fn real_ip(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    if let Peer::Ip(address) = call.exchange.peer {
        let hops: Vec<&[u8]> = call.exchange.head.all("x-forwarded-for").collect();
        let client = call.server.proxies.client(address, hops.into_iter());
        call.exchange.peer = Peer::Ip(client);
        call.who.client = client.to_string();
    }
    next.go(call)
}

/// A panic costs its own request a 500, and the others nothing.
fn recover(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    match catch_unwind(AssertUnwindSafe(|| next.go(call))) {
        Ok(result) => result,
        Err(_) => {
            call.fail(&Fault::of(Kind::Internal, "internal error"));
            note(call);
            Ok(())
        }
    }
}

/// Answers what failed further in, and writes the request's line.
fn logger(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    if let Err(fault) = next.go(call) {
        call.fail(&fault);
    }
    note(call);
    Ok(())
}

/// The request's line in the log, and in the metrics.
fn note(call: &Call<'_, '_>) {
    let (head, took) = (&call.exchange.head, call.since.elapsed());
    // 499 is what is noted for a client that left without an answer.
    let (status, bytes) = call.exchange.sent().map_or((499, 0), |sent| (sent.status, sent.bytes));
    call.server.lasting.metrics.request(call.who.route, &head.method, status, took);
    let key = call.who.key.as_ref().map_or("", |key| &*key.name);
    crate::base::logging::record(
        "request",
        json!({
            "request_id": call.who.request,
            "client": call.who.client,
            "key": key,
            "method": head.method,
            "path": head.path,
            "status": status,
            "bytes": bytes,
            "duration_ms": took.as_millis() as u64,
        }),
    );
}

/// Refuses a body that says it is too large, before it comes. One that does not say is cut when it is.
fn request_size(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    let (most, rule) = call.most_body();
    match call.exchange.declared_length() {
        Some(length) if length > most as u64 => Err(Fault::too_large(most, rule)),
        _ => next.go(call),
    }
}

/// Counts the request against its key or its address. Only a key that is known is looked at here: whatever else is sent
/// as one counts against the address, or guessing would be free.
fn rate_limit(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    let head = &call.exchange.head;
    let presented = keys::presented(head.get("authorization"), head.get("x-api-key"));
    let key = presented.into_iter().find_map(|key| call.server.keys.find(key));
    call.who.key = key;
    let address = match call.exchange.peer {
        Peer::Ip(address) => Some(address),
        Peer::Unix => None,
    };
    let counted = match &call.who.key {
        Some(key) => (rate::Who::Key(key.owner.clone()), key.rate),
        None => (rate::Who::at(address), Rate::of(&call.server.config.server, None)),
    };
    let (who, Some(rate)) = counted else { return next.go(call) };
    match call.server.lasting.buckets.take(who, rate, Instant::now()) {
        Ok(()) => next.go(call),
        Err(seconds) => {
            let fault = Fault::of(Kind::RateLimited, "too many requests: slow down");
            Err(Fault { retry_after: Some(Duration::from_secs(seconds)), ..fault })
        }
    }
}

/// Refuses a request that was not sent to a name of ours, is from a page that may not ask, or has no key where there are
/// keys. A preflight has none, and is answered by `cors` alone.
fn auth(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    call.server
        .origins
        .admit(&origin_headers(call))
        .map_err(|error| Fault::new(Cause::Foreign, error.to_string()))?;
    let is_open = call.route.is_some_and(|route| route.open)
        || (call.who.route == "/metrics" && call.server.config.server.metrics_public);
    let needs_key = !call.server.keys.is_empty() && !is_open && !origin_headers(call).is_preflight();
    if needs_key && call.who.key.is_none() {
        return Err(Fault::unauthorized());
    }
    next.go(call)
}

/// Sets the limits of whatever the request runs.
fn timeout(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    let of_server = &call.server.config.server;
    call.who.limits = Limits {
        whole: Duration::from_secs(of_server.request_timeout_secs),
        streamed: Duration::from_secs(of_server.stream_timeout_secs),
        stall: Duration::from_secs(of_server.stall_timeout_secs),
        first_byte: Duration::from_secs(of_server.first_byte_timeout_secs),
    };
    next.go(call)
}

/// Answers preflights.
fn cors(call: &mut Call<'_, '_>, next: Next<'_>) -> Result<(), Fault> {
    if !origin_headers(call).is_preflight() {
        return next.go(call);
    }
    call.answer(204, "text/plain", "");
    Ok(())
}

/// What the request says of where it was sent, and from where.
fn origin_headers<'c>(call: &'c Call<'_, '_>) -> OriginHeaders<'c> {
    let head = &call.exchange.head;
    OriginHeaders {
        method: &head.method,
        host: head.get("host"),
        origin: head.get("origin"),
        wanted_method: head.get("access-control-request-method"),
        wanted_headers: head.get("access-control-request-headers"),
        by_unix_socket: call.exchange.peer == Peer::Unix,
    }
}
