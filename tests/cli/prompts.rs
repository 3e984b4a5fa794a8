//! Prompts that are kept in files: `--prompt-file`, `-t`, `--var`, `clinvk prompts`.

use super::terminal::on_a_terminal;
use crate::util::run::Run;
use crate::util::scene::Scene;
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A scene with these prompts, and the backend that repeats the prompt.
fn keeping(prompts: &[(&str, &str)]) -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    fs::create_dir_all(scene.path("home/.clinvk/prompts")).unwrap();
    for (name, text) in prompts {
        scene.file(&format!("home/.clinvk/prompts/{name}.md"), text);
    }
    scene
}

const REVIEW: (&str, &str) = ("review", "Review {{lang}}:\n{{input}}\nBriefly.\n");

#[test]
fn a_prompt_file_is_put_around_what_would_be_the_prompt_without_it() {
    let scene = keeping(&[REVIEW, ("plain", "Be brief."), ("preset", "---\n{\"tags\": [\"t\"]}\n---\n")]);
    scene.file("work/p.md", "<{{input}}> {{{{input}}\n");
    scene.file("work/a.txt", "a");
    let file = "<file name=\"a.txt\">\na\n</file>";
    for (args, stdin, prompt) in [
        (&["--prompt-file", "p.md", "hi"][..], "", "<hi> {{input}}"),
        (&["--prompt-file", "p.md"], "{{input}} {{{{", "<{{input}} {{{{> {{input}}"),
        (&["--prompt-file", "p.md", "hi"], "a diff", "<hi\n\na diff> {{input}}"),
        (&["--prompt-file", "p.md", "-"], "a diff", "<a diff> {{input}}"),
        (&["--prompt-file", "p.md", "login"], "", "<login> {{input}}"),
        (&["-t", "review", "--var", "lang=C=C", "hi"], "", "Review C=C:\nhi\nBriefly."),
        (&["hi", "--template=review", "--var", "lang={{input}}"], "", "Review {{input}}:\nhi\nBriefly."),
        (&["-t", "plain"], "", "Be brief."),
        (&["-t", "plain"], " \n", "Be brief."),
        (&["-t", "plain", "-n"], "left alone", "Be brief."),
        (&["-t", "plain", "hi"], "", "Be brief.\n\nhi"),
        (&["-t", "plain"], "a diff", "Be brief.\n\na diff"),
        (&["-t", "preset", "hi"], "", "hi"),
        (&["--prompt-file", "p.md", "-f", "a.txt"], "", &format!("<{file}> {{{{input}}}}")),
        (&["--prompt-file", "p.md", "hi", "-f", "a.txt"], "", &format!("<hi\n\n{file}> {{{{input}}}}")),
        (
            &["compare", "-q", "--race", "--backends", "echo", "--prompt-file", "p.md", "hi"],
            "",
            "<hi> {{input}}",
        ),
    ] {
        let seen = scene.clinvk(args).stdin(stdin).seen();
        assert!(
            seen.out == format!("{prompt}\n") && seen.status == 0 && seen.err.is_empty(),
            "{args:?}: {seen}"
        );
    }
    scene.clinvk(["resume", "--last", "--prompt-file", "p.md", "on"]).prints("<on> {{input}}\n");
    scene.clinvk(["-c", "-t", "plain"]).prints("Be brief.\n");
}

/// As `-f` of `parallel` takes its file.
#[test]
fn a_prompt_file_may_be_a_pipe_or_standard_input() {
    let scene = keeping(&[]);
    scene.file("work/p.md", "<{{input}}>");
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let line =
        format!("'{clinvk}' --prompt-file <(cat p.md) hi; cat p.md | '{clinvk}' --prompt-file /dev/stdin hi");
    scene.program("bash").args(["-c", &line]).prints("<hi>\n<hi>\n");
    for file in ["-", "/dev/stdin"] {
        scene.clinvk(["--prompt-file", file, "hi"]).stdin("<{{input}}>").prints("<hi>\n");
        // A file that is standard input is read once.
        let line = format!("'{clinvk}' --prompt-file {file} <p.md");
        let needs = "clinvk: `standard input` needs an input: give one as an argument, or `-` to read standard input\n";
        scene.program("/bin/sh").args(["-c", &line]).fails(1, needs);
    }
    for (args, error) in [
        (&["--prompt-file", "-", "-"][..], "`-` is the prompt file already"),
        (&["--prompt-file", "-", "-n", "x"], "`--prompt-file -` and `--no-stdin` exclude each other"),
        (
            &["chat", "--prompt-file", "-"],
            "`--prompt-file -`: the lines of a chat are read from standard input",
        ),
        (&["map", "--prompt-file", "-"], "`--prompt-file -`: the list is read from standard input"),
    ] {
        scene.clinvk(args).stdin("x").fails(1, &format!("clinvk: {error}\n"));
    }
    scene.file("work/list", "a\nb\n");
    let seen = scene
        .clinvk(["map", "-q", "-P", "1", "-f", "list", "--prompt-file", "-"])
        .stdin("<{{input}}>")
        .seen();
    assert_eq!(contents(&seen.out), ["<a>", "<b>"], "{seen}");
}

#[test]
fn what_is_wrong_with_a_prompt_file_is_said_before_anything_runs() {
    let scene = keeping(&[REVIEW, ("plain", "x"), ("two", "{{a}} {{b}} {{a}}")]);
    scene.file("work/modle.md", "---\n{\"modle\": \"x\"}\n---\nhi");
    scene.file("work/open.md", "a {{b");
    scene.file("work/utf.md", b"a\xff");
    fs::File::create(scene.path("work/long.md")).unwrap().set_len((16 << 20) + 1).unwrap();
    let folder = "ROOT/home/.clinvk/prompts";
    for (args, error) in [
        (&["--prompt-file", "modle.md"][..], "modle.md:2:8: unknown field `modle`: did you mean `model`?"),
        (&["--prompt-file", "open.md"], "open.md: `{{b` has no `}}` behind it: a literal `{{` is `{{{{`"),
        (&["--prompt-file", "utf.md"], "cannot read `utf.md`: it is not valid UTF-8"),
        (
            &["--prompt-file", "long.md"],
            "cannot read `long.md`: it has more than 16777216 bytes, which are not read",
        ),
        (&["--prompt-file", "."], "cannot read `.`: Is a directory (os error 21)"),
        (&["--prompt-file", "gone.md"], "cannot read `gone.md`: No such file or directory (os error 2)"),
        (&["-t", "reviw"], "unknown prompt `reviw`: did you mean `review`?"),
        (&["-t", "else"], "unknown prompt `else`: known are plain, review, two"),
        (
            &["-t", "../prompts/plain"],
            &format!(
                "`--template ../prompts/plain`: a name is that of a file in `{folder}`, without its `.md`: \
                 `--prompt-file` takes any other"
            ),
        ),
        (&["-t", "plain", "--prompt-file", "x"], "`--template` and `--prompt-file` exclude each other"),
        (
            &["-t", "review", "hi"],
            &format!(
                "`{folder}/review.md` has no value for `{{{{lang}}}}`: give `--var lang=VALUE` (a literal `{{{{` is \
                 `{{{{{{{{`)"
            ),
        ),
        (
            &["-t", "two"],
            &format!(
                "`{folder}/two.md` has no value for `{{{{a}}}}`, `{{{{b}}}}`: give `--var a=VALUE` (a literal \
                 `{{{{` is `{{{{{{{{`)"
            ),
        ),
        (
            &["-t", "review", "--var", "lnag=C", "hi"],
            &format!("`--var lnag`: it is not in `{folder}/review.md`: did you mean `lang`?"),
        ),
        (
            &["-t", "two", "--var", "other=C"],
            &format!("`--var other`: it is not in `{folder}/two.md`: it has a, b"),
        ),
        (
            &["-t", "plain", "--var", "x=y"],
            &format!("`--var x`: it is not in `{folder}/plain.md`: it has no variables for `--var`"),
        ),
        (&["-t", "two", "--var", "a=1", "--var", "a=2"], "`--var a`: it is given twice"),
        (&["-t", "review", "--var", "input=x"], "`--var input`: it has its value from what is asked"),
        (&["-t", "review", "--var", "lang"], "`--var lang`: expected NAME=VALUE"),
        (
            &["--var", "a=1", "hi"],
            "`--var` is for the variables of a prompt file: `-t NAME` or `--prompt-file FILE`",
        ),
        (
            &["-t", "review", "--var", "lang=C"],
            &format!("`{folder}/review.md` needs an input: give one as an argument or on standard input"),
        ),
        (
            &["-n", "-t", "review", "--var", "lang=C"],
            &format!(
                "`{folder}/review.md` needs an input: give one as an argument, or `-` to read standard input"
            ),
        ),
        (&["parallel", "-t", "review"], "`--template` is no flag of `parallel`: see `clinvk parallel -h`"),
        (&["chain", "--prompt-file", "x"], "`--prompt-file` is no flag of `chain`: see `clinvk chain -h`"),
    ] {
        scene.clinvk(args).fails(1, &format!("clinvk: {error}\n"));
    }
    let secret = scene.file("work/secret.md", "x");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o000)).unwrap();
    let denied = "clinvk: cannot read `secret.md`: Permission denied (os error 13)\n";
    scene.clinvk(["--prompt-file", "secret.md"]).by_nobody().fails(1, denied);
    // It is a pipe that nobody writes to.
    let made = scene.program("mkfifo").args([scene.text("home/.clinvk/prompts/pipe.md")]).seen();
    assert_eq!(made.status, 0, "{made}");
    scene
        .clinvk(["-t", "pipe"])
        .fails(1, &format!("clinvk: cannot read `{folder}/pipe.md`: it is no regular file\n"));
    let seen = scene.clinvk(["-t", "reviw", "-o", "json"]).seen();
    assert!(seen.out.contains("did you mean `review`?") && seen.status == 1, "{seen}");
    let none = format!("clinvk: unknown prompt `x`: `{folder}/x.md` is not there\n");
    fs::remove_dir_all(scene.path("home/.clinvk/prompts")).unwrap();
    scene.clinvk(["-t", "x"]).fails(1, &none);
}

/// What a dry run says of the run.
#[track_caller]
fn rehearsed(run: Run) -> Value {
    let seen = run.args(["--dry-run", "--json"]).seen();
    serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

#[test]
fn flags_win_over_the_front_part_and_that_over_variables_and_configuration() {
    let front = json!({"backend": "mine", "model": "small", "workdir": "sub"});
    let scene = keeping(&[("front", &format!("---\n{front}\n---\nhi"))]);
    fs::create_dir(scene.path("work/sub")).unwrap();
    let mine = scene.fake("mine", "cat");
    let mine = json!({"command": [mine], "model_args": ["-m", "{model}"], "model": "large"});
    scene.config(&json!({"default_backend": "echo", "backends": {"mine": mine}}));
    let of = |args: &[&str]| {
        let said = rehearsed(scene.clinvk(["-t", "front"]).args(args).env("CLINVK_BACKEND", "echo"));
        ["backend", "model", "dir"].map(|name| said[name].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(of(&[]), ["mine", "small", "ROOT/work/sub"]);
    assert_eq!(of(&["-m", "huge", "-w", "."]), ["mine", "huge", "ROOT/work"]);
    assert_eq!(of(&["-b", "echo", "-m", "echo"])[0], "echo");
    // How an answer is told is an option, too, in batches as well.
    scene.file("work/json.md", "---\n{\"output_format\": \"json\"}\n---\n<{{input}}>");
    scene.file("work/list", "a\nb\n");
    for (args, place) in [
        (&["a"][..], "/content"),
        (&["compare", "--backends", "echo", "a"], "/results/0/content"),
        (&["map", "-f", "list"], "/results/0/content"),
        (&["chat"], "/content"),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--prompt-file", "json.md"]).collect();
        let seen = scene.clinvk(&args).stdin("a\n").seen();
        let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
        let content = said.pointer(place).unwrap_or(&Value::Null);
        assert!(
            content.as_str().is_some_and(|text| text.starts_with("<a")) && seen.err.is_empty(),
            "{args:?}: {seen}"
        );
    }
    scene.clinvk(["--prompt-file", "json.md", "-o", "text", "a"]).prints("<a>\n");
    scene.file("work/gone.md", "---\n{\"ephemeral\": true}\n---\n<{{input}}>");
    let refused = "clinvk: gone.md: `ephemeral` is for one prompt, not for a chat\n";
    scene.clinvk(["chat", "--prompt-file", "gone.md"]).stdin("a\n").fails(1, refused);
}

#[test]
fn a_session_that_is_continued_is_one_of_the_backend_in_the_front_part() {
    let home = Home::with(json!({"default_backend": "echo"}));
    let scene = &home.scene;
    let mine = scene.fake("mine", "tail -n 1");
    scene.edit_config(|config| config["backends"]["mine"] = json!({"command": [mine]}));
    let one = |args: &[&str]| {
        let seen = scene.clinvk(args).args(["-o", "json"]).seen();
        serde_json::from_str::<Value>(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"))
    };
    let of_mine = one(&["-b", "mine", "first"])["session_id"].clone();
    one(&["second"]);
    scene.file("work/mine.md", "---\n{\"backend\": \"mine\"}\n---\nmore");
    let said = one(&["-c", "--prompt-file", "mine.md"]);
    assert_eq!(
        (&said["session_id"], &said["backend"], &said["content"]),
        (&of_mine, &json!("mine"), &json!("more"))
    );
}

fn contents(lines: &str) -> Vec<String> {
    let content =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["content"].as_str().unwrap().to_owned();
    lines.lines().map(content).collect()
}

#[test]
fn map_puts_the_prompt_file_around_each_item() {
    let scene = keeping(&[("item", "<{{item}}|{{n}}|{{base}}> {}"), ("plain", "Review.")]);
    scene.file("work/p.md", "<{{input}}>");
    scene.file("work/a.txt", "{} {{input}}");
    scene.file("work/files.md", "---\n{\"files\": [\"a.txt\"], \"tags\": [\"t\"]}\n---\n<{{input}}>");
    let file = "<file name=\"a.txt\">\n{} {{input}}\n</file>";
    for (args, first) in [
        (&["--prompt-file", "p.md"][..], "<x/{{n}}.c>"),
        (&["--prompt-file", "p.md", "{n}: {base}"], "<1: {{n}}>"),
        (&["--prompt-file", "p.md", "-I", "@", "@ {}"], "<x/{{n}}.c {}>"),
        (&["-t", "item"], "<x/{{n}}.c|1|{{n}}> {}"),
        (&["-t", "item", "strictly"], "<x/{{n}}.c|1|{{n}}> {}\n\nstrictly"),
        (&["-t", "plain"], "Review.\n\nx/{{n}}.c"),
        (&["--prompt-file", "files.md"], &format!("<x/{{{{n}}}}.c\n\n{file}>")),
    ] {
        let seen = scene.clinvk(["map", "-q", "-P", "1"]).args(args).stdin("x/{{n}}.c\nb\n").seen();
        assert!(seen.status == 0 && contents(&seen.out)[0] == first, "{args:?}: {seen}");
    }
    for (args, error) in [
        (&["-t", "plain", "x"][..], "the prompt has no `{}`: it would be the same for every item"),
        (
            &["-t", "plain", "-I", "@"],
            "`-I` says what stands for the item in a prompt that is typed, and there is none",
        ),
        (&["-t", "item", "--var", "n=1"], "`--var n`: it has its value from what is asked"),
        (&[], "there is no prompt: `clinvk map 'Summarise {}'`"),
    ] {
        scene.clinvk(["map"]).args(args).stdin("a\n").fails(1, &format!("clinvk: {error}\n"));
    }
    // Elsewhere these are variables like any other.
    let args = ["-t", "item", "--var", "item=a", "--var", "n=2", "--var", "base=c", "-n"];
    scene.clinvk(args).prints("<a|2|c> {}\n");
}

#[test]
fn the_first_line_of_a_chat_is_the_input_and_the_options_hold_for_all() {
    let scene = keeping(&[("role", "---\n{\"tags\": [\"role\"]}\n---\n<{{input}}>")]);
    scene.clinvk(["chat", "-t", "role"]).stdin("/file gone\none\ntwo\n").is(
        "<one>\ntwo\n",
        "clinvk: cannot read `gone`: No such file or directory (os error 2)\n",
        1,
    );
    let seen = scene.clinvk(["sessions", "list", "--tag", "role", "--json"]).seen();
    assert!(seen.out.contains("\"total\": 1"), "{seen}");
}

#[test]
fn on_a_terminal_a_prompt_file_that_is_whole_needs_no_input() {
    let scene = keeping(&[("whole", "all of it")]);
    let seen = on_a_terminal(&scene, "exec clinvk -q -t whole").start().end();
    assert!(
        seen.out.contains("all of it") && !seen.out.contains("one interface") && seen.status == 0,
        "{seen}"
    );
}

#[cfg(feature = "serve")]
#[test]
fn a_prompt_file_is_read_here_and_its_options_go_to_the_server() {
    let scene = keeping(&[("role", "---\n{\"tags\": [\"role\"], \"backend\": \"echo\"}\n---\n<{{input}}>")]);
    scene.file("work/list", "a\n");
    let server = scene.serve([]);
    let url = format!("http://{}", server.address);
    scene.clinvk(["--server", &url, "-t", "role", "hi"]).prints("<hi>\n");
    let begun = scene.clinvk(["--server", &url, "--no-wait", "-t", "role", "alone"]).seen();
    scene.clinvk(["wait", "--server", &url, begun.out.trim()]).prints("<alone>\n");
    let mapped = scene.clinvk(["map", "-q", "--server", &url, "-t", "role", "-f", "list"]).seen();
    assert_eq!(contents(&mapped.out), ["<a>"], "{mapped}");
    let seen = scene.clinvk(["sessions", "list", "--tag", "role", "--json"]).seen();
    assert!(seen.out.contains("\"total\": 2"), "{seen}");
}

#[test]
fn those_with_a_name_are_listed_with_what_is_wrong_with_them() {
    let scene = keeping(&[
        (
            "review",
            "---\n{\"backend\": \"codex\", \"model\": \"fast\"}\n---\n\n# Review\n\n{{input}} {{lang}} {{input}}",
        ),
        ("broken", "---\n{\"modle\": 1}\n---\n"),
        (".hidden", "x"),
    ]);
    scene.file("home/.clinvk/prompts/notes.txt", "no prompt");
    scene.file("elsewhere", "\u{1b}[31mred {{a}}");
    symlink(scene.path("elsewhere"), scene.path("home/.clinvk/prompts/linked.md")).unwrap();
    let folder = "ROOT/home/.clinvk/prompts";
    let why = format!("{folder}/broken.md:2:8: unknown field `modle`: did you mean `model`?");
    let seen = scene.clinvk(["prompts", "--json"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
    let row = |name: &str, variables: Value, backend: Value, model: Value, first: Value, error: Value| {
        json!({"name": name, "path": format!("{folder}/{name}.md"), "variables": variables, "backend": backend,
               "model": model, "first_line": first, "error": error})
    };
    let rows = [
        row("broken", json!([]), json!(null), json!(null), json!(null), json!(why)),
        row("linked", json!(["a"]), json!(null), json!(null), json!("\u{1b}[31mred {{a}}"), json!(null)),
        row(
            "review",
            json!(["input", "lang"]),
            json!("codex"),
            json!("fast"),
            json!("# Review"),
            json!(null),
        ),
    ];
    assert_eq!(said, json!({"prompts": rows, "directory": folder}), "{seen}");
    let text = scene.clinvk(["prompts"]).seen();
    let line = |name: &str| text.out.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let words = |name: &str| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words("review"), "review input, lang codex fast # Review", "{text}");
    assert!(words("broken").ends_with(&format!("it cannot be used: {why}")), "{text}");
    assert!(!text.out.contains('\u{1b}') && !text.out.contains("hidden") && text.err.is_empty(), "{text}");
    assert!(text.out.starts_with("NAME ") && text.out.lines().count() == 4 && text.status == 0, "{text}");

    let none = Scene::new().clinvk(["prompts"]).seen();
    assert!(none.err.contains("/NAME.md` is what `-t NAME` uses") && none.status == 0, "{none}");
    scene.clinvk(["prompts", "x"]).fails(1, "clinvk: `prompts` takes no `x`: see `clinvk prompts -h`\n");
    let offered = scene.clinvk(["completions", "--", "map", "-t", "r"]).seen();
    assert_eq!(offered.out, "broken\t\nlinked\t [31mred {{a}}\nreview\t# Review\n", "{offered}");
}
