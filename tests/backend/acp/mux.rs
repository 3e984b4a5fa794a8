//! Runs that share one process of an agent: what each hears of it, and what of it is left to the next.

use super::{declared, known, task};
use crate::util::replay::{Played, data};
use clinvk::backend::gemini::Gemini;
use clinvk::backend::{Backend, Dialogue, Keeping, Mux, Route, Routes, Seat, Steps};
use clinvk::model::event::Event;
use clinvk::model::task::{Approval, Sandbox, Task};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What an agent says to a request: its method, its parameters, and the number of the session that it is in or begins.
type Agent = Box<dyn FnMut(&str, &Value, &str) -> Vec<Value>>;

/// Runs in one process, each with a dialogue as for a process of its own.
struct Shared {
    backend: Arc<dyn Backend>,
    mux: Box<dyn Mux>,
    agent: Agent,
    runs: BTreeMap<Seat, (Box<dyn Dialogue>, Played)>,
    /// What the agent has still to say.
    unsaid: VecDeque<String>,
    /// What it was told.
    told: Vec<Value>,
    sessions: u64,
    spoilt: Vec<String>,
}

impl Shared {
    fn new(backend: Arc<dyn Backend>, task: &Task, agent: Agent) -> Shared {
        let Keeping { mux, is_shared, .. } = backend.keeps(task).unwrap();
        assert!(is_shared);
        let mut shared = Shared {
            backend,
            mux,
            agent,
            runs: BTreeMap::new(),
            unsaid: VecDeque::new(),
            told: Vec::new(),
            sessions: 0,
            spoilt: Vec::new(),
        };
        shared.mux(|mux, routes| mux.start(routes));
        shared
    }

    fn mux(&mut self, say: impl FnOnce(&mut dyn Mux, &mut Routes)) {
        let mut routes = Routes::new();
        say(&mut *self.mux, &mut routes);
        for route in routes {
            match route {
                Route::ToProgram(line) => self.tell(&line),
                Route::ToRun(seat, line) => {
                    let Some((dialogue, _)) = self.runs.get_mut(&seat) else { continue };
                    let mut steps = Steps::new();
                    dialogue.line(&line, &mut steps);
                    self.steps(seat, steps);
                }
                Route::Spoilt(why) => self.spoilt.push(why),
                other @ Route::MayBeSilent(_) => panic!("{other:?}: it always says something"),
            }
        }
    }

    /// The agent hears a line, and has something to say.
    fn tell(&mut self, line: &str) {
        let message: Value = serde_json::from_str(line).unwrap();
        let (method, id) = (message["method"].as_str().unwrap_or_default(), message["id"].clone());
        if !method.is_empty() && !id.is_null() {
            let mut session = message["params"]["sessionId"].as_str().unwrap_or_default().to_owned();
            if method == "session/new" {
                self.sessions += 1;
                session = format!("s{}", self.sessions);
            }
            for mut line in (self.agent)(method, &message["params"], &session) {
                if line["id"] == "ID" {
                    line["id"] = id.clone();
                }
                self.unsaid.push_back(line.to_string());
            }
        }
        self.told.push(message);
    }

    fn steps(&mut self, seat: Seat, steps: Steps) {
        let (_, played) = self.runs.get_mut(&seat).unwrap();
        let before = played.said.len();
        played.take(steps);
        let said: Vec<String> = played.said[before..].to_vec();
        for line in said {
            self.mux(|mux, routes| mux.run_says(seat, line, routes));
        }
    }

    fn enter(&mut self, seat: Seat, task: &Task) {
        let resume = task.resume.clone().filter(|id| self.mux.holds(id));
        self.runs.insert(seat, (self.backend.dialogue(task), Played::default()));
        self.mux(|mux, routes| mux.enter(seat, resume.as_deref(), routes));
        let mut steps = Steps::new();
        self.runs.get_mut(&seat).unwrap().0.start(&mut steps);
        self.steps(seat, steps);
    }

    /// The agent says a line of its own accord.
    fn says(&mut self, line: &Value) {
        self.hears(&line.to_string());
    }

    fn hears(&mut self, line: &str) {
        self.mux(|mux, routes| mux.program_says(line, routes));
    }

    /// The agent says all that it has to say.
    fn go(&mut self) {
        while let Some(line) = self.unsaid.pop_front() {
            self.hears(&line);
        }
    }

    fn leave(&mut self, seat: Seat) -> (Option<String>, Played) {
        let mut conversation = None;
        self.mux(|mux, routes| conversation = mux.leave(seat, routes));
        (conversation, self.runs.remove(&seat).unwrap().1)
    }

    /// A whole run.
    fn run(&mut self, seat: Seat, task: &Task) -> (Option<String>, Played) {
        self.enter(seat, task);
        self.go();
        let left = self.leave(seat);
        self.go();
        left
    }

    /// The methods that the agent heard since.
    fn methods(&mut self) -> Vec<String> {
        let method = |line: Value| Some(line["method"].as_str()?.trim_start_matches("session/").to_owned());
        std::mem::take(&mut self.told).into_iter().filter_map(method).collect()
    }
}

fn answer(result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "ID", "result": result})
}

fn update(session: &str, text: &str) -> Value {
    let update = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
    json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": session, "update": update}})
}

/// An agent with these abilities that repeats what it is asked.
fn repeating(sessions: Value) -> Agent {
    Box::new(move |method, params, session| match method {
        "initialize" => {
            let abilities = json!({"loadSession": true, "sessionCapabilities": sessions});
            vec![answer(
                json!({"protocolVersion": 1, "agentCapabilities": abilities, "agentInfo": {"version": "0.61.0"}}),
            )]
        }
        "session/new" => vec![answer(json!({"sessionId": session}))],
        "session/prompt" => vec![
            update(session, params["prompt"][0]["text"].as_str().unwrap()),
            answer(json!({"stopReason": "end_turn"})),
        ],
        "_clinvk/ping" => vec![json!({"id": "ID", "error": {"code": -32601, "message": "Method not found"}})],
        _ => vec![answer(json!({}))],
    })
}

fn gemini() -> Arc<dyn Backend> {
    Arc::new(Gemini::new(None, &[]))
}

fn session_of(played: &Played) -> Option<String> {
    played.events.iter().find_map(|event| match event {
        Event::Started { session, .. } => session.clone(),
        _ => None,
    })
}

/// The agent is greeted once, whoever comes; each run has its own session and its own answer.
#[test]
fn runs_at_once_hear_each_their_own() {
    let mut shared = Shared::new(declared(json!({})), &task("x"), repeating(json!({})));
    let tasks = [task("one"), task("two"), task("three")];
    for (seat, task) in (1..).zip(&tasks) {
        shared.enter(seat, task);
    }
    assert_eq!(shared.methods(), ["initialize"]);
    shared.go();
    assert_eq!(shared.methods(), ["new", "new", "new", "prompt", "prompt", "prompt"]);
    for (seat, task) in (1..).zip(&tasks) {
        let (conversation, played) = shared.leave(seat);
        assert_eq!((&*played.text(), played.ending()), (&*task.prompt, "ok"), "{seat}");
        assert_eq!(conversation, session_of(&played), "{seat}");
    }
    assert!(shared.spoilt.is_empty(), "{:?}", shared.spoilt);
}

/// A run in a session that stayed open finds it loaded, says its prompt alone, and the agent is heard at once.
#[test]
fn a_conversation_goes_on_in_a_session_that_cannot_be_closed() {
    for backend in [gemini(), declared(json!({}))] {
        let mut shared = Shared::new(backend, &task("x"), repeating(json!({"resume": {}})));
        let (conversation, _) = shared.run(1, &task("one"));
        assert_eq!(conversation.as_deref(), Some("s1"));
        assert!(!shared.mux.can_load("s1"), "another process may have gone on with it");
        shared.methods();
        let next = Task { resume: conversation, ..task("two") };
        shared.enter(2, &next);
        assert!(!shared.mux.holds("s1"), "another run is in it");
        shared.go();
        let (conversation, played) = shared.leave(2);
        assert_eq!((&*played.text(), played.ending()), ("two", "ok"));
        assert_eq!((conversation.as_deref(), session_of(&played).as_deref()), (Some("s1"), Some("s1")));
        assert_eq!(shared.methods(), ["_clinvk/ping", "prompt"]);
        assert!(shared.mux.holds("s1"));
    }
}

/// What was chosen when the session was opened says nothing of what is chosen now.
#[test]
fn a_run_that_goes_on_makes_its_choices_anew() {
    for lists in [
        json!({"models": {"currentModelId": "a", "availableModels": [{"modelId": "a"}, {"modelId": "b"}]}}),
        json!({"configOptions": [{"id": "model", "category": "model", "currentValue": "a", "options": [{"value": "a"}, {"value": "b"}]}]}),
    ] {
        let mut like = repeating(json!({}));
        let agent: Agent = Box::new(move |method, params, session| {
            let mut said = like(method, params, session);
            if method == "session/new" {
                said[0]["result"].as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
            }
            said
        });
        let mut shared = Shared::new(declared(json!({})), &task("x"), agent);
        let (conversation, _) = shared.run(1, &task("one"));
        for (seat, model) in [(2, "b"), (3, "a")] {
            shared.told.clear();
            let (model, resume) = (Some(model.to_owned()), conversation.clone());
            let (_, played) = shared.run(seat, &Task { resume, model: model.clone(), ..task("x") });
            let set = &shared.told[1]["params"];
            let value = if set["modelId"].is_null() { &set["value"] } else { &set["modelId"] };
            assert_eq!((value.as_str(), played.ending()), (model.as_deref(), "ok"));
        }
    }
}

/// What is in memory may be older than what is on disk: where a session can be closed it is, and is loaded by the next run, once
/// it is closed.
#[test]
fn a_session_that_can_be_closed_is_closed_and_loaded_again() {
    let mut shared =
        Shared::new(declared(json!({})), &task("x"), repeating(json!({"close": {}, "resume": {}})));
    shared.enter(1, &task("one"));
    shared.go();
    let (conversation, played) = shared.leave(1);
    assert_eq!((conversation, shared.mux.holds("s1"), shared.mux.can_load("s1")), (None, false, true));
    shared.methods();
    let next = Task { resume: session_of(&played), ..task("two") };
    // The answer to the close is still unsaid.
    shared.enter(2, &next);
    assert_eq!(shared.methods(), [""; 0]);
    shared.go();
    let (_, played) = shared.leave(2);
    assert_eq!((&*played.text(), played.ending()), ("two", "ok"));
    assert_eq!(shared.methods(), ["resume", "prompt", "close"]);
}

/// What a turn leaves, and whether another can go on with it: how the agent ends it, whether the program takes further runs.
#[test]
fn only_what_a_good_turn_left_goes_on() {
    let error = |message: &str| json!({"id": "ID", "error": {"code": -32603, "message": message}});
    let mode =
        |update: Value| json!({"method": "session/update", "params": {"sessionId": "s1", "update": update}});
    for (backend, said, goes_on, is_spoilt) in [
        (declared(json!({})), vec![answer(json!({"stopReason": "end_turn"}))], true, false),
        (declared(json!({})), vec![answer(json!({"stopReason": "max_tokens"}))], true, false),
        (declared(json!({})), vec![answer(json!({"stopReason": "cancelled"}))], false, false),
        (declared(json!({})), vec![error("Internal error")], false, true),
        (declared(json!({})), vec![error("Authentication required: 401")], false, true),
        (declared(json!({})), vec![error("429 Too many requests")], false, false),
        (declared(json!({})), vec![], false, true),
        (
            declared(json!({})),
            vec![
                mode(json!({"sessionUpdate": "current_mode_update", "currentModeId": "yolo"})),
                answer(json!({"stopReason": "end_turn"})),
            ],
            false,
            false,
        ),
        (
            gemini(),
            vec![update("s1", "[MODE_UPDATE] yolo"), answer(json!({"stopReason": "end_turn"}))],
            false,
            false,
        ),
    ] {
        let mut like = repeating(json!({}));
        let ended = said.clone();
        let agent: Agent = Box::new(move |method, params, session| match method {
            "session/prompt" => ended.clone(),
            _ => like(method, params, session),
        });
        let mut shared = Shared::new(backend, &task("x"), agent);
        shared.enter(1, &task("one"));
        shared.go();
        let (conversation, _) = shared.leave(1);
        assert_eq!((conversation.is_some(), !shared.spoilt.is_empty()), (goes_on, is_spoilt), "{said:?}");
        let was_cancelled = shared.methods().last().unwrap() == "cancel";
        assert_eq!(was_cancelled, said.is_empty());
    }
}

/// It may be one that only a new process can mend.
#[test]
fn an_agent_that_cannot_begin_a_session_takes_no_further_run() {
    for (message, is_spoilt) in [("no", true), ("429 Too many requests", false)] {
        let mut like = repeating(json!({}));
        let agent: Agent = Box::new(move |method, params, session| match method {
            "session/new" => vec![json!({"id": "ID", "error": {"code": -32603, "message": message}})],
            _ => like(method, params, session),
        });
        let mut shared = Shared::new(declared(json!({})), &task("x"), agent);
        shared.run(1, &task("one"));
        assert_eq!(!shared.spoilt.is_empty(), is_spoilt, "{message}");
    }
}

/// Gemini counts the turns of a session: the limit of one run would be used up by those before it.
#[test]
fn a_limit_of_turns_is_for_one_run() {
    let limited = Task { max_turns: Some(3), ..task("one") };
    let mut shared = Shared::new(gemini(), &limited, repeating(json!({})));
    assert_eq!(shared.run(1, &limited).0, None);
}

/// Gemini's sessions are begun one after the other: what is told of one before the answer that names it is for its run.
#[test]
fn what_is_told_of_a_new_session_finds_its_run() {
    let mut like = repeating(json!({}));
    let agent: Agent = Box::new(move |method, params, session| match method {
        "session/new" => vec![],
        _ => like(method, params, session),
    });
    let mut shared = Shared::new(gemini(), &task("x"), agent);
    for seat in [1, 2, 3] {
        shared.enter(seat, &task("one"));
    }
    shared.go();
    assert_eq!(shared.methods(), ["initialize", "new"]);
    let told = |session: &str| {
        let update = json!({"sessionUpdate": "usage_update", "used": 1, "size": 2});
        json!({"method": "session/update", "params": {"sessionId": session, "update": update}})
    };
    let mut heard = |line: Value| {
        let mut routes = Routes::new();
        shared.mux.program_says(&line.to_string(), &mut routes);
        let mut heard = Vec::new();
        for route in routes {
            match route {
                Route::ToRun(seat, line) => {
                    heard.push((seat, if line.contains("\"id\"") { "answer" } else { "told" }))
                }
                Route::ToProgram(line) => {
                    heard.push((0, if line.contains("session/new") { "new" } else { "other" }))
                }
                other => panic!("{other:?}"),
            }
        }
        heard
    };
    assert_eq!(heard(told("a")), [(1, "told")]);
    assert_eq!(heard(json!({"id": 2, "result": {"sessionId": "a"}})), [(1, "answer"), (0, "new")]);
    assert_eq!(heard(told("b")), [(2, "told")]);
    assert_eq!(heard(told("a")), [(1, "told")]);
    assert_eq!(
        heard(json!({"id": 3, "error": {"code": -32603, "message": "429 Too many requests"}})),
        [(2, "answer"), (0, "new")]
    );
    assert_eq!(heard(json!({"id": 4, "result": {"sessionId": "c"}})), [(3, "answer")]);
    assert_eq!(heard(told("strange")), []);

    // Runs that have left hold up no other.
    let mut shared = Shared::new(gemini(), &task("x"), repeating(json!({})));
    for seat in [1, 2, 3] {
        shared.enter(seat, &task(&seat.to_string()));
    }
    let initialized = shared.unsaid.pop_front().unwrap();
    shared.hears(&initialized);
    shared.leave(1);
    shared.leave(2);
    shared.go();
    assert_eq!(shared.leave(3).1.text(), "3");
    assert_eq!(shared.methods(), ["initialize", "new", "new", "prompt"]);
}

/// What the agent asks goes to the run of the session; one that is over is not waited for.
#[test]
fn what_the_agent_asks_has_an_answer_whoever_is_gone() {
    let mut like = repeating(json!({}));
    let agent: Agent = Box::new(move |method, params, session| match method {
        "session/prompt" => vec![],
        _ => like(method, params, session),
    });
    let attended = |prompt: &str| Task { attended: true, ..task(prompt) };
    let mut shared = Shared::new(declared(json!({})), &task("x"), agent);
    shared.enter(1, &attended("one"));
    shared.enter(2, &task("two"));
    shared.go();
    shared.told.clear();
    let asks = |id: u64, method: &str, session: &str| {
        let options = [json!({"optionId": "no", "kind": "reject_once"})];
        json!({"id": id, "method": method, "params": {"sessionId": session, "toolCall": {"toolCallId": "t"}, "options": options}})
    };
    let permission = "session/request_permission";
    for line in [
        asks(0, permission, "s1"),
        asks(1, permission, "s2"),
        asks(2, "fs/x", "s2"),
        asks(3, "fs/x", "other"),
    ] {
        shared.says(&line);
    }
    assert_eq!(shared.runs[&1].1.asked.len(), 1);
    let outcome = |outcome: &Value| outcome["result"]["outcome"]["outcome"].as_str().map(str::to_owned);
    let told: Vec<_> = shared
        .told
        .drain(..)
        .map(|line| (line["id"].as_u64(), outcome(&line), line["error"]["code"].as_i64()))
        .collect();
    let selected = Some("selected".to_owned());
    assert_eq!(
        told,
        [(Some(1), selected, None), (Some(2), None, Some(-32601)), (Some(3), None, Some(-32601))]
    );
    // The question that has no answer yet.
    shared.leave(1);
    assert_eq!(shared.told[0]["method"], "session/cancel");
    assert_eq!(
        (shared.told[1]["id"].as_u64(), outcome(&shared.told[1])),
        (Some(0), Some("cancelled".to_owned()))
    );
    assert_eq!(shared.told.len(), 2);
    shared.says(&asks(4, permission, "s1"));
    assert_eq!(shared.told[2]["error"]["code"], -32601);
}

/// What an agent says of a session behind its end is nothing for the run that is there by then.
#[test]
fn a_session_that_is_closed_or_removed_has_no_listener() {
    for (abilities, is_ephemeral) in
        [(json!({"close": {}, "resume": {}}), false), (json!({"delete": {}, "close": {}}), true)]
    {
        let mut shared = Shared::new(declared(json!({})), &task("x"), repeating(abilities));
        shared.run(1, &Task { ephemeral: is_ephemeral, ..task("one") });
        for is_open in [false, true] {
            if !is_open {
                shared.enter(2, &task("two"));
            }
            shared.says(&update("s1", "late"));
            let asks = json!({"id": 7, "method": "session/request_permission", "params": {"sessionId": "s1", "options": []}});
            shared.says(&asks);
            assert_eq!(shared.told.last().unwrap()["error"]["code"], -32601);
            shared.go();
        }
        assert_eq!(shared.leave(2).1.text(), "two");
    }
}

/// Garbage goes to those who may be meant. With none there the program is no good, unless it only begins.
#[test]
fn what_is_no_message_is_heard_by_all() {
    let backend = declared(json!({}));
    let mut shared = Shared::new(backend.clone(), &task("x"), repeating(json!({})));
    shared.hears("Debugger attached.");
    assert!(shared.spoilt.is_empty());
    shared.enter(1, &task("one"));
    shared.enter(2, &task("two"));
    let warnings = |shared: &Shared, seat| {
        shared.runs[&seat].1.events.iter().filter(|event| matches!(event, Event::Progress { .. })).count()
    };
    assert_eq!((warnings(&shared, 1), warnings(&shared, 2)), (1, 0));
    shared.hears("more of it");
    assert_eq!((warnings(&shared, 1), warnings(&shared, 2)), (2, 1));
    shared.go();
    assert!(shared.spoilt.is_empty());
    assert_eq!((shared.leave(1).1.ending(), shared.leave(2).1.ending()), ("ok", "ok"));
    shared.hears("a last word");
    assert_eq!(shared.spoilt.len(), 1);

    for (line, is_spoilt) in [
        (r#"{"jsonrpc":"2.0","id":99,"result":{}}"#, true),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#, true),
        (r#"{"jsonrpc":"2.0","id":3,"result":{"#, true),
        (r#"{"jsonrpc":"2.0","method":"_auth/status_update","params":{}}"#, false),
        ("", false),
    ] {
        let mut shared = Shared::new(backend.clone(), &task("x"), repeating(json!({})));
        shared.go();
        shared.enter(1, &task("one"));
        shared.hears(line);
        assert_eq!(!shared.spoilt.is_empty(), is_spoilt, "{line}");
    }
}

/// A session that was deleted is not closed, and one whose run left while it was opened is.
#[test]
fn no_session_stays_open_without_a_reason() {
    let abilities = json!({"close": {}, "delete": {}});
    let mut shared = Shared::new(declared(json!({})), &task("x"), repeating(abilities.clone()));
    let ephemeral = Task { ephemeral: true, ..task("one") };
    assert_eq!(shared.run(1, &ephemeral).1.ending(), "ok");
    assert_eq!(shared.methods(), ["initialize", "new", "prompt", "delete"]);
    shared.enter(2, &task("two"));
    shared.leave(2);
    shared.go();
    assert_eq!(shared.methods(), ["new", "close"]);
    assert!(shared.spoilt.is_empty());
}

/// Runs greet the agent as if it had just been started, and hear what it said; one that refuses is no good.
#[test]
fn each_run_hears_the_greeting() {
    let backend = declared(json!({"auth_method": "key"}));
    let mut shared = Shared::new(backend.clone(), &task("x"), repeating(json!({})));
    shared.go();
    assert_eq!(shared.methods(), ["initialize", "authenticate"]);
    for seat in [1, 2] {
        assert_eq!(shared.run(seat, &task("one")).1.ending(), "ok");
        assert_eq!(shared.methods(), ["new", "prompt"]);
    }
    let agent: Agent =
        Box::new(|_, _, _| vec![json!({"id": "ID", "error": {"code": -32000, "message": "Login first"}})]);
    let mut shared = Shared::new(backend, &task("x"), agent);
    shared.enter(1, &task("one"));
    shared.go();
    shared.enter(2, &task("two"));
    assert_eq!((shared.leave(1).1.ending(), shared.leave(2).1.ending()), ("login", "login"));
    assert_eq!(shared.spoilt.len(), 1);
}

/// A prompt of any length gets its id without being read.
#[test]
fn a_long_prompt_is_passed_on() {
    let prompt = "\"id\": \u{1f600} \\ ".repeat(1 << 17);
    let mut shared = Shared::new(declared(json!({})), &task("x"), repeating(json!({})));
    shared.run(1, &task("one"));
    let (_, played) = shared.run(2, &task(&prompt));
    assert!(played.text() == prompt);
}

/// The process of a task, in which nothing is left of one turn and all that others must not find.
#[test]
fn tasks_share_a_process_only_where_it_was_given_the_same() {
    let backend = declared(
        json!({"modes": {"always": "ask", "read_only": "plan"}, "system_by": "meta", "client_tools": true}),
    );
    let shape = |backend: &dyn Backend, task: &Task| backend.keeps(task).map(|keeping| keeping.shape);
    let one = task("one");
    let alike = Task {
        prompt: "/two".into(),
        resume: Some("s".to_owned()),
        scratch: "/other".into(),
        tags: vec!["tag".to_owned()],
        ..one.clone()
    };
    let mcp = crate::backend::servers();
    let unlike = [
        Task { dir: "/elsewhere".into(), ..one.clone() },
        Task { system: Some("Be kind.".to_owned()), ..one.clone() },
        Task { approval: Approval::Always, ..one.clone() },
        Task { sandbox: Sandbox::ReadOnly, ..one.clone() },
        Task { add_dirs: vec!["/more".into()], ..one.clone() },
        Task { mcp, ..one.clone() },
    ];
    // Agents are told of a model in each session, gemini when it is started.
    let other_model = Task { model: Some("m".to_owned()), ..one.clone() };
    assert_eq!(shape(&*backend, &one), shape(&*backend, &other_model));
    assert_ne!(shape(&*gemini(), &one), shape(&*gemini(), &other_model));
    for backend in [backend, gemini()] {
        assert_eq!(shape(&*backend, &one), shape(&*backend, &alike));
        for other in &unlike {
            assert_ne!(shape(&*backend, &one), shape(&*backend, other), "{other:?}");
        }
        let command = Task { interpret: true, ..alike.clone() };
        assert_eq!(shape(&*backend, &command), None);
        assert!(shape(&*backend, &Task { interpret: true, ..one.clone() }).is_some());
    }
    assert!(["codex-acp", "fast-agent"].iter().all(|name| known(name).keeps(&one).is_none()));
    assert!(declared(json!({"locks_sessions": true})).keeps(&one).is_none());
}

/// What an agent said to a recorder, said again to each that asks for it, in a session of its own.
fn recorded(folder: &str) -> Agent {
    let lines = data(&format!("acp/{folder}/basic.jsonl"));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let opened = |line: &Value| line["msg"]["result"]["sessionId"].as_str().map(str::to_owned);
    let theirs = lines.iter().find_map(opened).unwrap();
    Box::new(move |method, _, session| {
        let is_request = |line: &&Value| line["dir"] == ">" && line["msg"]["method"] == method;
        let Some(at) = lines.iter().position(|line| is_request(&line)) else {
            return vec![answer(json!({}))];
        };
        let id = &lines[at]["msg"]["id"];
        let mut said = Vec::new();
        for line in lines[at + 1..].iter().filter(|line| line["dir"] == "<" && line["msg"].is_object()) {
            let mut line: Value =
                serde_json::from_str(&line["msg"].to_string().replace(&*theirs, session)).unwrap();
            let is_answer = line["method"].is_null();
            if is_answer && line["id"] == *id {
                line["id"] = "ID".into();
                said.push(line);
                break;
            }
            said.extend((!is_answer).then_some(line));
        }
        said
    })
}

/// Two at once in one process of each recorded agent, and a third after them, hear what one alone hears.
#[test]
fn recorded_agents_say_to_each_what_they_say_to_one() {
    for folder in ["claude-agent-acp", "copilot", "kimi-code", "opencode", "qwen", "vibe"] {
        let backend = || known(if folder == "kimi-code" { "kimi" } else { folder });
        let seen = |played: &Played| {
            let told = |event: &&Event| !matches!(event, Event::Started { .. } | Event::Progress { .. });
            (played.ending(), played.events.iter().filter(told).cloned().collect::<Vec<_>>())
        };
        let mut alone = Shared::new(backend(), &task("say hi"), recorded(folder));
        let (_, one) = alone.run(1, &task("say hi"));
        assert_eq!(one.ending(), "ok", "{folder}: {:?}", one.result);
        let mut shared = Shared::new(backend(), &task("say hi"), recorded(folder));
        shared.enter(1, &task("say hi"));
        shared.enter(2, &task("say hi"));
        shared.go();
        shared.leave(1);
        shared.enter(3, &task("say hi"));
        shared.go();
        for seat in [2, 3] {
            assert_eq!(seen(&shared.leave(seat).1), seen(&one), "{folder} {seat}");
        }
        assert!(shared.spoilt.is_empty(), "{folder} {:?}", shared.spoilt);
    }
}
