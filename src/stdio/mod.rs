//! clinvk spoken to over standard input: JSON-RPC 2.0, one message a line, over streams that the command line hands in. Here
//! is what its protocols share; what the methods of one mean stands in its own file. Nothing is printed: the protocol is
//! written to the client.
//!
//! The end of the input ends everything: what runs for the client is cancelled, and `serve` returns when none of it is left.

pub(crate) mod acp; // clinvk as an agent
mod client; // who is spoken to
mod lines; // what it says
pub(crate) mod mcp; // clinvk as a server of tools

pub use client::{Client, Refusal};

use crate::backend::jsonrpc::Message;
use crate::base::json::{self, Value};
use crate::model::error::Error;
use lines::{LONGEST_LINE, Line, Lines};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, Scope};

/// What a protocol's methods mean.
pub trait Protocol: Sync {
    /// What comes of a request. `id` is what a later notification calls it by.
    fn request(&self, id: &Value, method: &str, params: Value) -> Reply<'_>;

    /// One that is not known means nothing.
    fn notification(&self, method: &str, params: Value);
}

/// What comes of a request.
pub enum Reply<'a> {
    /// It is answered at once.
    Now(Result<Value, Refusal>),
    /// It is answered by this, on a thread of its own: what takes long, or says much. The next messages are heard meanwhile.
    /// None is no answer: the client does not want it any more.
    Later(Box<dyn FnOnce() -> Option<Result<Value, Refusal>> + Send + 'a>),
}

impl<'a> Reply<'a> {
    /// What is answered later.
    pub fn later(work: impl FnOnce() -> Result<Value, Refusal> + Send + 'a) -> Reply<'a> {
        Reply::Later(Box::new(move || Some(work())))
    }

    /// The same where the client may withdraw its request.
    pub fn unless_withdrawn(work: impl FnOnce() -> Option<Result<Value, Refusal>> + Send + 'a) -> Reply<'a> {
        Reply::Later(Box::new(work))
    }
}

/// Speaks with the client to the end of its input. Returns when all that runs for it has come to an end: each of its requests
/// listens to a branch of `Client::cancel`, which is thrown then.
///
/// # Errors
/// When the input cannot be read.
pub fn serve(input: impl Read, client: &Client, protocol: &dyn Protocol) -> Result<(), Error> {
    let mut lines = Lines::of(input);
    thread::scope(|threads| {
        let result = loop {
            match lines.next() {
                Ok(Line::Whole(line)) => hear(&line, client, protocol, threads),
                Ok(Line::TooLong) => {
                    let sentence = format!("a message has at most {} MiB", LONGEST_LINE >> 20);
                    client.answer(Value::Null, Err(Refusal::no_request(sentence)));
                }
                Ok(Line::End) => break Ok(()),
                Err(error) => {
                    break Err(Error::File { verb: "read", path: "standard input".into(), error });
                }
            }
        };
        client.cancel().throw();
        result
    })
}

/// Does what a line asks for.
fn hear<'scope, 'env>(
    line: &[u8],
    client: &'env Client,
    protocol: &'env dyn Protocol,
    threads: &'scope Scope<'scope, 'env>,
) {
    let line = line.trim_ascii_end();
    if line.is_empty() {
        return;
    }
    let message = match json::from_slice(line) {
        Ok(value) => Message::of(value),
        Err(error) => return client.answer(Value::Null, Err(Refusal::no_json(&error.to_string()))),
    };
    match message {
        None => {
            let sentence = "a message is one object: a request, a notification or an answer";
            client.answer(Value::Null, Err(Refusal::no_request(sentence.to_owned())));
        }
        Some(Message::Answer { id, result }) => client.answered(&id, result),
        Some(Message::Notification { method, params }) => protocol.notification(&method, params),
        Some(Message::Request { id, method, params }) => match protocol.request(&id, &method, params) {
            Reply::Now(result) => client.answer(id, result),
            Reply::Later(work) => {
                let of_thread = id.clone();
                let work = move || {
                    let panicked =
                        |_| Some(Err(Refusal::of(&Error::Internal("a panic, see the log".to_owned()))));
                    if let Some(result) = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked) {
                        client.answer(of_thread, result);
                    }
                };
                if let Err(error) = thread::Builder::new().name(method).spawn_scoped(threads, work) {
                    let error = Error::System { what: "start a thread", error };
                    client.answer(id, Err(Refusal::of(&error)));
                }
            }
        },
    }
}
