//! How a run is stopped, and that nothing of it is left: time limits, signals, a reader that left, daemons.

use crate::util::scene::{Scene, is_stopped, until};
use clinvk::base::sys;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

/// A child that never ends, nor do its own.
const HANG: &str = "printf half; tell up $$; \"$here/sleep\" 1000 & \"$here/sleep\" 1000";
/// The same, deaf to whoever asks nicely.
const STUBBORN: &str =
    "trap '' INT TERM HUP QUIT; printf half; tell up $$; while :; do \"$here/sleep\" 1000; done";

#[test]
fn a_run_past_its_time_limit_is_over_with_all_its_processes() {
    for play in [HANG, STUBBORN] {
        let scene = Scene::playing(play);
        let _up = scene.fifo("up");
        scene.clinvk(["--timeout", "1s", "x"]).is("half\n", "clinvk: timed out after 1s (--timeout)\n", 6);
        scene.is_deserted();
    }
}

#[test]
fn a_silent_run_is_over_at_its_stall_limit() {
    let scene = Scene::playing(HANG);
    let _up = scene.fifo("up");
    let error = "clinvk: timed out: no output for 1s (--stall-timeout)\n";
    scene.clinvk(["--stall-timeout", "1s", "x"]).is("half\n", error, 6);
    scene.is_deserted();
}

#[test]
fn a_run_without_an_answer_is_over_at_its_first_byte_limit() {
    let play = r#"while :; do say '{"note":"busy"}'; "$here/sleep" 0.1; done"#;
    let scene = Scene::declaring(json!({"output": "jsonl", "fields": {"text": "text"}}), play);
    let error = "clinvk: timed out: nothing of the answer after 1s (--first-byte-timeout)\n";
    scene.clinvk(["--first-byte-timeout", "1s", "x"]).fails(6, error);
    scene.is_deserted();
}

#[test]
fn the_limits_of_the_configuration_hold_and_flags_win() {
    let scene = Scene::playing("await go; cat");
    let mut go = scene.fifo("go");
    scene
        .clinvk(["x"])
        .env("CLINVK_UNIFIED_FLAGS_COMMAND_TIMEOUT_SECS", "1")
        .fails(6, "clinvk: timed out after 1s (--timeout)\n");
    go.tell();
    scene.clinvk(["--timeout", "0", "x"]).env("CLINVK_UNIFIED_FLAGS_COMMAND_TIMEOUT_SECS", "1").prints("x\n");
}

#[test]
fn a_time_limit_is_told_in_every_format() {
    let scene = Scene::playing("printf half; exec \"$here/sleep\" 1000");
    for format in ["json", "stream-json"] {
        let seen = scene.clinvk(["--timeout", "1s", "-o", format, "x"]).seen();
        let last: serde_json::Value = serde_json::from_str(seen.out.lines().last().unwrap()).unwrap();
        // The same facts as for a run that ended by itself: scripts go on with the session, and count what it cost.
        let (facts, used) =
            if format == "json" { (&last, "usage") } else { (&last["content"], "token_usage") };
        let is_whole =
            last["session_id"].is_string() && facts[used].is_object() && facts["warnings"].is_array();
        assert!(facts["kind"] == "timeout" && is_whole && seen.status == 6, "{seen}");
    }
}

#[test]
fn a_signal_cancels_a_run_with_all_its_processes() {
    for signal in sys::ending_signals() {
        let scene = Scene::playing(HANG);
        let mut up = scene.fifo("up");
        let run = scene.clinvk(["-o", "json", "x"]).start();
        up.told();
        run.signal(signal);
        let seen = run.end();
        // Whatever it dies of, it has said what there is to be said.
        let said: serde_json::Value = serde_json::from_str(&seen.out).unwrap_or_default();
        let status = match signal {
            sys::SIGTERM | sys::SIGHUP | sys::SIGQUIT => 7,
            // faults.md F5.
            signal => -signal,
        };
        assert!(said["kind"] == "cancelled" && said["content"] == "half", "{signal}: {seen}");
        assert_eq!((&*seen.err, seen.status), ("clinvk: cancelled\n", status), "{signal}");
        scene.is_deserted();
    }
}

/// faults.md E4.
#[test]
fn a_shells_loop_ends_with_the_prompt_that_was_interrupted() {
    let scene = Scene::playing("printf \"$(cat) \"; tell up; exec \"$here/sleep\" 1000");
    let mut up = scene.fifo("up");
    let line = format!("for i in 1 2 3; do '{}' $i; done; echo on", env!("CARGO_BIN_EXE_clinvk"));
    let mut run = scene.program("setsid").args(["/bin/bash", "-c", &line]).start();
    up.told();
    run.says("1");
    // As a terminal does it: to all that it has in the foreground.
    sys::kill_group(run.pid, sys::SIGINT).unwrap();
    run.ends("1 \n", "clinvk: cancelled\n", -sys::SIGINT);
    scene.is_deserted();
}

#[test]
fn a_stubborn_program_is_killed_after_the_grace() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let mut run = scene.clinvk(["x"]).start();
    up.told();
    run.says("half");
    run.signal(sys::SIGINT);
    run.ends("half\n", "clinvk: cancelled\n", -sys::SIGINT);
    scene.is_deserted();
}

#[test]
fn a_program_may_clean_up_when_it_is_asked_to_stop() {
    let scene = Scene::playing(
        "trap 'tell asked; await go; tell clean; exit' TERM; tell up; while :; do await never; done",
    );
    let [mut up, mut asked, mut go, mut clean, _never] =
        ["up", "asked", "go", "clean", "never"].map(|name| scene.fifo(name));
    let run = scene.clinvk(["x"]).start();
    up.told();
    run.signal(sys::SIGTERM);
    asked.told();
    go.tell();
    clean.told();
    run.ends("", "clinvk: cancelled\n", 7);
}

#[test]
fn a_daemon_is_gone_with_its_run_however_it_ends() {
    for (end, out, error, status) in [
        ("printf done", "done\n", "", 0),
        (
            "exit 9",
            "",
            "clinvk: fake: the backend ended with exit status 9 and said nothing on standard error\n",
            9,
        ),
        ("exec \"$here/sleep\" 1000", "", "clinvk: timed out after 1s (--timeout)\n", 6),
    ] {
        // In a session of its own; without a parent; without its environment: all hold the pipe.
        for start in ["setsid \"$here/sleep\" 1000 &", "(setsid \"$here/sleep\" 1000 &)", "daemon"] {
            let scene = Scene::playing(&format!("{start}\n{end}"));
            scene.clinvk(["--timeout", "1s", "x"]).is(out, error, status);
            scene.is_deserted();
        }
    }
}

#[test]
fn a_tree_of_sessions_is_gone_with_a_cancelled_run() {
    let play =
        "setsid sh -c 'setsid \"$0/sleep\" 1000 & tell() { echo >\"$0/up\"; }; tell; wait' \"$here\" & wait";
    let scene = Scene::playing(play);
    let mut up = scene.fifo("up");
    let run = scene.clinvk(["x"]).start();
    up.told();
    run.signal(sys::SIGTERM);
    run.ends("", "clinvk: cancelled\n", 7);
    scene.is_deserted();
}

#[test]
fn a_second_signal_takes_away_the_grace_of_a_stubborn_program() {
    // Shown by order, with a grace of an hour, in `in_process`; here: that the second one is heard at all.
    let scene = Scene::playing("trap 'tell asked' TERM; tell up; while :; do await never; done");
    let [mut up, mut asked, _never] = ["up", "asked", "never"].map(|name| scene.fifo(name));
    let run = scene.clinvk(["x"]).start();
    up.told();
    run.signal(sys::SIGINT);
    asked.told();
    run.signal(sys::SIGINT);
    run.ends("", "clinvk: cancelled\n", -sys::SIGINT);
    scene.is_deserted();
}

#[test]
fn a_stopped_run_stops_its_tree_goes_on_and_loses_no_time() {
    let scene = Scene::playing(
        "printf 'one '; setsid sh -c 'await() { read -r _ <\"$0/go\"; }; await; printf two' \"$here\"; tell up",
    );
    let mut go = scene.fifo("go");
    let _up = scene.fifo("up");
    let mut run = scene.clinvk(["--stall-timeout", "2s", "x"]).start();
    run.says("one");
    until("all of the tree", || scene.processes().len() >= 3);
    run.signal(sys::SIGTSTP);
    until("stopped", || scene.processes().keys().all(|pid| is_stopped(*pid)));
    // Longer than the limit: nobody can tell that time has passed.
    std::thread::sleep(Duration::from_millis(2500));
    run.signal(sys::SIGCONT);
    until("going on", || scene.processes().keys().all(|pid| !is_stopped(*pid)));
    go.tell();
    run.ends("one two\n", "", 0);
}

#[test]
fn a_suspended_run_can_be_cancelled() {
    let scene = Scene::playing(HANG);
    let mut up = scene.fifo("up");
    let mut run = scene.clinvk(["x"]).start();
    up.told();
    run.says("half");
    run.signal(sys::SIGTSTP);
    until("stopped", || scene.processes().keys().all(|pid| is_stopped(*pid)));
    run.signal(sys::SIGTERM);
    run.signal(sys::SIGCONT);
    run.ends("half\n", "clinvk: cancelled\n", 7);
    scene.is_deserted();
}

#[test]
fn signals_that_were_ignored_before_us_stay_ignored() {
    let scene = Scene::playing("tell up; await go; cat");
    let [mut up, mut go] = ["up", "go"].map(|name| scene.fifo(name));
    let line = format!("trap '' HUP INT; exec '{}' hi", env!("CARGO_BIN_EXE_clinvk"));
    let run = scene.program("/bin/sh").args(["-c", &line]).start();
    up.told();
    run.signal(sys::SIGHUP);
    run.signal(sys::SIGINT);
    go.tell();
    run.ends("hi\n", "", 0);
}

#[test]
fn a_program_that_reads_to_the_end_of_its_input_ends_when_clinvk_is_killed() {
    // What a two-way child does; a prompt of this size is never through.
    let scene = Scene::playing("head -c 1 >/dev/null; tell up; await go; cat >/dev/null; tell over");
    let [mut up, mut go, mut over] = ["up", "go", "over"].map(|name| scene.fifo(name));
    let run = scene.clinvk(["-"]).stdin("x".repeat(1 << 20)).start();
    up.told();
    run.signal(sys::SIGKILL);
    run.ends("", "", -sys::SIGKILL);
    go.tell();
    over.told();
}

/// faults.md F5: for SIGKILL.
#[test]
fn what_a_killed_clinvk_has_left_is_named_by_the_next_run_and_ended_by_fsck() {
    let scene =
        Scene::playing("exec <&- >&- 2>&-; setsid \"$here/sleep\" 1000 & tell up; exec \"$here/sleep\" 1000");
    let mut up = scene.fifo("up");
    let run = scene.clinvk(["--ephemeral", "x"]).start();
    up.told();
    let fsck = |args: &[&str]| scene.clinvk(["sessions", "fsck"]).args(args).seen();
    assert_eq!(fsck(&[]).out, "nothing is wrong\n", "its clinvk is still there");
    run.signal(sys::SIGKILL);
    assert_eq!(run.end().status, -sys::SIGKILL);
    until("both sleep", || {
        scene.processes().values().filter(|line| line.ends_with("sleep 1000 ")).count() == 2
    });
    let left: Vec<i32> = scene.processes().into_keys().collect();
    let elsewhere = scene.clinvk(["sessions", "fsck"]).env("CLINVK_HOME", scene.text("other")).seen();
    assert_eq!(elsewhere.out, "nothing is wrong\n");
    // Read from /proc, in whatever order it has them.
    let told = |text: &str| left.iter().all(|pid| text.contains(&pid.to_string()));
    let next =
        scene.clinvk(["-b", "echo", "--timeout", "1s", "x"]).env("CLINVK_BACKENDS_ECHO_HANG", "true").seen();
    let words = "are left of a run whose clinvk was killed: `clinvk sessions fsck` ends what is left\n";
    assert!(next.err.contains(words) && told(&next.err), "{next}");
    let dry = fsck(&["--dry-run"]);
    assert!(dry.out.contains("process: process ") && told(&dry.out), "{dry}");
    assert_eq!(scene.processes().len(), 2);
    let said = fsck(&[]);
    assert!(told(&said.out), "{said}");
    until("they are gone", || scene.processes().is_empty());
    assert_eq!(fsck(&[]).out, "nothing is wrong\n");
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    for play in [
        "while :; do say line; done",
        // Silent behind its first line: only looking around finds out.
        "say line; printf more; exec \"$here/sleep\" 1000",
    ] {
        for format in ["text", "stream-json"] {
            let scene = Scene::playing(play);
            let (read, write) = sys::pipe().unwrap();
            let run = scene.clinvk(["-o", format, "x"]).start_into(write);
            let mut line = String::new();
            BufReader::new(fs::File::from(read)).read_line(&mut line).unwrap();
            run.ends("", "", 0);
            scene.is_deserted();
        }
    }
}

#[test]
fn a_reader_that_never_reads_does_not_hold_up_the_end() {
    let (terminated, timed_out) = ("clinvk: cancelled\n", "clinvk: timed out after 1s (--timeout)\n");
    for (limit, error, status) in [("0", terminated, 7), ("1s", timed_out, 6)] {
        let scene = Scene::playing("bytes 70000; tell filled; bytes 1000000");
        let mut filled = scene.fifo("filled");
        let (read, write) = sys::pipe().unwrap();
        let run = scene.clinvk(["--timeout", limit, "x"]).start_into(write);
        filled.told();
        if status == 7 {
            run.signal(sys::SIGTERM);
        }
        run.ends("", error, status);
        drop(read);
        scene.is_deserted();
    }
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_hold_up_the_end() {
    let scene = Scene::playing("while :; do say a line that is told on standard error too; done");
    let _err = scene.fifo("err");
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let line = format!("exec '{clinvk}' -v --timeout 1s x >/dev/null 2>'{}'", scene.text("bin/err"));
    scene.program("/bin/sh").args(["-c", &line]).is("", "", 6);
    scene.is_deserted();
}
