//! The framing of JSON-RPC 2.0, one message a line, for both of its sides: those who speak to agents, and those whom clients
//! speak to. What the methods mean stands where they are spoken.

use crate::base::collect::inserted;
use crate::base::json::{Value, json};
use serde_json::Map;

/// The code of an error for a method that is not offered.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// ... and for parameters that make no sense.
pub(crate) const INVALID_PARAMS: i64 = -32602;

/// What the other side says.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// It wants an answer that carries the same id: a number, which may be 0, or a string.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notification {
        method: String,
        params: Value,
    },
    /// The answer to a request of ours: its result, or its error as it stands there. An error whose request could not be read
    /// has no id.
    Answer {
        id: Value,
        result: Result<Value, Value>,
    },
}

impl Message {
    /// Reads a message; none where it is none. What is long in it is moved, not copied.
    pub(crate) fn of(message: Value) -> Option<Message> {
        let Value::Object(mut members) = message else { return None };
        let mut take = |name: &str| members.remove(name).unwrap_or_default();
        let (id, method, error) = (take("id"), take("method"), take("error"));
        Some(match (method, id) {
            (Value::String(method), Value::Null) => Message::Notification { method, params: take("params") },
            (Value::String(method), id) => Message::Request { id, method, params: take("params") },
            (_, id) if !error.is_null() => Message::Answer { id, result: Err(error) },
            (_, Value::Null) => return None,
            (_, id) => Message::Answer { id, result: Ok(take("result")) },
        })
    }
}

/// Whether a line that cannot be read is a request or an answer: on one side a caller waits for it. Its members stand in the
/// order in which all programs write them, the long one last.
pub(crate) fn is_awaited(line: &str) -> bool {
    let long = ["\"params\"", "\"result\"", "\"error\""];
    let end = long.iter().filter_map(|name| line.find(name)).min().unwrap_or(line.len());
    line.trim_start().starts_with('{') && line[..end].contains("\"id\"")
}

/// The id and the method of a request that `Rpc::request` has made, found without reading what may be long.
pub(crate) fn head(line: &str) -> Option<(u64, &str)> {
    let (id, rest) = line.strip_prefix(BEFORE_ID)?.split_once(',')?;
    let rest = rest.strip_prefix(r#""jsonrpc":"2.0","#).unwrap_or(rest);
    let (method, _) = rest.strip_prefix(r#""method":""#)?.split_once('"')?;
    Some((id.parse().ok()?, method))
}

/// The same request under another id.
pub(crate) fn renumbered(line: &str, id: u64) -> String {
    let at = line.find(',').unwrap_or_default();
    format!("{BEFORE_ID}{id}{}", &line[at..])
}

/// How a request of ours begins.
const BEFORE_ID: &str = r#"{"id":"#;

/// Makes the lines that we say, without their ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rpc {
    /// Each names the version of the protocol.
    V2,
    /// None does: codex wants it so.
    Unmarked,
}

impl Rpc {
    pub(crate) fn request(self, id: u64, method: &str, params: Value) -> String {
        self.line([("id", id.into()), ("method", method.into()), ("params", params)])
    }

    pub(crate) fn notification(self, method: &str, params: Value) -> String {
        self.line([("method", method.into()), ("params", params)])
    }

    /// The answer to the request of that id.
    pub(crate) fn answer(self, id: Value, result: Value) -> String {
        self.line([("id", id), ("result", result)])
    }

    pub(crate) fn error(self, id: Value, code: i64, message: &str) -> String {
        self.refusal(id, json!({"code": code, "message": message}))
    }

    /// The same with an error that has more than that.
    pub(crate) fn refusal(self, id: Value, error: Value) -> String {
        self.line([("id", id), ("error", error)])
    }

    /// The members are moved: they may be long. Parameters that say nothing are left out: some read `null` as wrong ones.
    fn line<const N: usize>(self, members: [(&str, Value); N]) -> String {
        let says = |(name, value): &(&str, Value)| *name != "params" || !value.is_null();
        let members = members.into_iter().filter(says).map(|(name, value)| (name.to_owned(), value));
        let mut message: Map<String, Value> = inserted(members);
        if let Rpc::V2 = self {
            message.insert("jsonrpc".to_owned(), "2.0".into());
        }
        Value::Object(message).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_its_members_say() {
        let request = |id: Value| Message::Request { id, method: "m".to_owned(), params: json!([1]) };
        let notification = |params: Value| Message::Notification { method: "m".to_owned(), params };
        let answer = |id: Value, result| Message::Answer { id, result };
        for (line, message) in [
            (r#"{"jsonrpc":"2.0","id":0,"method":"m","params":[1]}"#, Some(request(json!(0)))),
            (r#"{"id":"a-1","method":"m","params":[1]}"#, Some(request(json!("a-1")))),
            (r#"{"method":"m","params":{"id":7}}"#, Some(notification(json!({"id": 7})))),
            (r#"{"id":null,"method":"m"}"#, Some(notification(Value::Null))),
            (r#"{"id":1,"result":{"x":[]}}"#, Some(answer(json!(1), Ok(json!({"x": []}))))),
            (r#"{"id":"1","result":null,"error":null}"#, Some(answer(json!("1"), Ok(Value::Null)))),
            (r#"{"id":1,"error":{"code":-1},"result":2}"#, Some(answer(json!(1), Err(json!({"code": -1}))))),
            (r#"{"id":null,"error":"bad"}"#, Some(answer(Value::Null, Err(json!("bad"))))),
            (r#"{"method":7,"params":{}}"#, None),
            (r#"{"result":{}}"#, None),
            ("{}", None),
            ("[1]", None),
            ("7", None),
        ] {
            assert_eq!(Message::of(serde_json::from_str(line).unwrap()), message, "{line}");
        }
    }

    #[test]
    fn a_line_says_what_it_was_given_and_its_version_where_it_has_one() {
        let params = || json!({"a": "\n"});
        for (line, said) in [
            (
                Rpc::V2.request(3, "m", params()),
                r#"{"id":3,"jsonrpc":"2.0","method":"m","params":{"a":"\n"}}"#,
            ),
            (Rpc::Unmarked.request(3, "m", params()), r#"{"id":3,"method":"m","params":{"a":"\n"}}"#),
            (Rpc::V2.notification("m", params()), r#"{"jsonrpc":"2.0","method":"m","params":{"a":"\n"}}"#),
            (Rpc::Unmarked.notification("m", Value::Null), r#"{"method":"m"}"#),
            (Rpc::V2.answer(json!(0), params()), r#"{"id":0,"jsonrpc":"2.0","result":{"a":"\n"}}"#),
            (Rpc::Unmarked.answer(json!("x"), Value::Null), r#"{"id":"x","result":null}"#),
            (
                Rpc::V2.error(json!(0), METHOD_NOT_FOUND, "no"),
                r#"{"error":{"code":-32601,"message":"no"},"id":0,"jsonrpc":"2.0"}"#,
            ),
        ] {
            assert_eq!(line, said);
        }
    }

    #[test]
    fn a_request_of_ours_is_known_by_its_head_and_gets_another_id() {
        let params = || json!({"prompt": [{"text": "{\"id\":7,\"method\":\"x\""}]});
        for rpc in [Rpc::V2, Rpc::Unmarked] {
            let line = rpc.request(12, "session/prompt", params());
            assert_eq!(head(&line), Some((12, "session/prompt")));
            assert_eq!(renumbered(&line, 345), rpc.request(345, "session/prompt", params()));
            for other in [
                rpc.notification("session/cancel", params()),
                rpc.answer(json!(7), params()),
                rpc.answer(json!("a"), json!({"method": "x"})),
                rpc.error(json!(7), -1, "no"),
            ] {
                assert_eq!(head(&other), None, "{other}");
            }
        }
    }

    /// faults.md A6.
    #[test]
    fn a_request_or_an_answer_is_known_though_it_cannot_be_read() {
        for (line, awaited) in [
            (r#"{"method":"item/commandExecution/requestApproval","id":0,"params":{"#, true),
            (r#"{"jsonrpc":"2.0","id":7,"method":"session/request_permission","params":{"a":"#, true),
            (r#"{"id":2,"result":{"thread":{"#, true),
            (r#"{"id":2,"error":{"#, true),
            (r#"{"method":"item/completed","params":{"item":{"id":"x"#, false),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":{"id":1"#, false),
            (r#"an "id" in some words"#, false),
            ("", false),
        ] {
            assert_eq!(is_awaited(line), awaited, "{line}");
        }
    }
}
