//! clinvk as a server of the Model Context Protocol: tools by which an agent asks other agents, with our sessions, limits and
//! supervision. What a call may ask for has the bounds of a policy.
//!
//! Both ways of the protocol are spoken: the newer one, in which each request says its version, and the older ones, which begin
//! with a handshake. Nothing of a request is kept for the next, so that they differ in no more than their greetings.

mod answers; // what a tool's result says
mod calls; // those that are under way
mod progress; // what a client hears of one meanwhile
mod tools; // what there is, and its fields
mod work; // what each does

use super::{Client, Protocol, Refusal, Reply};
use crate::base::json::{Value, json};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::policy::Policy;
use crate::engine::request::Request;
use crate::exec::Cancel;
use crate::model::error::Error;
use calls::Calls;
use progress::Progress;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// The version whose requests say it themselves.
const MODERN: &str = "2026-07-28";
/// Those that begin with a handshake, the newest first.
const WITH_HANDSHAKE: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Where a request says its version.
const VERSION_OF_REQUEST: &str = "io.modelcontextprotocol/protocolVersion";

/// What agents are told of us.
const INSTRUCTIONS: &str = "Other AI agents answer through these tools: `prompt` asks one, `compare` puts one question to \
    several, `parallel` runs several tasks, `sessions` lists the conversations that `prompt` can continue. They work in the \
    same directory, with tools of their own, and may take minutes.";

/// What calls are completed from, and what they may ask for.
pub(crate) struct Offer<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) config: &'a Config,
    /// What is asked where a call does not say otherwise.
    pub(crate) given: &'a Request,
    pub(crate) policy: &'a Policy,
    /// Where calls work: free of links.
    pub(crate) dir: &'a Path,
}

/// Speaks with a client to the end of its input. `cancel` ends all that runs for it.
pub(crate) fn serve(
    offer: Offer<'_>,
    input: impl Read,
    out: impl Write + Send + 'static,
    cancel: Arc<Cancel>,
) -> Result<(), Error> {
    let client = Client::new(Box::new(out), cancel);
    super::serve(input, &client, &ToolServer { offer, client: &client, calls: Calls::default() })
}

struct ToolServer<'a> {
    offer: Offer<'a>,
    client: &'a Client,
    calls: Calls,
}

impl Protocol for ToolServer<'_> {
    fn request(&self, id: &Value, method: &str, params: Value) -> Reply<'_> {
        let version = params["_meta"][VERSION_OF_REQUEST].as_str();
        if let Some(other) = version.filter(|version| *version != MODERN) {
            return Reply::Now(Err(Refusal::no_version(other, &[MODERN])));
        }
        Reply::Now(match method {
            "initialize" => Ok(initialized(&params)),
            "server/discover" => Ok(discovered()),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(lasting(json!({"tools": tools::listed(&self.offer)}))),
            "tools/call" => return self.call(id, params),
            _ => Err(Refusal::no_method(method)),
        })
    }

    fn notification(&self, method: &str, params: Value) {
        if method == "notifications/cancelled" {
            self.calls.withdraw(&params["requestId"]);
        }
    }
}

impl ToolServer<'_> {
    fn call(&self, id: &Value, mut params: Value) -> Reply<'_> {
        let name = params["name"].as_str().unwrap_or_default();
        let Some(tool) = tools::find(name) else {
            let known: Vec<&str> = tools::TOOLS.iter().map(|tool| tool.name).collect();
            let sentence = format!("there is no tool `{name}`: known are {}", known.join(", "));
            return Reply::Now(Err(Refusal::bad_params(sentence)));
        };
        let call = match self.calls.begin(id, self.client.cancel()) {
            Ok(call) => call,
            Err(refusal) => return Reply::Now(Err(refusal)),
        };
        let arguments = params["arguments"].take();
        let progress = Progress::of(self.client, &params["_meta"]["progressToken"]);
        Reply::unless_withdrawn(move || {
            let result = work::run(tool, &self.offer, &arguments, &progress, call.cancel());
            (!call.is_withdrawn()).then_some(Ok(result))
        })
    }
}

/// Who we are.
fn this_server() -> Value {
    json!({"name": "clinvk", "title": "clinvk", "version": env!("CARGO_PKG_VERSION")})
}

/// The answer to a handshake: the version that was asked for, or else the newest one that has a handshake.
fn initialized(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = WITH_HANDSHAKE.iter().find(|version| **version == asked).unwrap_or(&WITH_HANDSHAKE[0]);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": this_server(),
        "instructions": INSTRUCTIONS,
    })
}

fn discovered() -> Value {
    lasting(json!({
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": this_server()},
        "instructions": INSTRUCTIONS,
    }))
}

/// A result that stays the same as long as this process lasts: an hour, for those who keep it for longer.
fn lasting(mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    result["ttlMs"] = json!(3_600_000);
    result["cacheScope"] = json!("private");
    result
}
