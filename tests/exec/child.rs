//! One child process: its pipes, its output, how it ends. How it is stopped is in `stop`.

use crate::util::run::{Seen, file};
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

const JSONL: &str = r#"{"output": "jsonl", "fields": {"text": "text", "session": "session"}}"#;

fn jsonl(play: &str) -> Scene {
    Scene::declaring(serde_json::from_str(JSONL).unwrap(), play)
}

fn answer(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Runs a program that prints so many bytes, and returns how many arrived and how much memory clinvk needed, in KiB.
fn flood(bytes: usize) -> (usize, u64) {
    let scene = Scene::playing(&format!("cat >/dev/null; bytes {bytes}; await go"));
    let mut go = scene.fifo("go");
    let (read, write) = sys::pipe().unwrap();
    let run = scene.clinvk(["x"]).start_into(write);
    let (mut out, mut buffer, mut arrived) = (fs::File::from(read), vec![0; 1 << 16], 0);
    while arrived < bytes {
        let part = out.read(&mut buffer).unwrap();
        assert!(part > 0 && buffer[..part].iter().all(|byte| *byte == b'x'), "after {arrived}: {part}");
        arrived += part;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse().unwrap();
    go.tell();
    arrived += out.read_to_end(&mut buffer).unwrap() - "\n".len();
    run.ends("", "", 0);
    (arrived, peak)
}

#[test]
fn a_flood_arrives_whole_in_the_memory_of_a_trickle() {
    let (small, large) = (flood(1_000_000), flood(100_000_000));
    assert!(
        (small.0, large.0) == (1_000_000, 100_000_000) && large.1 < small.1 + 16_000,
        "(bytes, KiB): {small:?}, {large:?}"
    );
}

#[test]
fn a_line_of_12_megabytes_is_one_line() {
    let scene = jsonl(r#"printf '{"text":"'; bytes 12000000; printf '"}\n'"#);
    let seen = scene.clinvk(["-o", "json", "x"]).seen();
    let content = answer(&seen.out)["content"].as_str().unwrap().len();
    assert!(content == 12_000_000 && seen.status == 0, "{content}, {seen}");
}

#[test]
fn a_line_beyond_16_mebibytes_ends_the_run_as_unreadable() {
    let scene = jsonl(r#"printf '{"text":"'; bytes 17000000; printf '"}\n'; exec "$here/sleep" 1000"#);
    let seen = scene.clinvk(["-o", "json", "x"]).seen();
    let said = answer(&seen.out);
    assert!(said["kind"] == "unreadable" && seen.status == 1, "{seen}");
    assert_eq!(seen.err, "clinvk: fake: a line of its output is longer than 16 MiB\n");
    scene.is_deserted();
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    Scene::playing(r"printf 'a\377\000b\342\202'").clinvk(["x"]).prints("a\u{fffd}\0b\u{fffd}\n");
}

#[test]
fn a_character_that_comes_in_pieces_is_whole() {
    let scene = Scene::playing(r"printf 'a\342\202'; await go; printf '\254b'");
    let mut go = scene.fifo("go");
    let mut run = scene.clinvk(["x"]).start();
    run.says("a");
    go.tell();
    run.ends("a€b\n", "", 0);
}

#[test]
fn the_last_line_needs_no_end() {
    jsonl(r#"printf '{"text":"a"}\n{"text":"b"}'"#).clinvk(["x"]).prints("ab\n");
}

#[test]
fn the_last_line_is_heard_although_a_daemon_holds_the_pipe() {
    let scene = jsonl(r#"daemon; printf '{"text":"a"}\n{"text":"b"}'"#);
    scene.clinvk(["x"]).prints("ab\n");
    scene.is_deserted();
}

#[test]
fn every_token_is_printed_before_the_next_one_comes() {
    for (scene, token) in [
        (Scene::playing(r"for n in 1 2 3; do printf t$n; await go; done"), "t"),
        (jsonl(r#"for n in 1 2 3; do say "{\"text\":\"t$n\"}"; await go; done"#), "t"),
        (jsonl(r#"for n in 1 2 3; do printf '{"text":"t%s"}\n' $n; await go; done"#), "t"),
    ] {
        let mut go = scene.fifo("go");
        let mut run = scene.clinvk(["x"]).start();
        for number in 1..=3 {
            run.says(&format!("{token}{number}"));
            go.tell();
        }
        run.ends("t1t2t3\n", "", 0);
    }
}

#[test]
fn a_program_that_does_not_read_its_prompt_is_heard_to_its_end() {
    let prompt = "x".repeat(16 << 20);
    for play in ["printf done", "exec <&-; printf done", "head -c 10 >/dev/null; printf done"] {
        Scene::playing(play).clinvk(["-"]).stdin(&prompt).prints("done\n");
    }
}

#[test]
fn a_large_prompt_arrives_whole() {
    let prompt = "0123456789abcde\n".repeat(1 << 20);
    Scene::playing("wc -c").clinvk(["-"]).stdin(&prompt).prints("16777216\n");
}

#[test]
fn a_program_that_answers_while_it_is_still_being_asked_does_not_lock_up() {
    let prompt = "0123456789abcde\n".repeat(1 << 18);
    let seen = Scene::playing("cat").clinvk(["-"]).stdin(&prompt).seen();
    assert!(seen.out == prompt && seen.status == 0 && seen.err.is_empty(), "{seen}");
}

#[test]
fn the_prompt_is_not_in_any_argument() {
    let scene = Scene::playing("await go; cat");
    let mut go = scene.fifo("go");
    let run = scene.clinvk(["-"]).stdin("a secret prompt").start();
    until("the fake", || scene.processes().len() >= 2);
    let seen = scene.processes();
    assert!(!seen.values().any(|line| line.contains("secret")), "{seen:?}");
    go.tell();
    run.ends("a secret prompt\n", "", 0);
}

#[test]
fn our_own_standard_input_is_not_the_childs() {
    let scene = Scene::playing(r#"cat >/dev/null; readlink /proc/$$/fd/0 | cut -c1-5"#);
    let list = scene.file("work/list", "a\nb\n");
    scene.clinvk(["--file", "list"]).stdin_from(file(&list)).prints("pipe:\n");
}

#[test]
fn closing_standard_output_is_not_the_end() {
    let scene = Scene::playing("printf done; exec >&-; tell closed; await go; exit 9");
    let (mut closed, mut go) = (scene.fifo("closed"), scene.fifo("go"));
    let run = scene.clinvk(["x"]).start();
    closed.told();
    go.tell();
    run.ends(
        "done\n",
        "clinvk: fake: the backend ended with exit status 9 and said nothing on standard error\n",
        9,
    );
}

#[test]
fn a_program_that_closed_its_output_and_lives_on_is_held_to_the_time_limit() {
    let scene = Scene::playing("printf done; exec >&- 2>&-; exec \"$here/sleep\" 1000");
    scene.clinvk(["--timeout", "1s", "x"]).is("done\n", "clinvk: timed out after 1s (--timeout)\n", 6);
    scene.is_deserted();
}

#[test]
fn a_program_that_closed_its_output_is_not_waited_for_busily() {
    let scene = Scene::playing("exec >&- 2>&-; \"$here/sleep\" 1; tell slept; await go");
    let (mut slept, mut go) = (scene.fifo("slept"), scene.fifo("go"));
    let run = scene.clinvk(["x"]).start();
    slept.told();
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid)).unwrap();
    let wakes = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    assert!(wakes.trim().parse::<u32>().unwrap() < 400, "{wakes}");
    go.tell();
    run.ends("", "", 0);
}

#[test]
fn what_comes_behind_the_done_field_is_not_told() {
    let keys = json!({"output": "jsonl", "fields": {"text": "text", "done": "done"}});
    let scene = Scene::declaring(keys, r#"say '{"text":"a","done":true}'; say '{"text":"b"}'"#);
    scene.clinvk(["x"]).prints("a\n");
}

#[test]
fn a_program_that_says_done_and_never_ends_is_done() {
    let keys = json!({"output": "jsonl", "fields": {"text": "text", "done": "done"}});
    let scene = Scene::declaring(keys, r#"say '{"text":"a","done":true}'; trap '' TERM; "$here/sleep" 1000"#);
    scene.clinvk(["x"]).prints("a\n");
    scene.is_deserted();
}

#[test]
fn a_megabyte_of_standard_error_is_not_in_the_answer_and_does_not_block() {
    let scene = Scene::playing("bytes 1000000 >&2; printf done; bytes 1000000 >&2");
    scene.clinvk(["x"]).prints("done\n");
}

#[test]
fn the_end_of_standard_error_says_why() {
    let seen =
        Scene::playing("bytes 1000000 >&2; echo >&2; echo the reason >&2; exit 3").clinvk(["x"]).seen();
    assert!(seen.err.ends_with("x\nthe reason\n") && seen.err.len() < 9000 && seen.status == 1, "{seen}");
}

#[test]
fn words_on_standard_error_are_no_failure() {
    Scene::playing("echo warning >&2; cat").clinvk(["hi"]).prints("hi\n");
}

#[test]
fn a_failure_keeps_what_was_said_on_standard_output() {
    let message = "clinvk: fake: the backend ended with exit status 3: why\n";
    Scene::playing("printf 'half of'; echo why >&2; exit 3").clinvk(["x"]).is("half of\n", message, 1);
}

#[test]
fn exit_statuses_from_8_on_are_passed_on_and_smaller_ones_are_1() {
    let table = [(1, 1), (2, 1), (3, 1), (7, 1), (8, 8), (42, 42), (255, 255)];
    for (own, ours) in table {
        let message = format!("clinvk: fake: the backend ended with exit status {own}: why\n");
        Scene::playing(&format!("echo why >&2; exit {own}")).clinvk(["x"]).fails(ours, &message);
    }
}

#[test]
fn an_exit_by_signal_is_128_and_its_number() {
    let message = "clinvk: fake: the backend ended with signal 9 and said nothing on standard error\n";
    Scene::playing("kill -KILL $$").clinvk(["x"]).fails(137, message);
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let scene = Scene::new();
    let plain = scene.file("work/plain", "no program");
    let (nowhere, dir) = (scene.text("work/nowhere"), scene.text("work"));
    let table = [
        ("no-such-program", "`no-such-program` is not on PATH"),
        (&nowhere, "`ROOT/work/nowhere` is not an executable file"),
        (&plain, "`ROOT/work/plain` is not an executable file"),
        (&dir, "`ROOT/work` is not an executable file"),
    ];
    for (program, why) in table {
        scene.config(&json!({"backends": {"odd": {"command": [program]}}}));
        scene
            .clinvk(["-b", "odd", "x"])
            .fails(2, &format!("clinvk: backend `odd` is not installed: {why}\n"));
    }
}

/// faults.md C5: a file that is there was said to be none.
#[test]
fn a_program_that_needs_what_is_not_there_is_told_what() {
    let scene = Scene::new();
    // The start of a program for a machine like this one, with a loader that no machine has.
    let mut elf = fs::read("/bin/sleep").unwrap();
    let loader = elf.windows(4).position(|part| part == b"/lib").unwrap();
    elf[loader..loader + 4].copy_from_slice(b"/nol");
    for (content, why) in [
        (&b"#!/no/such/interpreter -x\n"[..], "its interpreter `/no/such/interpreter` is not there"),
        (b"#! /no/such/interpreter\n", "its interpreter `/no/such/interpreter` is not there"),
        (b"#!/bin/sh\r\n", "its interpreter `/bin/sh\\r` is not there"),
        (b"#!node\n", "its interpreter `node` is not there"),
        (&elf, "the loader that it names is not there: it was made for another system or C library"),
    ] {
        let program = scene.file("bin/odd", content);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        scene.config(&json!({"backends": {"odd": {"command": [program]}}}));
        let error = format!("clinvk: `ROOT/bin/odd` could not be started: {why}\n");
        scene.clinvk(["-b", "odd", "x"]).fails(2, &error);
    }
}

/// faults.md F3: it was the fault of whoever asked, or of who had installed the program.
#[test]
fn a_lack_of_descriptors_is_busy_and_nobody_else_is_asked() {
    let scene = Scene::playing("cat");
    let line = format!(
        "ulimit -n \"$0\"; exec '{}' -o json --ephemeral --fallback echo x",
        env!("CARGO_BIN_EXE_clinvk")
    );
    let mut kinds = BTreeMap::new();
    for limit in 4..24 {
        let seen = scene.program("/bin/sh").args(["-c", &line, &limit.to_string()]).seen();
        let kind = match serde_json::from_str::<Value>(&seen.out) {
            Ok(said) => said["kind"].as_str().unwrap_or("none").to_owned(),
            Err(_) => format!("no JSON: {seen}"),
        };
        let is_right = match &*kind {
            "none" => seen.status == 0 && seen.out.contains("\"fake\""),
            "busy" => seen.status == 1 && seen.out.contains("Too many open files"),
            _ => false,
        };
        assert!(is_right, "{limit}: {kind} {seen}");
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert!(kinds.len() == 2, "{kinds:?}");
}

/// faults.md C6.
#[test]
fn without_proc_our_own_program_is_found_and_a_stop_says_what_it_could_not_see() {
    let scene = Scene::playing("exec \"$here/sleep\" 1000");
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    fs::create_dir(scene.path("work/bin")).unwrap();
    symlink(clinvk, scene.path("work/bin/clinvk")).unwrap();
    let without_proc = |line: &str| {
        let line = format!("mount -t tmpfs none /proc && {line}");
        scene.program("unshare").args(["-rm", "/bin/sh", "-c", &line])
    };
    for name in [clinvk, "./bin/clinvk"] {
        without_proc(&format!("exec {name} -b echo -w / hi")).prints("hi\n");
    }
    without_proc(&format!("exec {clinvk} --timeout 1s x")).fails(
        6,
        "clinvk: without /proc only the program's process group could be stopped: what it had started in sessions of its \
         own may go on\nclinvk: timed out after 1s (--timeout)\n",
    );
}

/// faults.md F6. The answer was lost, and the status 0.
#[test]
fn a_standard_output_that_was_closed_from_the_beginning_is_an_error_before_anything_is_paid() {
    let scene = Scene::playing("echo ran >\"$here/ran\"; cat");
    let run = |line: &str| {
        let line = format!("exec '{}' {line}", env!("CARGO_BIN_EXE_clinvk"));
        scene.program("/bin/sh").args(["-c", &line])
    };
    let error = "clinvk: cannot write `standard output`: it is closed\n";
    for line in [
        "x >&-",
        "-o json x >&-",
        "--dry-run x >&-",
        "compare --backends fake x >&-",
        "map {} x >&-",
        "chain >&-",
        "parallel --json >&-",
        "config show >&-",
        "sessions list --json >&-",
        "sessions list >&-",
        "version >&-",
        "-h >&-",
    ] {
        run(line).fails(1, error);
    }
    assert!(!scene.path("bin/ran").exists());
    // Of the others nothing is lost, but what is said of errors.
    run("x <&-").prints("x\n");
    run("x 2>&-").prints("x\n");
    run("x <&- >/dev/null 2>&-").prints("");
    run("--nope 2>&-").fails(1, "");
    run("<&-").fails(1, "clinvk: there is no prompt: give one as an argument or on standard input\n");
}

/// Only with a controlling terminal of its own could a program ask for a password there, and would be stopped for it.
#[test]
fn a_program_leads_a_session_of_its_own() {
    let scene =
        Scene::playing("read -r pid _ _ _ _ session _ </proc/$$/stat; [ $pid = $session ] && say leads");
    scene.clinvk(["x"]).is("leads\n", "", 0);
}

#[test]
fn a_program_whose_interpreter_is_missing_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let odd = scene.file("work/odd", "#!/no/such/interpreter\n");
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o755)).unwrap();
    scene.config(&json!({"backends": {"odd": {"command": [odd]}}}));
    let seen = scene.clinvk(["-b", "odd", "x"]).seen();
    assert!(
        seen.err.starts_with("clinvk: `ROOT/work/odd` could not be started: ") && seen.status == 2,
        "{seen}"
    );
}

#[test]
fn a_slow_reader_is_not_a_silent_program() {
    // One pipe is full while nobody reads; the program has always something to say.
    let scene = Scene::playing("bytes 1000000; tell filled");
    let (read, write) = sys::pipe().unwrap();
    let run = scene.clinvk(["--stall-timeout", "1s", "x"]).start_into(write);
    // The one thing that nobody can tell: that time has passed.
    std::thread::sleep(Duration::from_millis(1500));
    let mut out = Vec::new();
    let _filled = scene.fifo("filled");
    fs::File::from(read).read_to_end(&mut out).unwrap();
    run.ends("", "", 0);
    assert_eq!(out.len(), 1_000_001);
}

#[test]
fn a_full_disk_is_an_error() {
    let error = "clinvk: cannot write `standard output`: No space left on device (os error 28)\n";
    let scene = Scene::playing("cat");
    for format in ["text", "json", "stream-json"] {
        scene.clinvk(["-o", format, "x"]).start_into(file("/dev/full")).ends("", error, 1);
    }
    scene.is_deserted();
}

#[test]
fn the_child_gets_our_environment_and_not_our_keys() {
    let scene = Scene::playing(r#"env | grep -E '^(A|B|CLINVK_API|CLINVK_HOME)' | sort"#);
    let run =
        scene.clinvk(["x"]).env("A", "1").env("CLINVK_API_KEYS", "k").env("CLINVK_API_KEYS_GOPASS_PATH", "p");
    run.prints("A=1\n");
}

#[test]
fn the_child_gets_what_is_declared_for_it() {
    let scene = Scene::declaring(json!({"env": {"A": "declared", "B": "with 'quotes'"}}), r#"say "$A $B""#);
    scene.clinvk(["x"]).env("A", "inherited").prints("declared with 'quotes'\n");
}

#[test]
fn a_run_has_a_marker_and_a_nested_one_appends_its_own() {
    let scene = Scene::playing("say $CLINVK_RUN");
    let outer = scene.fake("outer", &format!("exec '{}' x", env!("CARGO_BIN_EXE_clinvk")));
    let config = json!({"default_backend": "fake", "backends":
        {"fake": {"command": [scene.text("bin/fake")]}, "outer": {"command": [outer]}}});
    scene.config(&config);
    let marker = |args: &[&str]| scene.clinvk(args).seen().out.trim_end().to_owned();
    let (one, two) = (marker(&["x"]), marker(&["-b", "outer", "x"]));
    let parts: Vec<&str> = two.split(':').collect();
    // What is random, and whose it is: process, start, namespace, home.
    let words: Vec<Vec<&str>> = parts.iter().map(|part| part.split('-').collect()).collect();
    assert!(!one.contains(':') && words.len() == 2, "{one}, {two}");
    assert!(words.iter().all(|words| words.len() == 5 && words[0].len() == 32), "{two}");
    assert!(
        words[0][0] != words[1][0] && words[0][1] != words[1][1] && words[0][3..] == words[1][3..],
        "{two}"
    );
}

#[test]
fn runs_inside_each_other_have_an_end_though_an_agent_throws_its_environment_away() {
    let scene = Scene::playing("say $CLINVK_DEPTH");
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let depth = |depth: &str| scene.clinvk(["x"]).env("CLINVK_DEPTH", depth).seen();
    assert_eq!((&*depth("0").out, &*depth("2").out), ("1\n", "3\n"));
    let refused = "clinvk: a run inside 3 others is not allowed: `CLINVK_DEPTH` allows 3 runs inside each other \
                   (an agent may be asking itself)\n";
    scene.clinvk(["x"]).env("CLINVK_DEPTH", "3").fails(1, refused);
    let odd = "clinvk: the variable CLINVK_DEPTH is `much`, and has to be a whole number\n";
    scene.clinvk(["x"]).env("CLINVK_DEPTH", "much").fails(1, odd);
    // An agent that asks itself.
    let itself = |start: &str| scene.fake("itself", &format!("exec {start} '{clinvk}' -b itself x"));
    let program = itself("");
    scene.config(&json!({"backends": {"itself": {"command": [program]}}}));
    let innermost = |seen: Seen| {
        assert_eq!(seen.err.matches("a run inside 3 others").count(), 1, "{seen}");
        // The three around it have failed of it, each with all that the one inside of it had said.
        assert_eq!(
            seen.err.matches("clinvk: itself: the backend ended with exit status 1").count(),
            3,
            "{seen}"
        );
    };
    innermost(scene.clinvk(["-b", "itself", "x"]).env("CLINVK_DEPTH", "0").seen());
    fs::remove_file(scene.path("bin/itself")).unwrap();
    itself(&format!("env -i HOME='{}'", scene.text("home")));
    innermost(scene.clinvk(["-b", "itself", "x"]).env("CLINVK_DEPTH", "0").seen());
}

#[test]
fn the_child_ignores_and_blocks_no_signal_of_its_own() {
    let seen = Scene::playing("exec grep -E '^Sig(Blk|Ign):' /proc/self/status").clinvk(["x"]).seen();
    // The signals behind 31 are the C library's own.
    let masks = seen.out.lines().map(|line| u64::from_str_radix(&line[8..], 16).unwrap() & 0x7fff_ffff);
    assert!(masks.eq([0, 0]), "{seen}");
}

#[test]
fn a_parent_that_ignores_the_end_of_children_does_not_hang_us() {
    let scene = Scene::playing("cat");
    // bash hands an ignored SIGCHLD on; dash does not.
    let line = format!("trap '' CHLD; exec '{}' --timeout 20s hi", env!("CARGO_BIN_EXE_clinvk"));
    scene.program("/bin/bash").args(["-c", &line]).prints("hi\n");
}

#[test]
fn what_ran_before_us_in_our_process_is_left_alone() {
    // In our group, in a group of its own, in a session of its own.
    for start in ["", "set -m; ", "setsid "] {
        let scene = Scene::playing("daemon; cat");
        let sleep = scene.text("bin/sleep");
        let line =
            format!("{start}'{sleep}' 1000 >/dev/null 2>&1 & exec '{}' hi", env!("CARGO_BIN_EXE_clinvk"));
        let run = scene.program("/bin/bash").args(["-c", &line]).start();
        run.ends("hi\n", "", 0);
        let left: Vec<String> = scene.processes().into_values().collect();
        assert_eq!(left, [format!("{sleep} 1000 ")], "{start}");
    }
}

#[test]
fn marks_of_an_outer_agent_are_not_handed_on() {
    let scene = Scene::playing("env | grep -E '^(CLAUDECODE|GEMINI_CLI|CODEX_SANDBOX)=' || say none");
    let run = scene.clinvk(["x"]).env("CLAUDECODE", "1").env("GEMINI_CLI", "1").env("CODEX_SANDBOX", "x");
    run.prints("none\n");
}
