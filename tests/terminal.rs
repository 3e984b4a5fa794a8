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
    run.says("\r\x1b[Kclinvk: a line of fake's output could not be read: odd\r\n");
    go.tell();
    let seen = run.end();
    let (_, behind) = seen.out.split_once("odd\r\n").unwrap();
    assert!((behind == "a\r\n" || behind.ends_with("\x1b[Ka\r\n")) && seen.status == 0, "{seen}");
}

#[test]
fn what_is_said_of_a_run_does_not_stand_in_the_lines_of_its_answer() {
    // faults.md E7: events of -v, and warnings, in the middle of an answer.
    let keys = serde_json::json!({"output": "jsonl", "fields": {"text": "text"}});
    let scene = Scene::declaring(keys, "say '{\"text\":\"one\"}'; say odd; say '{\"text\":\" two\"}'");
    let seen = on_a_terminal(&scene, "clinvk -v hi").seen();
    let lines: Vec<&str> = seen.out.lines().map(|line| line.trim_end_matches('\r')).collect();
    assert_eq!(lines.iter().filter(|line| ["one", " two"].contains(line)).count(), 2, "{seen}");
    for line in lines.iter().filter(|line| line.contains("event {") || line.contains("could not be read")) {
        assert!(
            line.starts_with("event {") || line.starts_with("clinvk: ") || line.starts_with("fake"),
            "{seen}"
        );
    }
    // They have the numbers that they have in the stream.
    let numbers: Vec<u64> = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("event ")?).ok())
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() > 2 && numbers == (0..numbers.len() as u64).collect::<Vec<_>>(), "{seen}");
    on_a_terminal(&scene, "clinvk -q hi").prints("one two\r\n");
    let seen = on_a_terminal(&scene, "clinvk hi 2>&1").seen();
    assert!(seen.out.contains("one\r\nclinvk: ") && seen.out.ends_with("odd\r\n two\r\n"), "{seen}");
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

/// What stands on a terminal's screen after all that was written to it: enough of ECMA-48 for what we write.
fn screen(written: &str, columns: usize) -> Vec<String> {
    let (mut rows, mut row, mut column): (Vec<Vec<char>>, usize, usize) = (vec![Vec::new()], 0, 0);
    let mut rest = written.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                assert_eq!(rest.next(), Some('['));
                let mut number = String::new();
                while let Some(digit) = rest.next_if(|letter| letter.is_ascii_digit()) {
                    number.push(digit);
                }
                let count = number.parse().unwrap_or(1);
                match rest.next().unwrap() {
                    'A' => row = row.checked_sub(count).expect("above the screen"),
                    'K' => rows[row].truncate(column),
                    'J' => {
                        rows.truncate(row + 1);
                        rows[row].truncate(column);
                    }
                    'm' => {}
                    other => panic!("unknown sequence {other}"),
                }
            }
            letter => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                rows.resize(rows.len().max(row + 1), Vec::new());
                let length = rows[row].len().max(column + 1);
                rows[row].resize(length, ' ');
                rows[row][column] = letter;
                column += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
    }
    rows.into_iter().map(|row| row.into_iter().collect()).collect()
}

/// Two tasks at once, of which one says a word and then waits.
const TALKER: &str = "p=$(cat); say \"word of $p\"; await \"$p\"; say end";

#[test]
fn each_run_has_a_line_that_stays_in_its_place() {
    let scene = Scene::playing(TALKER);
    let (mut a, mut b) = (scene.fifo("a"), scene.fifo("b"));
    scene.file("work/plan", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"backend\": \"fake\"}\n");
    let line = "stty cols 60; NO_COLOR=1 clinvk parallel -f plan >out";
    let mut run = on_a_terminal(&scene, line).start();
    run.says("[1] fake   1 s answering word of a");
    let so_far = screen(&run.said(), 60);
    let expected =
        ["[1] fake   1 s answering word of a", "[2] fake   1 s answering word of b", "0 of 2 done", ""];
    assert_eq!(so_far.iter().map(|row| row.trim_end()).collect::<Vec<_>>(), expected, "{so_far:#?}");
    a.tell();
    run.says("1 of 2 done");
    b.tell();
    let seen = run.end();
    assert!(screen(&seen.out, 60) == [""] && seen.status == 0, "{seen}");
    assert!(!seen.out.contains("m"), "no colours: {seen}");
}

#[test]
fn a_narrow_terminal_is_kept_to_and_warnings_stand_above_the_lines() {
    let scene = Scene::playing("cat >/dev/null; await go; say end");
    let mut go = scene.fifo("go");
    let echo = serde_json::json!({"fail": "quota"});
    scene.config(
        &serde_json::json!({"default_backend": "echo", "unified_flags": {"fallback": ["fake"]}, "backends": {
            "echo": echo, "fake": {"command": [scene.text("bin/fake")]},
        }}),
    );
    scene.file("work/plan", format!("{{\"prompt\": \"{}\"}}\n", "long ".repeat(30)));
    let mut run = on_a_terminal(&scene, "stty cols 20; clinvk parallel -f plan >out").start();
    run.says("\x1b[1mfake\x1b[0m\x1b[2m   1 s \x1b[0mwait\x1b[K");
    let so_far = screen(&run.said(), 20);
    assert!(so_far.contains(&"[1] fake   1 s wait".to_owned()), "{so_far:#?}");
    assert!(so_far[0].starts_with("clinvk: echo: failed"), "{so_far:#?}");
    go.tell();
    let seen = run.end();
    // Only the warning is left, in as many rows as it takes.
    let left = screen(&seen.out, 20).concat();
    assert_eq!(left, "clinvk: echo: failed with `quota` as configured; asking fake");
}

#[test]
fn what_is_printed_beside_the_lines_is_whole() {
    let scene = Scene::playing(TALKER);
    let (mut a, mut b) = (scene.fifo("a"), scene.fifo("b"));
    scene.file("work/plan", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n");
    let mut run = on_a_terminal(&scene, "stty cols 60; clinvk parallel -f plan").start();
    run.says("0 of 2 done");
    a.tell();
    run.says("1 of 2 done");
    b.tell();
    let seen = run.end();
    let rows = screen(&seen.out, 60);
    let start =
        ["Running 2 tasks (max 3 parallel)...", "", "[1] word of a", "end", "[2] word of b", "end", ""];
    assert!(rows[..7] == start && rows[7].starts_with("#  BACKEND"), "{rows:#?}");
    assert!(seen.out.contains("\x1b[32mcompleted"), "{seen}");
    let seen = on_a_terminal(&scene, "clinvk parallel -q --max-parallel 1 -f plan")
        .env("CLINVK_OUTPUT_COLOR", "false");
    a.tell();
    b.tell();
    let seen = seen.seen();
    assert!(!seen.out.contains('\x1b') && seen.out.starts_with("[1] word of a\r\n"), "{seen}");
}
