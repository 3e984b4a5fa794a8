//! `/runs`: what is running, and what came of what was detached.

use super::deliver::{Format, follow};
use crate::base::json::json;
use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use crate::http::state::runs::Run;
use crate::model::error::Kind;
use serde_json::Value;
use std::sync::Arc;

fn find(call: &Call<'_, '_>) -> Result<Arc<Run>, Fault> {
    let id = &call.params[0];
    let found = call.server.lasting.runs.get(id).filter(|run| call.who.sees(run.owner.as_deref()));
    found.ok_or_else(|| Fault::no_run(id))
}

/// `GET /runs`
pub(crate) fn list(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let all = call.server.lasting.runs.all();
    let runs: Vec<Value> =
        all.iter().filter(|run| call.who.sees(run.owner.as_deref())).map(|run| run.to_json()).collect();
    call.json(json!({"runs": runs}))
}

/// `GET /runs/{id}`
pub(crate) fn one(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let run = find(call)?;
    call.afford(run.weight())?;
    call.json(run.to_json_with_result())
}

/// `DELETE /runs/{id}`
pub(crate) fn cancel(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let run = find(call)?;
    let is_over = run.status().is_some();
    run.cancel();
    call.json(json!({"cancelled": !is_over, "id": run.id}))
}

/// `GET /runs/{id}/events`
pub(crate) fn events(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let run = find(call)?;
    let format = match Format::of(call) {
        Format::Ndjson => Format::Ndjson,
        Format::Json | Format::Sse => Format::Sse,
    };
    let from = match call.exchange.head.text("last-event-id") {
        None => 0,
        Some(id) => {
            let number: usize = id
                .trim()
                .parse()
                .map_err(|_| Fault::of(Kind::InvalidRequest, format!("Last-Event-ID `{id}` is no number")))?;
            number.saturating_add(1)
        }
    };
    follow(call, &run, format, from)
}
