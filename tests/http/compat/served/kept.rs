//! What is kept of conversations, for how long, and what becomes of it when something goes wrong. The fakes keep sessions
//! as the vendors do.

use super::{CHAT, MESSAGES, RESPONSES, asking};
use crate::util::http::{Answer, Server};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};
use std::fs;

/// Claude as far as a conversation needs it: keeps its sessions in files, and writes down how often it was started, with
/// what, and what it was told. Its answers are numbered.
const CLAUDE: &str = r#"
n=$(($(cat "$here/n" 2>/dev/null || echo 0) + 1)); echo $n >"$here/n"
printf '%s\n' "$*" >"$here/args-$n"
id=$(printf '00000000-0000-4000-8000-%012d' $n); old=
while [ $# -gt 0 ]; do [ "$1" = --resume ] && id=$2 old=$2; shift; done
file=$HOME/.claude/projects/-work/$id.jsonl
while read -r line; do case $line in *'"type":"user"'*) break ;; esac; done
printf '%s\n' "$line" >"$here/told-$n"
if [ "$old" ] && [ ! -e "$file" ]; then
  say '{"type":"result","subtype":"error_during_execution","is_error":true,"result":"No conversation found with session ID: '$old'"}'
  exit 1
fi
grep -q no-session-persistence "$here/args-$n" || { mkdir -p "${file%/*}"; cat "$here/told-$n" >>"$file"; }
say '{"type":"system","subtype":"init","session_id":"'$id'","model":"claude-fake","claude_code_version":"2.1.197"}'
[ -e "$here/gate" ] && { tell up; await gate; }
[ -e "$here/fails" ] && { say '{"type":"result","subtype":"success","is_error":true,"api_error_status":500,"result":"broken"}'; exit 1; }
say '{"type":"assistant","message":{"model":"claude-fake","content":[{"type":"text","text":"answer '$n'"}]}}'
say '{"type":"result","subtype":"success","is_error":false,"result":"answer '$n'","usage":{"input_tokens":3,"output_tokens":2}}'
cat >/dev/null
"#;

/// A scene with that claude, and these keys of the server.
fn scene(server: Value) -> Scene {
    let scene = Scene::new();
    scene.fake("claude", CLAUDE);
    scene.config(&json!({"default_backend": "claude", "server": server}));
    scene
}

/// The file of that number that the fake has written.
fn noted(scene: &Scene, what: &str, number: usize) -> String {
    fs::read_to_string(scene.path(&format!("bin/{what}-{number}"))).unwrap_or_default()
}

/// What run number so many was told, and the session that it continued.
fn told(scene: &Scene, number: usize) -> (String, Option<String>) {
    let line: Value = serde_json::from_str(&noted(scene, "told", number)).unwrap_or_default();
    let text = line["message"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    let args = noted(scene, "args", number);
    let resumed = args.split_once("--resume ").and_then(|(_, rest)| rest.split_whitespace().next());
    (text, resumed.map(str::to_owned))
}

/// The files that claude keeps.
fn kept(scene: &Scene) -> usize {
    fs::read_dir(scene.path("home/.claude/projects/-work")).map_or(0, |files| files.count())
}

/// The sessions of ours, hidden ones too.
fn ours(scene: &Scene) -> usize {
    let files = fs::read_dir(scene.path("home/.clinvk/sessions")).into_iter().flatten().flatten();
    files.filter(|file| file.file_name().to_string_lossy().ends_with(".json")).count()
}

/// A conversation: speakers take turns, the user begins.
fn history(said: &[&str]) -> Value {
    let role = |index: usize| if index % 2 == 0 { "user" } else { "assistant" };
    let said = said.iter().enumerate().map(|(index, text)| json!({"role": role(index), "content": text}));
    let system = json!({"role": "system", "content": "be brief"});
    [system].into_iter().chain(said).collect()
}

fn chat(said: &[&str]) -> Value {
    json!({"model": "claude", "messages": history(said)})
}

#[track_caller]
fn says(answer: &Answer, text: &str) {
    let told = answer.json();
    let said = told["choices"][0]["message"]["content"].as_str();
    assert_eq!(said.or(told["output"][0]["content"][0]["text"].as_str()), Some(text), "{answer}");
}

const FIRST: &str = "00000000-0000-4000-8000-000000000001";

#[test]
fn whatever_differs_is_another_conversation() {
    let scene = scene(json!({"models": {"mine": "claude/opus"}}));
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "a=the-first-key,b=the-other-key")]);
    let ask = |key: &str, body: &Value| server.ask("POST", CHAT).header("x-api-key", key).json(body).answer();
    says(&ask("the-first-key", &chat(&["one"])), "answer 1");
    let goes_on = chat(&["one", "answer 1", "two"]);
    let mut other_model = goes_on.clone();
    other_model["model"] = json!("mine");
    let mut other_system = goes_on.clone();
    other_system["messages"][0]["content"] = json!("be long");
    for (number, (key, body)) in [
        ("the-other-key", goes_on.clone()),
        ("the-first-key", other_model),
        ("the-first-key", other_system),
        ("the-first-key", chat(&["one", "something else", "two"])),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(key, &body).status, 200);
        let (text, resumed) = told(&scene, number + 2);
        assert!(resumed.is_none() && text.contains("one") && text.contains("two"), "{number}: {text}");
    }
    assert_eq!(ask("the-first-key", &goes_on).status, 200);
    assert_eq!(told(&scene, 6), ("two".to_owned(), Some(FIRST.to_owned())), "it is still there");
}

#[test]
fn a_session_that_the_vendor_has_lost_is_told_anew_in_the_same_request() {
    for stream in [false, true] {
        let scene = scene(json!({}));
        let server = scene.serve([]);
        says(&server.post(CHAT, &chat(&["one"])), "answer 1");
        fs::remove_dir_all(scene.path("home/.claude")).unwrap();
        let mut goes_on = chat(&["one", "answer 1", "two"]);
        goes_on["stream"] = json!(stream);
        let answer = server.post(CHAT, &goes_on);
        assert!(answer.status == 200 && answer.body.contains("answer 3"), "{answer}");
        assert_eq!(told(&scene, 2), ("two".to_owned(), Some(FIRST.to_owned())));
        let (text, resumed) = told(&scene, 3);
        assert!(resumed.is_none() && text.contains("answer 1") && text.contains("two"), "{text}");
        says(&server.post(CHAT, &chat(&["one", "answer 1", "two", "answer 3", "three"])), "answer 4");
        assert_eq!(told(&scene, 4).0, "three", "the new session goes on");
        server.stop();
        assert_eq!((kept(&scene), ours(&scene)), (0, 0));
    }
}

#[test]
fn a_turn_that_failed_is_asked_again_from_the_beginning_and_one_that_never_began_is_not() {
    let scene = scene(json!({"max_runs": 1, "queue_length": 0}));
    let server = scene.serve([]);
    // An answer does not wait for the end of its run, which has the slot until then.
    let is_idle = || server.get("/api/v1/runs").json()["runs"] == json!([]);
    says(&server.post(CHAT, &chat(&["one"])), "answer 1");
    until("the slot is free", is_idle);
    let goes_on = chat(&["one", "answer 1", "two"]);
    // Another conversation has the only slot.
    let (mut up, mut gate) = (scene.fifo("up"), scene.fifo("gate"));
    let mut other = server.ask("POST", CHAT).json(&chat(&["other"])).send();
    up.told();
    assert_eq!(server.post(CHAT, &goes_on).status, 429);
    gate.tell();
    other.head();
    fs::remove_file(scene.path("bin/gate")).unwrap();
    until("the slot is free", is_idle);
    scene.file("bin/fails", "");
    assert_eq!(server.post(CHAT, &goes_on).status, 503);
    until("the slot is free", is_idle);
    assert_eq!(told(&scene, 3), ("two".to_owned(), Some(FIRST.to_owned())), "its session was not lost");
    fs::remove_file(scene.path("bin/fails")).unwrap();
    assert_eq!(server.post(CHAT, &goes_on).status, 200);
    let (text, resumed) = told(&scene, 4);
    assert!(
        resumed.is_none() && text.contains("answer 1"),
        "the vendor may know the question already: {text}"
    );
}

#[test]
fn without_reuse_nothing_is_kept_from_the_start() {
    for (server, header) in [
        (json!({"reuse_secs": 0}), "x-other"),
        (json!({"reuse_max": 0}), "x-other"),
        (json!({}), "x-clinvk-session"),
    ] {
        let scene = scene(server);
        let server = scene.serve([]);
        let ask = |body: &Value| server.ask("POST", CHAT).header(header, "off").json(body).answer();
        let first = ask(&chat(&["one"]));
        assert_eq!(first.header("x-clinvk-session"), None, "{first}");
        says(&ask(&chat(&["one", "answer 1", "two"])), "answer 2");
        let (text, resumed) = told(&scene, 2);
        assert!(resumed.is_none() && text.contains("answer 1"), "{text}");
        assert!(noted(&scene, "args", 1).contains("--no-session-persistence"));
        assert_eq!((kept(&scene), ours(&scene)), (0, 0));
        let told = server.ask("POST", RESPONSES).header(header, "off").json(&json!({"input": "x"})).answer();
        assert_eq!((&told.json()["store"], ours(&scene)), (&json!(false), 0), "{told}");
    }
}

#[test]
fn what_nobody_comes_back_for_is_forgotten_and_the_oldest_before_its_time() {
    let scene = scene(json!({"reuse_max": 1}));
    let server = scene.serve([]);
    says(&server.post(CHAT, &chat(&["one"])), "answer 1");
    says(&server.post(CHAT, &chat(&["another"])), "answer 2");
    until("the first is forgotten", || (kept(&scene), ours(&scene)) == (1, 1));
    assert!(!scene.path(&format!("home/.claude/projects/-work/{FIRST}.jsonl")).exists());
    server.stop();
    let scene = self::scene(json!({"reuse_secs": 1}));
    let server = scene.serve([]);
    says(&server.post(CHAT, &chat(&["one"])), "answer 1");
    until("its time is over", || (kept(&scene), ours(&scene)) == (0, 0));
    assert_eq!(server.post(CHAT, &chat(&["one", "answer 1", "two"])).status, 200);
    assert_eq!(told(&scene, 2).1, None);
}

#[test]
fn what_a_server_that_was_killed_has_kept_is_forgotten_by_the_next_one() {
    let scene = scene(json!({"reuse_secs": 1}));
    let server = scene.serve([]);
    says(&server.post(CHAT, &chat(&["one"])), "answer 1");
    server.process.signal(clinvk::base::sys::SIGKILL);
    drop(server);
    assert_eq!(ours(&scene), 1);
    // Its time may not be over yet.
    until("a next one finds it", || {
        scene.serve([]).stop();
        (kept(&scene), ours(&scene)) == (0, 0)
    });
}

/// Asks `/responses` this.
fn respond(server: &Server, input: &str, fields: Value) -> Answer {
    let mut body = json!({"model": "claude", "input": input});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post(RESPONSES, &body)
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn a_response_is_gone_on_with_by_its_id() {
    let scene = scene(json!({}));
    let server = scene.serve([]);
    let first = respond(&server, "one", json!({}));
    assert_eq!(first.json()["store"], true, "{first}");
    let second = respond(&server, "two", json!({"previous_response_id": id(&first)}));
    assert_eq!(told(&scene, 2), ("two".to_owned(), Some(FIRST.to_owned())), "{second}");
    // From before its end: another conversation with the same beginning.
    let branch = respond(&server, "three", json!({"previous_response_id": id(&first)}));
    let (text, resumed) = told(&scene, 3);
    assert!(resumed.is_none() && text.contains("one") && text.contains("answer 1"), "{text}");
    assert!(text.contains("three") && !text.contains("two"), "{text}");
    says(&respond(&server, "four", json!({"previous_response_id": id(&second)})), "answer 4");
    assert_eq!(told(&scene, 4), ("four".to_owned(), Some(FIRST.to_owned())), "the first one goes on");
    says(&respond(&server, "five", json!({"previous_response_id": id(&branch)})), "answer 5");
    assert_eq!(told(&scene, 5).0, "five");
    let unknown = respond(&server, "x", json!({"previous_response_id": "resp_nobody"}));
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"], &unknown.json()["error"]["param"]),
        (400, &json!("previous_response_not_found"), &json!("previous_response_id")),
        "{unknown}"
    );
}

#[test]
fn a_response_that_is_not_stored_leaves_nothing_and_changes_nothing() {
    let scene = scene(json!({}));
    let server = scene.serve([]);
    let alone = respond(&server, "alone", json!({"store": false}));
    assert_eq!((&alone.json()["store"], kept(&scene), ours(&scene)), (&json!(false), 0, 0), "{alone}");
    assert_eq!(respond(&server, "x", json!({"previous_response_id": id(&alone)})).status, 400);
    let first = respond(&server, "one", json!({}));
    let aside = respond(&server, "aside", json!({"previous_response_id": id(&first), "store": false}));
    let (text, resumed) = told(&scene, 3);
    assert!(resumed.is_none() && text.contains("one") && text.contains("aside"), "{text}");
    assert_eq!((kept(&scene), ours(&scene)), (1, 1), "{aside}");
    respond(&server, "two", json!({"previous_response_id": id(&first)}));
    let (text, resumed) = told(&scene, 4);
    assert!(resumed.is_some() && text == "two", "{text}");
}

#[test]
fn a_response_of_a_backend_without_sessions_is_gone_on_with_by_what_was_said() {
    let scene = Scene::playing("cat");
    let server = scene.serve([]);
    let ask = |body: Value| server.post(RESPONSES, &body);
    let first = ask(json!({"input": "one"}));
    let text = ask(json!({"input": "two", "previous_response_id": id(&first)})).json();
    let text = text["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("one") && text.contains("two"), "{text}");
    server.stop();
    assert_eq!(ours(&scene), 0);
}

#[test]
fn a_session_of_ours_goes_on_under_its_name_on_every_surface() {
    let scene = scene(json!({}));
    let server = scene.serve([]);
    let begun = server.post("/api/v1/prompt", &json!({"prompt": "one"})).json();
    let session = begun["session_id"].as_str().unwrap();
    let messages = "/anthropic/v1/messages";
    for (number, path, body) in [
        (2, CHAT, chat(&["ignored", "ignored", "two"])),
        (3, RESPONSES, json!({"input": "two"})),
        (4, messages, json!({"messages": [{"role": "user", "content": "two"}]})),
    ] {
        let answer = server.ask("POST", path).header("x-clinvk-session", session).json(&body).answer();
        assert_eq!((answer.status, answer.header("x-clinvk-session")), (200, Some(session)), "{answer}");
        assert_eq!(told(&scene, number), ("two".to_owned(), Some(FIRST.to_owned())));
    }
    let turns = server.get(&format!("/api/v1/sessions/{session}/turns")).json();
    assert_eq!(turns["turns"].as_array().map(Vec::len), Some(4), "{turns}");
    let unknown =
        server.ask("POST", CHAT).header("x-clinvk-session", "ffffffff").json(&chat(&["x"])).answer();
    assert_eq!(unknown.status, 404, "{unknown}");
    server.stop();
    assert_eq!((kept(&scene), ours(&scene)), (1, 1), "it stays");
}

/// Codex as far as a conversation needs it.
const CODEX: &str = r#"
printf '%s\n' "$*" >>"$here/args"
if [ "$1" = delete ]; then exit 0; fi
while read -r line; do
  printf '%s\n' "$line" >>"$here/said"
  case $line in
    *'"method":"initialize"'*) say '{"id":1,"result":{"userAgent":"clinvk/0.169.0 (x)"}}' ;;
    *'"method":"config/read"'*) say '{"id":6,"result":{"config":{"mcp_servers":{"my.server":{"command":"x"}}}}}' ;;
    *'"method":"thread/unsubscribe"'*) exit ;;
    *'"method":"thread/'*) say '{"id":2,"result":{"thread":{"id":"01a20432-1292-7ee1-b251-b9d2139ecc6e"},"model":"gpt-fake"}}' ;;
    *'"method":"turn/start"'*)
      say '{"id":3,"result":{"turn":{"id":"U"}}}'
      say '{"method":"item/completed","params":{"item":{"type":"agentMessage","id":"m","text":"hello"}}}'
      say '{"method":"turn/completed","params":{"turn":{"id":"U","status":"completed"}}}' ;;
  esac
done
"#;

#[test]
fn codex_removes_its_sessions_itself_and_no_server_of_the_user_is_there() {
    let scene = Scene::new();
    scene.fake("codex", CODEX);
    scene.config(&json!({"default_backend": "codex"}));
    let server = scene.serve([]);
    says(&server.post(CHAT, &json!({"model": "gpt-5", "messages": history(&["one"])})), "hello");
    server.stop();
    let read = |name: &str| fs::read_to_string(scene.path(&format!("bin/{name}"))).unwrap();
    let args = read("args");
    assert!(args.ends_with("\ndelete --force 01a20432-1292-7ee1-b251-b9d2139ecc6e\n"), "{args}");
    let said: Vec<Value> = read("said").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let thread = said.iter().find(|line| line["method"] == "thread/start").unwrap();
    assert_eq!(
        thread["params"]["config"]["mcp_servers"],
        json!({"my.server": {"enabled": false}}),
        "{thread}"
    );
    assert_eq!(thread["params"]["config"]["features"]["shell_tool"], false, "{thread}");
    assert_eq!(ours(&scene), 0);
}

#[test]
fn a_turn_waits_for_the_one_before_it_where_the_client_says_so() {
    let scene = Scene::playing("tell up; await go; cat");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    go.tell();
    let first = server.post("/api/v1/prompt", &json!({"prompt": "hello"}));
    up.told();
    let session = first.json()["session_id"].as_str().unwrap().to_owned();
    let ask = |path: &str, words: &str| {
        server.ask("POST", path).header("x-clinvk-session", &session).json(&asking(path, words))
    };
    let mut holds = ask(CHAT, "one").send();
    up.told();
    for path in [CHAT, RESPONSES, MESSAGES] {
        let busy = ask(path, "x").answer();
        assert!(busy.status == 400 && busy.body.contains("busy"), "{busy}");
        let busy = ask(path, "x").header("x-clinvk-wait", "0").answer();
        assert!(busy.status == 400 && busy.body.contains("busy"), "{busy}");
    }
    let wrong = ask(CHAT, "x").header("x-clinvk-wait", "soon").answer();
    assert!(wrong.status == 400 && wrong.body.contains("expected seconds"), "{wrong}");
    let native =
        |body: Value| server.ask("POST", "/api/v1/prompt").header("x-clinvk-wait", "600").json(&body);
    let mut waiting = vec![
        ask(CHAT, "two").header("x-clinvk-wait", "600").send(),
        ask(MESSAGES, "three").header("x-clinvk-wait", "600").send(),
        native(json!({"prompt": "four", "session_id": session})).send(),
    ];
    // What the body says comes first.
    let busy = native(json!({"prompt": "x", "session_id": session, "wait_secs": 0})).answer();
    assert_eq!(busy.status, 409, "{busy}");
    go.tell();
    assert_eq!(holds.head().status, 200);
    for _ in 0..waiting.len() {
        up.told();
        go.tell();
    }
    for stream in &mut waiting {
        assert_eq!(stream.head().status, 200);
    }
    let turns = server.get(&format!("/api/v1/sessions/{session}/turns")).json();
    assert_eq!(turns["turns"].as_array().unwrap().len(), 5, "{turns}");
}

#[test]
fn a_turn_waits_for_a_conversation_that_is_kept_for_clients() {
    let scene = Scene::playing("tell up; await go; cat");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    go.tell();
    let first = server.post(RESPONSES, &asking(RESPONSES, "hello"));
    up.told();
    let session = first.header("x-clinvk-session").unwrap_or_else(|| panic!("{first}")).to_owned();
    let ask = |words: &str| {
        server.ask("POST", RESPONSES).header("x-clinvk-session", &session).json(&asking(RESPONSES, words))
    };
    let mut holds = ask("one").send();
    up.told();
    let busy = ask("x").answer();
    assert!(busy.status == 400 && busy.body.contains("busy"), "{busy}");
    let mut waits = ask("two").header("x-clinvk-wait", "600").send();
    go.tell();
    assert_eq!(holds.head().status, 200);
    up.told();
    go.tell();
    assert_eq!(waits.head().status, 200);
}
