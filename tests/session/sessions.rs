//! Sessions: what is kept, how they are found, continued, listed and looked after. What goes wrong with them is in
//! `session_faults`.

use crate::util::run::{Run, file};
use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A home whose backend `fake` waits: it tells `started` and repeats the prompt when it is told to `go`.
fn waiting() -> Home {
    Home { scene: Scene::playing("tell started; await go; cat") }
}

/// The binary on a terminal, where somebody types this.
fn typing(home: &Home, line: &str, typed: &str) -> Run {
    let line = line.replace("clinvk", &format!("'{}'", env!("CARGO_BIN_EXE_clinvk")));
    home.scene.program("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(typed)
}

fn no_session(word: &str) -> String {
    format!("clinvk: no session `{word}`: `clinvk sessions list` shows what there is\n")
}

// What is kept.

#[test]
fn a_store_is_for_its_owner_alone() {
    let home = Home::new();
    home.begin("hi");
    let modes: Vec<_> = home.files().into_keys().map(|name| (mode(home.dir().join(&name)), name)).collect();
    assert!(modes.len() == 5 && modes.iter().all(|(mode, _)| *mode == 0o600), "{modes:?}");
    assert_eq!(format!("{:o}", mode(home.dir())), "700");
}

#[test]
fn a_home_that_is_made_is_for_its_owner_alone() {
    let scene = Scene::new();
    scene.clinvk(["-b", "echo", "hi"]).env("CLINVK_HOME", scene.text("a/b")).prints("hi\n");
    assert_eq!(format!("{:o} {:o}", mode(scene.path("a/b")), mode(scene.path("a/b/sessions"))), "700 700");
}

#[test]
fn a_session_says_what_it_was() {
    let home = Home::new();
    let id = home.begin("\n one two \nthree");
    let mut kept = home.session(&id);
    let is_time = |time: &Value| {
        let shape: String =
            time.as_str().unwrap().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        shape == "0000-00-00T00:00:00.000Z"
    };
    let times =
        ["created_at", "last_used_at"].map(|name| kept.as_object_mut().unwrap().remove(name).unwrap());
    assert!(times.iter().all(is_time) && times[0].as_str() <= times[1].as_str(), "{times:?}");
    let expected = json!({
        "id": id, "backend": "echo", "backend_session_id": "echo", "model": "echo", "status": "completed",
        "working_dir": "ROOT/work", "turn_count": 1, "title": "one two",
        "token_usage": {"input_tokens": 3, "output_tokens": 3, "cached_tokens": 0, "reasoning_tokens": 0},
        "initial_prompt": "\n one two \nthree", "tags": [], "metadata": {},
    });
    assert!(kept == expected, "expected {expected:#}\nsaw {kept:#}");
}

#[test]
fn a_turn_says_what_it_was() {
    let home = Home::new();
    let id = home.begin("a b");
    let mut turns = home.turns(&id);
    for name in ["time", "duration_seconds"] {
        turns[0].as_object_mut().unwrap().remove(name).unwrap();
    }
    let usage = json!({"input_tokens": 2, "output_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0});
    let expected =
        json!({"backend": "echo", "model": "echo", "prompt": "a b", "answer": "a b", "usage": usage});
    assert_eq!(turns, [expected]);
}

#[test]
fn turns_and_tokens_are_kept_unless_the_configuration_says_no() {
    let home = Home::with(json!({"session": {"store_turns": false, "store_token_usage": false}}));
    let id = home.begin("hi");
    let kept = home.session(&id);
    assert!(
        kept["turn_count"] == 1 && kept["token_usage"]["input_tokens"] == 0 && home.turns(&id).is_empty(),
        "{kept}"
    );
    let home = Home::with(json!({"session": {"store_token_usage": false}}));
    let turn = &home.turns(&home.begin("hi"))[0];
    assert_eq!(turn["usage"]["input_tokens"], 0, "{turn}");
}

#[test]
fn tokens_and_turns_add_up() {
    let home = Home::new();
    let id = home.begin("a b c");
    home.does(["resume", &id, "d e"]);
    let kept = home.session(&id);
    let seen = (&kept["turn_count"], &kept["token_usage"]["input_tokens"], home.turns(&id).len());
    assert_eq!(seen, (&json!(2), &json!(5), 2), "{kept}");
}

#[test]
fn the_directory_is_stored_without_links() {
    let home = Home::new();
    symlink(home.scene.path("work"), home.scene.path("link")).unwrap();
    home.clinvk(["-w", "../link", "hi"]).prints("hi\n");
    assert_eq!(home.only()["working_dir"], "ROOT/work");
    home.clinvk(["-c", "more"]).dir(home.scene.path("link")).prints("more\n");
    assert_eq!(home.only()["working_dir"], "ROOT/work");
}

#[test]
fn what_a_later_version_keeps_is_kept() {
    let home = Home::new();
    let id = home.begin("hi");
    home.edit(&id, json!({"from_the_future": {"x": 1}, "metadata": {"a": [1]}}));
    home.does(["resume", &id, "more"]);
    let kept = home.session(&id);
    assert!(kept["from_the_future"] == json!({"x": 1}) && kept["metadata"] == json!({"a": [1]}), "{kept}");
}

#[test]
fn an_ephemeral_prompt_leaves_no_file_at_all() {
    let home = Home::new();
    home.does(["--ephemeral", "hi"]);
    assert!(!home.dir().exists());
    let answer = home.json(["--ephemeral", "hi"]);
    assert!(answer["session_id"].is_null() && !home.dir().exists(), "{answer}");
}

#[test]
fn an_ephemeral_continuation_leaves_the_session_as_it_was() {
    let home = Home::new();
    let id = home.begin("first");
    let before = home.files();
    let told = home.does(["resume", "--ephemeral", "-b", "cat", &id, "second"]);
    assert!(home.files() == before && told.contains("first") && told.ends_with("second\n"), "{told}");
}

// How one is found.

#[test]
fn the_id_that_is_printed_is_the_id_that_resume_takes() {
    let home = Home::new();
    let id = home.begin("hi");
    for word in [
        id.clone(),
        id[..8].to_owned(),
        id.to_uppercase(),
        id[..9].to_uppercase(),
        "echo".into(),
        "ech".into(),
    ] {
        let answer = home.json(["resume", &word, "more"]);
        assert_eq!(answer["session_id"], id, "{word}: {answer}");
    }
    assert_eq!(home.session(&id)["turn_count"], 7);
}

#[test]
fn the_whole_id_of_a_backend_is_meant_even_when_it_begins_another() {
    let home = Home::new();
    let (one, two) = (home.begin("one"), home.begin("two"));
    home.edit(&one, json!({"backend_session_id": "thread-1"}));
    home.edit(&two, json!({"backend_session_id": "thread-12"}));
    let found = home.json(["sessions", "show", "thread-1"]);
    assert_eq!(found["id"], one, "{found}");
    let seen = home.clinvk(["sessions", "show", "thread-"]).seen();
    assert!(seen.err.starts_with("clinvk: `thread-` means 2 sessions: ") && seen.status == 4, "{seen}");
}

#[test]
fn an_id_that_the_backend_gave_up_is_nobodys() {
    let home = Home::new();
    let id = home.begin("one");
    home.does(["resume", &id, "-b", "cat", "two"]);
    home.clinvk(["sessions", "show", "echo"]).fails(4, &no_session("echo"));
}

#[test]
fn ids_that_are_none_are_not_found() {
    let home = Home::new();
    let id = home.begin("hi");
    let long = "a".repeat(10_000);
    let cut = "a".repeat(79) + "…";
    let outside = format!("../sessions/{id}");
    let table = [
        ("", ""),
        ("/", "/"),
        ("..", ".."),
        ("../config", "../config"),
        (&outside, &outside),
        (&format!("{id}/"), &format!("{id}/")),
        (&format!("{id}0"), &format!("{id}0")),
        ("/etc/passwd", "/etc/passwd"),
        ("%", "%"),
        ("\"", "\""),
        (&long, &cut),
    ];
    for (word, told) in table {
        home.clinvk(["resume", word, "x"]).fails(4, &no_session(told));
        home.clinvk(["sessions", "show", word]).fails(4, &no_session(told));
    }
}

#[test]
fn a_prefix_of_several_is_refused() {
    let home = Home::new();
    // Seventeen ids: at least two begin with the same digit.
    let mut ids: Vec<String> = (0..17).map(|_| home.begin("hi")).collect();
    ids.sort();
    let twins = ids.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap();
    let common = twins[0].bytes().zip(twins[1].bytes()).take_while(|(a, b)| a == b).count();
    let seen = home.clinvk(["resume", &twins[0][..common], "x"]).seen();
    let named = twins.iter().all(|id| seen.err.contains(id.as_str()));
    assert!(seen.err.contains("` means ") && named && seen.status == 4, "{seen}");
}

#[test]
fn a_copied_session_file_is_not_taken_for_the_session_that_it_names() {
    let home = Home::new();
    let (id, copy) = (home.begin("hi"), "0".repeat(32));
    fs::copy(home.path(&id, "json"), home.path(&copy, "json")).unwrap();
    let seen = home.clinvk(["sessions", "rename", &copy, "other"]).seen();
    assert!(seen.err.contains(&format!("is broken: it has the id `{id}`")) && seen.status == 4, "{seen}");
    assert_eq!(home.session(&id)["title"], "hi");
}

#[test]
fn delete_wants_eight_characters_and_finds_all_before_the_first_is_gone() {
    let home = Home::new();
    let (one, two) = (home.begin("one"), home.begin("two"));
    let short =
        format!("clinvk: `{}` is too short to delete by: give at least 8 characters of the id\n", &one[..7]);
    home.clinvk(["sessions", "delete", &one[..7]]).fails(1, &short);
    home.clinvk(["sessions", "delete", &two, &one[..7]]).fails(1, &short);
    home.clinvk(["sessions", "delete", &two, "ffffffffffff"]).fails(4, &no_session("ffffffffffff"));
    assert_eq!(home.list(&[]), ["two", "one"]);
    home.clinvk(["sessions", "delete", &one, &one[..8]]).prints(&format!("deleted {one}\n"));
    assert_eq!(home.list(&[]), ["two"]);
    home.clinvk(["sessions", "delete", &two[..8]]).prints(&format!("deleted {two}\n"));
    let left: Vec<String> = home.files().into_keys().collect();
    assert_eq!(left, ["index.jsonl", "store.lock"]);
}

// How one is continued.

#[test]
fn continue_takes_the_newest_of_the_directory_and_the_backend() {
    let home = Home::new();
    fs::create_dir(home.scene.path("work/below")).unwrap();
    symlink(home.scene.path("work/below"), home.scene.path("link")).unwrap();
    let (older, newer) = (home.begin("older"), home.begin("newer"));
    home.does(["-b", "cat", "of cat"]);
    let run = |args: &[&str], dir: &str| -> Value {
        let seen = home.clinvk(args).args(["-o", "json"]).dir(home.scene.path(dir)).seen();
        assert_eq!(seen.status, 0, "{seen}");
        serde_json::from_str(&seen.out).unwrap()
    };
    let below = run(&["elsewhere"], "work/below");
    let taken = [
        run(&["-c", "-b", "echo", "x"], "work"),
        run(&["-c", "x"], "work"),
        run(&["-c", "x"], "link"),
        run(&["-c", "-w", "below", "x"], "work"),
        run(&["resume", &older, "x"], "work"),
        run(&["-c", "x"], "work"),
        run(&["resume", "--last", "x"], "work"),
        run(&["resume", "--last", "--here", "x"], "link"),
    ]
    .map(|answer| answer["session_id"].clone());
    let [older, newer, below] = [json!(older), json!(newer), below["session_id"].clone()];
    let expected = [&newer, &newer, &below, &below, &older, &older, &older, &below];
    assert_eq!(taken.each_ref(), expected);
}

#[test]
fn a_plain_prompt_begins_anew() {
    let home = Home::new();
    assert_ne!(home.begin("one"), home.begin("two"));
}

#[test]
fn auto_resume_continues_where_there_is_something_to_continue() {
    let home = Home::with(json!({"session": {"auto_resume": true}}));
    let ids = [home.begin("one"), home.begin("two")];
    let elsewhere = home.clinvk(["-o", "json", "three"]).dir(home.scene.path("tmp")).seen();
    assert!(
        ids[0] == ids[1] && !elsewhere.out.contains(&ids[0]) && elsewhere.status == 0,
        "{ids:?} {elsewhere}"
    );
}

#[test]
fn where_there_is_nothing_to_continue_the_way_on_is_told() {
    let home = Home::new();
    let hint = "`clinvk resume --last` takes the newest of all";
    home.clinvk(["-c", "x"]).fails(4, &format!("clinvk: there is no session in `ROOT/work`: {hint}\n"));
    let echo = format!("clinvk: there is no session of backend `echo` in `ROOT/work`: {hint}\n");
    home.clinvk(["-c", "-b", "echo", "x"]).fails(4, &echo);
    home.clinvk(["resume", "--last", "x"]).fails(4, "clinvk: there is no session yet\n");
    home.clinvk(["resume", "--last", "-b", "cat", "x"])
        .fails(4, "clinvk: there is no session of backend `cat` yet\n");
    assert!(!home.dir().exists());
    home.clinvk(["x"]).dir(home.scene.path("tmp")).prints("x\n");
    home.clinvk(["-c", "x"]).fails(4, &format!("clinvk: there is no session in `ROOT/work`: {hint}\n"));
}

#[test]
fn a_session_runs_in_its_own_directory_with_its_own_model_and_backend() {
    let keys =
        json!({"models": {"small": "small-1"}, "model_args": ["-c", "pwd; echo {model}"], "command": ["sh"]});
    let home = Home::with(json!({"backends": {"sh": keys}, "default_backend": "echo"}));
    let seen = home.clinvk(["-b", "sh", "-m", "small", "-o", "json", "x"]).seen();
    let id = serde_json::from_str::<Value>(&seen.out).unwrap()["session_id"].as_str().unwrap().to_owned();
    let tmp = home.scene.path("tmp");
    home.clinvk(["resume", &id, "y"]).dir(&tmp).prints("ROOT/work\nsmall-1\n");
    home.clinvk(["resume", &id, "-w", ".", "-m", "big", "y"]).dir(&tmp).prints("ROOT/tmp\nbig\n");
    let kept = home.session(&id);
    assert!(kept["model"] == "big" && kept["working_dir"].as_str().unwrap().ends_with("/work"), "{kept}");
}

#[test]
fn a_directory_that_is_gone_is_named() {
    let home = Home::new();
    fs::create_dir(home.scene.path("gone")).unwrap();
    home.clinvk(["hi"]).dir(home.scene.path("gone")).prints("hi\n");
    fs::remove_dir(home.scene.path("gone")).unwrap();
    let id = &home.ids()[0];
    let error = format!(
        "clinvk: session `{id}` cannot be continued: its directory `ROOT/gone` is gone: another one can be given (`-w DIR`, `workdir`)\n"
    );
    home.clinvk(["resume", "--last", "x"]).fails(4, &error);
    home.clinvk(["resume", "--last", "-w", ".", "x"]).prints("x\n");
}

const TOLD: &str =
    "This is our conversation so far:\n\nUser:\none\n\nAssistant:\none\n\nNow the user says:\n\ntwo\n";

#[test]
fn another_backend_is_told_the_conversation() {
    let home = Home::new();
    let id = home.begin("one");
    home.clinvk(["resume", &id, "-b", "cat", "two"]).prints(TOLD);
    let kept = home.session(&id);
    let seen =
        [&kept["backend"], &kept["backend_session_id"], &kept["turn_count"], &home.turns(&id)[1]["prompt"]]
            .map(Value::clone);
    assert_eq!(seen, [json!("cat"), json!(null), json!(2), json!("two")]);
    // And back again: the vendor's session of the first turn does not know the second one.
    let told = home.does(["resume", &id, "-b", "echo", "three"]);
    assert!(
        told.contains("User:\none\n") && told.contains("User:\ntwo\n") && told.ends_with("says:\n\nthree\n"),
        "{told}"
    );
}

#[test]
fn a_backend_that_failed_does_not_get_the_session() {
    let home = Home::with(json!({"backends": {"bad": {"command": ["false"]}}}));
    let id = home.begin("one");
    let seen = home.clinvk(["resume", &id, "-b", "bad", "two"]).seen();
    let kept = home.session(&id);
    let is_where_it_was =
        kept["backend"] == "echo" && kept["backend_session_id"] == "echo" && kept["model"] == "echo";
    assert!(seen.status == 1 && is_where_it_was && kept["status"] == "error", "{seen} {kept}");
    home.clinvk(["resume", &id, "three"]).prints("three\n");
}

#[test]
fn replay_begins_a_new_session_of_the_same_backend() {
    let home = Home::new();
    let id = home.begin("one");
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    let told = home.does(["resume", "--replay", &id, "three"]);
    assert!(
        told.contains("User:\none\n") && told.contains("User:\ntwo\n") && told.ends_with("says:\n\nthree\n"),
        "{told}"
    );
}

#[test]
fn a_conversation_that_is_too_long_loses_its_oldest_turns_and_that_is_said() {
    let home = Home::with(json!({"session": {"replay_limit": 40}}));
    let id = home.begin("one");
    home.does(["resume", &id, "two"]);
    let told = "This is our conversation so far (1 older turns are left out):\n\nUser:\ntwo\n\nAssistant:\ntwo\n\n\
                Now the user says:\n\nthree\n";
    let warning = "clinvk: the first 1 of 2 earlier turns were left out (session.replay_limit)\n";
    home.clinvk(["resume", &id, "-b", "cat", "three"]).is(told, warning, 0);
    let answer = home.json(["resume", &id, "-b", "echo", "four"]);
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 1, "{answer}");
}

#[test]
fn turns_that_were_not_stored_are_missed() {
    let home = Home::with(json!({"session": {"store_turns": false}}));
    let id = home.begin("one");
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    let seen = home.clinvk(["resume", &id, "-b", "cat", "-o", "json", "three"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let why = "it has to be replayed, and its turns are not stored (session.store_turns)";
    let error = format!("clinvk: session `{id}` cannot be continued: {why}\n");
    assert!(said["kind"] == "session_not_resumable" && seen.err == error && seen.status == 4, "{seen}");
    let kept = home.session(&id);
    assert!(kept["status"] == "completed" && kept["backend"] == "echo", "{kept}");
    let some = home.clinvk(["resume", &id, "four"]).env("CLINVK_SESSION_STORE_TURNS", "true").seen();
    assert_eq!(some.status, 0, "{some}");
    let seen = home.clinvk(["resume", &id, "-b", "cat", "five"]).seen();
    assert!(
        seen.err == "clinvk: only 1 of 3 earlier turns are stored and could be replayed\n"
            && seen.status == 0,
        "{seen}"
    );
}

#[test]
fn a_failed_turn_is_kept_and_never_replayed() {
    let home = Home::new();
    let id = home.begin("one");
    let seen = home.clinvk(["resume", &id, "lost"]).env("CLINVK_BACKENDS_ECHO_FAIL", "quota").seen();
    let kept = home.session(&id);
    let error = "failed with `quota` as configured";
    assert!(seen.status == 1 && kept["last_error"] == error && kept["status"] == "error", "{seen} {kept}");
    let turn = &home.turns(&id)[1];
    assert!(turn["prompt"] == "lost" && turn["error"] == error && kept["turn_count"] == 1, "{turn} {kept}");
    home.clinvk(["resume", &id, "-b", "cat", "two"]).prints(TOLD);
    let kept = home.session(&id);
    assert!(kept["status"] == "completed" && kept.get("last_error").is_none(), "{kept}");
}

#[test]
fn half_a_turn_that_ends_within_a_character_harms_nobody() {
    let home = Home::new();
    let id = home.begin("one");
    let half =
        [fs::read(home.path(&id, "turns.jsonl")).unwrap(), b"{\"prompt\":\"\xe6\x97".to_vec()].concat();
    fs::write(home.path(&id, "turns.jsonl"), half).unwrap();
    home.clinvk(["resume", &id, "-b", "cat", "two"]).prints(TOLD);
    let shown = home.does(["sessions", "show", "--turns", &id]);
    assert!(shown.contains("\n> one\none\n") && shown.contains("\n> two\n"), "{shown}");
}

#[test]
fn the_picker_lists_and_takes_a_number() {
    let home = Home::new();
    for prompt in ["first", "second", "\u{1b}[31mred"] {
        home.begin(prompt);
    }
    let seen = typing(&home, "clinvk -q resume -i more", "9\r0\rx\r2\r").seen();
    let lines: Vec<&str> = seen
        .out
        .lines()
        .filter(|line| line.contains("  echo  "))
        .map(|line| line.rsplit("  ").next().unwrap())
        .collect();
    let asked = seen.out.matches("a number from 1 to 3, please").count();
    assert!(lines == ["[31mred", "second", "first"] && asked == 3 && seen.status == 0, "{lines:?} {seen}");
    assert_eq!(home.list(&["-n", "1"]), ["second"]);
}

#[test]
fn the_picker_without_a_number_is_a_cancel() {
    let home = Home::new();
    home.begin("first");
    let seen = typing(&home, "clinvk -q resume", "\u{4}").seen();
    assert!(seen.out.ends_with("clinvk: cancelled\r\n") && seen.status == 7, "{seen}");
}

#[test]
fn the_picker_needs_a_terminal() {
    let home = Home::new();
    home.begin("first");
    let error = "clinvk: which session? give its id or `--last`: only a terminal can be asked\n";
    home.clinvk(["resume"]).fails(1, error);
    home.clinvk(["resume", "-i", "x"]).fails(1, error);
}

// A run holds its session.

#[test]
fn a_second_turn_is_refused_and_told_who_runs_the_first() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let id = home.ids()[0].clone();
    let error = format!("session `{id}` is busy: process {} runs it (`--wait` waits for it)", first.pid);
    home.clinvk(["resume", &id, "two"]).fails(4, &format!("clinvk: {error}\n"));
    let seen = home.clinvk(["-c", "-o", "json", "two"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    assert!(said["kind"] == "session_busy" && said["error"] == error && seen.status == 4, "{seen}");
    home.clinvk(["sessions", "delete", &id]).fails(4, &format!("clinvk: {error}\n"));
    assert_eq!(home.session(&id)["status"], "active");
    go.tell();
    first.ends("one\n", "", 0);
    assert_eq!(home.session(&id)["status"], "completed");
}

#[test]
fn listing_and_other_sessions_never_wait() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    home.clinvk(["-b", "echo", "two"]).prints("two\n");
    let found = home.json(["sessions", "list"]);
    let seen: Vec<_> =
        found["sessions"].as_array().unwrap().iter().map(|one| (&one["title"], &one["status"])).collect();
    assert_eq!(seen, [(&json!("two"), &json!("completed")), (&json!("one"), &json!("active"))]);
    assert_eq!(
        (home.list(&["--status", "active"]), home.list(&["--status", "error"])),
        (vec!["one".to_owned()], vec![])
    );
    go.tell();
    first.ends("one\n", "", 0);
}

#[test]
fn wait_waits_until_the_session_is_free_and_then_knows_the_turn_before() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let id = home.ids()[0].clone();
    let second = home.clinvk(["resume", "--wait", &id, "two"]).start();
    home.clinvk(["resume", "--wait=100ms", &id, "three"]).seen();
    go.tell();
    first.ends("one\n", "", 0);
    started.told();
    go.tell();
    // The program has no sessions of its own: it has to be told of the turn that ended while we waited.
    second.ends(TOLD, "", 0);
}

#[test]
fn wait_gives_up_when_its_time_is_over() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let seen = home.clinvk(["resume", "--wait=1s", "--last", "two"]).seen();
    assert!(seen.err.contains(&format!("process {} runs it", first.pid)) && seen.status == 4, "{seen}");
    go.tell();
    first.ends("one\n", "", 0);
}

#[test]
fn who_waits_can_be_interrupted() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let second = home.clinvk(["resume", "--wait", "--last", "two"]).start();
    crate::util::scene::until("the thread that hears signals", || {
        fs::read_dir(format!("/proc/{}/task", second.pid)).is_ok_and(|tasks| tasks.count() == 2)
    });
    second.signal(sys::SIGTERM);
    second.ends("", "clinvk: cancelled\n", 7);
    go.tell();
    first.ends("one\n", "", 0);
}

#[test]
fn a_session_whose_process_was_killed_is_neither_busy_nor_active() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    // So that there is an index, which has to have the other one too.
    let before = home.json(["-b", "echo", "before"])["session_id"].clone();
    let first = home.clinvk(["one"]).start();
    started.told();
    first.signal(sys::SIGKILL);
    assert_eq!(first.end().status, -sys::SIGKILL);
    let id = home.ids().into_iter().find(|id| before != *id.as_str()).unwrap();
    assert_eq!(home.session(&id)["status"], "active");
    assert_eq!(
        (home.list(&["--status", "active"]), home.list(&["--status", "error"])),
        (vec![], vec!["one".to_owned()])
    );
    let kept = home.session(&id);
    let why = "its run was killed, or could not save how it ended";
    assert!(kept["status"] == "error" && kept["last_error"] == why, "{kept}");
    // The first one's program has lost its clinvk, and goes on until it wants to say something.
    go.tell();
    go.tell();
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    let kept = home.session(&id);
    assert!(kept["status"] == "completed" && kept.get("last_error").is_none(), "{kept}");
}

#[test]
fn however_a_run_ends_its_session_says_why() {
    let hanging = || Home::with(json!({"backends": {"echo": {"hang": true}}}));
    let told = |home: &Home| {
        let kept = home.only();
        assert_eq!(home.turns(kept["id"].as_str().unwrap())[0]["error"], kept["last_error"], "{kept}");
        format!("{}: {}", kept["status"].as_str().unwrap(), kept["last_error"].as_str().unwrap())
    };
    for (signal, status) in [(sys::SIGINT, -sys::SIGINT), (sys::SIGTERM, 7), (sys::SIGHUP, 7)] {
        let home = hanging();
        let mut run = home.clinvk(["hi"]).start();
        run.says("hi");
        run.signal(signal);
        run.ends("hi\n", "clinvk: cancelled\n", status);
        assert_eq!(told(&home), "error: cancelled", "{signal}");
    }
    let home = hanging();
    home.clinvk(["--timeout", "300ms", "hi"]).is("hi\n", "clinvk: timed out after 300ms (--timeout)\n", 6);
    assert_eq!(told(&home), "error: timed out after 300ms (--timeout)");
    let home = hanging();
    let (read, write) = sys::pipe().unwrap();
    drop(read);
    home.clinvk(["hi"]).start_into(write).ends("", "", 0);
    assert_eq!(told(&home), "error: the reader of the output is gone");
}

#[test]
fn a_session_that_an_earlier_version_put_aside_counts_as_completed() {
    let home = Home::new();
    let id = home.begin("one");
    for path in [home.path(&id, "json"), home.dir().join("index.jsonl")] {
        let text = fs::read_to_string(&path).unwrap();
        let paused = text.replace(r#""status":"completed""#, r#""status":"paused"   "#);
        assert_ne!(paused, text);
        fs::write(path, paused).unwrap();
    }
    assert_eq!(home.list(&["--status", "completed"]), ["one"]);
    assert_eq!(home.fsck(&[]), [""; 0]);
    home.does(["resume", &id, "two"]);
    assert_eq!(home.session(&id)["status"], "completed");
}

// How they are listed.

#[test]
fn a_list_is_in_the_order_of_last_use_and_can_be_cut() {
    let home = Home::new();
    let ids: Vec<String> = ["a", "b", "c", "d"].iter().map(|prompt| home.begin(prompt)).collect();
    home.does(["resume", &ids[1], "again"]);
    home.does(["sessions", "rename", &ids[0], "A"]);
    home.does(["sessions", "tag", &ids[2], "t"]);
    let seen = [
        home.list(&[]),
        home.list(&["-n", "2"]),
        home.list(&["-n", "2", "--offset", "1"]),
        home.list(&["--offset", "9"]),
        home.list(&["-n", "0"]),
    ];
    assert_eq!(
        seen,
        [vec!["b", "d", "c", "A"], vec!["b", "d"], vec!["d", "c"], vec![], vec!["b", "d", "c", "A"]]
    );
}

#[test]
fn a_list_can_be_filtered() {
    let home = Home::new();
    let one = home.begin("first\nwith ÄPFEL below");
    home.clinvk(["-m", "small", "--tag", "x", "--tag", "y", "second"])
        .dir(home.scene.path("tmp"))
        .prints("second\n");
    home.does(["-b", "cat", "--tag", "x", "third"]);
    home.clinvk(["fourth"]).env("CLINVK_BACKENDS_ECHO_FAIL", "quota").seen();
    home.does(["sessions", "rename", &one, "erster"]);
    let all = ["fourth", "third", "second", "erster"];
    let none: [&str; 0] = [];
    let table: [(&[&str], &[&str]); 16] = [
        (&["--backend", "cat"], &["third"]),
        (&["-b", "claude"], &none),
        (&["--status", "error"], &["fourth"]),
        (&["--status", "completed"], &["third", "second", "erster"]),
        (&["--tag", "x"], &["third", "second"]),
        (&["--tag", "x", "--tag", "y"], &["second"]),
        (&["--model", "small"], &["second"]),
        (&["--here"], &["fourth", "third", "erster"]),
        (&["--search", "äpfel"], &["erster"]),
        (&["--search", "ERSTER"], &["erster"]),
        (&["--search", "first"], &["erster"]),
        (&["--since", "1h"], &all),
        (&["--since", "2020-01-01"], &all),
        (&["--since", "2999-01-01T00:00:00Z"], &none),
        (&["-b", "echo", "--here", "-n", "1"], &["fourth"]),
        (&["-b", "echo", "--here", "-n", "1", "--offset", "1"], &["erster"]),
    ];
    for (args, expected) in table {
        assert_eq!(home.list(args), expected, "{args:?}");
    }
}

#[test]
fn a_search_finds_later_prompts_and_the_ends_of_long_ones() {
    let home = Home::new();
    let one = home.begin("one");
    home.does(["resume", &one, "the later Needle"]);
    home.begin(&format!("two {} needle at the end", "x".repeat(600)));
    home.begin("three");
    let found = home.list(&["--search", "needle"]);
    assert_eq!(
        (found.len(), found[1].as_str(), home.list(&["--search", "nowhere"]).len()),
        (2, "one", 0),
        "{found:?}"
    );
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let home = Home::new();
    home.begin("hi");
    let time = "expected an age such as 7d, a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z";
    let age = "expected an age such as 30d, 12h or 2w";
    let table: &[(&[&str], &str)] = &[
        (&["list", "--since", "2026-01-31x"], &format!("`--since 2026-01-31x`: {time}")),
        (&["list", "--since", "2026-13-01"], &format!("`--since 2026-13-01`: {time}")),
        (&["list", "--since", "yesterday"], &format!("`--since yesterday`: {age}")),
        (&["list", "-n", "-1"], "`--limit -1`: expected a whole number"),
        (&["list", "--status", "done"], "unknown status `done`: known are active, completed, error"),
        (&["clean", "--older-than", "12"], &format!("`--older-than 12`: {age}")),
        (&["clean", "--older-than", "12hx"], &format!("`--older-than 12hx`: {age}")),
        (&["clean", "--older-than", "1d 12h"], &format!("`--older-than 1d 12h`: {age}")),
        (&["clean", "--older-than", ""], &format!("`--older-than `: {age}")),
        (&["clean", "--older-than", "日"], &format!("`--older-than 日`: {age}")),
        (&["clean", "--older-than", "+3d"], &format!("`--older-than +3d`: {age}")),
        (
            &["clean", "--older-than", "99999999999999999999w"],
            &format!("`--older-than 99999999999999999999w`: {age}"),
        ),
        (&["clean", "--older-than", "0d"], "`--older-than` 0 would clean all: `--all` is for that"),
        (&["clean", "--all", "--older-than", "1d"], "`--all` and `--older-than` exclude each other"),
        (&["delete", "--dry-run", "x"], "`--dry-run` is no flag of `sessions delete`: see clinvk(1)"),
        (&["fsck", "--all"], "`--all` is no flag of `sessions fsck`: see clinvk(1)"),
        (&["lst"], "unknown sessions command `lst`: did you mean `list`?"),
        (&["show"], "wrong number of words behind `sessions show`: see clinvk(1)"),
        (&["show", "a", "b"], "wrong number of words behind `sessions show`: see clinvk(1)"),
        (&["rename", "a"], "wrong number of words behind `sessions rename`: see clinvk(1)"),
    ];
    for (args, error) in table {
        home.clinvk([&["sessions"], *args].concat()).fails(1, &format!("clinvk: {error}\n"));
    }
    let seen = home.clinvk(["sessions"]).seen();
    assert!(
        seen.err.starts_with("clinvk: `sessions` needs one of: list, show, ") && seen.status == 1,
        "{seen}"
    );
    assert_eq!(home.list(&[]), ["hi"]);
}

#[test]
fn a_title_cannot_speak_to_the_terminal_and_json_has_it_whole() {
    let home = Home::new();
    let title = "日本 👍 \u{1b}]0;owned\u{7}\u{1b}[2J\r\nnext\u{9b}31m\u{202e}gnp";
    let id = home.begin("plain");
    home.does(["sessions", "rename", &id, title]);
    home.does(["sessions", "tag", &id, "\u{1b}[31mtag"]);
    home.does(["resume", &id, "evil \u{1b}[2J\u{9b}prompt"]);
    for args in [&["list"][..], &["show", &id], &["show", "--turns", &id], &["clean", "--all", "--dry-run"]] {
        let seen = home.clinvk([&["sessions"], args].concat()).seen();
        let is_clean = !seen
            .out
            .contains(|letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}');
        assert!(is_clean && seen.status == 0, "{args:?}: {seen}");
    }
    let table = home.does(["sessions", "list"]);
    let words = format!("{}  echo     completed  ", &id[..12]);
    assert!(
        table.lines().nth(1).unwrap().starts_with(&words) && table.contains("日本 👍  ]0;owned"),
        "{table}"
    );
    let found = home.json(["sessions", "list"]);
    assert_eq!(found["sessions"][0]["title"], title);
    let seen = typing(&home, &format!("clinvk sessions export --markdown {id}"), "").seen();
    assert!(
        !seen.out.replace("\r\n", "").contains(char::is_control) && seen.out.contains("## evil"),
        "{seen}"
    );
}

#[test]
fn titles_are_cut_between_characters() {
    let home = Home::new();
    home.begin(&"日本語".repeat(200));
    let kept = home.only();
    let (title, prompt) = (kept["title"].as_str().unwrap(), kept["initial_prompt"].as_str().unwrap());
    assert!(title.chars().count() == 60 && title.ends_with('…') && prompt.chars().count() == 500, "{kept}");
}

#[test]
fn show_says_all_there_is() {
    let home = Home::new();
    let id = home.begin("one");
    home.clinvk(["resume", &id, "two"]).env("CLINVK_BACKENDS_ECHO_FAIL", "quota").seen();
    let told = home.does(["sessions", "show", &id, "--turns"]);
    let expected = [
        &format!("ID:                {id}\n"),
        "Title:             one\n",
        "Status:            error\n",
        "Turns:             1\n",
        "Token Usage:       Input 2, Output 1, Total 3\n",
        "Last Error:        failed with `quota` as configured\n",
        "\n> one\none\n\n> two\n(failed: failed with `quota` as configured)\n",
    ];
    assert!(expected.iter().all(|part| told.contains(part)), "{told}");
    let (mut alone, with) =
        (home.json(["sessions", "show", &id]), home.json(["sessions", "show", "--turns", &id]));
    assert_eq!(with["session"], alone);
    alone.as_object_mut().unwrap().remove("usage").unwrap();
    assert_eq!(alone, home.session(&id));
    let contents: Vec<&Value> =
        with["turns"].as_array().unwrap().iter().map(|turn| &turn["content"]).collect();
    assert_eq!(contents, ["one", ""]);
}

// How they are looked after.

/// Sessions that were used so many hours ago.
fn aged(home: &Home, hours: &[u64]) {
    for age in hours {
        let id = home.begin(&format!("{age}h"));
        let now = clinvk::base::world::now();
        home.edit(&id, json!({"last_used_at": clinvk::base::time::timestamp((now.0 - age * 3600, now.1))}));
    }
}

#[test]
fn clean_takes_what_is_as_old_as_said() {
    let table: [(&[&str], &[&str]); 10] = [
        (&["--older-than", "12h"], &["1h"]),
        (&["--older-than", "2d"], &["1h", "13h"]),
        (&["--older-than", "2w"], &["1h", "13h", "200h"]),
        (&["--older-than", "90m"], &["1h"]),
        // session.retention_days is 30.
        (&[], &["1h", "13h", "200h", "400h"]),
        (&["--status", "completed"], &["1h", "13h", "200h", "400h"]),
        (&["--all", "--status", "completed"], &[]),
        (&["--status", "error"], &["1h", "13h", "200h", "400h", "1000h"]),
        (&["--older-than", "12h", "--search", "400h"], &["1h", "13h", "200h", "1000h"]),
        (&["--all"], &[]),
    ];
    for (args, left) in table {
        let home = Home::new();
        aged(&home, &[1, 13, 200, 400, 1000]);
        let before = home.files();
        let would = home.does([&["sessions", "clean", "--dry-run"], args].concat());
        let gone = 5 - left.len();
        assert!(would.ends_with(&format!("would delete {gone} sessions\n")), "{args:?}: {would}");
        // But for the index, which the listing has made.
        assert!(
            home.files()
                .iter()
                .all(|(name, content)| name == "index.jsonl" || before.get(name) == Some(content))
        );
        assert_eq!(
            home.does([&["sessions", "clean"], args].concat()),
            format!("deleted {gone} sessions\n"),
            "{args:?}"
        );
        assert_eq!(home.list(&[]), left, "{args:?}");
    }
}

#[test]
fn clean_here_leaves_other_directories_alone() {
    let home = Home::new();
    home.begin("here");
    home.clinvk(["there"]).dir(home.scene.path("tmp")).prints("there\n");
    home.clinvk(["sessions", "clean", "--all", "--here"]).prints("deleted 1 sessions\n");
    assert_eq!(home.list(&[]), ["there"]);
}

#[test]
fn a_retention_of_0_is_for_ever() {
    let home = Home::with(json!({"session": {"retention_days": 0}}));
    aged(&home, &[100_000]);
    home.clinvk(["sessions", "clean"])
        .prints("nothing is cleaned: session.retention_days is 0, which is for ever\n");
    assert_eq!(home.list(&[]), ["100000h"]);
}

#[test]
fn clean_leaves_a_session_alone_that_is_running() {
    let home = waiting();
    let (mut started, mut go) = (home.scene.fifo("started"), home.scene.fifo("go"));
    let first = home.clinvk(["one"]).start();
    started.told();
    let seen = home.clinvk(["sessions", "clean", "--all"]).seen();
    assert!(seen.out == "deleted 0 sessions\n" && seen.err.contains("is busy") && seen.status == 0, "{seen}");
    go.tell();
    first.ends("one\n", "", 0);
    assert_eq!(home.list(&[]), ["one"]);
}

#[test]
fn a_fork_has_the_past_of_its_source_and_leaves_it_alone() {
    let home = Home::new();
    let id = home.begin("one");
    let source = (home.session(&id), home.turns(&id));
    let fork = home.does(["sessions", "fork", &id]).trim_end().to_owned();
    let kept = home.session(&fork);
    assert!(
        kept["parent_id"] == id && kept["backend_session_id"].is_null() && kept["turn_count"] == 1,
        "{kept}"
    );
    home.clinvk(["resume", &fork, "two"]).prints(TOLD);
    assert_eq!(((home.session(&id), home.turns(&id)), home.turns(&fork).len()), (source, 2));
}

#[test]
fn tags_come_once_and_go() {
    let home = Home::with(json!({"session": {"default_tags": ["always"]}}));
    let answer = home.json(["--tag", "a", "--tag", "b", "hi"]);
    let id = answer["session_id"].as_str().unwrap();
    home.does(["sessions", "tag", id, "c", "a"]);
    home.does(["sessions", "untag", id, "b", "unknown"]);
    assert_eq!(home.session(id)["tags"], json!(["always", "a", "c"]));
}

#[test]
fn an_export_comes_back_as_it_was() {
    let home = Home::new();
    home.begin("before");
    let id = home.begin("one");
    home.does(["resume", &id, "日本\n\u{1b}[31m"]);
    home.begin("after");
    let (session, turns) = (home.session(&id), home.turns(&id));
    let document = home.export(&id);
    home.does(["sessions", "delete", &id]);
    let export = home.scene.file("work/export.json", &document);
    home.clinvk(["sessions", "import", &export]).prints(&format!("{id}\n"));
    assert_eq!((home.session(&id), home.turns(&id)), (session, turns));
    // It was used before the last one, and coming back is no use.
    assert_eq!(home.list(&[]), ["after", "one", "before"]);
    assert_eq!(home.fsck(&[]), [""; 0]);
}

#[test]
fn an_import_is_never_in_place_of_what_is_here() {
    let home = Home::new();
    let id = home.begin("one");
    let document = home.export(&id);
    let before = (home.session(&id), home.turns(&id));
    let mut others = Vec::new();
    for _ in 0..2 {
        let seen = home.clinvk(["sessions", "import", "-"]).stdin(&document).seen();
        others.push(seen.out.trim_end().to_owned());
    }
    fs::write(home.path(&id, "json"), "broken").unwrap();
    let seen = home.clinvk(["sessions", "import", "-"]).stdin(&document).seen();
    others.push(seen.out.trim_end().to_owned());
    assert!(others.iter().all(|other| other.len() == 32 && *other != id), "{others:?} {seen}");
    assert_eq!(fs::read(home.path(&id, "json")).unwrap(), b"broken");
    assert_eq!(
        (home.session(&others[1])["backend_session_id"].clone(), home.turns(&others[1])),
        (json!(null), before.1)
    );
}

#[test]
fn what_is_no_export_is_refused() {
    let home = Home::new();
    let id = home.begin("one");
    let mut document: Value = serde_json::from_str(&home.export(&id)).unwrap();
    let before = home.files();
    let refused = |change: &dyn Fn(&mut Value), why: &str| {
        let mut changed = document.clone();
        change(&mut changed);
        let seen = home.clinvk(["sessions", "import", "-"]).stdin(changed.to_string()).seen();
        assert!(seen.err.contains(why) && seen.out.is_empty() && seen.status == 1, "{seen}");
    };
    refused(&|document| document["clinvk_session"] = json!(2), "its format is 2, and this clinvk knows 1");
    refused(&|document| document["session"]["last_used_at"] = json!("zzz"), "`zzz` is no time such as");
    refused(&|document| document["session"]["working_dir"] = json!("work"), "`work` is not an absolute path");
    refused(&|document| *document = json!([]), "is no exported session");
    refused(&|document| document["turns"] = json!(null), "is no exported session");
    assert!(home.files() == before);
    document["session"]["id"] = json!("../../../outside");
    let seen = home.clinvk(["sessions", "import", "-"]).stdin(document.to_string()).seen();
    assert!(
        seen.out.len() == 33 && seen.status == 0 && home.path(seen.out.trim_end(), "json").exists(),
        "{seen}"
    );
}

#[test]
fn an_export_can_be_read_by_people() {
    let home = Home::new();
    let id = home.begin("one");
    let created = home.session(&id)["created_at"].as_str().unwrap().to_owned();
    home.clinvk(["sessions", "export", "--markdown", &id])
        .prints(&format!("# one\n\necho, {created}\n\n## one\n\none\n"));
}

#[test]
fn a_fork_has_used_nothing_yet() {
    let home = Home::new();
    let id = home.begin("one two");
    home.does(["resume", &id, "three"]);
    home.does(["sessions", "fork", &id]);
    let found = home.json(["sessions", "list"]);
    let seen = [0, 1]
        .map(|index| &found["sessions"][index])
        .map(|session| (session["turn_count"].clone(), session["usage"]["input_tokens"].clone()));
    assert_eq!(seen, [(json!(2), json!(0)), (json!(2), json!(3))], "{found:#}");
}

#[test]
fn an_empty_store_is_no_error() {
    let home = Home::new();
    home.clinvk(["sessions", "list"]).prints("ID  BACKEND  STATUS  LAST USED  TOKENS  TITLE/PROMPT\n");
    assert_eq!(
        home.json(["sessions", "list"]),
        json!({"sessions": [], "total": 0, "limit": 20, "offset": 0})
    );
    home.clinvk(["sessions", "clean", "--all"]).prints("deleted 0 sessions\n");
    home.clinvk(["sessions", "fsck"]).prints("nothing is wrong\n");
    assert!(!home.dir().exists());
}

#[test]
fn a_reader_of_a_list_may_leave() {
    let home = Home::new();
    home.begin("hi");
    let (read, write) = sys::pipe().unwrap();
    drop(read);
    home.clinvk(["sessions", "list"]).start_into(write).ends("", "", 0);
    home.clinvk(["sessions", "list"]).start_into(file("/dev/full")).ends(
        "",
        "clinvk: cannot write `standard output`: No space left on device (os error 28)\n",
        1,
    );
}

#[test]
fn what_does_not_parse_is_never_cleaned_away() {
    let home = Home::new();
    let (broken, whole) = (home.begin("one"), home.begin("two"));
    let file = home.scene.path(&format!("home/.clinvk/sessions/{broken}.json"));
    fs::write(&file, "{broken").unwrap();
    let seen = home.clinvk(["sessions", "clean", "--all"]).seen();
    assert!(seen.out.contains("deleted 1 sessions") && seen.err.contains("is broken"), "{seen}");
    let turns = home.scene.path(&format!("home/.clinvk/sessions/{broken}.turns.jsonl"));
    let gone = home.scene.path(&format!("home/.clinvk/sessions/{whole}.json"));
    assert_eq!((file.exists(), turns.exists(), gone.exists()), (true, true, false));
}

#[test]
fn a_tag_given_to_a_session_that_goes_on_is_added() {
    let home = Home::with(json!({"session": {"default_tags": ["new"]}}));
    let id = home.begin("one");
    home.does(["sessions", "untag", &id, "new"]);
    home.does(["-c", "--tag", "later", "two"]);
    let session = home.json(["sessions", "show", &id]);
    assert_eq!(session["tags"], json!(["later"]), "{session}");
}
