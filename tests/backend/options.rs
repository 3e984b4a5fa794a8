//! What each backend can honour: one table. The README has it for people.

use clinvk::backend::{Agents, Backend, Registry};
use clinvk::config::{Config, Protocol};
use clinvk::model::task::TaskOption;
use std::sync::Arc;

/// Per option, in this order: claude, codex, gemini, echo, a command with nothing declared, one with everything declared, an
/// agent that speaks ACP with nothing declared, one with everything declared.
const TABLE: &str = "\
model                    yes yes yes yes -   yes yes yes
system prompt            yes yes yes yes -   yes yes yes
appended system prompt   yes yes -   yes -   -   yes yes
max turns                yes -   yes yes -   -   -   -
max tokens               yes -   yes yes -   -   -   -
approval auto            yes yes yes yes -   -   -   yes
approval none            yes yes yes yes -   -   yes yes
approval always          yes yes yes yes -   -   -   yes
sandbox read-only        yes yes yes yes -   -   -   yes
sandbox workspace        -   yes -   yes -   -   -   -
sandbox full             yes yes yes yes yes yes yes yes
allowed tools            yes -   yes yes -   -   -   -
denied tools             yes -   yes yes -   -   -   -
extra directories        yes yes yes yes -   -   yes yes
json schema              yes yes -   -   -   -   -   -
images                   yes yes yes -   -   -   yes yes
effort                   yes yes -   -   -   -   yes yes
effort ultra             -   yes -   -   -   -   yes yes
ephemeral                yes yes yes yes yes -   yes yes
resume                   yes yes -   yes -   yes yes yes
interpret                yes yes yes yes yes yes yes yes
no project config        yes yes yes yes yes yes -   -
mcp servers              yes yes yes -   -   -   yes yes
extra flags              yes yes yes -   -   -   -   -
";

fn backends() -> Vec<Arc<dyn Backend>> {
    let mut config = Config::default();
    let mut full = config.backend("full").clone();
    full.declared.command = vec!["full".to_owned()];
    let bare = full.clone();
    full.declared.model_args = vec!["{model}".to_owned()];
    full.declared.system_args = vec!["{system}".to_owned()];
    full.declared.resume_args = vec!["{session}".to_owned()];
    let mut agent = bare.clone();
    agent.declared.protocol = Protocol::Acp;
    let mut mapped = agent.clone();
    mapped.declared.modes.always = "ask".to_owned();
    config.backends.extend([
        ("bare".to_owned(), bare),
        ("full".to_owned(), full),
        ("agent".to_owned(), agent),
        ("mapped".to_owned(), mapped),
    ]);
    let (registry, _) = Registry::of(&config, "clinvk", Agents::Configured);
    let names = ["claude", "codex", "gemini", "echo", "bare", "full", "agent", "mapped"];
    names.into_iter().map(|name| registry.get(name).unwrap()).collect()
}

#[test]
fn the_table_says_what_each_backend_honours() {
    let backends = backends();
    let row = |option: &TaskOption| {
        let honours = |backend: &Arc<dyn Backend>| if backend.honours(*option).is_ok() { "yes" } else { "-" };
        let cells: Vec<String> = backends.iter().map(|backend| format!("{:<3}", honours(backend))).collect();
        format!("{:<24} {}", option.word(), cells.join(" ")).trim_end().to_owned() + "\n"
    };
    let table: String = TaskOption::ALL.iter().map(row).collect();
    assert_eq!(table, TABLE, "\n{table}");
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../../README.md");
    let table: String = TABLE.lines().map(|line| format!("    {line}\n")).collect();
    assert!(readme.contains(&table), "{table}");
}

#[test]
fn every_refusal_says_why() {
    for backend in backends() {
        for option in TaskOption::ALL {
            if let Err(why) = backend.honours(*option) {
                assert!(why.len() > 10, "{} {}: {why}", backend.name(), option.word());
            }
        }
    }
}

#[test]
fn backends_come_and_go_at_run_time() {
    let (registry, _) = Registry::of(&Config::default(), "clinvk", Agents::Configured);
    let echo = registry.get("echo").unwrap();
    assert!(registry.remove("echo"));
    assert_eq!(
        (registry.remove("echo"), registry.names()),
        (false, ["claude", "codex", "gemini"].map(str::to_owned).to_vec())
    );
    registry.register(echo);
    assert!(registry.get("echo").is_ok());
}

#[test]
fn what_was_found_on_path_holds_for_a_while_and_what_was_not_is_looked_for_again() {
    use clinvk::backend::Trust;
    use std::time::{Duration, Instant};
    let (registry, _) = Registry::of(&Config::default(), "clinvk", Agents::Configured);
    let (start, path) = (Instant::now(), std::path::PathBuf::from("/bin/x"));
    let mut looked = 0;
    let mut locate = |seconds, trust, there: Option<&std::path::PathBuf>| {
        registry.locate("x", start + Duration::from_secs(seconds), trust, |_| {
            looked += 1;
            there.cloned()
        })
    };
    assert_eq!(locate(0, Trust::All, None), None);
    assert_eq!(locate(29, Trust::All, Some(&path)), None, "the cache holds");
    assert_eq!(locate(29, Trust::Found, Some(&path)), Some(path.clone()), "a run looks again");
    assert_eq!(locate(58, Trust::Found, None), Some(path.clone()), "what was found holds for a run too");
    assert_eq!(locate(60, Trust::Found, None), None, "not for ever");
    assert_eq!(looked, 3);
}
