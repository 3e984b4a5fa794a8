//! Where the prompt comes from.

use super::terminal::on_a_terminal;
use crate::util::run::{Run, file};
use crate::util::scene::Scene;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

const NO_PROMPT: &str = "clinvk: there is no prompt: give one as an argument or on standard input\n";

/// The backend that repeats the prompt.
fn echo(scene: &Scene, args: &[&str]) -> Run {
    scene.clinvk(args).env("CLINVK_BACKEND", "echo")
}

#[test]
fn the_prompt_is_the_argument_or_standard_input_or_both() {
    let scene = Scene::new();
    for (args, stdin, prompt) in [
        (&["hi"][..], "", "hi\n"),
        (&["hi there"], "", "hi there\n"),
        (&[], "from a pipe", "from a pipe\n"),
        (&["-"], "from a pipe\n", "from a pipe\n"),
        (&["hi"], "a diff\n", "hi\n\na diff\n"),
        (&["hi", "-"], "a diff\n", "hi\n\na diff\n"),
        (&["-q", "hi"], "", "hi\n"),
        (&["hi", "-q"], "", "hi\n"),
        (&[""], "a diff\n", "a diff\n"),
        (&["--", "--version"], "", "--version\n"),
        (&["--", "config"], "", "config\n"),
        (&["--", "confg"], "", "confg\n"),
        (&["--", "-"], "", "-\n"),
        (&["--", "--"], "", "--\n"),
        (&["  two\nlines  "], "", "  two\nlines  \n"),
        (&["configure nothing"], "", "configure nothing\n"),
    ] {
        echo(&scene, args).stdin(stdin).prints(prompt);
    }
}

#[test]
fn standard_input_may_be_null_or_closed() {
    let scene = Scene::new();
    echo(&scene, &["hi"]).prints("hi\n");
    let line = format!("exec '{}' -b echo hi <&-", env!("CARGO_BIN_EXE_clinvk"));
    scene.program("/bin/sh").args(["-c", &line]).prints("hi\n");
    let line = format!("exec '{}' -b echo <&-", env!("CARGO_BIN_EXE_clinvk"));
    scene.program("/bin/sh").args(["-c", &line]).fails(1, NO_PROMPT);
}

#[test]
fn nothing_to_say_is_an_error() {
    let scene = Scene::new();
    for (args, stdin) in
        [(&[][..], ""), (&["-"], ""), (&[""], ""), (&["  \n\t"], ""), (&["-"], " \n"), (&["--"], "")]
    {
        echo(&scene, args).stdin(stdin).fails(1, NO_PROMPT);
    }
}

#[test]
fn a_pipe_that_stays_silent_beside_an_argument_is_passed_over_with_a_warning() {
    let warning = "clinvk: nothing came on standard input for 3s: going on without it (`-` beside the prompt waits, \
                   `--no-stdin` ends this warning)\n";
    let scene = Scene::new();
    let runs = [&["hi"][..], &["--file", "a.txt"]].map(|args| {
        scene.file("work/a.txt", "a");
        echo(&scene, args).silent_stdin().start()
    });
    for (run, out) in runs.into_iter().zip(["hi\n", "<file name=\"a.txt\">\na\n</file>\n"]) {
        run.ends(out, warning, 0);
    }
}

#[test]
fn quiet_says_nothing_of_a_silent_pipe() {
    echo(&Scene::new(), &["-q", "hi"]).silent_stdin().prints("hi\n");
}

#[test]
fn a_dash_beside_the_prompt_waits_for_a_slow_pipe() {
    let scene = Scene::new();
    let mut fifo = scene.fifo("slow");
    // Longer than a silent pipe is waited for, and the end of input comes only with the program's.
    let line = format!(
        "(sleep 3.5; cat) <'{}' | '{}' -b echo hi -",
        scene.text("work/late"),
        env!("CARGO_BIN_EXE_clinvk")
    );
    scene.file("work/late", "late");
    fifo.tell();
    scene.program("/bin/sh").args(["-c", &line]).prints("hi\n\nlate\n");
}

#[test]
fn files_follow_the_prompt_with_their_names() {
    let scene = Scene::new();
    scene.file("work/a.txt", "a\n");
    scene.file("work/b.txt", "no end");
    let (a, b) = ("<file name=\"a.txt\">\na\n</file>", "<file name=\"b.txt\">\nno end\n</file>");
    echo(&scene, &["weigh", "--file", "a.txt", "--file", "b.txt"]).prints(&format!("weigh\n\n{a}\n\n{b}\n"));
    echo(&scene, &["--file=a.txt"]).prints(&format!("{a}\n"));
    echo(&scene, &["weigh", "--file", "a.txt"])
        .stdin("with this")
        .prints(&format!("weigh\n\nwith this\n\n{a}\n"));
}

#[test]
fn a_file_that_cannot_be_read_as_text_is_named() {
    let scene = Scene::new();
    scene.file("work/picture", b"\x89PNG\xff");
    let secret = scene.file("work/secret", "secret");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o000)).unwrap();
    for (name, why) in [
        ("missing", "No such file or directory (os error 2)"),
        (".", "Is a directory (os error 21)"),
        ("picture", "not valid UTF-8"),
        ("secret", "Permission denied (os error 13)"),
    ] {
        let run = echo(&scene, &["hi", "--file", name]).by_nobody();
        run.fails(1, &format!("clinvk: cannot read `{name}`: {why}\n"));
    }
}

#[test]
fn several_words_need_quotes() {
    let scene = Scene::new();
    for (args, error) in [
        (&["fix", "the", "test"][..], "the prompt has 3 words: put it in quotes: clinvk 'fix the test'"),
        (&["--", "fix", "it"], "the prompt has 2 words: put it in quotes: clinvk 'fix it'"),
        (&["confg", "show"], "unknown command `confg`: did you mean `config`?"),
    ] {
        echo(&scene, args).fails(1, &format!("clinvk: {error}\n"));
    }
}

#[test]
fn a_lone_word_near_a_command_is_not_a_prompt() {
    let scene = Scene::new();
    for (word, command) in
        [("confg", "config"), ("Config", "config"), ("verson", "version"), ("hlep", "help")]
    {
        let error = format!(
            "clinvk: unknown command `{word}`: did you mean `{command}`? As a prompt: clinvk -- {word}\n"
        );
        echo(&scene, &[word]).fails(1, &error);
    }
    echo(&scene, &["hello"]).prints("hello\n");
}

#[test]
fn bytes_that_are_no_text_are_told() {
    let scene = Scene::new();
    let warning = "clinvk: standard input is not valid UTF-8: the bytes that are none became U+FFFD\n";
    echo(&scene, &[]).stdin(b"a\xffb").is("a\u{fffd}b\n", warning, 0);
    let error = "clinvk: `a\u{fffd}b` is not valid UTF-8\n";
    scene.clinvk([OsStr::from_bytes(b"a\xffb")]).env("CLINVK_BACKEND", "echo").fails(1, error);
}

#[test]
fn a_nul_and_every_other_character_reach_the_program() {
    let odd = "nul \0 bell \u{7} quote ' \" backslash \\ dollar $(x) `y` ünï 🙂 \r\n tab\t.";
    echo(&Scene::new(), &["-"]).stdin(odd).prints(&format!("{odd}\n"));
}

#[test]
fn a_directory_as_standard_input_is_an_error() {
    let scene = Scene::new();
    let dir = fs::File::open(scene.path("work")).unwrap();
    let error = "clinvk: cannot read `standard input`: Is a directory (os error 21)\n";
    echo(&scene, &["hi"]).stdin_from(dir).fails(1, error);
    let list = scene.file("work/list", "a\nb\n");
    echo(&scene, &["hi"]).stdin_from(file(list)).prints("hi\n\na\nb\n");
}

#[test]
fn a_word_that_is_a_command_elsewhere_is_no_prompt_unless_it_is_said_to_be_one() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    for (word, instead) in [
        ("login", "clinvk doctor"),
        ("list", "clinvk sessions list"),
        ("status", "clinvk doctor"),
        ("init", "clinvk doctor"),
        ("modles", "did you mean `models`?"),
    ] {
        let seen = scene.clinvk([word]).seen();
        assert!(seen.status == 1 && seen.err.contains(instead) && seen.out.is_empty(), "{word}: {seen}");
        assert!(seen.err.ends_with(&format!(" As a prompt: clinvk -- {word}\n")), "{seen}");
        scene.clinvk(["--", word]).prints(&format!("{word}\n"));
        let asked = |answer: &str| {
            let mut run = on_a_terminal(&scene, &format!("clinvk -q {word}")).start();
            run.says("send it as a prompt all the same? [y/N] ");
            run.write(answer.as_bytes());
            run.end()
        };
        let seen = asked("y\n");
        assert!(seen.status == 0 && seen.out.ends_with(&format!("y\r\n{word}\r\n")), "{seen}");
        let seen = asked("\n");
        assert!(seen.status == 7 && !seen.out.ends_with(&format!("{word}\r\n")), "{seen}");
    }
    // What stands beside other words, or behind a session, is one.
    scene.clinvk(["list the files"]).prints("list the files\n");
    scene.clinvk(["-c", "status"]).prints("status\n");
}
