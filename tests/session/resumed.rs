//! How a session is continued: which one, where, and with which backend; and the picker.

use super::typing;
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn continue_takes_the_newest_of_the_directory_and_the_backend() {
    let home = Home::new();
    fs::create_dir(home.scene.path("work/below")).unwrap();
    symlink(home.scene.path("work/below"), home.scene.path("link")).unwrap();
    let (older, newer) = (home.begin("older"), home.begin("newer"));
    home.does(["-b", "cat", "of cat"]);
    let run = |args: &[&str], dir: &str| -> Value {
        let seen = home.clinvk(args).args(["-o", "json"]).dir(home.scene.path(dir)).seen();
        assert_eq!(seen.status, 0, "{seen}");
        serde_json::from_str(&seen.out).unwrap()
    };
    let below = run(&["elsewhere"], "work/below");
    let taken = [
        run(&["-c", "-b", "echo", "x"], "work"),
        run(&["-c", "x"], "work"),
        run(&["-c", "x"], "link"),
        run(&["-c", "-w", "below", "x"], "work"),
        run(&["resume", &older, "x"], "work"),
        run(&["-c", "x"], "work"),
        run(&["resume", "--last", "x"], "work"),
        run(&["resume", "--last", "--here", "x"], "link"),
    ]
    .map(|answer| answer["session_id"].clone());
    let [older, newer, below] = [json!(older), json!(newer), below["session_id"].clone()];
    let expected = [&newer, &newer, &below, &below, &older, &older, &older, &below];
    assert_eq!(taken.each_ref(), expected);
}

#[test]
fn a_plain_prompt_begins_anew() {
    let home = Home::new();
    assert_ne!(home.begin("one"), home.begin("two"));
}

#[test]
fn auto_resume_continues_where_there_is_something_to_continue() {
    let home = Home::with(json!({"session": {"auto_resume": true}}));
    let ids = [home.begin("one"), home.begin("two")];
    let elsewhere = home.clinvk(["-o", "json", "three"]).dir(home.scene.path("tmp")).seen();
    assert!(
        ids[0] == ids[1] && !elsewhere.out.contains(&ids[0]) && elsewhere.status == 0,
        "{ids:?} {elsewhere}"
    );
}

#[test]
fn where_there_is_nothing_to_continue_the_way_on_is_told() {
    let home = Home::new();
    let hint = "`clinvk resume --last` takes the newest of all";
    home.clinvk(["-c", "x"]).fails(4, &format!("clinvk: there is no session in `ROOT/work`: {hint}\n"));
    let echo = format!("clinvk: there is no session of backend `echo` in `ROOT/work`: {hint}\n");
    home.clinvk(["-c", "-b", "echo", "x"]).fails(4, &echo);
    home.clinvk(["resume", "--last", "x"]).fails(4, "clinvk: there is no session yet\n");
    home.clinvk(["resume", "--last", "-b", "cat", "x"])
        .fails(4, "clinvk: there is no session of backend `cat` yet\n");
    assert!(!home.dir().exists());
    home.clinvk(["x"]).dir(home.scene.path("tmp")).prints("x\n");
    home.clinvk(["-c", "x"]).fails(4, &format!("clinvk: there is no session in `ROOT/work`: {hint}\n"));
}

#[test]
fn a_session_runs_in_its_own_directory_with_its_own_model_and_backend() {
    let keys =
        json!({"models": {"small": "small-1"}, "model_args": ["-c", "pwd; echo {model}"], "command": ["sh"]});
    let home = Home::with(json!({"backends": {"sh": keys}, "default_backend": "echo"}));
    let seen = home.clinvk(["-b", "sh", "-m", "small", "-o", "json", "x"]).seen();
    let id = serde_json::from_str::<Value>(&seen.out).unwrap()["session_id"].as_str().unwrap().to_owned();
    let tmp = home.scene.path("tmp");
    home.clinvk(["resume", &id, "y"]).dir(&tmp).prints("ROOT/work\nsmall-1\n");
    home.clinvk(["resume", &id, "-w", ".", "-m", "big", "y"]).dir(&tmp).prints("ROOT/tmp\nbig\n");
    let kept = home.session(&id);
    assert!(kept["model"] == "big" && kept["working_dir"].as_str().unwrap().ends_with("/work"), "{kept}");
}

#[test]
fn a_directory_that_is_gone_is_named() {
    let home = Home::new();
    fs::create_dir(home.scene.path("gone")).unwrap();
    home.clinvk(["hi"]).dir(home.scene.path("gone")).prints("hi\n");
    fs::remove_dir(home.scene.path("gone")).unwrap();
    let id = &home.ids()[0];
    let error = format!(
        "clinvk: session `{id}` cannot be continued: its directory `ROOT/gone` is gone: another one can be given (`-w DIR`, `workdir`)\n"
    );
    home.clinvk(["resume", "--last", "x"]).fails(4, &error);
    home.clinvk(["resume", "--last", "-w", ".", "x"]).prints("x\n");
}

#[test]
fn the_picker_lists_and_takes_a_number() {
    let home = Home::new();
    for prompt in ["first", "second", "\u{1b}[31mred"] {
        home.begin(prompt);
    }
    let seen = typing(&home, "clinvk -q resume -i more", "9\r0\rx\r2\r").seen();
    let lines: Vec<&str> = seen
        .out
        .lines()
        .filter(|line| line.contains("  echo  "))
        .map(|line| line.rsplit("  ").next().unwrap())
        .collect();
    let asked = seen.out.matches("a number from 1 to 3, please").count();
    assert!(lines == ["[31mred", "second", "first"] && asked == 3 && seen.status == 0, "{lines:?} {seen}");
    assert_eq!(home.list(&["-n", "1"]), ["second"]);
}

#[test]
fn the_picker_without_a_number_is_a_cancel() {
    let home = Home::new();
    home.begin("first");
    let seen = typing(&home, "clinvk -q resume", "\u{4}").seen();
    assert!(seen.out.ends_with("clinvk: cancelled\r\n") && seen.status == 7, "{seen}");
}

#[test]
fn the_picker_needs_a_terminal() {
    let home = Home::new();
    home.begin("first");
    let error = "clinvk: which session? give its id or `--last`: only a terminal can be asked\n";
    home.clinvk(["resume"]).fails(1, error);
    home.clinvk(["resume", "-i", "x"]).fails(1, error);
}
