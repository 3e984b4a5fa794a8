//! The file: its mistakes and its changes.

use super::*;

#[test]
fn a_broken_file_stops_and_says_where() {
    for (text, sentence) in [
        ("", "1:1: not valid JSON: EOF while parsing a value"),
        ("default_backend: claude", "1:1: not valid JSON: expected value"),
        ("{\n  \"a\": 1,\n}", "3:1: not valid JSON: trailing comma"),
        ("{\"é\" 1}", "1:6: not valid JSON: expected `:`"),
        ("[]", "1:1: expected an object: `{ ... }`"),
        ("{\"sever\": {}}", "1:2: unknown key `sever`: did you mean `server`?"),
        (
            "{\"server\": {\n  \"host\": \"x\",\n  \"prot\": 1}}",
            "3:3: unknown key `server.prot`: did you mean `server.port`?",
        ),
        ("{\"port\": 1}", "1:2: unknown key `port`: did you mean `server.port`?"),
        (
            "{\"server.port\": 1}",
            "1:2: unknown key `server.port`: each part of a key's name is an object of its own in the file",
        ),
        (
            "{\"output\": {\"xyz\": 1}}",
            "1:13: unknown key `output.xyz`: known here are format, show_tokens, show_timing, color",
        ),
        (
            "{\"server\":\n {\"port\":   \"80\"}}",
            "2:13: `server.port`: expected a whole number from 0 to 65535, found `\"80\"`",
        ),
        (
            "{\"server\": {\"port\": {\"a\": 1}}}",
            "1:21: `server.port`: expected a whole number from 0 to 65535, found an object",
        ),
        (
            "{\"server\": {\"port\": 80.5}}",
            "1:21: `server.port`: expected a whole number from 0 to 65535, found `80.5`",
        ),
        (
            "{\"server\": {\"rate_limit_rps\": 0}}",
            "1:31: `server.rate_limit_rps`: expected a whole number from 1 to 1000000, found `0`",
        ),
        ("{\"server\": null}", "1:12: `server`: expected an object, found `null`"),
        ("{\"server\": {}, \"server\": {}}", "1:16: key `server` stands here for the second time"),
        (
            "{\"output\": {\"color\": true,\n\"col\\u006fr\": true}}",
            "2:1: key `output.color` stands here for the second time",
        ),
        (
            "{\"session\": {\"default_tags\": [\"}\\\"\", {\"a\": 1}]}, \"x\": 1}",
            "1:30: `session.default_tags`: expected a list of texts, found a list with something else in it",
        ),
        (
            "{\"default_backend\": \"codx\"}",
            "1:21: `default_backend`: unknown backend `codx`: did you mean `codex`?",
        ),
        (
            "{\"backends\": {\"Foo\": {}}}",
            "1:15: a backend cannot be named `Foo`: small letters, digits and `_`, with a letter first",
        ),
        (
            "{\"backends\": {\"server\": {}}}",
            "1:15: a backend cannot be named `server`: that is the name of a section",
        ),
        (
            "{\"backends\": {\"cluade\": {}}}",
            "1:15: backend `cluade` has no `command`: did you mean `claude`?",
        ),
        (
            "{\"backends\": {\"lmstudio\": {\"model\": \"x\"}}}",
            "1:15: backend `lmstudio` is not built in: `backends.lmstudio.command` has to name its program",
        ),
        (
            "{\"backends\": {\"ollama\": {\"command\": [\"\"]}}}",
            "1:37: `backends.ollama.command`: expected a program and its arguments, found no program",
        ),
        (
            "{\"backends\": {\"claude\": {\"prompt\": \"arg\"}}}",
            "1:26: `backends.claude.prompt`: `claude` is built in, only declared backends have this key",
        ),
        (
            "{\"backends\": {\"codex\": {\"hang\": true}}}",
            "1:25: `backends.codex.hang`: only backend `echo` has this key",
        ),
        (
            "{\"backends\": {\"codex\": {\"models\": {\"fast\": 1}}}}",
            "1:44: `backends.codex.models.fast`: expected a text, found `1`",
        ),
        ("{\"backends\": {\"echo\": {\"fail\": \"timeuot\"}}}", "did you mean `timeout`?"),
    ] {
        let said = Home::with(text).error(&[]);
        let whole = format!("config.json:{sentence}");
        assert!(
            said == whole || (sentence.starts_with("did") && said.ends_with(sentence)),
            "{text}\n{said}\n{whole}"
        );
    }
}

#[test]
fn every_broken_file_is_a_configuration_error() {
    let home = Home::with("{");
    assert_eq!(home.load(&[]).unwrap_err().kind(), Kind::Config);
    fs::write(home.file(), b"{\"default_backend\": \"\xff\"}").unwrap();
    assert_eq!(home.error(&[]), "config.json: not valid UTF-8");
    fs::remove_file(home.file()).unwrap();
    symlink("nowhere.json", home.file()).unwrap();
    assert_eq!(home.error(&[]), "config.json: cannot be read: No such file or directory (os error 2)");
    let explicit = Config::load(&home.0, Some(Path::new("/nowhere/x.json")), &BTreeMap::new());
    assert_eq!(explicit.unwrap_err().to_string(), "/nowhere/x.json: there is no such file");
}

#[test]
fn every_member_has_its_position() {
    let text =
        "{\"a\": {\"a\": [1, {\"a\": \"]\"}], \"b\\\"\" : \n\t{ \"a\":null}},\r\n \"ö\": 1 , \"c\":\"\\\\\"}";
    let found: Vec<String> = json::members(text)
        .unwrap()
        .iter()
        .map(|m| {
            format!(
                "{} {}:{} {}:{} {}",
                m.path.join("."),
                m.key_at.0,
                m.key_at.1,
                m.value_at.0,
                m.value_at.1,
                m.value()
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            r#"a 1:2 1:7 {"a":[1,{"a":"]"}],"b\"":{"a":null}}"#,
            r#"a.a 1:8 1:13 [1,{"a":"]"}]"#,
            r#"a.b" 1:30 2:2 {"a":null}"#,
            r#"a.b".a 2:4 2:8 null"#,
            "ö 3:2 3:7 1",
            r#"c 3:11 3:15 "\\""#,
        ]
    );
}

#[test]
fn set_makes_the_file_keeps_the_rest_and_is_private() {
    let home = Home::new();
    let file = home.0.join("new/dir/config.json");
    set(&file, "server.port", "9000").unwrap();
    set(&file, "backends.claude.models.gpt-5.1", "x").unwrap();
    set(&file, "backends.claude.allowed_tools", "Read, Grep").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap(),
        json!({"server": {"port": 9000}, "backends": {"claude": {"models": {"gpt-5.1": "x"}, "allowed_tools": ["Read", "Grep"]}}})
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert!(!home.0.join("new/dir/config.json.tmp").exists());
}

#[test]
fn set_refuses_what_would_not_load_and_leaves_the_file_alone() {
    let home = Home::with("{\"output\": {\"color\": true}}");
    let before = home.text();
    for (key, text, sentence) in [
        ("server.port", "http", "`server.port`: expected a whole number from 0 to 65535, found `\"http\"`"),
        ("server.prot", "1", "unknown key `server.prot`: did you mean `server.port`?"),
        ("server", "{}", "`server` is a section: name a key in it"),
        ("backends.codex.hang", "true", "`backends.codex.hang`: only backend `echo` has this key"),
        (
            "backends.x.model",
            "m",
            "backend `x` is not built in: `backends.x.command` has to name its program",
        ),
        ("default_backend", "cluade", "`default_backend`: unknown backend `cluade`: did you mean `claude`?"),
    ] {
        let said = set(&home.file(), key, text).unwrap_err().to_string();
        assert!(said.ends_with(sentence), "{said}\n{sentence}");
        assert_eq!(home.text(), before);
    }
    for broken in ["{", "{\"output\": {}, \"output\": {}}"] {
        fs::write(home.file(), broken).unwrap();
        assert_eq!(set(&home.file(), "server.port", "1").unwrap_err().kind(), Kind::Config);
        assert_eq!(home.text(), broken);
    }
    // a wrong value, and an unknown key, can be mended from here
    fs::write(home.file(), "{\"output\": 5, \"nonsense\": {\"a\": 1}}").unwrap();
    assert!(set(&home.file(), "output.color", "false").is_err());
    assert!(unset(&home.file(), "nonsense").is_err());
    fs::write(home.file(), "{\"output\": 5}").unwrap();
    set(&home.file(), "output.color", "false").unwrap();
    assert_eq!(home.load(&[]).unwrap().get("output.color").unwrap(), false);
}

#[test]
fn set_writes_through_links() {
    let home = Home::new();
    fs::create_dir(home.0.join("dotfiles")).unwrap();
    symlink("dotfiles/clinvk.json", home.file()).unwrap();
    for port in [1, 2] {
        set(&home.file(), "server.port", &port.to_string()).unwrap();
        assert_eq!(home.load(&[]).unwrap().config.server.port, port);
        assert!(home.file().symlink_metadata().unwrap().is_symlink());
    }
    assert!(!home.0.join("config.json.lock").exists());
}

#[test]
fn unset_takes_out_what_is_there_and_no_more() {
    let home = Home::with(
        r#"{"server": {"port": 1, "host": "h"}, "session": {"retention_days": 2}, "backends": {"x": {"command": ["x"], "model": "m"}}}"#,
    );
    assert!(unset(&home.file(), "server.port").unwrap());
    assert!(!unset(&home.file(), "server.port").unwrap());
    assert!(unset(&home.file(), "session.retention_days").unwrap());
    assert_eq!(
        unset(&home.file(), "backends.x.command").unwrap_err().to_string(),
        format!(
            "{}: not changed: backend `x` is not built in: `backends.x.command` has to name its program",
            home.file().display()
        )
    );
    assert_eq!(
        unset(&home.file(), "server.prot").unwrap_err().to_string(),
        "unknown key `server.prot`: did you mean `server.port`?"
    );
    assert_eq!(
        serde_json::from_str::<Value>(&home.text()).unwrap(),
        json!({"server": {"host": "h"}, "backends": {"x": {"command": ["x"], "model": "m"}}})
    );
    assert!(unset(&home.file(), "backends.x").unwrap());
    assert_eq!(home.text(), "{\n  \"server\": {\n    \"host\": \"h\"\n  }\n}\n");
}

#[test]
fn of_many_sets_at_once_none_is_lost() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = home.file();
            scope.spawn(move || {
                for turn in 0..8 {
                    set(&file, &format!("backends.claude.models.m{thread}_{turn}"), "x").unwrap();
                }
            });
        }
    });
    assert_eq!(home.load(&[]).unwrap().config.backend("claude").models.len(), 64);
}
