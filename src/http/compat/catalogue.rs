//! `/models` on both surfaces, and which backend a model's name means here.

use super::models::{self, Known, Model};
use crate::backend::{Backend, Trust};
use crate::http::front::errors::Fault;
use crate::http::state::call::Call;
use crate::http::state::server::Server;
use std::sync::Arc;

/// `GET /openai/v1/models`
pub(crate) fn openai_models(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(models::openai_list(&known(call)))
}

/// `GET /openai/v1/models/{id}`
pub(crate) fn openai_model(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(models::openai_one(&known(call), &call.params[0])?)
}

/// `GET /anthropic/v1/models`
pub(crate) fn anthropic_models(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(models::anthropic_list(&known(call), &call.exchange.head.query)?)
}

/// `GET /anthropic/v1/models/{id}`
pub(crate) fn anthropic_model(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(models::anthropic_one(&known(call), &call.params[0])?)
}

/// The names that a client may ask for: backends that are there and that it may use, their aliases of models, and those of
/// the configuration that mean one of these.
fn known(call: &Call<'_, '_>) -> Vec<Model> {
    let server = call.server;
    let all = server.backends_of(&call.who).into_iter();
    let usable: Vec<String> = all.filter(|(_, is_there, _)| *is_there).map(|(name, ..)| name).collect();
    let is_usable = |alias: &&String| {
        let meant = server.resolve(alias, &server.config.default_backend);
        meant.is_ok_and(|(backend, _)| usable.contains(&backend))
    };
    let aliases = server.config.server.models.keys().filter(is_usable).cloned();
    let of_backends = usable.iter().flat_map(|name| {
        let known = server.engine.registry.get(name);
        let aliases = known.map(|backend| backend.models().to_vec()).unwrap_or_default();
        let named = aliases.into_iter().map(move |(alias, _)| format!("{name}/{alias}"));
        std::iter::once(name.clone()).chain(named)
    });
    aliases.chain(of_backends).map(|id| Model { id, owned_by: "clinvk".to_owned() }).collect()
}

impl Server {
    /// Which backend a model's name means, and which model of it. `default`: who answers to a name that no backend knows.
    pub(crate) fn resolve(&self, asked: &str, default: &str) -> Result<(String, Option<String>), Fault> {
        let registry = &self.engine.registry;
        let backends: Vec<Arc<dyn Backend>> =
            registry.names().iter().filter_map(|name| registry.get(name).ok()).collect();
        // A backend that is not there claims nothing: another may answer under that name.
        let claims = |backend: &Arc<dyn Backend>| match self.engine.locate(&**backend, Trust::All) {
            Some(_) => backend.claims(),
            None => &[],
        };
        let there = backends.iter().map(|backend| (backend.name(), claims(backend)));
        // A request for one that is switched off does not mean another.
        let disabled = self.engine.disabled.iter().map(|name| (&**name, &[][..]));
        let known = Known {
            backends: &there.chain(disabled).collect::<Vec<(&str, &[&str])>>(),
            aliases: &self.config.server.models,
            default,
            strict: self.config.server.strict_models,
        };
        models::resolve(asked, &known)
    }
}
