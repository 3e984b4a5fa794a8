//! What a terminal sees. `script` makes one.

use crate::util::run::Run;
use crate::util::scene::Scene;

/// The binary on a terminal: its standard input, output and error are one; what it prints comes with `\r\n`.
fn on_a_terminal(scene: &Scene, line: &str) -> Run {
    let line = line.replace("clinvk", &format!("'{}'", env!("CARGO_BIN_EXE_clinvk")));
    scene.program("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").silent_stdin()
}

#[test]
fn clinvk_alone_prints_a_short_help() {
    let seen = on_a_terminal(&Scene::new(), "clinvk").seen();
    assert!(
        seen.out.starts_with("clinvk: one interface to AI command-line tools\r\n") && seen.status == 0,
        "{seen}"
    );
}

#[test]
fn a_prompt_or_a_file_on_a_terminal_waits_for_nobody_to_type() {
    let scene = Scene::new();
    scene.file("work/a.txt", "a\n");
    on_a_terminal(&scene, "clinvk -q -b echo hi").prints("hi\r\n");
    on_a_terminal(&scene, "clinvk -q -b echo --file a.txt")
        .prints("<file name=\"a.txt\">\r\na\r\n</file>\r\n");
}

#[test]
fn the_spinner_shows_until_the_first_word_and_leaves_no_trace() {
    let scene = Scene::playing("await go; printf answer; await go; printf ' and more'");
    let mut go = scene.fifo("go");
    let mut run = on_a_terminal(&scene, "clinvk hi").start();
    run.says("\r| fake: waiting 0 s\x1b[K");
    go.tell();
    run.says("\r\x1b[Kanswer");
    go.tell();
    let seen = run.end();
    let (_, behind) = seen.out.rsplit_once("\x1b[K").unwrap();
    assert!(behind == "answer and more\r\n" && seen.status == 0, "{seen}");
}

#[test]
fn a_warning_is_a_line_of_its_own_beside_the_spinner() {
    let keys = serde_json::json!({"output": "jsonl", "fields": {"text": "text"}});
    let scene = Scene::declaring(keys, "await go; say odd; await go; say '{\"text\":\"a\"}'");
    let mut go = scene.fifo("go");
    let mut run = on_a_terminal(&scene, "clinvk hi").start();
    run.says("\r| fake: waiting");
    go.tell();
    run.says("\r\x1b[Kclinvk: a line of the output is no JSON: odd\r\n");
    go.tell();
    let seen = run.end();
    let (_, behind) = seen.out.split_once("odd\r\n").unwrap();
    assert!((behind == "a\r\n" || behind.ends_with("\x1b[Ka\r\n")) && seen.status == 0, "{seen}");
}

#[test]
fn there_is_no_spinner_where_nobody_wants_it() {
    let scene = Scene::playing("await go; cat");
    let mut go = scene.fifo("go");
    for line in ["clinvk -q hi", "clinvk hi 2>err", "clinvk --raw hi"] {
        go.tell();
        let seen = on_a_terminal(&scene, line).seen();
        assert!(seen.out.trim_end() == "hi" && seen.status == 0, "{line}: {seen}");
    }
}

#[test]
fn a_failure_is_a_line_of_its_own() {
    let scene = Scene::playing("await go; exit 9");
    let mut go = scene.fifo("go");
    let mut run = on_a_terminal(&scene, "clinvk hi").start();
    run.says("fake: waiting");
    go.tell();
    let seen = run.end();
    let error =
        "\r\x1b[Kclinvk: fake: the backend ended with exit status 9 and said nothing on standard error\r\n";
    assert!(seen.out.ends_with(error) && seen.status == 9, "{seen}");
}
