//! `/backends`: what there is for a client, and whether it is installed.

use crate::backend::Trust;
use crate::base::json::json;
use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use crate::model::task::TaskOption;
use serde_json::Value;
use std::time::Duration;

/// `GET /backends`
pub(crate) fn list(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let usable = call.server.backends_of(&call.who);
    let registry = &call.server.engine.registry;
    let told = |(name, is_there, _): &(String, bool, Duration)| {
        let answers = registry.get(name).is_ok_and(|backend| backend.answers());
        json!({"name": name, "available": is_there, "answers": answers})
    };
    let backends: Vec<Value> = usable.iter().map(told).collect();
    let default = &call.server.config.default_backend;
    let default = call.server.policy(&call.who).backend(default).is_ok().then_some(default);
    call.json(json!({"backends": backends, "default": default}))
}

/// `GET /backends/{name}`
pub(crate) fn one(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.server.policy(&call.who).backend(&call.params[0])?;
    let engine = &call.server.engine;
    let backend = engine.registry.get(&call.params[0])?;
    let program = engine.locate(&*backend, Trust::All);
    let version = match (program.as_deref(), backend.version_args()) {
        (Some(program), Some(args)) => call.server.version(args, program),
        _ => None,
    };
    let options = |honoured: bool| -> Vec<&str> {
        TaskOption::ALL
            .iter()
            .filter(|option| backend.honours(**option).is_ok() == honoured)
            .map(|option| option.word())
            .collect()
    };
    let models: Vec<Value> =
        backend.models().iter().map(|(alias, model)| json!({"alias": alias, "model": model})).collect();
    let answer = json!({
        "name": backend.name(),
        "available": program.is_some(),
        "program": backend.program(),
        "version": version,
        "models": models,
        "capabilities": {"honoured": options(true), "not_honoured": options(false)},
        "extra_flags": backend.extra_flags(),
    });
    call.json(answer)
}
