//! A prompt of a client's, run to its end.

use super::sessions::{Open, Place};
use super::updates::Updates;
use super::{Agent, content};
use crate::base::json::{Value, json};
use crate::engine::fallback::Attempts;
use crate::engine::request::{AllDirectories, Defaults, Picture};
use crate::model::error::{Error, Kind};
use crate::model::event::Usage;
use crate::model::outcome::Outcome;
use crate::model::task::{Continue, Image};
use crate::model::unified::Answer;
use crate::stdio::Refusal;
use std::time::Duration;

impl Agent<'_> {
    /// `session/prompt`
    pub(super) fn prompt(&self, open: &Open, place: &Place, blocks: Value) -> Result<Value, Refusal> {
        let (prompt, images) = content::read(blocks)?;
        let result = place.wait().and_then(|()| self.run(open, place, prompt, images));
        // Whatever came of a turn that the client has cancelled.
        match (&result, place.cancel.is_thrown()) {
            (Ok(outcome), true) => return Ok(stopped("cancelled", Some(outcome))),
            (Err(_), true) => return Ok(stopped("cancelled", None)),
            (_, false) => {}
        }
        let outcome = result?;
        match &outcome.failure {
            None if outcome.truncated => Ok(stopped("max_tokens", Some(&outcome))),
            None => Ok(stopped("end_turn", Some(&outcome))),
            Some(failure) if failure.kind == Kind::TurnLimit => {
                Ok(stopped("max_turn_requests", Some(&outcome)))
            }
            Some(failure) if failure.kind == Kind::Refusal => Ok(stopped("refusal", Some(&outcome))),
            Some(failure) => Err(Refusal::of_failure(failure).with("backend", json!(outcome.backend))),
        }
    }

    fn run(&self, open: &Open, place: &Place, prompt: String, images: Vec<Image>) -> Result<Outcome, Error> {
        let session = match self.engine.store.load(&open.id) {
            Ok(session) => Some(session),
            Err(Error::SessionNotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut request = open.chosen().request(self);
        request.workdir = Some(open.dir.to_string_lossy().into_owned());
        let further = open.add_dirs.iter().map(|dir| dir.to_string_lossy().into_owned());
        request.system_prompt = open.system.replaced.clone().or(request.system_prompt);
        request.append_system_prompt = open.system.appended.clone().or(request.append_system_prompt);
        request.add_dirs.get_or_insert_default().extend(further);
        request.images.get_or_insert_default().extend(images.into_iter().map(Picture::Data));
        let defaults = Defaults {
            config: self.config,
            registry: &self.engine.registry,
            base: &self.engine.world.cwd,
            home: &self.engine.world.home,
            temp: &self.engine.world.temp,
            session: session.as_ref(),
            directories: &AllDirectories,
            reads_files: true,
        };
        let mut tasks = request.tasks(&defaults, || Ok(prompt))?;
        for task in &mut tasks {
            task.attended = true;
            for server in &open.servers {
                if task.mcp.iter().any(|known| known.name == server.name) {
                    let sentence = format!(
                        "two MCP servers are named `{}`: one of the client's, one of clinvk's",
                        server.name
                    );
                    return Err(Error::Invalid(sentence));
                }
                task.mcp.push(server.clone());
            }
            task.begins = Some(open.id.clone());
            let wait_limit = Some(Duration::ZERO);
            task.session = session.as_ref().map(|session| Continue {
                id: session.id.clone(),
                wait_limit,
                replay: false,
            });
        }
        let attempts = Attempts::checked(self.engine, tasks, session.as_ref())?;
        let control = request.control(self.config, place.cancel.clone());
        let mut updates = Updates::new(self, open, &control, session.is_none());
        for warning in &attempts.first().warnings {
            updates.note("warning", warning).map_err(|_| Error::ReaderGone)?;
        }
        attempts.run(self.engine, &control, &mut updates)
    }
}

/// The end of a turn, for a reason of the protocol's; and the whole outcome as all our surfaces have it, without the answer,
/// which the client has.
fn stopped(reason: &str, outcome: Option<&Outcome>) -> Value {
    let mut result = json!({"stopReason": reason});
    if let Some(outcome) = outcome {
        result["usage"] = usage(&outcome.usage);
        result["_meta"] = json!({"clinvk": Answer::of(outcome, None)});
    }
    result
}

/// Tokens as the protocol counts them: each once.
fn usage(usage: &Usage) -> Value {
    json!({
        "inputTokens": usage.input.saturating_sub(usage.cached),
        "cachedReadTokens": usage.cached,
        "outputTokens": usage.output.saturating_sub(usage.reasoning),
        "thoughtTokens": usage.reasoning,
        "totalTokens": usage.total(),
    })
}
