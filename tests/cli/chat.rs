//! `clinvk chat`.

use super::terminal::on_a_terminal;
use crate::util::scene::Scene;
use serde_json::{Value, json};
use std::fs;

/// A scene in which the backend says what it was asked.
fn echo() -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene
}

fn sessions(scene: &Scene) -> Vec<Value> {
    let seen = scene.clinvk(["sessions", "list", "--json"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    said["sessions"].as_array().unwrap().clone()
}

#[test]
fn in_a_pipe_each_line_is_a_turn_of_one_session() {
    let scene = echo();
    scene
        .clinvk(["chat"])
        .stdin("one\n\n  two \nthree \\\nand more\nlast")
        .prints("one\ntwo\nthree \nand more\nlast\n");
    let all = sessions(&scene);
    assert_eq!((all.len(), &all[0]["turn_count"]), (1, &json!(4)));
    // The next one is another conversation, unless it goes on.
    scene.clinvk(["chat", "-c"]).stdin("four").prints("four\n");
    assert_eq!(sessions(&scene)[0]["turn_count"], 5);
    scene.clinvk(["chat"]).stdin("five").prints("five\n");
    assert_eq!(sessions(&scene).len(), 2);
    // A line each in JSON, too.
    let seen = scene.clinvk(["chat", "--json"]).stdin("a\nb\n").seen();
    let answers: Vec<Value> = seen.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        answers.iter().map(|answer| answer["content"].as_str().unwrap()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(answers[0]["session_id"], answers[1]["session_id"]);
}

#[test]
fn the_status_of_a_pipe_is_that_of_the_last_turn_that_failed() {
    let scene = Scene::playing("p=$(tail -n 1); say \"$p\"; case $p in bad*) exit \"${p#bad }\";; esac");
    let seen = scene.clinvk(["chat"]).stdin("bad 9\ngood\nbad 11\nbetter\n").seen();
    assert!(seen.status == 11 && seen.out.ends_with("better\n"), "{seen}");
    let seen = scene.clinvk(["chat"]).stdin("/backend nobody\nx\n/backend fake\ngood\n").seen();
    assert!(
        seen.status == 2 && seen.err.contains("unknown backend `nobody`") && seen.out == "good\n",
        "{seen}"
    );
    scene
        .clinvk(["chat", "--ephemeral"])
        .fails(1, "clinvk: `--ephemeral` is no flag of `chat`: see `clinvk chat -h`\n");
    scene.clinvk(["chat", "x"]).fails(1, "clinvk: `chat` takes no `x`: see `clinvk chat -h`\n");
}

#[test]
fn a_slash_begins_one_of_a_few_commands_and_everything_else_is_a_hint() {
    let scene = echo();
    scene.file("work/a.txt", "in it\n");
    let lines = "/file a.txt\nlook\nand now\n//usr\n /tmp\n/save out.md\n/new\nfresh\n";
    scene
        .clinvk(["chat"])
        .stdin(lines)
        .prints("look\n\n<file name=\"a.txt\">\nin it\n</file>\nand now\n/usr\n/tmp\nfresh\n");
    let saved = fs::read_to_string(scene.path("work/out.md")).unwrap();
    assert!(saved.contains("\n## and now\n\nand now\n") && !saved.contains("fresh"), "{saved}");
    assert_eq!(sessions(&scene).len(), 2);
    for (line, words) in [
        ("/help\n", "there is no `/help`: /model NAME, /backend NAME, /file PATH, /new, /save PATH;"),
        ("/model\n", "`/model` needs a word behind it"),
        ("/file gone\n", "gone"),
        ("/save b.md\n", "there is nothing to save yet"),
        ("x\n/save out.md\n", "File exists"),
    ] {
        let seen = scene.clinvk(["chat"]).stdin(line).seen();
        assert!(seen.status == 1 && seen.err.contains(words), "{line}: {seen}");
    }
    let scene = Scene::declaring(json!({"model_flag": "-m"}), "cat >/dev/null; say \"$*\"");
    let seen = scene.clinvk(["chat"]).stdin("/model small\nx\n").seen();
    assert!(seen.out.contains("small") || seen.err.contains("model"), "{seen}");
}

/// Two turns of one program, without any server.
#[test]
fn a_program_that_can_be_kept_is_kept_between_the_turns_and_no_longer() {
    let keys = json!({"output": "jsonl", "fields": {"text": "text", "done": "done"}, "keep": true});
    let play = "while read -r line; do say \"{\\\"text\\\":\\\"$$\\\"}\"; say '{\"done\":true}'; done";
    let scene = Scene::declaring(keys, play);
    let seen = scene.clinvk(["chat"]).stdin("a\n/new\nb\n").seen();
    let pids: Vec<&str> = seen.out.lines().collect();
    assert!(seen.status == 0 && pids.len() == 2 && pids[0] == pids[1], "{seen}");
    scene.is_deserted();
}

#[test]
fn on_a_terminal_ctrl_c_stops_the_answer_and_not_the_chat() {
    let scene =
        Scene::playing("p=$(tail -n 1); case $p in long) say begun; await never;; *) say \"<$p>\";; esac");
    let _never = scene.fifo("never");
    let mut run = on_a_terminal(&scene, "exec clinvk chat -q").start();
    run.says("> ");
    run.write(b"long\n");
    run.says("begun");
    run.write(b"\x03");
    run.says("cancelled");
    run.write(b"short\n");
    run.says("<short>");
    // At the prompt it drops what was typed.
    run.write(b"half \\\n");
    run.says(". ");
    run.write(b"\x03");
    run.says("\x03\r\n> ");
    run.write(b"whole\n");
    run.says("<whole>");
    run.write(b"\x04");
    let seen = run.end();
    assert!(
        seen.status == 0 && seen.out.contains("to go on: clinvk resume ") && !seen.out.contains("half whole"),
        "{seen}"
    );
    assert_eq!(sessions(&scene).len(), 1);
    scene.is_deserted();
}

#[test]
fn what_is_pasted_is_one_prompt() {
    let scene = echo();
    let mut run = on_a_terminal(&scene, "exec clinvk chat -q").start();
    run.says("\x1b[?2004h> ");
    run.write(b"\x1b[200~first\nsecond\nthird\x1b[201~\n");
    run.says("first\r\nsecond\r\nthird\r\n");
    run.write(b"\x04");
    let seen = run.end();
    assert!(seen.status == 0 && !seen.out.contains("^["), "{seen}");
    assert_eq!(sessions(&scene)[0]["turn_count"], 1, "{seen}");
}

#[test]
fn resume_with_a_list_and_no_prompt_is_a_chat_in_that_session() {
    let scene = echo();
    scene.clinvk(["begin"]).prints("begin\n");
    let mut run = on_a_terminal(&scene, "clinvk resume -i -q").start();
    run.says("session (1-1): ");
    run.write(b"1\n");
    run.says("> ");
    run.write(b"more\n");
    run.says("more\r\n");
    run.write(b"\x04");
    assert_eq!(run.end().status, 0);
    assert_eq!(sessions(&scene)[0]["turn_count"], 2);
}

#[cfg(feature = "serve")]
#[test]
fn on_a_server_it_is_the_same() {
    let scene = echo();
    let server = scene.serve([]);
    let url = format!("http://{}", server.address);
    scene.clinvk(["chat", "--server", &url]).stdin("one\ntwo\n").prints("one\ntwo\n");
    assert_eq!(sessions(&scene)[0]["turn_count"], 2);
}
