//! Backends that the configuration declares.

use crate::util::scene::Scene;
use serde_json::{Value, json};

fn answer(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A program that prints these lines.
fn printing(fields: Value, lines: &[&str], end: &str) -> Scene {
    let says: String = lines.iter().map(|line| format!("say '{line}'\n")).collect();
    Scene::declaring(json!({"output": "jsonl", "fields": fields}), &format!("cat >/dev/null\n{says}{end}"))
}

#[test]
fn fields_are_found_by_their_paths() {
    for (path, line, text) in [
        ("text", r#"{"text": "a"}"#, "a"),
        ("message.content", r#"{"message": {"content": "a"}}"#, "a"),
        ("choices.0.text", r#"{"choices": [{"text": "a"}, {"text": "b"}]}"#, "a"),
        ("1", r#"["a", "b"]"#, "b"),
        ("text", r#"{"text": 1}"#, ""),
        ("text", r#"{"other": "a"}"#, ""),
        ("text.deeper", r#"{"text": "a"}"#, ""),
        ("choices.7", r#"{"choices": ["a"]}"#, ""),
        ("choices.first", r#"{"choices": ["a"]}"#, ""),
        ("", r#"{"": "a"}"#, ""),
        ("text", r#""a""#, ""),
    ] {
        let seen = printing(json!({"text": path}), &[line], "").clinvk(["-o", "json", "x"]).seen();
        assert!(answer(&seen.out)["content"] == text && seen.status == 0, "{path} in {line}: {seen}");
    }
}

#[test]
fn every_field_has_its_place() {
    let fields = json!({
        "text": "t", "thinking": "th", "session": "s", "model": "m", "input_tokens": "u.in", "output_tokens": "u.out", "done": "d",
    });
    let lines = [
        r#"{"s": "abc", "m": "large-1"}"#,
        r#"{"th": "hm"}"#,
        r#"{"t": "one "}"#,
        "",
        r#"{"t": "two", "u": {"in": 5}, "d": false}"#,
        r#"{"u": {"in": 5, "out": 7}, "d": true}"#,
    ];
    let seen = printing(fields.clone(), &lines, "").clinvk(["-o", "json", "x"]).seen();
    let said = answer(&seen.out);
    let facts =
        ["content", "backend_session_id", "model", "exit_code", "warnings"].map(|name| said[name].clone());
    assert_eq!(facts, [json!("one two"), json!("abc"), json!("large-1"), json!(0), json!([])], "{seen}");
    let tokens = ["input_tokens", "output_tokens", "total_tokens"].map(|name| said["usage"][name].as_u64());
    assert_eq!(tokens, [Some(5), Some(7), Some(12)], "{seen}");
    let seen = printing(fields, &lines, "").clinvk(["-o", "stream-json", "x"]).seen();
    let types: Vec<Value> = seen.out.lines().map(|line| answer(line)["type"].clone()).collect();
    let expected = ["init", "init", "thinking", "message", "message", "token_usage", "token_usage", "done"];
    assert_eq!(types, expected, "{seen}");
}

#[test]
fn an_error_field_is_a_failure_whatever_the_exit_status() {
    let fields = json!({"text": "text", "error": "error.message"});
    for (end, status) in [("exit 0", 1), ("exit 3", 1), ("exit 9", 9)] {
        let scene =
            printing(fields.clone(), &[r#"{"text": "half"}"#, r#"{"error": {"message": "no quota"}}"#], end);
        scene.clinvk(["x"]).is("half\n", "clinvk: fake: no quota\n", status);
    }
}

#[test]
fn an_error_field_that_says_nothing_is_none() {
    for nothing in ["null", "false", "\"\""] {
        let line = format!(r#"{{"text": "a", "error": {nothing}}}"#);
        printing(json!({"text": "text", "error": "error"}), &[&line], "").clinvk(["x"]).prints("a\n");
    }
    let odd = printing(json!({"error": "error"}), &[r#"{"error": {"code": 5}}"#], "");
    odd.clinvk(["x"]).fails(1, "clinvk: fake: {\"code\":5}\n");
}

#[test]
fn an_answer_without_its_done_field_is_cut() {
    let fields = json!({"text": "text", "done": "end.reason"});
    for (end, out_of_it) in
        [(r#"{"end": {"reason": "stop"}}"#, 0), (r#"{"end": {"reason": ""}}"#, 1), (r#"{"end": null}"#, 1)]
    {
        let seen = printing(fields.clone(), &[r#"{"text": "a"}"#, end], "").clinvk(["x"]).seen();
        let error =
            if out_of_it == 0 { "" } else { "clinvk: fake: the output ended before its `done` field\n" };
        assert!(
            (seen.out.as_str(), seen.err.as_str(), seen.status) == ("a\n", error, out_of_it),
            "{end}: {seen}"
        );
    }
}

#[test]
fn a_line_that_is_no_json_is_a_warning() {
    let scene = printing(json!({"text": "text"}), &["Loading model", r#"{"text": "a"}"#], "");
    let warning = "a line of fake's output could not be read: Loading model";
    scene.clinvk(["x"]).is("a\n", &format!("clinvk: {warning}\n"), 0);
    let seen = scene.clinvk(["-q", "-o", "json", "x"]).seen();
    assert!(answer(&seen.out)["warnings"] == json!([warning]) && seen.err.is_empty(), "{seen}");
}

#[test]
fn text_in_pieces_keeps_its_line_ends_but_the_last() {
    let lines = [r#"{"text": "a\n"}"#, r#"{"text": "\n"}"#, r#"{"text": "b"}"#, r#"{"text": "\n\n"}"#];
    printing(json!({"text": "text"}), &lines, "").clinvk(["x"]).prints("a\n\nb\n");
}

#[test]
fn arguments_are_added_where_there_is_something_to_say() {
    let keys = json!({"model_args": ["--model", "{model}", "--fast={model}"], "system_args": ["--system", "{system}"]});
    let scene = Scene::declaring(keys, "printf '%s|' \"$@\"");
    scene.clinvk(["x"]).prints("|\n");
    scene.clinvk(["-m", "a b", "x"]).prints("--model|a b|--fast=a b|\n");
    scene
        .clinvk(["--system-prompt", "be {model} $HOME", "-m", "m", "x"])
        .prints("--model|m|--fast=m|--system|be {model} $HOME|\n");
    scene.clinvk(["--append-system-prompt", "x", "x"]).fails(
        1,
        "clinvk: backend `fake` cannot honour appended system prompt: a declared command has nothing for it \
         (`--lenient` goes on without it)\n",
    );
}

/// Its session has the model that it told, which was refused as if somebody had asked for it.
#[test]
fn a_program_that_tells_its_model_and_takes_none_goes_on_with_its_session() {
    let fields = json!({"text": "t", "session": "s", "model": "m"});
    let keys = json!({"output": "jsonl", "fields": fields, "resume_args": ["--session", "{session}"]});
    let line = r#"{\"t\": \"<$*>\", \"s\": \"abc\", \"m\": \"large-1\"}"#;
    let scene = Scene::declaring(keys, &format!("cat >/dev/null; say \"{line}\""));
    scene.clinvk(["x"]).prints("<>\n");
    scene.clinvk(["-c", "x"]).prints("<--session abc>\n");
    let error = "clinvk: backend `fake` cannot honour model: its `model_args` are not declared in the configuration \
                 (`--lenient` goes on without it)\n";
    scene.clinvk(["-c", "-m", "small", "x"]).fails(1, error);
}

/// It was continued by that name, without anything of what was said before.
#[test]
fn a_session_with_an_empty_name_is_none_and_is_replayed() {
    let keys = json!({"output": "jsonl", "fields": {"text": "t", "session": "s"}, "resume_args": ["--session", "{session}"]});
    let line = r#"{\"t\": \"<$*> $(wc -l)\", \"s\": \"\"}"#;
    let scene = Scene::declaring(keys, &format!("say \"{line}\""));
    scene.clinvk(["x"]).prints("<> 0\n");
    scene.clinvk(["-c", "x"]).prints("<> 10\n");
}

#[test]
fn a_command_with_a_place_for_the_model_needs_one() {
    let scene = Scene::new();
    let program = scene.fake("fake", "printf '%s|' \"$@\"");
    scene.config(
        &json!({"default_backend": "fake", "backends": {"fake": {"command": [program, "run", "{model}"]}}}),
    );
    scene.clinvk(["-m", "large", "x"]).prints("run|large|\n");
    let error = "clinvk: backend `fake` needs a model: give `-m MODEL` or set backends.fake.model\n";
    scene.clinvk(["x"]).fails(1, error);
    scene.clinvk(["x"]).env("CLINVK_FAKE_MODEL", "small").prints("run|small|\n");
}

#[test]
fn a_prompt_argument_has_its_limits() {
    let plain = Scene::declaring(json!({"prompt": "arg"}), "printf '%s' \"$1\" | wc -c; cat");
    plain.clinvk(["-"]).stdin("x".repeat((128 << 10) - 1)).prints("131071\n");
    plain.clinvk(["-"]).stdin("x".repeat(128 << 10)).fails(
        1,
        "clinvk: the prompt has 131072 bytes and backend `fake` takes it as an argument of less than 131072: \
         declare `\"prompt\": \"stdin\"` if the program can read it\n",
    );
    let error = "clinvk: the prompt has a NUL byte, which backend `fake` cannot take as an argument\n";
    plain.clinvk(["-"]).stdin("a\0b").fails(1, error);
    plain.clinvk(["--", "--help"]).fails(
        1,
        "clinvk: the prompt starts with `-`, which backend `fake` would take for a flag: declare `prompt_separator` \
         if the program knows `--`\n",
    );
    plain.clinvk(["--", "a -b"]).prints("4\n");
    let separated =
        Scene::declaring(json!({"prompt": "arg", "prompt_separator": true}), "printf '%s|' \"$@\"");
    separated.clinvk(["--", "--help"]).prints("--|--help|\n");
}

#[test]
fn a_program_of_its_own_replaces_the_first_word() {
    let scene = Scene::declaring(json!({}), "printf first");
    let other = scene.fake("other", "printf other");
    scene.clinvk(["x"]).env("CLINVK_BACKENDS_FAKE_PROGRAM", other).prints("other\n");
}

#[test]
fn a_program_is_found_on_path_and_by_a_relative_path() {
    let scene = Scene::new();
    scene.fake("tool", "printf found");
    for program in ["tool", "../bin/tool"] {
        scene.config(&json!({"default_backend": "odd", "backends": {"odd": {"command": [program]}}}));
        scene.clinvk(["x"]).prints("found\n");
    }
    scene.clinvk(["-w", "/", "x"]).prints("found\n");
}
