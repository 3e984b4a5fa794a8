//! `/pool`: the programs that are kept for further runs.

use crate::base::json::json;
use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use serde_json::Value;

/// `GET /pool`
pub(crate) fn look(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let (server, who) = (call.server, &call.who);
    let (children, counts) = server.kept();
    let of_backend = |name: &String| {
        let bounds = server.config.pool(name);
        let counts = counts.get(name).cloned().unwrap_or_default();
        json!({
            "name": name,
            "limits": {
                "max": bounds.max,
                "min_idle": bounds.min_idle,
                "idle_secs": bounds.idle_secs,
                "max_turns": bounds.max_turns,
                "max_rss_mb": bounds.max_rss_mb,
                "max_age_secs": bounds.max_age_secs,
                "per_process": bounds.per_process,
            },
            "runs": {
                "continued": counts.continued,
                "warm": counts.warm,
                "started": counts.started,
                "cold": counts.cold,
            },
            "retried": counts.retried,
            "spares": counts.spares,
            "ended": counts.ended,
        })
    };
    let backends: Vec<Value> = server.backends_of(who).iter().map(|(name, ..)| of_backend(name)).collect();
    let visible = children.iter().filter(|child| who.sees(child.owner.as_deref()));
    let children: Vec<Value> = visible
        .map(|child| {
            json!({
                "backend": child.backend,
                "pid": child.pid,
                "key": child.owner,
                "state": child.state,
                "runs": child.runs,
                "conversations": child.conversations,
                "turns": child.turns,
                "age_seconds": child.age.as_secs_f64(),
                "idle_seconds": child.idle.as_secs_f64(),
                "memory_bytes": child.memory(),
            })
        })
        .collect();
    call.json(json!({"backends": backends, "children": children}))
}
