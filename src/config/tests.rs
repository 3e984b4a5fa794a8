//! What is loaded from where, and the manual page.

mod file_tests;

use super::*;
use crate::model::error::Kind;
use crate::model::task::{Approval, OutputFormat, Sandbox};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A home directory of its own for each test.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("clinvk-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let home = Path::new("/tmp").join(name);
        fs::create_dir_all(&home).unwrap();
        Home(home)
    }

    fn with(text: &str) -> Home {
        let home = Home::new();
        fs::write(home.file(), text).unwrap();
        home
    }

    fn file(&self) -> PathBuf {
        self.0.join("config.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Loaded, Error> {
        let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Config::load(&self.0, None, &env)
    }

    /// The error's sentence without the directory in front.
    fn error(&self, env: &[(&str, &str)]) -> String {
        self.load(env).unwrap_err().to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const OLLAMA: &str = r#"{ "backends": { "ollama": { "command": ["ollama", "run"] } } }"#;

#[test]
fn without_a_file_everything_is_its_default() {
    let home = Home::new();
    let loaded = home.load(&[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.path, home.file());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert!(loaded.rows.iter().all(|row| row.origin == Origin::Default), "{:?}", loaded.rows);
    let config = loaded.config;
    assert_eq!((config.server.port, config.server.host.as_str()), (8080, "127.0.0.1"));
    assert_eq!(config.output.format, OutputFormat::Text);
    assert_eq!(config.backend("claude").allowed_tools, None);
    assert_eq!(config.backend("claude").approval_mode, None);
    assert_eq!(config.backend("nobody"), &BackendConfig::default());
    assert_eq!(config.backends.keys().collect::<Vec<_>>(), ["claude", "codex", "echo", "gemini"]);
}

#[test]
fn every_default_of_the_table_is_a_value_of_its_key() {
    for key in KEYS {
        let parsed = key.kind.parse(key.default);
        // `required` is all that a type cannot say
        assert!(parsed.is_ok(), "{}: {parsed:?}", key.name);
        assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn every_key_reaches_its_field_and_a_path_through_file_set_and_environment() {
    const NAMED: &str = r#"{
        "backends": { "ollama": { "command": ["ollama", "run"] } },
        "server": { "keys": { "ollama": { "admin": false } } }
    }"#;
    let home = Home::with(NAMED);
    let other = |key: &Key| match key.kind {
        Type::Flag => (key.default == "false").to_string(),
        Type::Number { max, .. } => (key.default.parse::<u64>().unwrap() + 1).min(max).to_string(),
        Type::Text if key.name == "default_backend" => "codex".to_owned(),
        Type::Text => "some text".to_owned(),
        Type::Word(words) => (*words.iter().find(|word| **word != key.default).unwrap()).to_owned(),
        Type::WordOrNone(words) => words[0].to_owned(),
        Type::List | Type::AllOrList => "one,two".to_owned(),
        Type::Map => "name=text".to_owned(),
    };
    for key in KEYS {
        let backend = if key.of == Of::Echo { "echo" } else { "ollama" };
        let dotted = key.name.replace("<name>", backend);
        let variable = format!("CLINVK_{}", dotted.replace('.', "_").to_uppercase());
        let text = other(key);
        let from_env = home.load(&[(&variable, &text)]).unwrap();
        fs::write(home.file(), NAMED).unwrap();
        set(&home.file(), &dotted, &text).unwrap();
        let from_file = home.load(&[]).unwrap();
        fs::write(home.file(), NAMED).unwrap();

        assert_eq!(from_env.config, from_file.config, "{dotted}");
        assert_ne!(from_env.config, home.load(&[]).unwrap().config, "{dotted}");
        assert_eq!(from_env.get(&dotted).unwrap(), key.kind.parse(&text).unwrap());
        let origin = |loaded: &Loaded| {
            loaded
                .rows
                .iter()
                .find(|row| row.key.starts_with(&dotted) && row.value != key.default_value())
                .cloned()
                .unwrap()
                .origin
        };
        assert_eq!(origin(&from_env), Origin::Env(variable));
        assert_eq!(origin(&from_file), Origin::File(home.file()));
        assert_eq!(from_env.warnings, Vec::<String>::new());
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_full_name_over_the_short_one() {
    let home = Home::with(
        r#"{"default_backend": "codex", "backends": {"claude": {"model": "file", "models": {"fast": "a", "gpt-5.1": "b"}}}}"#,
    );
    let loaded = home
        .load(&[
            ("CLINVK_BACKEND", "gemini"),
            ("CLINVK_CLAUDE_MODEL", "short"),
            ("CLINVK_BACKENDS_CLAUDE_MODEL", "full"),
            ("CLINVK_BACKENDS_CLAUDE_MODELS", r#"{"best": "c"}"#),
            ("CLINVK_BACKENDS_CLAUDE_MODELS_FAST", "d"),
            ("CLINVK_SERVER_PORT", ""),
            ("CLINVK_CONFIG", "x"),
            ("HOME", "x"),
        ])
        .unwrap();
    assert_eq!(loaded.config.default_backend, "gemini");
    assert_eq!(loaded.config.backend("claude").model, "full");
    assert_eq!(
        loaded.get("backends.claude.models").unwrap(),
        json!({"best": "c", "fast": "d", "gpt-5.1": "b"})
    );
    assert_eq!(loaded.get("backends.claude.models.gpt-5.1").unwrap(), "b");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let origins: Vec<String> = loaded
        .rows
        .iter()
        .filter(|row| row.origin != Origin::Default)
        .map(|row| format!("{} {} {}", row.key, row.value, row.origin))
        .collect();
    let file = home.file().display().to_string();
    assert_eq!(
        origins,
        [
            "default_backend \"gemini\" env CLINVK_BACKEND".to_owned(),
            "backends.claude.model \"full\" env CLINVK_BACKENDS_CLAUDE_MODEL".to_owned(),
            "backends.claude.models.best \"c\" env CLINVK_BACKENDS_CLAUDE_MODELS".to_owned(),
            "backends.claude.models.fast \"d\" env CLINVK_BACKENDS_CLAUDE_MODELS_FAST".to_owned(),
            format!("backends.claude.models.gpt-5.1 \"b\" file {file}"),
        ]
    );
}

#[test]
fn variables_of_backends_with_underscores_mean_the_longest_name() {
    let home = Home::with(
        r#"{"backends": {"a": {"command": ["a"]}, "a_fields": {"command": ["b"]}, "backends_a": {"command": ["c"]}}}"#,
    );
    let loaded = home
        .load(&[
            ("CLINVK_BACKENDS_A_FIELDS_MODEL", "1"),
            ("CLINVK_BACKENDS_A_FIELDS_TEXT", "2"),
            ("CLINVK_BACKENDS_A_MODEL", "3"),
            ("CLINVK_BACKENDS_BACKENDS_A_MODEL", "4"),
            ("CLINVK_BACKENDS_A_ENV_FOO_BAR", "5"),
            ("CLINVK_A_FIELDS_MODEL", "0"),
            ("CLINVK_BACKENDS_A_PROMPT", "arg"),
        ])
        .unwrap();
    let backend = |name| loaded.config.backend(name);
    assert_eq!(backend("a_fields").model, "1");
    assert_eq!(backend("a").declared.fields.text, "2");
    assert_eq!(backend("a").model, "3");
    assert_eq!(backend("backends_a").model, "4");
    assert_eq!(backend("a").declared.env, BTreeMap::from([("FOO_BAR".to_owned(), "5".to_owned())]));
    assert_eq!(backend("a").declared.prompt, PromptBy::Arg);
}

#[test]
fn unknown_variables_are_warnings_that_name_the_nearest() {
    let home = Home::with(OLLAMA);
    let warnings = |variable| home.load(&[(variable, "1")]).unwrap().warnings.join("\n");
    for (variable, near) in [
        ("CLINVK_SERVER_PROT", "did you mean `CLINVK_SERVER_PORT`?"),
        ("CLINVK_CONFG", "did you mean `CLINVK_CONFIG`?"),
        ("CLINVK_OLAMA_MODEL", "did you mean `CLINVK_OLLAMA_MODEL`?"),
        ("CLINVK_BACKENDS_CLAUDE_HANG", "`man clinvk-config` lists the variables"),
        ("CLINVK_QUITE_ANOTHER_THING", "`man clinvk-config` lists the variables"),
    ] {
        let said = warnings(variable);
        if near.starts_with("did") {
            assert_eq!(said, format!("unknown variable `{variable}`: {near}"));
        } else {
            assert!(said.starts_with(&format!("unknown variable `{variable}`: ")), "{said}");
        }
    }
    assert_eq!(warnings("CLINVK_DEBUG"), "");
}

#[test]
fn a_bad_variable_stops() {
    let home = Home::with(OLLAMA);
    for (variable, text, sentence) in [
        ("CLINVK_SERVER_PORT", "65536", "expected a whole number from 0 to 65535, found `65536`"),
        ("CLINVK_SERVER_PORT", "-1", "expected a whole number from 0 to 65535, found `\"-1\"`"),
        ("CLINVK_UNIFIED_FLAGS_LENIENT", "maybe", "expected `true` or `false`, found `\"maybe\"`"),
        ("CLINVK_BACKEND", "cluade", "unknown backend `cluade`: did you mean `claude`?"),
        ("CLINVK_BACKENDS_OLLAMA_COMMAND", "[]", "expected a program and its arguments, found no program"),
        (
            "CLINVK_SERVER_ALLOWED_HOSTS",
            "[1]",
            "expected a list of texts, found a list with something else in it",
        ),
        (
            "CLINVK_BACKENDS_CODEX_APPROVAL_MODE",
            "atuo",
            "expected an empty text or one of `default`, `auto`, `none`, `always`, found `\"atuo\"`: did you mean `auto`?",
        ),
    ] {
        assert_eq!(home.error(&[(variable, text)]), format!("{variable}: {sentence}"));
    }
}

#[test]
fn the_file_of_the_earlier_clinvk_is_named_in_a_warning() {
    let home = Home::new();
    fs::write(home.0.join("config.yaml"), "default_backend: codex\n").unwrap();
    let dir = home.0.display();
    assert_eq!(
        home.load(&[]).unwrap().warnings,
        [format!("`{dir}/config.yaml` is not read: the configuration has to be in `{dir}/config.json`")]
    );
    fs::write(home.file(), "{}").unwrap();
    assert_eq!(home.load(&[]).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn get_has_keys_sections_and_good_errors() {
    let home = Home::with(OLLAMA);
    let loaded = home.load(&[]).unwrap();
    assert_eq!(loaded.get("server.port").unwrap(), 8080);
    assert_eq!(
        loaded.get("output").unwrap(),
        json!({"format": "text", "show_tokens": false, "show_timing": false, "color": true})
    );
    assert_eq!(loaded.get("backends.claude.models").unwrap(), json!({}));
    assert_eq!(loaded.get("backends.ollama").unwrap()["fields"]["text"], "");
    for (key, sentence) in [
        ("server.prot", "unknown key `server.prot`: did you mean `server.port`?"),
        ("max_turns", "unknown key `max_turns`: did you mean `unified_flags.max_turns`?"),
        (
            "",
            "unknown key ``: known here are default_backend, unified_flags, session, input, output, parallel, client, server, backends, pool",
        ),
        ("server.port.x", "unknown key `server.port.x`: `server.port` has no keys in it"),
        (
            "backends.claude.modle",
            "unknown key `backends.claude.modle`: did you mean `backends.claude.model`?",
        ),
        ("backends.claude.models.fast", "`backends.claude.models.fast` is not set"),
        ("backends.claude.hang", "`backends.claude.hang`: only backend `echo` has this key"),
        ("backends.cluade.model", "unknown backend `cluade`: did you mean `claude`?"),
        ("pool.cluade.max", "unknown backend `cluade`: did you mean `claude`?"),
    ] {
        assert_eq!(loaded.get(key).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn a_declared_backend_has_all_its_parts() {
    let home = Home::with(
        r#"{"backends": {"llm": {
            "command": ["llm", "-s"], "prompt": "arg", "prompt_separator": true, "output": "jsonl",
            "fields": {"text": "choices.0.text"}, "model_args": ["-m", "{model}"], "env": {"A": "b"},
            "allowed_tools": "Read,Grep", "sandbox_mode": "read-only", "approval_mode": ""
        }}}"#,
    );
    let loaded = home.load(&[]).unwrap();
    let backend = loaded.config.backend("llm");
    assert_eq!(backend.declared.command, ["llm", "-s"]);
    assert_eq!(backend.declared.output, AnswerAs::Jsonl);
    assert_eq!(backend.declared.fields.text, "choices.0.text");
    assert_eq!(backend.declared.model_args, ["-m", "{model}"]);
    assert_eq!(backend.allowed_tools.as_deref(), Some(&["Read".to_owned(), "Grep".to_owned()][..]));
    assert_eq!((backend.sandbox_mode, backend.approval_mode), (Some(Sandbox::ReadOnly), None::<Approval>));
}

#[test]
fn the_policy_of_an_api_key_has_a_name_of_its_own() {
    let home = Home::with(
        r#"{"server": {"keys": {"ci": {"max_runs": 2, "max_approval_mode": "none"}, "ci_two": {}}}}"#,
    );
    let loaded = home.load(&[("CLINVK_SERVER_KEYS_CI_ALLOWED_MODELS", "fast,best")]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let policy = &loaded.config.server.keys["ci"];
    assert_eq!((policy.max_runs, policy.max_approval_mode), (2, Some(Approval::None)));
    assert_eq!(policy.allowed_models, Some(vec!["fast".to_owned(), "best".to_owned()]));
    assert_eq!(loaded.get("server.keys.ci.max_runs").unwrap(), 2);
    assert_eq!(loaded.get("server.keys.ci.admin").unwrap(), false);
    assert!(loaded.rows.iter().any(|row| row.key == "server.keys.ci.rate_limit_rps"));
    assert_eq!(Home::new().load(&[]).unwrap().config.server.keys, BTreeMap::new());

    // A variable sets what is there, and makes nothing.
    let warnings = home.load(&[("CLINVK_SERVER_KEYS_CD_MAX_RUNS", "1")]).unwrap().warnings;
    assert_eq!(
        warnings,
        ["unknown variable `CLINVK_SERVER_KEYS_CD_MAX_RUNS`: did you mean `CLINVK_SERVER_KEYS_CI_MAX_RUNS`?"]
    );

    for (key, sentence) in [
        (
            "server.keys.ci.max_run",
            "unknown key `server.keys.ci.max_run`: did you mean `server.keys.ci.max_runs`?",
        ),
        ("server.keys.cd.max_runs", "`server.keys.cd.max_runs` is not set"),
        ("server.key", "unknown key `server.key`: did you mean `server.keys`?"),
    ] {
        assert_eq!(loaded.get(key).unwrap_err().to_string(), sentence);
    }
    for (text, sentence) in [
        (
            r#"{"server": {"keys": {"Ci": {}}}}"#,
            "1:22: an API key cannot be named `Ci`: small letters, digits and `_`, with a letter first",
        ),
        (
            r#"{"server": {"keys": {"key2": {}}}}"#,
            "1:22: an API key cannot be named `key2`: those without a name are numbered so",
        ),
        (
            r#"{"server": {"keys": {"ci": {"admn": true}}}}"#,
            "1:29: unknown key `server.keys.ci.admn`: did you mean `server.keys.ci.admin`?",
        ),
        (r#"{"server": {"keys": {"ci": 1}}}"#, "1:28: `server.keys.ci`: expected an object, found `1`"),
    ] {
        assert_eq!(Home::with(text).error(&[]), format!("config.json:{sentence}"));
    }
}

#[test]
fn every_backend_has_a_pool_of_its_own_and_a_pool_makes_no_backend() {
    let home = Home::with(
        r#"{"backends": {"ollama": {"command": ["ollama"]}}, "pool": {"ollama": {"max": 0}, "kimi": {"max": 2}}}"#,
    );
    let loaded = home.load(&[("CLINVK_POOL_CODEX_PER_PROCESS", "3")]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let pool = |name| loaded.config.pool(name);
    let defaults = PoolConfig {
        max: 4,
        min_idle: 0,
        idle_secs: 300,
        max_turns: 100,
        max_rss_mb: 1024,
        max_age_secs: 3600,
        per_process: 8,
    };
    assert_eq!(pool("claude"), defaults);
    assert_eq!(pool("ollama"), PoolConfig { max: 0, ..defaults.clone() });
    assert_eq!(pool("kimi"), PoolConfig { max: 2, ..defaults.clone() });
    assert_eq!(pool("codex"), PoolConfig { per_process: 3, ..defaults.clone() });
    assert_eq!(pool("opencode"), defaults);
    assert_eq!(loaded.get("pool.opencode.idle_secs").unwrap(), 300);
    // An agent that has a pool is one that is used.
    assert!(loaded.config.backends.contains_key("kimi") && !loaded.config.backends.contains_key("opencode"));
    for (text, sentence) in [
        (r#"{"pool": {"cluade": {"max": 1}}}"#, "1:11: unknown backend `cluade`: did you mean `claude`?"),
        (
            r#"{"pool": {"claude": {"per_process": 0}}}"#,
            "1:37: `pool.claude.per_process`: expected a whole number from 1 to 1024, found `0`",
        ),
        (
            r#"{"pool": {"claude": {"min_idel": 1}}}"#,
            "1:22: unknown key `pool.claude.min_idel`: did you mean `pool.claude.min_idle`?",
        ),
        (
            r#"{"backends": {"pool": {"command": ["x"]}}}"#,
            "1:15: a backend cannot be named `pool`: that is the name of a section",
        ),
    ] {
        assert_eq!(Home::with(text).error(&[]), format!("config.json:{sentence}"));
    }
}

#[test]
fn the_manual_page_names_every_key_with_its_default_and_no_other() {
    let page = include_str!("../../man/clinvk-config.5");
    let mut named: Vec<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Cm "))
        .map(|line| {
            let (key, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no default: {line}"));
            let default = rest.split_once("default ").unwrap_or_else(|| panic!("no default: {line}")).1;
            (key.to_owned(), default.to_owned())
        })
        .collect();
    let mut keys: Vec<(String, String)> = KEYS
        .iter()
        .map(|key| {
            (key.name.to_owned(), if key.default.is_empty() { "empty" } else { key.default }.to_owned())
        })
        .collect();
    named.sort();
    keys.sort();
    assert_eq!(named, keys);
}
