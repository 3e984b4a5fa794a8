//! What a terminal sees. `script` makes one.

use crate::util::run::Run;
use crate::util::scene::Scene;

/// The binary on a terminal: its standard input, output and error are one; what it prints comes with `\r\n`.
pub fn on_a_terminal(scene: &Scene, line: &str) -> Run {
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

/// What a hostile answer says to the terminal, and what is left of it there.
const HOSTILE: &str = r"a\033]52;c;ZWNobyBo\007b\033]0;title\033\\c\033[2J\033[1;31mred\033[0m\302\2332Jd\033P+q\033\\e\rf\010g\033[6nh";
const HARMLESS: &str = "abc\x1b[1;31mred\x1b[0mde\r\nfgh";

/// faults.md C7: whatever prints an answer, nothing of it but letters, lines and colours reaches a terminal.
#[test]
fn an_answer_cannot_speak_to_the_terminal() {
    let scene = Scene::playing(&format!("cat >/dev/null; printf '{HOSTILE}'"));
    scene.file("work/tasks", "{\"prompt\": \"x\"}\n");
    scene.file("work/steps", "{\"steps\": [{\"prompt\": \"x\"}]}");
    let kept = scene.clinvk(["-o", "json", "x"]).seen();
    let kept: serde_json::Value = serde_json::from_str(&kept.out).unwrap();
    let id = kept["session_id"].as_str().unwrap();
    let plain = HARMLESS.replace("\x1b[1;31m", "").replace("\x1b[0m", "");
    for (line, left) in [
        ("clinvk -q x".to_owned(), HARMLESS),
        ("clinvk parallel -q -f tasks".to_owned(), HARMLESS),
        ("clinvk chain -q -f steps".to_owned(), HARMLESS),
        ("clinvk compare -q --backends fake x".to_owned(), HARMLESS),
        ("clinvk compare -q --race --backends fake x".to_owned(), HARMLESS),
        (format!("clinvk sessions export --markdown {id}"), &plain),
    ] {
        let seen = on_a_terminal(&scene, &line).seen();
        assert!(seen.out.contains(left) && seen.status == 0, "{line}: {seen}");
        let others = ["\x07", "\x08", "\x1b]", "\x1bP", "\x1b[2J", "\x1b[6n", "\u{9b}"];
        assert!(!others.iter().any(|other| seen.out.contains(other)), "{line}: {seen}");
        // In a pipe it is what it was, and so it is where it is asked for raw.
        let piped =
            scene.program("sh").args(["-c", &line.replace("clinvk", env!("CARGO_BIN_EXE_clinvk"))]).seen();
        assert!(piped.out.contains("\x1b]52;c;ZWNobyBo\x07b") && piped.status == 0, "{line}: {piped}");
        assert!(
            piped.out.contains("\u{9b}2Jd") && piped.out.contains("e\rf\x08g\x1b[6nh"),
            "{line}: {piped}"
        );
    }
    let raw = on_a_terminal(&scene, "clinvk --raw x").seen();
    assert!(raw.out.contains("\x1b]52;c;ZWNobyBo\x07b\x1b]0;title"), "{raw}");
}

#[test]
fn a_sequence_that_is_cut_by_its_stream_is_one_and_colours_end_with_the_answer() {
    let scene = Scene::playing(
        r"cat >/dev/null; printf 'a\033]52;c;ZW'; await go; printf 'NobyBo\007b\033['; await go; printf '31mred'",
    );
    let mut go = scene.fifo("go");
    let mut run = on_a_terminal(&scene, "clinvk -q x").start();
    run.says("a");
    go.tell();
    run.says("b");
    go.tell();
    let seen = run.end();
    assert!(seen.out == "ab\x1b[31mred\r\n\x1b[0m" && seen.status == 0, "{seen}");
}

/// faults.md C7: the siblings of answers. Titles, failures, progress and what is asked on the terminal.
#[test]
fn nor_can_titles_failures_and_progress() {
    const EVIL: &str = "x\x1b]52;c;ZW\x07y\u{9b}2J";
    let scene = Scene::playing(r"cat >/dev/null; printf 'no \033]0;luck\007\n' >&2; exit 9");
    for args in [&["-q", EVIL][..], &["-q", "--tag", EVIL, "y"]] {
        scene.clinvk(args).seen();
    }
    scene.file("work/tasks", serde_json::json!({"prompt": EVIL, "name": EVIL, "id": EVIL}).to_string());
    scene.file("work/steps", serde_json::json!({"steps": [{"prompt": EVIL, "name": EVIL}]}).to_string());
    let list = scene.clinvk(["sessions", "list", "--json"]).seen();
    let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    let id = list["sessions"][0]["id"].as_str().unwrap();
    for line in [
        "clinvk x",
        "clinvk parallel -f tasks",
        "clinvk chain -f steps",
        "clinvk compare --backends fake x",
        "clinvk compare --agree --backends fake,fake x",
        "clinvk map -f tasks {}",
        "clinvk sessions list",
        &format!("clinvk sessions show --turns {id}"),
        &format!("clinvk sessions show {id}"),
        "clinvk sessions clean --older-than 0s --dry-run",
        "echo 1 | clinvk resume y",
        &format!("clinvk --dry-run \"{EVIL}\""),
        "clinvk sessions fsck",
    ] {
        let seen = on_a_terminal(&scene, line).seen();
        let evil = ["\x1b]", "\x07", "\u{9b}"];
        assert!(!evil.iter().any(|evil| seen.out.contains(evil)), "{line}: {seen}");
    }
}

/// faults.md C7: no sequence at all, neither ours nor an answer's.
#[test]
fn a_dumb_terminal_sees_no_escape_sequence() {
    // Slow enough for a spinner.
    let scene = Scene::playing(r#"cat >/dev/null; "$here/sleep" 0.5; printf 'a\033[31mb\033[0m'"#);
    scene.file("work/tasks", "{\"prompt\": \"x\"}\n");
    let commands = ["clinvk x", "clinvk parallel -f tasks", "clinvk compare --backends fake x"];
    for line in commands {
        for term in [Some("dumb"), Some(""), None] {
            let run = on_a_terminal(&scene, line);
            let run = match term {
                Some(name) => run.env("TERM", name),
                None => run.without("TERM"),
            };
            let seen = run.seen();
            assert!(!seen.out.contains('\x1b') && seen.status == 0, "{term:?} {line}: {seen}");
            assert!(seen.out.contains("ab"), "{term:?} {line}: {seen}");
        }
        let seen = on_a_terminal(&scene, line).seen();
        assert!(seen.out.contains("\x1b[K") && seen.out.contains("a\x1b[31mb\x1b[0m"), "{line}: {seen}");
    }
}
