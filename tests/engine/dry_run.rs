//! `--dry-run`: starts nothing, leaves nothing, and says what would be executed: as data, and as text that a shell takes.

use crate::util::scene::Scene;
use serde_json::{Value, json};
use std::fs;

/// Everything that a shell might take for something else.
const ODD: &[&str] = &[
    "plain",
    "two words",
    "it's \"quoted\" and $HOME and `uname` and $(uname) \\ \\n ! # ~ * ? [a] {b,c} ; & | < > \t",
    "two\nlines",
    "a line end\n",
    "END_OF_CLINVK_INPUT",
    "before\nEND_OF_CLINVK_INPUT\nbehind\n",
    "'",
    "ünï 🙂",
    " leading and trailing ",
    "%s %d",
];

/// What a shell prints that is given the dry run.
fn pasted(scene: &Scene, args: &[&str], prompt: &str) -> String {
    let dry = scene.clinvk(["--dry-run"]).args(args).args(["--", prompt]).start().end();
    assert!(dry.out.lines().any(|line| line.contains("Would execute")), "{dry}");
    let script = dry.out.replace("ROOT", &scene.text(""));
    scene.program("/bin/sh").dir("/").stdin(script).seen().out
}

fn agrees(scene: &Scene, args: &[&str], prompt: &str) {
    let run = scene.clinvk(args).args(["--", prompt]).seen().out;
    // The answer's own last line end is ours.
    let mut shell = pasted(scene, args, prompt).trim_end_matches('\n').to_owned();
    shell += "\n";
    assert_eq!(shell, run, "{prompt:?}");
}

#[test]
fn the_text_in_a_shell_answers_as_the_run_does() {
    // Byte by byte, so that nothing is lost at the ends.
    let bytes = Scene::playing("od -c");
    let echo = Scene::new();
    for prompt in ODD {
        agrees(&bytes, &[], prompt);
        agrees(&echo, &["-b", "echo"], prompt);
    }
}

#[test]
fn arguments_variables_and_directories_survive_the_shell() {
    for odd in ODD {
        let keys = json!({
            "command": ["PROGRAM", "first", odd, ""], "prompt": "arg", "prompt_separator": true,
            "env": {"A": odd, "B": ""}, "model_args": ["--model", "{model}"], "system_args": ["--system={system}"],
        });
        let scene = Scene::declaring(keys, r#"printf '%s|' "$@" "$A" "$B" "$PWD"; cat"#);
        let mut config: Value =
            serde_json::from_str(&fs::read_to_string(scene.path("home/.clinvk/config.json")).unwrap())
                .unwrap();
        config["backends"]["fake"]["command"][0] = json!(scene.text("bin/fake"));
        scene.config(&config);
        let dir = scene.path("work").join(odd.trim());
        fs::create_dir_all(&dir).unwrap();
        // A model's name has no control characters.
        let model: String = odd.chars().filter(|letter| !letter.is_control()).collect();
        agrees(&scene, &["-w", dir.to_str().unwrap(), "-m", &model, "--system-prompt", odd], odd);
    }
}

#[test]
fn the_text_is_a_script_for_every_backend() {
    // faults.md E5: `clinvk --dry-run hi | sh`
    let scene = Scene::new();
    for (backend, stdin) in [("claude", "set"), ("codex", "set"), ("gemini", "set"), ("echo", "")] {
        // The real ones are not there: this one says what came of its words.
        if !stdin.is_empty() {
            scene.fake(backend, "printf '%s: ' \"$0\" | sed 's,.*/,,'; cat | wc -l");
        }
        for flags in [&[][..], &["--system-prompt", "it's\ntwo # lines", "--allowed-tools", "Read"]] {
            let lenient = scene.clinvk(["-q", "--dry-run", "--lenient", "-b", backend]).args(flags);
            let dry = lenient.args(["first\n# second; exit 3"]).seen();
            let script = dry.out.replace("ROOT", &scene.text(""));
            let run = scene.program("/bin/sh").dir("/").stdin(script).seen();
            let answered = if stdin.is_empty() {
                run.out == "first\n# second; exit 3"
            } else {
                run.out.starts_with(&format!("{backend}: "))
            };
            assert!(answered && run.err.is_empty() && run.status == 0, "{dry}\n{run}");
        }
    }
}

#[test]
fn the_data_is_what_would_be_executed() {
    let keys = json!({"env": {"A": "1"}, "model_args": ["-m", "{model}"]});
    let scene = Scene::declaring(keys, "say started >>\"$here/started\"");
    for format in ["json", "stream-json"] {
        let seen = scene.clinvk(["--dry-run", "-o", format, "-m", "x", "a prompt"]).seen();
        let said: Value = serde_json::from_str(&seen.out).unwrap();
        let expected = json!({
            "dry_run": true, "backend": "fake", "model": "x", "program": "ROOT/bin/fake", "args": ["-m", "x"],
            "env": {"A": "1"}, "unset": [], "dir": "ROOT/work", "files": [], "overlay": null, "stdin": "a prompt",
            "warnings": [],
        });
        assert!(said == expected && seen.status == 0 && seen.err.is_empty(), "{seen}");
    }
    assert!(!scene.path("bin/started").exists());
}

#[test]
fn it_leaves_nothing() {
    let scene = Scene::playing("cat");
    scene.clinvk(["--dry-run", "hi"]).seen();
    let left = |dir: &str| -> Vec<_> {
        fs::read_dir(scene.path(dir)).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(
        (left("tmp"), left("work"), left("home/.clinvk")),
        (vec![], vec![], vec!["config.json".into()])
    );
}

#[test]
fn it_needs_no_program_and_refuses_what_the_run_would() {
    let scene = Scene::new();
    scene.config(
        &json!({"default_backend": "odd", "backends": {"odd": {"command": ["no-such-program", "a"]}}}),
    );
    let out = "# Would execute:\ncd ROOT/work && printf %s hi | no-such-program a\n";
    scene.clinvk(["--dry-run", "hi"]).prints(out);
    scene.clinvk(["hi"]).env("CLINVK_UNIFIED_FLAGS_DRY_RUN", "1").prints(out);
    let seen = scene.clinvk(["--dry-run", "--effort", "low", "hi"]).seen();
    assert!(seen.status == 1 && seen.out.is_empty(), "{seen}");
    let warning = "clinvk: backend `odd` cannot honour effort: a declared command has nothing for it\n";
    scene.clinvk(["--dry-run", "--effort", "low", "--lenient", "hi"]).is(out, warning, 0);
}
