//! The client: what it is told, each message a line that no other cuts in two, and what it is asked.

use crate::backend::jsonrpc::{INVALID_PARAMS, METHOD_NOT_FOUND, Rpc};
use crate::base::json::{Value, json, on_one_line};
use crate::base::printable::safe_json;
use crate::base::sync::lock;
use crate::exec::Cancel;
use crate::model::error::{Error, Failure, Kind};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often one who waits for the client's answer looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// The client at the other end.
pub struct Client {
    out: Mutex<Box<dyn Write + Send>>,
    /// Thrown when the client is gone, or all has to end.
    cancel: Arc<Cancel>,
    /// The number of our last request.
    last: AtomicU64,
    /// Those of our requests that wait for an answer.
    asked: Mutex<BTreeMap<u64, Sender<Result<Value, Value>>>>,
}

impl Client {
    /// `out`: where it reads. `cancel` ends all that runs for it.
    pub fn new(out: Box<dyn Write + Send>, cancel: Arc<Cancel>) -> Client {
        Client { out: Mutex::new(out), cancel, last: AtomicU64::new(0), asked: Mutex::default() }
    }

    pub fn cancel(&self) -> &Arc<Cancel> {
        &self.cancel
    }

    /// Tells the client something. An error means that it is gone.
    pub fn notify(&self, method: &str, params: Value) -> io::Result<()> {
        self.write(Rpc::V2.notification(method, params))
    }

    /// Asks the client, and waits for its answer as long as that is wanted: its result, or its error as it stands there. None
    /// where it was not wanted any more: the client is told so.
    pub fn ask(
        &self,
        method: &str,
        params: Value,
        is_wanted: impl Fn() -> bool,
    ) -> io::Result<Option<Result<Value, Value>>> {
        let id = 1 + self.last.fetch_add(1, Ordering::SeqCst);
        let (answer, answered) = mpsc::channel();
        lock(&self.asked).insert(id, answer);
        let written = self.write(Rpc::V2.request(id, method, params));
        let mut result = None;
        while written.is_ok() && result.is_none() && is_wanted() {
            match answered.recv_timeout(LOOK) {
                Ok(answer) => result = Some(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        lock(&self.asked).remove(&id);
        written?;
        if result.is_none() {
            self.notify("$/cancel_request", json!({"requestId": id}))?;
        }
        Ok(result)
    }

    /// What is said to the request of that id. A client that is gone needs no answer.
    pub(super) fn answer(&self, id: Value, result: Result<Value, Refusal>) {
        let line = match result {
            Ok(result) => Rpc::V2.answer(id, result),
            Err(refusal) => Rpc::V2.refusal(id, refusal.into_json()),
        };
        let _ = self.write(line);
    }

    /// The client has answered a request of ours. One that is not waited for was withdrawn.
    pub(super) fn answered(&self, id: &Value, result: Result<Value, Value>) {
        if let Some(asked) = id.as_u64().and_then(|id| lock(&self.asked).remove(&id)) {
            let _ = asked.send(result);
        }
    }

    fn write(&self, line: String) -> io::Result<()> {
        let line = on_one_line(safe_json(line)) + "\n";
        let mut out = lock(&self.out);
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).inspect_err(|error| {
            log::debug!("the client is gone: {error}");
            self.cancel.throw();
        })
    }
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    code: i64,
    message: String,
    /// The kind of failure by its word, where it is one of ours.
    data: Value,
}

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const INTERNAL_ERROR: i64 = -32603;
/// The two that both protocols have besides those of JSON-RPC.
const LOGIN_REQUIRED: i64 = -32000;
const NOT_FOUND: i64 = -32002;
/// Of the newer way of the Model Context Protocol.
const UNSUPPORTED_VERSION: i64 = -32022;

impl Refusal {
    fn new(code: i64, message: String) -> Refusal {
        Refusal { code, message, data: Value::Null }
    }

    /// The line is no JSON.
    pub(super) fn no_json(problem: &str) -> Refusal {
        Refusal::new(PARSE_ERROR, format!("the line is no JSON: {problem}"))
    }

    /// It is JSON, but no request that can be answered as it stands.
    pub(super) fn no_request(sentence: String) -> Refusal {
        Refusal::new(INVALID_REQUEST, sentence)
    }

    pub fn no_method(method: &str) -> Refusal {
        Refusal::new(METHOD_NOT_FOUND, format!("there is no method `{method}` here"))
    }

    /// The request is of a version that is not spoken here.
    pub(super) fn no_version(asked: &str, spoken: &[&str]) -> Refusal {
        let message = format!("version `{asked}` of the protocol is not spoken here");
        let data = json!({"supported": spoken, "requested": asked});
        Refusal { data, ..Refusal::new(UNSUPPORTED_VERSION, message) }
    }

    /// A parameter is missing or wrong.
    pub fn bad_params(sentence: impl Into<String>) -> Refusal {
        Refusal::new(INVALID_PARAMS, sentence.into())
    }

    /// *We* could not do it.
    pub fn of(error: &Error) -> Refusal {
        Refusal::of_failure(&Failure::from(error))
    }

    pub fn of_failure(failure: &Failure) -> Refusal {
        let code = match failure.kind {
            Kind::InvalidRequest | Kind::UnknownBackend | Kind::UnknownModel | Kind::Policy => INVALID_PARAMS,
            Kind::SessionNotFound => NOT_FOUND,
            Kind::Login => LOGIN_REQUIRED,
            _ => INTERNAL_ERROR,
        };
        Refusal { data: json!({"kind": failure.kind.word()}), ..Refusal::new(code, failure.message.clone()) }
    }

    /// The same in other words.
    pub fn saying(self, message: String) -> Refusal {
        Refusal { message, ..self }
    }

    /// With more for programs beside the kind.
    pub fn with(mut self, name: &str, value: Value) -> Refusal {
        self.data[name] = value;
        self
    }

    fn into_json(self) -> Value {
        let mut json = json!({"code": self.code, "message": self.message});
        if !self.data.is_null() {
            json["data"] = self.data;
        }
        json
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::of(&error)
    }
}
