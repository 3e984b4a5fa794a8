//! What the protocols on standard input share, with a protocol of the test's own.

use clinvk::exec::Cancel;
use clinvk::stdio::{self, Client, Protocol, Refusal, Reply};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

/// What the client was told, line by line.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Told {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `say` gives back its parameters, `late` does it on a thread, `wait` waits for the end of all, `ask` asks the client and
/// answers with its answer, `die` panics.
struct Spoken<'a>(&'a Client);

impl Protocol for Spoken<'_> {
    fn request(&self, id: &Value, method: &str, params: Value) -> Reply<'_> {
        let cancel = self.0.cancel().clone();
        match method {
            "say" => Reply::Now(Ok(json!({"to": id, "params": params}))),
            "late" => Reply::later(move || Ok(params)),
            "wait" => Reply::later(move || {
                while !cancel.is_thrown() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Ok(json!("over"))
            }),
            "ask" => Reply::later(move || {
                let answer = self.0.ask("you?", params, || !cancel.is_thrown()).unwrap();
                Ok(json!(format!("{answer:?}")))
            }),
            "die" => Reply::later(|| panic!("it dies")),
            "bad" => Reply::Now(Err(Refusal::bad_params("`x` is missing"))),
            _ => Reply::Now(Err(Refusal::no_method(method))),
        }
    }

    fn notification(&self, method: &str, params: Value) {
        self.0.notify(method, params).unwrap();
    }
}

/// What the client is told when it says this, and no more.
fn told(said: impl Read) -> Vec<Value> {
    let (out, cancel) = (Told::default(), Arc::new(Cancel::new().unwrap()));
    let client = Client::new(Box::new(out.clone()), cancel);
    stdio::serve(said, &client, &Spoken(&client)).unwrap();
    assert!(client.cancel().is_thrown());
    out.lines()
}

fn refused(id: Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn answered(id: Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

#[test]
fn every_request_has_one_answer_whatever_it_is() {
    let no_message = "a message is one object: a request, a notification or an answer";
    for (line, answer) in [
        (
            r#"{"jsonrpc":"2.0","id":0,"method":"say","params":{"a":[]}}"#,
            vec![answered(json!(0), json!({"to": 0, "params": {"a": []}}))],
        ),
        (r#"{"id":"x","method":"late","params":"\ud83d"}"#, vec![answered(json!("x"), json!("\u{fffd}"))]),
        (r#"{"id":1,"method":"sya"}"#, vec![refused(json!(1), -32601, "there is no method `sya` here")]),
        (r#"{"id":1,"method":"bad"}"#, vec![refused(json!(1), -32602, "`x` is missing")]),
        (
            r#"{"method":"hello","params":{"\u2028":1}}"#,
            vec![json!({"jsonrpc": "2.0", "method": "hello", "params": {"\u{2028}": 1}})],
        ),
        ("[]", vec![refused(Value::Null, -32600, no_message)]),
        ("7", vec![refused(Value::Null, -32600, no_message)]),
        (
            r#"{"id":1,"method":"#,
            vec![refused(
                Value::Null,
                -32700,
                "the line is no JSON: EOF while parsing a value at line 1 column 17",
            )],
        ),
        (r#"{"id":9,"result":{}}"#, vec![]),
        ("  \r", vec![]),
    ] {
        for end in ["\n", ""] {
            assert_eq!(told(format!("{line}{end}").as_bytes()), answer, "{line}");
        }
    }
}

#[test]
fn a_broken_line_and_one_that_is_too_long_leave_the_next_ones_alone() {
    let long = || io::repeat(b'x').take((64 << 20) + 1);
    let say = |id: u64| format!("{{\"id\":{id},\"method\":\"say\"}}\n");
    let answer = |id: u64| answered(json!(id), json!({"to": id, "params": null}));
    let said = [say(1), "{\"id\n\u{ff}\n".to_owned()].concat();
    let said = io::Cursor::new(said).chain(&b"\xff\n"[..]).chain(long()).chain(&b"\n"[..]);
    let mut all = told(said.chain(io::Cursor::new(say(2))).chain(long()));
    let codes: Vec<Value> = all.iter().map(|line| line["error"]["code"].clone()).collect();
    assert_eq!(
        codes,
        [json!(null), json!(-32700), json!(-32700), json!(-32700), json!(-32600), json!(null), json!(-32600)]
    );
    assert_eq!(all.remove(5), answer(2));
    assert_eq!(all.remove(4), refused(Value::Null, -32600, "a message has at most 64 MiB"));
    assert_eq!(all.remove(0), answer(1));
}

#[test]
fn a_panic_is_the_answer_to_its_own_request() {
    let said = "{\"id\":1,\"method\":\"die\"}\n{\"id\":2,\"method\":\"late\"}\n";
    let mut all = told(said.as_bytes());
    all.sort_by_key(|line| line["id"].as_u64());
    assert_eq!(all[0]["error"]["data"], json!({"kind": "internal"}));
    assert_eq!(all[1], answered(json!(2), Value::Null));
}

#[test]
fn the_end_of_the_input_ends_what_is_under_way() {
    let said = "{\"id\":1,\"method\":\"wait\"}\n{\"id\":2,\"method\":\"ask\"}\n";
    let mut all = told(said.as_bytes());
    let end = all.split_off(1);
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "you?"});
    let withdrawn = json!({"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": 1}});
    // The question may come too late to be asked at all.
    let end: Vec<Value> = [all, end].concat().into_iter().filter(|line| *line != ask).collect();
    let mut sorted = end.clone();
    sorted.sort_by_key(|line| line["id"].as_u64());
    assert_eq!(sorted, [withdrawn, answered(json!(1), json!("over")), answered(json!(2), json!("None"))]);
}

#[test]
fn an_answer_reaches_the_question_that_it_is_for() {
    // The answer is on the way before the question is: it is read only when that was asked.
    struct AfterQuestion(Told, Vec<u8>);
    impl Read for AfterQuestion {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let is_first = self.1.starts_with(b"{\"id\":7,\"method\"");
            while !is_first && !self.0.lines().iter().any(|line| line["method"] == "you?") {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let length = self.1.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            buffer[..length].copy_from_slice(&self.1[..length]);
            self.1.drain(..length);
            Ok(length)
        }
    }
    for (answer, heard) in [
        (r#""result":{"yes":true}"#, r#"Some(Ok(Object {"yes": Bool(true)}))"#),
        (r#""error":"no""#, r#"Some(Err(String("no")))"#),
    ] {
        let out = Told::default();
        let client = Client::new(Box::new(out.clone()), Arc::new(Cancel::new().unwrap()));
        let said =
            format!("{{\"id\":7,\"method\":\"ask\"}}\n{{\"id\":8,\"result\":1}}\n{{\"id\":1,{answer}}}\n");
        stdio::serve(AfterQuestion(out.clone(), said.into_bytes()), &client, &Spoken(&client)).unwrap();
        assert_eq!(out.lines()[1], answered(json!(7), json!(heard)));
    }
}

#[test]
fn a_client_that_is_gone_ends_what_runs_for_it() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let client = Client::new(Box::new(Gone), Arc::new(Cancel::new().unwrap()));
    let cancel = client.cancel().clone();
    // The input ends when all was called off.
    struct Until(Arc<Cancel>, &'static [u8]);
    impl Read for Until {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            while self.1.is_empty() && !self.0.is_thrown() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            self.1.read(buffer)
        }
    }
    let said = b"{\"id\":1,\"method\":\"wait\"}\n{\"id\":2,\"method\":\"say\"}\n";
    stdio::serve(Until(cancel, said), &client, &Spoken(&client)).unwrap();
}
