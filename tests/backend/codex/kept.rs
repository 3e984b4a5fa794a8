//! Runs at once in a kept codex: facts of 0.171.0.

use super::{codex, task};
use crate::backend::kept::{Kept, is_same_shape, opening};
use crate::backend::servers;
use clinvk::backend::{Backend, Dialogue, Step, Steps};
use clinvk::model::event::Event;
use clinvk::model::task::{Approval, Effort, Sandbox, Task, ToolUse};
use serde_json::{Value, json};

const INITIALIZED: &str = r#"> {"method":"initialized"}"#;

fn greeting() -> Value {
    json!({"id": 1, "result": {"userAgent": "clinvk/0.171.0 (Debian 12.0.0; x86_64) unknown (clinvk; 0)"}})
}

fn config_warning() -> Value {
    json!({"method": "configWarning", "params": {"summary": "no bubblewrap", "details": null}})
}

fn note(method: &str, thread: &str, more: Value) -> Value {
    let mut params = json!({"threadId": thread});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"method": method, "params": params})
}

fn turn(method: &str, thread: &str) -> Value {
    note(method, thread, json!({"turn": {"id": format!("turn of {thread}"), "status": "completed"}}))
}

fn item(method: &str, thread: &str, item: Value) -> Value {
    note(method, thread, json!({"item": item}))
}

fn to_run(seat: u64, line: &Value) -> String {
    format!("{seat} < {line}")
}

fn request(id: u64, method: &str, params: Value) -> String {
    json!({"id": id, "method": method, "params": params}).to_string()
}

/// The answer to a seat's request of that number.
fn answer(seat: u64, number: u64, result: Value) -> Value {
    json!({"id": (seat - 1) * 16 + number, "result": result})
}

fn opened(seat: u64, thread: &str) -> Value {
    answer(seat, 2, json!({"thread": {"id": thread}, "model": "m"}))
}

/// What unloads a thread, and what ends its turn before.
fn unloading(seat: u64, thread: &str) -> String {
    format!("> {}", request((seat - 1) * 16 + 15, "thread/unsubscribe", json!({"threadId": thread})))
}

fn stopping(seat: u64, thread: &str, turn: &str) -> String {
    let params = json!({"threadId": thread, "turnId": turn});
    format!("> {}", request((seat - 1) * 16 + 14, "turn/interrupt", params))
}

fn unsubscribed(seat: u64) -> Value {
    answer(seat, 15, json!({"status": "unsubscribed"}))
}

fn closed(thread: &str) -> Value {
    note("thread/closed", thread, json!({}))
}

/// A program that has answered `initialize`.
fn greeted() -> Kept {
    let mut kept = Kept::of(&codex(), &task("hi"));
    let [initialize] = <[String; 1]>::try_from(opening(&codex(), &task("hi"))).unwrap();
    assert_eq!(kept.start(), [format!("> {initialize}")]);
    assert_eq!(kept.hears(&[greeting()]), [INITIALIZED]);
    kept
}

/// A run enters, and gets its thread and a turn.
fn in_turn(kept: &mut Kept, seat: u64, thread: &str) {
    kept.enter(seat, None);
    kept.run_says(seat, &request(1, "initialize", json!({})));
    kept.run_says(seat, &request(2, "thread/start", json!({})));
    kept.hears(&[opened(seat, thread)]);
    kept.run_says(seat, &request(3, "turn/start", json!({"threadId": thread})));
    kept.hears(&[turn("turn/started", thread)]);
}

#[test]
fn codex_is_greeted_once_and_each_run_hears_its_answer_and_what_is_said_once() {
    let mut kept = Kept::of(&codex(), &task("hi"));
    let initialize = opening(&codex(), &task("hi")).remove(0);
    kept.start();
    // The first run may come before the answer, and one that has not asked yet.
    kept.enter(1, None);
    kept.enter(2, None);
    assert_eq!(kept.run_says(1, &initialize), [""; 0]);
    assert_eq!(kept.hears(&[greeting()]), [INITIALIZED.to_owned(), to_run(1, &greeting())]);
    assert_eq!(kept.run_says(1, r#"{"method":"initialized"}"#), [""; 0]);
    assert_eq!(kept.hears(&[config_warning()]), [to_run(1, &config_warning())]);
    let both = |seat| [to_run(seat, &greeting()), to_run(seat, &config_warning())];
    assert_eq!(kept.run_says(2, &initialize), both(2));
    assert_eq!(kept.leave(2), (vec![], None));
    kept.enter(3, None);
    assert_eq!(kept.run_says(3, &initialize), both(3));
    // What is said of no thread is for all, and only once.
    let limits = json!({"method": "account/rateLimits/updated", "params": {"rateLimits": {}}});
    assert_eq!(kept.hears(std::slice::from_ref(&limits)), [to_run(1, &limits), to_run(3, &limits)]);
    kept.enter(4, None);
    assert_eq!(kept.run_says(4, &initialize), both(4));
}

#[test]
fn a_codex_that_refuses_to_begin_is_given_up() {
    let mut kept = Kept::of(&codex(), &task("hi"));
    kept.start();
    kept.enter(1, None);
    kept.run_says(1, &request(1, "initialize", json!({})));
    let refusal = json!({"id": 1, "error": {"code": -32600, "message": "no"}});
    assert_eq!(kept.hears(std::slice::from_ref(&refusal)), ["spoilt".to_owned(), to_run(1, &refusal)]);
}

#[test]
fn a_codex_that_cannot_open_a_thread_takes_no_further_run() {
    for (code, is_spoilt) in [(-32603, true), (-32600, false)] {
        let mut kept = greeted();
        kept.enter(1, None);
        kept.run_says(1, &request(1, "initialize", json!({})));
        kept.run_says(1, &request(2, "thread/start", json!({})));
        let heard = kept.hears(&[json!({"id": 2, "error": {"code": code, "message": "no"}})]);
        assert_eq!(heard.contains(&"spoilt".to_owned()), is_spoilt, "{code}");
    }
}

#[test]
fn the_numbers_of_requests_are_each_runs_own() {
    let mut kept = greeted();
    for seat in [1, 2] {
        kept.enter(seat, None);
        kept.run_says(seat, &request(1, "initialize", json!({})));
        // A long line is not read again: what stands behind the number stays as it is, whatever it is.
        for (number, behind) in [
            (6, r#","method":"config/read","params":{"a":"\ud83d"}}"#),
            (2, r#","method":"thread/start" ...."#),
        ] {
            let line = kept.run_says(seat, &format!("{{\"id\":{number}{behind}"));
            assert_eq!(line, [format!("> {{\"id\":{}{behind}", (seat - 1) * 16 + number)]);
        }
    }
    for (seat, number) in [(2, 6), (1, 6), (1, 7)] {
        let given = kept.hears(&[answer(seat, number, json!({"config": {}}))]);
        assert_eq!(given, [to_run(seat, &json!({"id": number, "result": {"config": {}}}))]);
    }
    let refusal = json!({"error": {"code": -32600, "message": "no"}, "id": 18});
    assert_eq!(
        kept.hears(&[refusal]),
        [to_run(2, &json!({"id": 2, "error": {"code": -32600, "message": "no"}}))]
    );
}

#[test]
fn what_is_said_of_a_thread_goes_to_the_run_whose_it_is() {
    let mut kept = greeted();
    in_turn(&mut kept, 1, "T");
    in_turn(&mut kept, 2, "U");
    for (seat, thread) in [(2, "U"), (1, "T")] {
        for line in [
            note("item/agentMessage/delta", thread, json!({"itemId": "m", "delta": "threadId"})),
            note("thread/tokenUsage/updated", thread, json!({"tokenUsage": {}})),
            json!({"method": "thread/started", "params": {"thread": {"id": thread}}}),
            json!({"id": 0, "method": "item/fileChange/requestApproval", "params": {"threadId": thread}}),
            turn("turn/completed", thread),
        ] {
            assert_eq!(kept.hears(std::slice::from_ref(&line)), [to_run(seat, &line)]);
        }
    }
    // The answer to a question is the run's, and its number codex's.
    let decision = r#"{"id":0,"result":{"decision":"decline"}}"#;
    assert_eq!(kept.run_says(2, decision), [format!("> {decision}")]);
    // A thread that is none of theirs is for none of them; a question about it is answered all the same.
    assert_eq!(kept.hears(&[turn("turn/started", "V")]), [""; 0]);
    for params in [json!({"threadId": "V"}), json!({}), Value::Null] {
        let asked = json!({"id": 7, "method": "account/chatgptAuthTokens/refresh", "params": params});
        let sentence = "clinvk does not answer `account/chatgptAuthTokens/refresh`";
        let refusal = json!({"id": 7, "error": {"code": -32601, "message": sentence}});
        assert_eq!(kept.hears(&[asked]), [format!("> {refusal}")]);
    }
}

/// The agents that an agent starts are the run's, too.
#[test]
fn what_is_said_of_an_agent_goes_to_the_run_that_has_started_it() {
    let mut kept = greeted();
    in_turn(&mut kept, 1, "T");
    in_turn(&mut kept, 2, "U");
    let started = |by: &str, agent: &str| {
        let call = json!({"type": "collabAgentToolCall", "id": "c", "senderThreadId": by, "receiverThreadIds": [agent]});
        item("item/completed", by, call)
    };
    for (by, agent) in [("U", "A"), ("A", "B")] {
        assert_eq!(kept.hears(&[turn("turn/started", agent)]), [""; 0], "it is not known yet");
        let line = started(by, agent);
        assert_eq!(kept.hears(std::slice::from_ref(&line)), [to_run(2, &line)]);
        let line = turn("turn/started", agent);
        assert_eq!(kept.hears(std::slice::from_ref(&line)), [to_run(2, &line)]);
    }
    // They leave with it, those that have ended by themselves before.
    let line = closed("A");
    assert_eq!(kept.hears(std::slice::from_ref(&line)), [to_run(2, &line)]);
    let left =
        [stopping(2, "B", "turn of B"), unloading(2, "B"), stopping(2, "U", "turn of U"), unloading(2, "U")];
    assert_eq!(kept.leave(2).0, left);
    assert_eq!(kept.hears(&[turn("turn/completed", "B"), closed("U")]), [""; 0]);
    assert!(kept.is_leaving(2));
    assert_eq!(kept.hears(&[closed("B")]), [""; 0]);
    assert!(!kept.is_leaving(2));
}

#[test]
fn a_run_has_left_when_its_thread_is_unloaded() {
    for ends in [vec![turn("turn/completed", "T")], vec![]] {
        let mut kept = greeted();
        in_turn(&mut kept, 1, "T");
        in_turn(&mut kept, 2, "U");
        kept.hears(&ends);
        let stop = ends.is_empty().then(|| stopping(1, "T", "turn of T"));
        let left: Vec<String> = stop.into_iter().chain([unloading(1, "T")]).collect();
        assert_eq!(kept.leave(1), (left, None));
        // What codex says meanwhile is for none; it may ask something.
        let asked =
            json!({"id": 3, "method": "item/fileChange/requestApproval", "params": {"threadId": "T"}});
        assert!(kept.hears(&[asked])[0].contains("does not answer"));
        let lines = [
            turn("turn/completed", "T"),
            unsubscribed(1),
            note("thread/status/changed", "T", json!({"status": {"type": "notLoaded"}})),
        ];
        assert_eq!(kept.hears(&lines), [""; 0]);
        assert!(kept.is_leaving(1) && !kept.is_leaving(2) && !kept.holds("T"));
        assert_eq!(kept.hears(&[closed("T")]), [""; 0]);
        assert!(!kept.is_leaving(1));
        // The other one goes on.
        let line = turn("turn/completed", "U");
        assert_eq!(kept.hears(std::slice::from_ref(&line)), [to_run(2, &line)]);
    }
}

#[test]
fn a_turn_that_codex_has_not_begun_is_stopped_and_one_that_it_has_refused_is_none() {
    let refusal = json!({"id": 3, "error": {"code": -32600, "message": "no"}});
    for (lines, stop) in [(vec![], Some(stopping(1, "T", ""))), (vec![refusal], None)] {
        let mut kept = greeted();
        in_turn(&mut kept, 1, "T");
        kept.hears(&[turn("turn/completed", "T")]);
        kept.run_says(1, &request(3, "turn/start", json!({"threadId": "T"})));
        kept.hears(&lines);
        let left: Vec<String> = stop.into_iter().chain([unloading(1, "T")]).collect();
        assert_eq!(kept.leave(1), (left, None));
    }
}

#[test]
fn a_thread_that_is_not_unloaded_is_freed_by_the_programs_end() {
    for refusal in [
        json!({"id": 15, "error": {"code": -32600, "message": "no"}}),
        json!({"id": 15, "result": {"status": "notSubscribed"}}),
    ] {
        let mut kept = greeted();
        in_turn(&mut kept, 1, "T");
        kept.leave(1);
        assert_eq!(kept.hears(&[refusal]), ["spoilt"]);
        assert!(!kept.is_leaving(1));
    }
}

#[test]
fn a_thread_that_comes_when_its_run_has_left_is_unloaded() {
    for (opened, then) in [
        (opened(1, "T"), vec![unloading(1, "T")]),
        (json!({"id": 2, "error": {"code": -32600, "message": "no"}}), vec![]),
    ] {
        let mut kept = greeted();
        kept.enter(1, None);
        kept.run_says(1, &request(1, "initialize", json!({})));
        kept.run_says(1, &request(2, "thread/resume", json!({"threadId": "T"})));
        assert_eq!(kept.leave(1), (vec![], None));
        assert!(kept.is_leaving(1));
        assert_eq!(kept.hears(&[opened]), then);
        assert_eq!(kept.is_leaving(1), !then.is_empty());
        kept.hears(&[unsubscribed(1), closed("T")]);
        assert!(!kept.is_leaving(1));
    }
    // A run that has not come so far leaves nothing.
    let mut kept = greeted();
    kept.enter(1, None);
    kept.run_says(1, &request(1, "initialize", json!({})));
    kept.run_says(1, &request(6, "config/read", json!({})));
    assert_eq!(kept.leave(1), (vec![], None));
    assert!(!kept.is_leaving(1));
    assert_eq!(kept.hears(&[answer(1, 6, json!({"config": {}}))]), [""; 0]);
}

#[test]
fn a_line_that_cannot_be_read_is_shown_to_no_other_run() {
    let [words, cut] = ["Debugger attached.", r#"{"id":18,"result":{"thread":{"#];
    let mut kept = greeted();
    assert_eq!(kept.program_says(words), ["spoilt"]);
    in_turn(&mut kept, 1, "T");
    for line in [words, cut] {
        assert_eq!(kept.program_says(line), ["spoilt".to_owned(), format!("1 < {line}")]);
    }
    in_turn(&mut kept, 2, "U");
    assert_eq!(kept.program_says(words), ["spoilt"]);
    // One of them waits for this: for ever, if it were not told.
    let told = kept.program_says(cut);
    assert_eq!(told, ["spoilt", "1 < {\"id\"", "2 < {\"id\""]);
    let mut run = codex().dialogue(&task("hi"));
    let mut steps = Steps::new();
    run.line(told[1].strip_prefix("1 < ").unwrap(), &mut steps);
    assert!(matches!(steps.last(), Some(Step::Finished(Err(_)))), "{steps:?}");
    assert_eq!(kept.program_says(" "), [""; 0]);
}

#[test]
fn a_program_is_every_threads_but_for_what_it_is_started_with() {
    let base = task("one");
    for same in [
        Task { resume: Some("T".into()), ..task("two") },
        Task { model: Some("gpt-x".into()), effort: Some(Effort::Low), ..task("one") },
        Task { system: Some("be brief".into()), append_system: Some("please".into()), ..task("one") },
        Task { schema: Some(json!({"type": "object"})), ..task("one") },
        Task { sandbox: Sandbox::ReadOnly, approval: Approval::None, tools: ToolUse::None, ..task("one") },
        Task { add_dirs: vec!["/more".into()], no_project_config: true, interpret: true, ..task("one") },
        Task { mcp: servers()[..2].to_vec(), vendor_retries: 5, scratch: "/tmp/x".into(), ..task("one") },
    ] {
        assert!(is_same_shape(&codex(), &base, &same), "{same:?}");
    }
    for other in [
        Task { dir: "/src/other".into(), ..task("one") },
        Task { ephemeral: true, ..task("one") },
        Task { extra: vec!["--enable".into(), "goals".into()], ..task("one") },
    ] {
        assert!(!is_same_shape(&codex(), &base, &other), "{other:?}");
    }
    assert!(codex().keeps(&base).is_some_and(|keeping| keeping.is_shared));
}

/// A run as its dialogue has it.
struct Run {
    seat: u64,
    dialogue: Box<dyn Dialogue>,
    steps: Steps,
}

impl Run {
    fn enter(kept: &mut Kept, seat: u64, task: &Task) -> (Run, Vec<String>) {
        kept.enter(seat, None);
        let mut run = Run { seat, dialogue: codex().dialogue(task), steps: Steps::new() };
        let mut steps = Steps::new();
        run.dialogue.start(&mut steps);
        let said = run.follow(kept, steps);
        (run, said)
    }

    /// Does what it wants until it wants nothing more; returns what the program was told.
    fn follow(&mut self, kept: &mut Kept, steps: Steps) -> Vec<String> {
        let mut told = Vec::new();
        for step in steps {
            let Step::Send(line) = &step else {
                self.steps.push(step);
                continue;
            };
            let routes = kept.run_says(self.seat, line);
            told.extend(self.hear(kept, routes));
        }
        told
    }

    fn hear(&mut self, kept: &mut Kept, routes: Vec<String>) -> Vec<String> {
        let mut told = Vec::new();
        for route in routes {
            match route.strip_prefix(&format!("{} < ", self.seat)) {
                Some(line) => {
                    let mut steps = Steps::new();
                    self.dialogue.line(line, &mut steps);
                    told.extend(self.follow(kept, steps));
                }
                None => told.push(route),
            }
        }
        told
    }
}

/// Each dialogue believes that the program is its own.
#[test]
fn two_dialogues_at_once_have_each_their_own_answer() {
    let mut kept = greeted();
    let mut runs = Vec::new();
    for (seat, thread) in [(1, "T"), (2, "U")] {
        let (mut run, said) = Run::enter(&mut kept, seat, &task(&format!("prompt of {thread}")));
        assert_eq!(
            said,
            [format!("> {}", request((seat - 1) * 16 + 6, "config/read", json!({"includeLayers": false})))]
        );
        let routes = kept.hears(&[answer(seat, 6, json!({"config": {}}))]);
        run.hear(&mut kept, routes);
        let routes = kept.hears(&[opened(seat, thread)]);
        let said = run.hear(&mut kept, routes);
        assert!(
            said[0].contains(&format!("prompt of {thread}")) && said[0].contains("\"turn/start\""),
            "{said:?}"
        );
        runs.push(run);
    }
    let delta = |thread: &str, text: &str| {
        note("item/agentMessage/delta", thread, json!({"itemId": "m", "delta": text, "turnId": "t"}))
    };
    let lines = [
        turn("turn/started", "T"),
        turn("turn/started", "U"),
        delta("T", "one "),
        delta("U", "three "),
        delta("T", "two"),
        turn("turn/completed", "T"),
        delta("U", "four"),
        turn("turn/completed", "U"),
    ];
    for line in lines {
        let routes = kept.hears(&[line]);
        assert_eq!(routes.len(), 1);
        for run in &mut runs {
            let mine = routes
                .iter()
                .filter(|route| route.starts_with(&format!("{} <", run.seat)))
                .cloned()
                .collect();
            run.hear(&mut kept, mine);
        }
    }
    for (run, (text, thread)) in runs.iter().zip([("one two", "T"), ("three four", "U")]) {
        let heard: String = run
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Event(Event::Text(text)) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(heard, text);
        let begun = Event::Started { model: Some("m".into()), session: Some(thread.into()) };
        assert!(run.steps.contains(&Step::Event(begun)) && run.steps.contains(&Step::Finished(Ok(()))));
    }
}

/// Found by `make fuzz`: serde takes the items of a list for the members of a struct.
#[test]
fn a_list_is_no_message() {
    let mut kept = greeted();
    in_turn(&mut kept, 1, "T");
    for line in ["[2]", "\u{feff} [15,null]", "[2, \"thread/closed\", {\"threadId\": \"T\"}]"] {
        assert_eq!(kept.program_says(line), ["spoilt".to_owned(), format!("1 < {line}")], "{line}");
    }
}
