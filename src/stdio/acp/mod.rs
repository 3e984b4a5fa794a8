//! clinvk as an agent of the Agent Client Protocol (version 1): editors and other clients reach any backend through it, with
//! our sessions, limits and supervision.
//!
//! The id of a session is the one that it has with us: `session/new` draws it, and its first turn begins our session under
//! it. So what `session/list` shows is what `clinvk sessions list` shows, and `clinvk resume` goes on with it. A session
//! without a turn is only here, and gone with the connection.

mod content; // the prompt, from its blocks
mod options; // what a client chooses for a session
mod servers; // MCP servers as this protocol lists them
mod sessions; // those that are open
mod tools; // tools as people see them
mod turn; // a prompt that is run
mod updates; // what a run says

use super::{Client, Protocol, Refusal, Reply};
use crate::base::json::{Value, json, text};
use crate::base::sync::lock;
use crate::base::world;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::request::{Request, directory};
use crate::exec::Cancel;
use crate::model::error::Error;
use crate::session::{Filter, Page, Session, Turn, is_id};
use options::Chosen;
use sessions::{Open, SystemPrompt};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The version that is spoken, whatever is asked for.
const VERSION: u64 = 1;
/// So many sessions are listed at once.
const LISTED: usize = 50;

/// Speaks with a client to the end of its input. `defaults` is what its prompts are completed from; `cancel` ends all of them.
pub(crate) fn serve(
    engine: &Engine,
    config: &Config,
    defaults: &Request,
    input: impl Read,
    out: impl Write + Send + 'static,
    cancel: Arc<Cancel>,
) -> Result<(), Error> {
    let client = Client::new(Box::new(out), cancel);
    super::serve(input, &client, &Agent { engine, config, defaults, client: &client, open: Mutex::default() })
}

struct Agent<'a> {
    engine: &'a Engine,
    config: &'a Config,
    defaults: &'a Request,
    client: &'a Client,
    /// The sessions that the client has opened.
    open: Mutex<BTreeMap<String, Arc<Open>>>,
}

impl Protocol for Agent<'_> {
    fn request(&self, id: &Value, method: &str, mut params: Value) -> Reply<'_> {
        let answer = match method {
            "initialize" => Ok(initialized()),
            "session/new" => self.begin(&params),
            "session/list" => return Reply::later(move || self.list(&params)),
            "session/load" => match self.take_up(&params) {
                Ok(open) => return Reply::later(move || self.replay(&open)),
                Err(refusal) => Err(refusal),
            },
            "session/resume" => self.take_up(&params).map(|open| self.choices(&open)),
            "session/fork" => self.fork(&params),
            "session/close" => self.close(&params),
            "session/delete" => return Reply::later(move || self.delete(&params)),
            "session/set_model" => {
                self.choose(&params, "model", &params["modelId"]).map(|open| self.tell_options(&open))
            }
            "session/set_mode" => {
                self.choose(&params, "mode", &params["modeId"]).map(|open| self.tell_options(&open))
            }
            "session/set_config_option" => self.choose_option(&params),
            "session/prompt" => match self.of_open(&params).and_then(|open| Ok((open.queue(id)?, open))) {
                Ok((place, open)) => {
                    let blocks = params["prompt"].take();
                    return Reply::later(move || self.prompt(&open, &place, blocks));
                }
                Err(refusal) => Err(refusal),
            },
            _ => Err(Refusal::no_method(method)),
        };
        Reply::Now(answer)
    }

    fn notification(&self, method: &str, params: Value) {
        match method {
            "session/cancel" => {
                if let Ok(open) = self.of_open(&params) {
                    open.cancel();
                }
            }
            "$/cancel_request" => {
                lock(&self.open).values().for_each(|open| open.cancel_request(&params["requestId"]));
            }
            _ => {}
        }
    }
}

/// Who we are, and what can be asked of us.
fn initialized() -> Value {
    json!({
        "protocolVersion": VERSION,
        "agentInfo": {"name": "clinvk", "title": "clinvk", "version": env!("CARGO_PKG_VERSION")},
        "agentCapabilities": {
            "loadSession": true,
            "sessionCapabilities": {
                "additionalDirectories": {}, "close": {}, "delete": {}, "fork": {}, "list": {}, "resume": {},
            },
            "promptCapabilities": {"image": true, "embeddedContext": true},
            "mcpCapabilities": {"http": true, "sse": true},
        },
        "authMethods": [],
    })
}

impl Agent<'_> {
    /// `session/new`
    fn begin(&self, params: &Value) -> Result<Value, Refusal> {
        let open = self.open(params, world::random_id().map_err(Error::from)?, Chosen::of_defaults(self))?;
        Ok(with_id(self.choices(&open), &open.id))
    }

    /// Opens a session under that id. One that was open by it is replaced; what runs in it goes on, and can be cancelled as
    /// before.
    fn open(&self, params: &Value, id: String, chosen: Chosen) -> Result<Arc<Open>, Refusal> {
        let further = match &params["additionalDirectories"] {
            Value::Null => &[][..],
            Value::Array(further) => further,
            _ => return Err(Refusal::bad_params("`additionalDirectories` is a list of absolute paths")),
        };
        let queue = lock(&self.open).get(&id).map(|open| open.queue.clone()).unwrap_or_default();
        let open = Arc::new(Open {
            id: id.clone(),
            dir: absolute("cwd", &params["cwd"])?,
            add_dirs: further
                .iter()
                .map(|dir| absolute("additionalDirectories", dir))
                .collect::<Result<_, _>>()?,
            servers: servers::read(&params["mcpServers"])?,
            system: system(&params["_meta"]["systemPrompt"])?,
            chosen: Mutex::new(chosen),
            settled: Mutex::default(),
            root: self.client.cancel().clone(),
            queue,
        });
        lock(&self.open).insert(id, open.clone());
        Ok(open)
    }

    /// Opens a session that there was before.
    fn take_up(&self, params: &Value) -> Result<Arc<Open>, Refusal> {
        let id = id_of(params)?;
        let chosen = match self.stored(id)? {
            Some(session) => Chosen::of_session(self, &session),
            // It has had no turn yet.
            None => self.of_open(params).map_err(|_| not_found(id))?.chosen(),
        };
        self.open(params, id.to_owned(), chosen)
    }

    /// Our session of that id, where it has begun.
    fn stored(&self, id: &str) -> Result<Option<Session>, Refusal> {
        if !is_id(id) {
            return Ok(None);
        }
        match self.engine.store.find(id) {
            Ok(session) => Ok(Some(session)),
            Err(Error::SessionNotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// `session/load`: what was said so far, and then what can be chosen.
    fn replay(&self, open: &Open) -> Result<Value, Refusal> {
        self.engine.store.each_turn(&open.id, |Turn { prompt, answer, error, .. }| {
            let failed = error.map(|error| format!("\n\n{error}\n\n"));
            let pieces = [
                ("user_message_chunk", Some(prompt.to_string())),
                ("agent_message_chunk", Some(answer)),
                ("agent_thought_chunk", failed),
            ];
            for (kind, piece) in pieces {
                if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                    // A client that is gone needs nothing.
                    let _ = updates::update(self.client, &open.id, updates::chunk(kind, &piece));
                }
            }
        })?;
        Ok(self.choices(open))
    }

    /// `session/fork`
    fn fork(&self, params: &Value) -> Result<Value, Refusal> {
        let id = id_of(params)?;
        let (fork, chosen) = match self.stored(id)? {
            Some(session) => {
                let chosen = self
                    .of_open(params)
                    .map_or_else(|_| Chosen::of_session(self, &session), |open| open.chosen());
                (self.engine.store.fork(session, None)?, chosen)
            }
            None => {
                let chosen = self.of_open(params).map_err(|_| not_found(id))?.chosen();
                (world::random_id().map_err(Error::from)?, chosen)
            }
        };
        let open = self.open(params, fork, chosen)?;
        Ok(with_id(self.choices(&open), &open.id))
    }

    /// `session/list`
    fn list(&self, params: &Value) -> Result<Value, Refusal> {
        let offset = match params["cursor"].as_str() {
            None => 0,
            Some(cursor) => cursor
                .parse::<u32>()
                .map_err(|_| Refusal::bad_params(format!("`cursor` is none of ours: `{cursor}`")))?,
        } as usize;
        // One that is gone may have sessions.
        let dir =
            params["cwd"].as_str().map(|dir| directory(Path::new("/"), Path::new(dir)).unwrap_or(dir.into()));
        let filter = Filter { dir, ..Filter::default() };
        // One more says that there is a next page.
        let page = Page { offset, limit: LISTED, counted: offset + LISTED + 1 };
        let listing = self.engine.store.list(&filter, page, &mut |_| {})?;
        listing.problems.iter().for_each(|problem| log::warn!("{problem}"));
        let mut answer = json!({"sessions": listing.sessions.iter().map(listed).collect::<Vec<_>>()});
        if listing.total > offset + LISTED {
            answer["nextCursor"] = json!((offset + LISTED).to_string());
        }
        Ok(answer)
    }

    /// `session/close`
    fn close(&self, params: &Value) -> Result<Value, Refusal> {
        let open = self.of_open(params)?;
        open.cancel();
        lock(&self.open).remove(&open.id);
        Ok(json!({}))
    }

    /// `session/delete`: one that is not there is gone already.
    fn delete(&self, params: &Value) -> Result<Value, Refusal> {
        let id = id_of(params)?;
        if let Some(session) = self.stored(id)? {
            self.engine.forget(&session)?;
        }
        lock(&self.open).remove(id);
        Ok(json!({}))
    }

    /// Chooses the value of an option for the next turns of a session.
    fn choose(&self, params: &Value, option: &str, value: &Value) -> Result<Arc<Open>, Refusal> {
        let open = self.of_open(params)?;
        let value = value.as_str().ok_or_else(|| Refusal::bad_params("the value to choose is a text"))?;
        open.choose(self, option, value)?;
        Ok(open)
    }

    /// `session/set_config_option`
    fn choose_option(&self, params: &Value) -> Result<Value, Refusal> {
        let option = text(&params["configId"]);
        let open = self.choose(params, option, &params["value"])?;
        if option == "mode" {
            let update = json!({"sessionUpdate": "current_mode_update", "currentModeId": params["value"]});
            let _ = updates::update(self.client, &open.id, update);
        }
        Ok(json!({"configOptions": open.options(self)}))
    }

    /// Tells a client that has chosen in one of the older ways what its options are now.
    fn tell_options(&self, open: &Open) -> Value {
        let update = json!({"sessionUpdate": "config_option_update", "configOptions": open.options(self)});
        let _ = updates::update(self.client, &open.id, update);
        json!({})
    }

    /// What can be chosen for a session, in the three ways in which clients look for it.
    fn choices(&self, open: &Open) -> Value {
        json!({"models": open.models(self), "modes": open.modes(self), "configOptions": open.options(self)})
    }

    /// The open session that is meant.
    fn of_open(&self, params: &Value) -> Result<Arc<Open>, Refusal> {
        let id = id_of(params)?;
        let unknown = || {
            let error = Error::SessionNotFound { given: id.to_owned() };
            Refusal::of(&error).saying(format!(
                "session `{id}` is not open: session/new, session/load and session/resume open one"
            ))
        };
        lock(&self.open).get(id).cloned().ok_or_else(unknown)
    }
}

fn with_id(mut answer: Value, id: &str) -> Value {
    answer["sessionId"] = json!(id);
    answer
}

/// A system prompt as clients send it, which the protocol has no place for: a text that replaces the agent's, or one to add.
fn system(value: &Value) -> Result<SystemPrompt, Refusal> {
    match value {
        Value::Null => Ok(SystemPrompt::default()),
        Value::String(text) => Ok(SystemPrompt { replaced: Some(text.clone()), appended: None }),
        other => match other["append"].as_str() {
            Some(text) => Ok(SystemPrompt { replaced: None, appended: Some(text.to_owned()) }),
            None => Err(Refusal::bad_params("`_meta.systemPrompt` is a text, or an object with `append`")),
        },
    }
}

/// A session as a listing shows it.
fn listed(session: &Session) -> Value {
    json!({
        "sessionId": session.id,
        "cwd": session.working_dir,
        "title": session.title,
        "updatedAt": session.last_used_at,
        "_meta": {"clinvk": {
            "backend": session.backend,
            "model": session.model,
            "status": session.status.word(),
            "turn_count": session.turn_count,
        }},
    })
}

fn id_of(params: &Value) -> Result<&str, Refusal> {
    params["sessionId"].as_str().ok_or_else(|| Refusal::bad_params("`sessionId` is missing: a text"))
}

fn not_found(id: &str) -> Refusal {
    Refusal::of(&Error::SessionNotFound { given: id.to_owned() })
}

/// A directory that is there.
fn absolute(name: &str, value: &Value) -> Result<PathBuf, Refusal> {
    match value.as_str().map(Path::new) {
        Some(path) if path.is_absolute() => Ok(directory(path, path)?),
        _ => Err(Refusal::bad_params(format!("`{name}` takes absolute paths, not {value}"))),
    }
}
