//! A client that speaks JSON-RPC with the real binary.

use crate::util::run::{Run, Running, Seen};
use serde_json::{Value, json};

pub struct Peer {
    running: Running,
    /// How many of its lines were heard.
    heard: usize,
    /// The number of our last request.
    last: u64,
}

impl Peer {
    pub fn of(run: Run) -> Peer {
        Peer { running: run.silent_stdin().start(), heard: 0, last: 0 }
    }

    pub fn pid(&self) -> i32 {
        self.running.pid
    }

    /// Says a message.
    #[track_caller]
    pub fn say(&mut self, message: &Value) {
        self.running.write(format!("{message}\n").as_bytes());
    }

    #[track_caller]
    pub fn notify(&mut self, method: &str, params: Value) {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a request. Returns its number.
    #[track_caller]
    pub fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        self.say(&json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}));
        self.last
    }

    /// The next message.
    #[track_caller]
    pub fn hear(&mut self) -> Value {
        self.heard += 1;
        serde_json::from_str(&self.running.line(self.heard)).unwrap()
    }

    /// The messages up to the answer to a request, and that.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let message = self.hear();
            if message["id"] == id && message.get("method").is_none() {
                return (before, message);
            }
            before.push(message);
        }
    }

    /// The result of a request.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let (_, mut answer) = self.answer(id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The error of a request: its code and its sentence.
    #[track_caller]
    pub fn refusal(&mut self, method: &str, params: Value) -> (i64, String) {
        let id = self.send(method, params);
        let (_, answer) = self.answer(id);
        let error = &answer["error"];
        assert!(error.is_object(), "{method}: {answer}");
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// Ends the conversation: what is said then, and how it ends.
    #[track_caller]
    pub fn end(mut self) -> Seen {
        self.running.close();
        self.running.end()
    }
}
