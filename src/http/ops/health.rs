//! How the server is: for people, for its supervisor, for a load balancer, and for Prometheus.

use crate::base::json::json;
use crate::engine::pool::{Child, STATES};
use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use crate::http::state::metrics;
use serde_json::Value;

/// `GET /health`
pub(crate) fn health(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let server = call.server;
    let (store, found) = (server.sessions(), server.backends());
    let backends: Vec<Value> = server
        .backends_of(&call.who)
        .iter()
        .map(|(name, there, age)| json!({"name": name, "available": there, "checked_seconds_ago": age.as_secs()}))
        .collect();
    let default = &server.config.default_backend;
    let is_there = found.iter().any(|(name, there, _)| name == default && *there);
    let status = match (&store, is_there) {
        (Err(_), _) => "unhealthy",
        (Ok(_), false) => "degraded",
        (Ok(_), true) => "ok",
    };
    let (used, waiting) = server.lasting.slots.used();
    let uptime = server.lasting.since.elapsed();
    let answer = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": format!("{}s", uptime.as_secs()),
        "uptime_millis": uptime.as_millis() as u64,
        "backends": backends,
        "session_store": {
            "available": store.is_ok(),
            "session_count": store.as_ref().ok(),
            "error": store.as_ref().err(),
        },
        "slots": {"used": used, "total": server.lasting.slots.bounds().runs},
        "queue": {"waiting": waiting, "length": server.lasting.slots.bounds().queue},
        "pool": in_states(&server.kept().0),
        "connections": server.lasting.gauges.connections(),
    });
    let code = if store.is_ok() { 200 } else { crate::http::front::errors::UNHEALTHY };
    call.answer(code, "application/json", answer.to_string());
    Ok(())
}

/// How many kept programs are in each state.
fn in_states(children: &[Child]) -> Value {
    let count = |state: &str| children.iter().filter(|child| child.state == state).count();
    STATES.iter().map(|state| ((*state).to_owned(), json!(count(state)))).collect()
}

/// `GET /live`: the process answers.
pub(crate) fn live(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(json!({"status": "ok"}))
}

/// `GET /ready`: it takes work.
pub(crate) fn ready(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    if call.exchange.is_draining() {
        return Err(crate::model::error::Error::Draining.into());
    }
    call.json(json!({"status": "ok"}))
}

/// `GET /metrics`
pub(crate) fn metrics(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let server = call.server;
    if !server.config.server.metrics_enabled {
        return Err(Fault::no_path("GET", "/metrics (server.metrics_enabled)", &[]));
    }
    let (used, waiting) = server.lasting.slots.used();
    let (children, pool) = server.kept();
    let gauges = metrics::Gauges {
        children: children.iter().map(|child| (child.backend.clone(), child.state, child.memory())).collect(),
        pool,
        sessions: server.sessions().unwrap_or(0),
        slots_used: used,
        slots: server.lasting.slots.bounds().runs,
        queued: waiting,
        connections: server.lasting.gauges.connections(),
        backends: server.backends().into_iter().map(|(name, there, _)| (name, there)).collect(),
        footprint: metrics::footprint(),
    };
    let text = server.lasting.metrics.render(&gauges);
    call.answer(200, metrics::CONTENT_TYPE, text);
    Ok(())
}
