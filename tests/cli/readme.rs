//! README: its recipes are run as they stand there, and what it takes from tables is held to them.

use crate::util::scene::Scene;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const README: &str = include_str!("../../README.md");

/// One way in which a recipe is run.
struct Row {
    recipe: &'static str,
    /// What codex answers.
    codex: &'static str,
    /// Who answers where none is named.
    backend: &'static str,
    /// What is printed, on standard output and on standard error, and the status.
    printed: [&'static str; 2],
    status: i32,
    /// What is in the file then.
    file: (&'static str, &'static str),
}

const PLAIN: Row =
    Row { recipe: "", codex: "yes", backend: "echo", printed: ["", ""], status: 0, file: ("app.log", LOG) };
const LOG: &str = "disk full\n";
const REVIEW: Row = Row { recipe: "A review of a change, in CI", ..PLAIN };
const OPINIONS: Row = Row { recipe: "Two opinions", ..PLAIN };
const CRON: Row = Row { recipe: "A cron job, whose errors cron mails", ..PLAIN };

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { codex: "OK: a new line", file: ("review.txt", "OK: a new line\n"), ..REVIEW },
    Row { codex: "PROBLEM: a new line", file: ("review.txt", "PROBLEM: a new line\n"), status: 1, ..REVIEW },
    Row {
        recipe: "Every file of a list, and none twice",
        printed: ["", "...2 completed, 0 failed (...2 completed, 0 failed, 2 done before (..."],
        // In the order in which they end.
        file: ("reviews.jsonl", r#"..."content":"What is wrong with ....py?"..."content":"What is wrong with ....py?"..."#),
        ..PLAIN
    },
    Row {
        recipe: "A loop of the shell",
        file: ("index.txt", "One line: what does a.py do?\nOne line: what does b.py do?\n"),
        ..PLAIN
    },
    Row { printed: ["== claude (...)\nyes\n\n== codex (...)\nyes\n\n", ""], ..OPINIONS },
    Row { codex: "no", printed: ["== claude (...)\nno\n\nthey differ, or one has failed\n", "..."], ..OPINIONS },
    Row {
        recipe: "A pipeline",
        printed: ["Shorten to three lines: Write release notes from these commits: c0ffee a commit\n", ""],
        ..PLAIN
    },
    Row { file: ("today.txt", "What in this log needs a person?...disk full\n..."), ..CRON },
    Row { backend: "nobody", printed: ["", "...clinvk: status 3\n"], file: ("today.txt", ""), ..CRON },
    Row {
        recipe: "A program that was made for OpenAI",
        printed: [r#"..."object":"chat.completion"..."content":"hello"..."#, "..."],
        file: ("serve.log", "..."),
        ..PLAIN
    },
];

const GIT: &str = r#"
case $* in
"ls-files *.py") say a.py; say b.py ;;
"log --oneline -5") say c0ffee a commit ;;
diff*) say '+a new line' ;;
*) exit 1 ;;
esac
"#;

/// It says yes.
const CLAUDE: &str = r#"
while read -r line; do case $line in *'"type":"user"'*) break ;; esac; done
say '{"type":"system","subtype":"init","session_id":"00000000-0000-4000-8000-000000000001","model":"m","claude_code_version":"2.1.332"}'
say '{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"yes"}]}}'
say '{"type":"result","subtype":"success","is_error":false,"result":"yes","usage":{"input_tokens":3,"output_tokens":2}}'
cat >/dev/null
"#;

const CODEX: &str = r#"
while read -r line; do
  case $line in
    *'"method":"initialize"'*) say '{"id":1,"result":{"userAgent":"clinvk/0.171.0 (x)"}}' ;;
    *'"method":"config/read"'*) say '{"id":6,"result":{"config":{}}}' ;;
    *'"method":"thread/unsubscribe"'*) exit ;;
    *'"method":"thread/'*) say '{"id":2,"result":{"thread":{"id":"01a20432-1292-7ee1-b251-b9d2139ecc6e"},"model":"m"}}' ;;
    *'"method":"turn/start"'*)
      say '{"id":3,"result":{"turn":{"id":"U"}}}'
      say '{"method":"item/completed","params":{"item":{"type":"agentMessage","id":"m","text":"ANSWER"}}}'
      say '{"method":"turn/completed","params":{"turn":{"id":"U","status":"completed"}}}' ;;
  esac
done
"#;

/// The parts of the section by their headings, each with its lines of code.
fn recipes() -> Vec<(&'static str, String)> {
    let section = README.split_once("\n## Recipes\n").unwrap().1.split("\n## ").next().unwrap();
    let part = |part: &'static str| {
        let code = |line: &str| Some(format!("{}\n", line.strip_prefix("    ")?));
        (part.lines().next().unwrap(), part.lines().filter_map(code).collect())
    };
    section.split("\n### ").skip(1).map(part).collect()
}

/// `wanted` has three dots where anything may stand.
fn is_like(said: &str, wanted: &str) -> bool {
    let mut parts = wanted.split("...");
    let mut rest = parts.next().and_then(|first| said.strip_prefix(first));
    let mut last = "";
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(last)).map(|(_, rest)| rest);
        last = part;
    }
    match wanted.contains("...") {
        true => rest.is_some_and(|rest| rest.ends_with(last)),
        false => rest == Some(""),
    }
}

#[test]
#[allow(clippy::print_stderr)] // one that cannot be run is named
fn every_recipe_does_what_it_says_as_it_stands() {
    let recipes = recipes();
    let named: BTreeSet<&str> = recipes.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(named, ROWS.iter().map(|row| row.recipe).collect::<BTreeSet<_>>());
    for row in ROWS {
        let code = &recipes.iter().find(|(heading, _)| *heading == row.recipe).unwrap().1;
        if code.contains("curl") && !Path::new("/usr/bin/curl").exists() {
            eprintln!("NOT RUN, there is no curl: {}", row.recipe);
            continue;
        }
        if code.contains("clinvk serve") && cfg!(not(feature = "serve")) {
            continue;
        }
        let scene = Scene::new();
        symlink(env!("CARGO_BIN_EXE_clinvk"), scene.path("bin/clinvk")).unwrap();
        scene.fake("git", GIT);
        scene.fake("claude", CLAUDE);
        scene.fake("codex", &CODEX.replace("ANSWER", row.codex));
        scene.fake("gemini", "exit 1");
        scene.file("work/app.log", LOG);
        let seen = scene.program("/bin/sh").args(["-c", code]).env("CLINVK_BACKEND", row.backend).seen();
        let (name, wanted) = row.file;
        let file =
            fs::read_to_string(scene.path("work").join(name)).unwrap_or_else(|error| error.to_string());
        assert!(
            is_like(&seen.out, row.printed[0])
                && is_like(&seen.err, row.printed[1])
                && is_like(&file, wanted)
                && seen.status == row.status,
            "{}, codex says `{}`:\n{code}\n{seen}\n{name}: {file:?}",
            row.recipe,
            row.codex
        );
        scene.is_deserted();
    }
}

#[test]
fn how_a_vendors_program_is_got_is_what_clinvk_says_itself() {
    let seen = Scene::new().clinvk(["backends", "--all", "--json"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let all = said["backends"].as_array().unwrap();
    for backend in all.iter().filter(|backend| backend["oldest"].is_string()) {
        let word = |name: &str| backend[name].as_str().unwrap();
        let row = format!("| {} | `{}` | {} |\n", word("name"), word("install"), word("login"));
        assert!(README.contains(&row), "{row}");
    }
}
