//! Configuration files by chance: they are read or refused with a sentence, and one that is refused stays as it is.

use crate::util::fuzz::{self, Chance};
use crate::util::scene::place;
use clinvk::config::{self, Config, KEYS};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// Each is written, and read from its file five times: 20,000 take 46 s of a debug build.
const FILES: u64 = 1000;

fn files() -> [Value; 2] {
    [
        json!({"default_backend": "echo", "unified_flags": {"command_timeout_secs": 5, "approval_mode": "auto"},
            "backends": {"echo": {"delay_ms": 1}, "codex": {"model": "m", "extra_flags": ["--x"]},
                "mine": {"command": ["x", "{prompt}"], "prompt": "arg", "output": "json", "fields": {"text": "a.b[0].c"}},
                "agent": {"protocol": "acp", "command": ["agent"], "env": {"A": "b"}}},
            "server": {"port": 0, "api_keys": ["k"], "rate_limit_rps": 3}, "session": {"store_turns": false}}),
        json!({"pools": {"claude": {"max": 2}}, "parallel": {"max_workers": 3}, "output": {"format": "json"}}),
    ]
}

#[test]
fn a_configuration_is_read_or_refused() {
    let home = place().join(format!("clinvk-fuzz-{}", clinvk::base::world::random_id().unwrap()));
    fs::create_dir_all(&home).unwrap();
    let (files, file) = (files(), home.join("config.json"));
    let draw = |chance: &mut Chance| {
        let at = chance.below(files.len());
        let text = fuzz::json_text(chance, &files[at].to_string(), &files);
        let key = KEYS[chance.below(KEYS.len())].name.to_string();
        let key = if chance.one_in(3) {
            fuzz::text(chance, &key, &[b".", b"..", b"*", b"backends.x.", b""], &[b".a"])
        } else {
            key
        };
        (
            text,
            key,
            chance.of_these(&["1", "true", "x", "", "[\"a\"]", "{}", "-1", "99999999999999999999", "5m"]),
        )
    };
    fuzz::target("configuration", FILES, draw, |(text, key, value), _| {
        fs::write(&file, text).unwrap();
        let loaded = Config::load(&home, None, &BTreeMap::new());
        if let Err(error) = &loaded {
            let sentence = error.to_string();
            if !sentence.contains("config.json") {
                return Err(format!("it does not say which file: {sentence}"));
            }
        }
        let set = config::set(&file, key, value);
        let now = fs::read_to_string(&file).unwrap();
        match (&loaded, set) {
            (_, Err(_)) if now != *text => Err("it was changed, and set says that it was not".to_owned()),
            (_, Ok(_)) if Config::load(&home, None, &BTreeMap::new()).is_err() => {
                Err(format!("set broke it: {now}"))
            }
            (Err(_), Ok(_)) | (_, Err(_)) | (Ok(_), Ok(_)) => config::unset(&file, key).map(drop).or(Ok(())),
        }
    });
    fs::remove_dir_all(&home).unwrap();
}
