//! What the command line prints and how it ends: formats, flags, errors, options that a backend cannot honour, help.

use crate::util::run::Run;
use crate::util::scene::Scene;
use clinvk::cli::{COMMANDS, FLAGS};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The backend that repeats the prompt, with these keys.
fn echo(keys: Value) -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": keys}}));
    scene
}

fn lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The types of the unified events.
fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["type"].as_str().unwrap()).collect()
}

#[test]
fn text_ends_with_one_line_end() {
    let scene = Scene::playing("cat");
    for (prompt, out) in [("a", "a\n"), ("a\n", "a\n"), ("a\n\n\n", "a\n"), ("\n\na\n\nb", "\n\na\n\nb\n")] {
        scene.clinvk(["-"]).stdin(prompt).prints(out);
    }
}

#[test]
fn no_answer_is_no_line() {
    Scene::playing("cat >/dev/null").clinvk(["x"]).prints("");
}

#[test]
fn json_is_one_object() {
    let seen = echo(json!({})).clinvk(["-o", "json", "--ephemeral", "two words"]).seen();
    let mut said = lines(&seen.out);
    assert!(seen.status == 0 && seen.err.is_empty() && said.len() == 1, "{seen}");
    let seconds = said[0]["duration_seconds"].take();
    assert!(seconds.as_f64().is_some_and(|seconds| seconds > 0.0), "{seconds}");
    let usage = json!({"input_tokens": 2, "output_tokens": 2, "total_tokens": 4, "cached_tokens": 0, "reasoning_tokens": 0});
    let expected = json!({
        "backend": "echo", "model": "echo", "content": "two words", "session_id": null, "backend_session_id": "echo",
        "usage": usage, "cost": null, "duration_seconds": null, "exit_code": 0, "kind": null, "error": null, "warnings": [], "permission_denials": 0,
        "tried": [],
    });
    assert_eq!(said[0], expected);
}

#[test]
fn stream_json_is_the_unified_events() {
    let seen = echo(json!({"delay_ms": 1})).clinvk(["-o", "stream-json", "two words"]).seen();
    let said = lines(&seen.out);
    let texts: String = said.iter().filter_map(|line| line["content"]["text"].as_str()).collect();
    let numbers: Vec<u64> = said.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert!(seen.status == 0 && seen.err.is_empty(), "{seen}");
    assert_eq!(types(&said).first(), Some(&"init"), "{seen}");
    assert_eq!(types(&said)[said.len() - 2..], ["token_usage", "done"], "{seen}");
    assert_eq!((texts.as_str(), numbers), ("two words", (0..said.len() as u64).collect()), "{seen}");
    assert!(said.iter().all(|line| line["backend"] == "echo" && line["timestamp"].is_string()), "{seen}");
}

#[test]
fn raw_is_what_the_program_wrote() {
    let keys = json!({"output": "jsonl", "fields": {"text": "text"}});
    let scene =
        Scene::declaring(keys, r#"printf '{"text": "a"}\nno json\n'; say noise >&2; printf '{"text":"b"}'"#);
    scene.clinvk(["--raw", "x"]).is(
        "{\"text\": \"a\"}\nno json\n{\"text\":\"b\"}\n",
        "clinvk: a line of fake's output could not be read: no json\n",
        0,
    );
    Scene::playing("printf 'a\n\n'").clinvk(["--raw", "x"]).prints("a\n\n");
}

#[test]
fn a_failure_is_told_in_every_format() {
    for (kind, status) in [("quota", 1), ("crash", 9), ("timeout", 6), ("login", 1), ("unknown_model", 2)] {
        let scene = echo(json!({"fail": kind, "exit_code": 9}));
        let message = format!("failed with `{kind}` as configured");
        let error = format!("clinvk: echo: {message}\n");
        scene.clinvk(["hi"]).is("", &error, status);
        let seen = scene.clinvk(["-o", "json", "hi"]).seen();
        let said = &lines(&seen.out)[0];
        assert!(
            said["kind"] == kind
                && said["error"] == message
                && said["content"] == ""
                && said["exit_code"] == 9,
            "{seen}"
        );
        assert!(seen.err == error && seen.status == status, "{seen}");
        let seen = scene.clinvk(["-o", "stream-json", "hi"]).seen();
        let said = lines(&seen.out);
        let [.., failed, done] = &said[..] else { panic!("{seen}") };
        assert!(
            failed["content"] == json!({"code": kind, "message": message, "kind": kind, "error": message})
                && done["type"] == "done",
            "{seen}"
        );
        assert!(seen.err == error && seen.status == status, "{seen}");
    }
}

#[test]
fn what_we_refuse_is_told_in_every_format() {
    let scene = echo(json!({}));
    let message = "unknown backend `ech`: did you mean `echo`?";
    for (format, at) in [("json", "/error"), ("stream-json", "/content/message")] {
        let seen = scene.clinvk(["-b", "ech", "-o", format, "hi"]).seen();
        let said = lines(&seen.out);
        assert!(said.len() == 1 && said[0].pointer(at) == Some(&json!(message)), "{seen}");
        assert!(seen.err == format!("clinvk: {message}\n") && seen.status == 2, "{seen}");
    }
}

#[test]
fn tokens_and_time_go_to_standard_error() {
    let scene = echo(json!({}));
    scene.clinvk(["--show-tokens", "two words"]).is(
        "two words\n",
        "tokens: 2 in (0 cached), 2 out (0 reasoning)\n",
        0,
    );
    for run in [
        scene.clinvk(["--show-timing", "hi"]),
        scene.clinvk(["hi"]).env("CLINVK_OUTPUT_SHOW_TIMING", "true"),
        scene.clinvk(["--show-timing", "-o", "json", "hi"]),
    ] {
        let seen = run.seen();
        let number = seen.err.strip_prefix("time: ").and_then(|rest| rest.strip_suffix(" s\n"));
        assert!(number.is_some_and(|number| number.parse::<f64>().is_ok()), "{seen}");
    }
}

#[test]
fn verbose_tells_what_is_done_and_no_secret() {
    let scene =
        Scene::declaring(json!({"env": {"TOKEN": "my-secret"}}), "test \"$TOKEN\" = my-secret && cat");
    for run in [
        scene.clinvk(["-v", "hi"]),
        scene.clinvk(["hi"]).env("CLINVK_DEBUG", "1"),
        scene.clinvk(["hi"]).env("CLINVK_UNIFIED_FLAGS_VERBOSE", "true"),
    ] {
        let seen = run.env("CLINVK_API_KEYS", "my-secret").seen();
        assert!(seen.out == "hi\n" && seen.status == 0, "{seen}");
        assert!(
            seen.err.contains("started pid") && seen.err.contains("event ") && !seen.err.contains("secret"),
            "{seen}"
        );
    }
}

#[test]
fn quiet_wins_over_a_verbose_configuration() {
    let scene = echo(json!({}));
    scene.clinvk(["-q", "hi"]).env("CLINVK_UNIFIED_FLAGS_VERBOSE", "true").prints("hi\n");
    scene.clinvk(["-q", "hi"]).env("CLINVK_NO_SUCH_THING", "1").prints("hi\n");
    let seen = scene.clinvk(["hi"]).env("CLINVK_NO_SUCH_THING", "1").seen();
    assert!(
        seen.err.starts_with("clinvk: unknown variable `CLINVK_NO_SUCH_THING`") && seen.out == "hi\n",
        "{seen}"
    );
}

#[test]
fn words_that_nobody_knows_are_errors() {
    let scene = echo(json!({}));
    for (args, status, error) in [
        (&["--backnd", "echo", "hi"][..], 1, "unknown flag `--backnd`: did you mean `--backend`?"),
        (&["--xyzzy", "hi"], 1, "unknown flag `--xyzzy`"),
        (&["-x", "hi"], 1, "unknown flag `-x`"),
        (&["-b", "claud", "hi"], 2, "unknown backend `claud`: did you mean `claude`?"),
        (&["-b", "", "hi"], 2, "unknown backend ``: known are claude, codex, echo, gemini"),
        (&["--approval", "non", "hi"], 1, "unknown approval mode `non`: did you mean `none`?"),
        (
            &["--approval", "yolo", "hi"],
            1,
            "unknown approval mode `yolo`: known are default, auto, none, always",
        ),
        (&["--sandbox", "read-onyl", "hi"], 1, "unknown sandbox mode `read-onyl`: did you mean `read-only`?"),
        (
            &["--effort", "extreme", "hi"],
            1,
            "unknown effort `extreme`: known are low, medium, high, xhigh, max, ultra",
        ),
        (&["-o", "yaml", "hi"], 1, "unknown output format `yaml`: known are text, json, stream-json"),
        (
            &["--timeout", "soon", "hi"],
            1,
            "`--timeout soon`: expected seconds or a duration such as 90s, 5m or 1h30m; 0 is no limit",
        ),
        (&["--max-turns", "-1", "hi"], 1, "`--max-turns -1`: expected a whole number; 0 is no limit"),
        (
            &["--max-turns", "99999999999", "hi"],
            1,
            "`--max-turns 99999999999`: expected a whole number; 0 is no limit",
        ),
        (&["--json-schema", "[]", "hi"], 1, "json_schema: a JSON schema is an object"),
        (&["--json-schema", "@none", "hi"], 1, "cannot read `none`: No such file or directory (os error 2)"),
        (
            &["-w", "nowhere", "hi"],
            1,
            "cannot use directory `ROOT/work/nowhere`: No such file or directory (os error 2)",
        ),
        (
            &["--add-dir", "nowhere", "hi"],
            1,
            "cannot use directory `ROOT/work/nowhere`: No such file or directory (os error 2)",
        ),
        (&["--model"], 1, "`--model` needs a value: MODEL"),
        (&["--raw=yes", "hi"], 1, "`--raw` takes no value"),
        (&["--origin", "hi"], 1, "`--origin` is no flag of a prompt: see `clinvk -h`"),
        (&["version", "-b", "echo"], 1, "`--backend` is no flag of `version`: see `clinvk version -h`"),
        (&["version", "please"], 1, "`version` takes no `please`: see `clinvk version -h`"),
        (&["help", "map", "set"], 1, "`help` takes no `set`: see `clinvk help -h`"),
        (&["serve", "stop"], 1, "`serve` takes no `stop`: see `clinvk serve -h`"),
        (&["help", "config", "sett"], 1, "unknown command `config sett`: did you mean `config set`?"),
        (
            &["config", "get", "--origin", "x"],
            1,
            "`--origin` is no flag of `config get`: see `clinvk config get -h`",
        ),
        (&["help", "confg"], 1, "unknown command `confg`: did you mean `config`?"),
    ] {
        scene.clinvk(args).fails(status, &format!("clinvk: {error}\n"));
    }
}

#[test]
fn a_disabled_backend_is_refused_by_name() {
    let scene = echo(json!({"enabled": false}));
    let error =
        "clinvk: backend `echo` is disabled: `clinvk config set backends.echo.enabled true` enables it\n";
    scene.clinvk(["hi"]).fails(1, error);
    scene.clinvk(["config", "set", "backends.echo.enabled", "true"]).seen();
    scene.clinvk(["hi"]).prints("hi\n");
}

#[test]
fn an_option_that_the_backend_cannot_honour_is_an_error_or_a_warning() {
    let scene = echo(json!({}));
    scene.file("work/dot.png", b"\x89PNG....");
    scene.file("work/schema", "{}");
    for (args, option, why) in [
        (&["--image", "dot.png"], "images", "it has no eyes"),
        (&["--json-schema", "@schema"], "json schema", "it only repeats the prompt"),
        (&["--effort", "high"], "effort", "it does not think"),
        (&["--extra", "--flag"], "extra flags", "it takes no flags"),
    ] {
        let refused = format!(
            "clinvk: backend `echo` cannot honour {option}: {why} (`--lenient` goes on without it)\n"
        );
        scene.clinvk(args).args(["hi"]).fails(1, &refused);
        let warning = format!("backend `echo` cannot honour {option}: {why}");
        let lenient = |run: Run| run.args(["hi"]);
        lenient(scene.clinvk(args).args(["--lenient"])).is("hi\n", &format!("clinvk: {warning}\n"), 0);
        let in_config =
            scene.clinvk(args).env("CLINVK_UNIFIED_FLAGS_LENIENT", "true").args(["-o", "json", "-q"]);
        let seen = lenient(in_config).seen();
        assert_eq!(lines(&seen.out)[0]["warnings"], json!([warning]), "{seen}");
    }
}

#[test]
fn a_declared_backend_has_nothing_for_most_options() {
    let scene = Scene::playing("cat");
    for (args, option) in [
        (&["-m", "large"], "model"),
        (&["--system-prompt", "be brief"], "system prompt"),
        (&["--append-system-prompt", "be brief"], "appended system prompt"),
        (&["--max-turns", "3"], "max turns"),
        (&["--max-tokens", "3"], "max tokens"),
        (&["--approval", "auto"], "approval auto"),
        (&["--approval", "none"], "approval none"),
        (&["--sandbox", "read-only"], "sandbox read-only"),
        (&["--allowed-tools", "a,b"], "allowed tools"),
        (&["--denied-tools", "a"], "denied tools"),
        (&["--add-dir", "."], "extra directories"),
        (&["--effort", "low"], "effort"),
        (&["--extra", "--flag"], "extra flags"),
    ] {
        let seen = scene.clinvk(args).args(["hi"]).seen();
        let begins = format!("clinvk: backend `fake` cannot honour {option}: ");
        assert!(seen.err.starts_with(&begins) && seen.status == 1 && seen.out.is_empty(), "{seen}");
        let seen = scene.clinvk(args).args(["--lenient", "hi"]).seen();
        assert!(seen.err.starts_with(&begins) && seen.status == 0 && seen.out == "hi\n", "{seen}");
    }
}

#[test]
fn the_working_directory_is_the_flags_or_ours_without_links() {
    let scene = Scene::playing("pwd -P; say $PWD");
    std::fs::create_dir(scene.path("work/deep")).unwrap();
    std::os::unix::fs::symlink("deep", scene.path("work/link")).unwrap();
    scene.clinvk(["x"]).prints("ROOT/work\nROOT/work\n");
    scene.clinvk(["-w", "link", "x"]).prints("ROOT/work/deep\nROOT/work/deep\n");
    let error = "clinvk: `list` is not a directory\n";
    scene.file("work/list", "");
    scene.clinvk(["-w", "list", "x"]).fails(1, error);
}

#[test]
fn help_is_there_for_all_and_for_each_command() {
    let scene = Scene::new();
    let all = scene.clinvk(["-h"]).seen();
    assert!(
        all.status == 0 && all.err.is_empty() && all.out.starts_with("usage: clinvk [FLAGS] [PROMPT]\n"),
        "{all}"
    );
    for args in [&["--help"][..], &["help"], &["hi", "-h"], &["-b", "nobody", "--help"]] {
        assert_eq!(scene.clinvk(args).seen(), all, "{args:?}");
    }
    let config = scene.clinvk(["help", "config"]).seen();
    assert!(
        config.status == 0 && config.out.starts_with("usage: clinvk config [FLAGS] show|get KEY"),
        "{config}"
    );
    assert!(config.out.contains("--origin") && !config.out.contains("--backend"), "{config}");
    for args in [["config", "-h"], ["-h", "config"]] {
        assert_eq!(scene.clinvk(args).seen(), config, "{args:?}");
    }
}

#[test]
fn each_command_has_a_page_with_its_own_flags_in_groups_and_examples() {
    let scene = Scene::new();
    let verbs = COMMANDS.iter().flat_map(|command| command.verbs);
    for command in COMMANDS.iter().chain(verbs) {
        let words = || command.name.split(' ').filter(|word| !word.is_empty());
        let page = scene.clinvk(std::iter::once("help").chain(words())).seen();
        assert_eq!(scene.clinvk(words().chain(["-h"])).seen(), page);
        let rest = page.out.strip_prefix(format!("usage: clinvk {}", command.name).trim_end());
        assert!(rest.is_some_and(|rest| rest.starts_with(" [FLAGS]")) && page.status == 0, "{page}");
        let lines: Vec<&str> = page.out.lines().collect();
        for flag in FLAGS {
            let is_there = lines.iter().any(|line| {
                let name = line.split_once("--").and_then(|(_, rest)| rest.split([' ', '[']).next());
                line.starts_with("  ") && !line.contains("clinvk") && name == Some(flag.name)
            });
            assert_eq!(is_there, flag.is_of(command.name), "{}: {page}", flag.name);
        }
        let groups: Vec<&&str> =
            lines.iter().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
        assert_eq!(BTreeSet::from_iter(&groups).len(), groups.len(), "{groups:?}");
        assert!(groups.contains(&&"output:") && groups.contains(&&"always:"), "{groups:?}");
        let examples = lines.iter().skip_while(|line| **line != "examples:").skip(1);
        assert_eq!(examples.take_while(|line| line.starts_with("  ")).count(), 4, "{page}");
    }
    // What a flag means where it stands.
    let says = |words: &[&str], line: &str| {
        let page = scene.clinvk(words).seen();
        assert!(page.out.lines().any(|shown| shown.split_whitespace().eq(line.split_whitespace())), "{page}");
    };
    says(&["help"], "-b, --backend NAME who answers");
    says(&["help", "sessions", "list"], "-b, --backend NAME only those of this backend");
    says(&["help", "sessions", "clean"], "--all those of any age");
    says(&["help", "backends"], "--all also the known agents that are not installed");
    says(&["help", "config"], "config get print the value of a key");
}

#[test]
fn help_and_version_need_no_home_and_no_valid_configuration() {
    let scene = Scene::new();
    scene.config(&json!({"no_such_key": 1}));
    for args in [&["-h"][..], &["help"], &["version"], &["version", "--json"]] {
        let seen = scene.clinvk(args).without("HOME").seen();
        assert!(seen.status == 0 && seen.err.is_empty() && !seen.out.is_empty(), "{args:?}: {seen}");
    }
}

#[cfg(feature = "serve")]
#[test]
fn a_time_limit_is_read_the_same_everywhere() {
    // faults.md C8
    let scene = echo(json!({"hang": true}));
    for (args, limit) in [
        (&["--timeout", "1", "hi"][..], "1s (--timeout)"),
        (&["--timeout", "0.5", "--stall-timeout", "1d", "hi"], "500ms (--timeout)"),
        (&["--stall-timeout", "500ms", "--timeout", "1w", "hi"], "500ms (--stall-timeout)"),
    ] {
        let seen = scene.clinvk(args).seen();
        assert!(seen.err.contains(limit) && seen.status == 6, "{args:?}: {seen}");
    }
    for word in ["1", "1s"] {
        let plan = json!({"tasks": [{"prompt": "a", "timeout": word}]}).to_string();
        let seen = scene.clinvk(["parallel", "--jsonl"]).stdin(plan).seen();
        assert_eq!(lines(&seen.out)[0]["kind"], "timeout", "{seen}");
    }
    scene.clinvk(["sessions", "list", "--since", "1d12h", "-n", "0"]).seen();
    let server = scene.serve([]);
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "hi", "timeout_secs": "1"}));
    assert_eq!((answer.status, &answer.json()["kind"]), (504, &json!("timeout")), "{answer}");
}

#[test]
fn the_version_is_a_line_or_an_object() {
    let scene = Scene::new();
    let line = scene.clinvk(["version"]).seen();
    // faults.md C8
    for args in [&["--version"][..], &["-V"], &["sessions", "-V"], &["hi", "--version"]] {
        assert_eq!(scene.clinvk(args).seen(), line, "{args:?}");
    }
    let seen = scene.clinvk(["version"]).seen();
    let begins = format!("clinvk {} (", env!("CARGO_PKG_VERSION"));
    assert!(seen.out.starts_with(&begins) && seen.out.lines().count() == 1 && seen.status == 0, "{seen}");
    let seen = scene.clinvk(["version", "--json"]).seen();
    assert!(lines(&seen.out)[0]["version"] == env!("CARGO_PKG_VERSION") && seen.status == 0, "{seen}");
}

#[test]
fn a_reader_that_leaves_is_no_error_for_what_is_printed_at_once() {
    let scene = Scene::new();
    for args in [&["-h"][..], &["config", "show"]] {
        let (read, write) = clinvk::base::sys::pipe().unwrap();
        drop(read);
        scene.clinvk(args).start_into(write).ends("", "", 0);
    }
}

#[test]
fn a_model_alias_is_resolved_and_another_name_is_passed_on() {
    let scene = Scene::declaring(
        json!({"model_args": ["-m", "{model}"], "models": {"fast": "small-1"}}),
        "say \"$@\"",
    );
    for (args, model) in [(&[][..], ""), (&["-m", "fast"], "-m small-1"), (&["-m", "huge"], "-m huge")] {
        let seen = scene.clinvk(args).args(["-o", "json", "x"]).seen();
        assert_eq!(lines(&seen.out)[0]["content"], model, "{seen}");
    }
    scene.clinvk(["x"]).env("CLINVK_FAKE_MODEL", "fast").prints("-m small-1\n");
    scene.clinvk(["-m", "huge", "x"]).env("CLINVK_FAKE_MODEL", "fast").prints("-m huge\n");
}

#[test]
fn what_a_backend_says_cannot_speak_to_the_terminal() {
    let failing = "printf '\\033]0;title\\007\\033[31mred\\n' >&2; exit 3";
    let broken = r#"printf '{"error": "\\u001b[2J"}\n'; printf '\033[2Jno json\n'"#;
    let jsonl = json!({"output": "jsonl", "fields": {"text": "text", "error": "error"}});
    for scene in [Scene::playing(failing), Scene::declaring(jsonl, broken)] {
        for flags in [&["x"][..], &["-v", "x"], &["-o", "json", "x"]] {
            let seen = scene.clinvk(flags).seen();
            let speaks = |text: &str| text.contains(|letter: char| letter.is_control() && letter != '\n');
            assert!(seen.status == 1 && !speaks(&seen.err) && !speaks(&seen.out), "{seen}");
        }
    }
}

#[test]
fn a_debug_variable_that_says_no_is_no() {
    for (value, is_verbose) in [("", false), ("0", false), ("false", false), ("1", true)] {
        let seen = echo(json!({})).clinvk(["hi"]).env("CLINVK_DEBUG", value).seen();
        assert_eq!(!seen.err.is_empty(), is_verbose, "{value}: {seen}");
    }
}

#[cfg(not(feature = "serve"))]
#[test]
fn a_build_without_a_server_says_so_and_takes_the_same_configuration() {
    let scene = Scene::new();
    scene.config(&serde_json::json!({"default_backend": "echo", "server": {"port": 99}}));
    scene.clinvk(["hi"]).prints("hi\n");
    scene.clinvk(["config", "get", "server.port"]).prints("99\n");
    let refused = "clinvk: this build has no server: it was made without the feature `serve`\n";
    scene.clinvk(["serve", "--port", "0"]).fails(1, refused);
}
