//! What shells are told to offer. The shells themselves: tests/real/check_completions.py.

use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::cli::COMMANDS;
use serde_json::json;

/// The words that may stand in the place of the last one.
#[track_caller]
fn offered(scene: &Scene, words: &[&str]) -> Vec<String> {
    let seen = scene.clinvk(["completions", "--"].iter().chain(words)).seen();
    assert!(seen.status == 0 && seen.err.is_empty(), "{seen}");
    seen.out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn what_may_come_next_is_what_the_tables_and_this_machine_have() {
    let home = Home::with(json!({"backends": {"mine": {"command": ["mine"], "models": {"fast": "m1"}}}}));
    let id = home.begin("the parser");
    let scene = &home.scene;
    let offers = |words: &[&str], word: &str| offered(scene, words).iter().any(|offered| offered == word);
    let is = |words: &[&str], all: &[&str]| assert_eq!(offered(scene, words), all, "{words:?}");
    let commands: Vec<&str> = COMMANDS.iter().skip(1).map(|command| command.name).collect();
    is(&["ser"], &commands);
    is(&["-b", "echo", ""], &commands);
    is(&["help", ""], &commands);
    is(&["sessions", "list", "--status", ""], &["active", "completed", "error"]);
    is(&["sessions", "list", "--status="], &["--status=active", "--status=completed", "--status=error"]);
    is(&["config", ""], &["show", "get", "set", "unset", "path", "validate"]);
    is(&["help", "config", ""], &["show", "get", "set", "unset", "path", "validate"]);
    is(&["-b", "mine", "-m", ""], &["fast"]);
    is(&["compare", "--backends", "echo,mine:"], &["echo,mine:fast"]);
    for words in [&["resume", ""][..], &["sessions", "show", ""], &["sessions", "delete", "x", ""]] {
        is(words, &[&id[..12]]);
    }
    is(&["sessions", "tag", &id, ""], &[]);
    is(&["-f", ""], &[":files"]);
    is(&["--add-dir=x"], &[":dirs"]);
    is(&["completions", ""], &["bash", "zsh", "fish"]);
    assert!(offers(&["-b", ""], "mine") && offers(&["--backend=m"], "--backend=mine"));
    assert!(offers(&["config", "get", ""], "backends.mine.models.fast"));
    assert!(
        offers(&["sessions", "list", "--"], "--since") && !offers(&["sessions", "show", "--"], "--since")
    );
    // A prompt may be anything, and behind `--` nothing is a flag.
    for words in [&["hi", ""][..], &["--", "--ba"], &["map", ""], &["--timeout", ""], &[]] {
        is(words, &[]);
    }
    let data = scene.clinvk(["completions", "--json", "--", "completions", "b"]).seen();
    assert!(data.out.contains("\"word\": \"fish\""), "{data}");
}

#[test]
fn what_is_wrong_with_the_configuration_is_not_said_in_the_middle_of_a_line() {
    let scene = Scene::new();
    scene.config(&json!({"no_such_key": 1}));
    assert_eq!(offered(&scene, &["-b", ""]), [""; 0]);
    assert!(offered(&scene, &["sess"]).contains(&"sessions".to_owned()));
    scene.clinvk(["completions"]).fails(1, "clinvk: `completions` needs one of: bash, zsh, fish\n");
    scene
        .clinvk(["completions", "tcsh"])
        .fails(1, "clinvk: unknown shell `tcsh`: known are bash, zsh, fish\n");
}
