//! `--server auto`: the server of a user's own command lines, from its first run to its end.

use crate::util::run::{Run, is_superuser};
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::thread;

const SOCKET: &str = "home/.clinvk/socket";

fn own(scene: &Scene, args: &[&str]) -> Run {
    scene.clinvk(args).env("CLINVK_SERVER", "auto")
}

/// The numbers of the servers of that scene.
fn servers(scene: &Scene) -> Vec<i32> {
    let is_one = |(_, line): &(&i32, &String)| line.contains(" serve --auto ");
    scene.processes().iter().filter(is_one).map(|(pid, _)| *pid).collect()
}

/// The number of the one server of that scene.
#[track_caller]
fn server(scene: &Scene) -> i32 {
    let found = servers(scene);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn one_server_is_started_by_ten_that_want_it_and_used_by_those_that_follow() {
    let scene = Scene::playing("cat");
    let running: Vec<_> = (0..10).map(|_| own(&scene, &["hello"]).start()).collect();
    running.into_iter().for_each(|run| run.ends("hello\n", "", 0));
    let pid = server(&scene);
    let seen = own(&scene, &["-c", "and then?"]).seen();
    assert!(seen.out.ends_with("hello\n\nNow the user says:\n\nand then?\n"), "{seen}");
    assert_eq!(server(&scene), pid);
    let mode = fs::metadata(scene.path(SOCKET)).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn nothing_is_left_behind_without_it() {
    let scene = Scene::playing("cat");
    scene.clinvk(["hello"]).prints("hello\n");
    scene.clinvk(["--server", "", "hello"]).env("CLINVK_SERVER", "auto").prints("hello\n");
    own(&scene, &["--dry-run", "hello"]).seen();
    own(&scene, &["sessions", "list", "--json"]).seen();
    scene.is_deserted();
    assert!(!scene.path(SOCKET).exists());
}

#[test]
fn it_ends_when_it_has_nothing_to_do() {
    let scene = Scene::playing("tell up; await go; cat");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    scene.edit_config(|config| config["client"] = json!({"server": "auto", "idle_secs": 1}));
    let run = scene.clinvk(["hello"]).start();
    up.told();
    let pid = server(&scene);
    // It has something to do for longer than that.
    thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(server(&scene), pid);
    go.tell();
    run.ends("hello\n", "", 0);
    until("its end", || servers(&scene).is_empty());
    assert!(!scene.path(SOCKET).exists());
    go.tell();
    scene.clinvk(["again"]).prints("again\n");
    assert_ne!(server(&scene), pid);
}

#[test]
fn one_that_was_killed_is_replaced() {
    let scene = Scene::playing("cat");
    own(&scene, &["hello"]).prints("hello\n");
    let pid = server(&scene);
    sys::kill(pid, sys::SIGKILL).unwrap();
    until("its end", || servers(&scene).is_empty());
    assert!(scene.path(SOCKET).exists(), "it could remove it");
    assert!(own(&scene, &["-c", "again"]).seen().out.ends_with("again\n"));
    assert_ne!(server(&scene), pid);
}

/// A copy of the binary. `cp` makes it: a file that this process has open for writing could not be executed while a child
/// that another test starts has it open, too.
fn other_build(scene: &Scene) -> String {
    let other = scene.text("bin/clinvk-other");
    scene.program("/bin/cp").args([env!("CARGO_BIN_EXE_clinvk"), &other]).prints("");
    other
}

#[test]
fn one_of_another_build_is_replaced_and_what_runs_in_it_goes_on() {
    let scene = Scene::playing("tell up; await go; cat");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let other = other_build(&scene);
    let run = scene.program(&other).args(["one"]).env("CLINVK_SERVER", "auto").start();
    up.told();
    let pid = server(&scene);
    let second = own(&scene, &["two"]).start();
    up.told();
    assert_eq!(servers(&scene).len(), 2);
    go.tell();
    go.tell();
    run.ends("one\n", "", 0);
    second.ends("two\n", "", 0);
    until("the end of the first", || !servers(&scene).contains(&pid));
    server(&scene);
}

#[test]
fn one_of_another_build_in_which_a_detached_run_goes_on_stays_and_the_command_fails() {
    let scene = Scene::playing("tell up; await go; cat");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let other = other_build(&scene);
    let by_other = |args: &[&str]| scene.program(&other).args(args).env("CLINVK_SERVER", "auto");
    let begun = by_other(&["--no-wait", "one"]).seen();
    up.told();
    let pid = server(&scene);
    let seen = own(&scene, &["two"]).seen();
    let sentence = format!("(process {pid}), in which 1 detached runs go on");
    assert!(seen.status == 5 && seen.err.contains(&sentence), "{seen}");
    go.tell();
    by_other(&["wait", begun.out.trim_end()]).prints("one\n");
    let two = own(&scene, &["two"]).start();
    up.told();
    go.tell();
    two.ends("two\n", "", 0);
    assert_ne!(server(&scene), pid);
}

#[test]
fn one_that_is_about_to_end_costs_no_run() {
    let scene = Scene::playing("cat");
    own(&scene, &["x"]).prints("x\n");
    for _ in 0..10 {
        sys::kill(server(&scene), sys::SIGTERM).unwrap();
        own(&scene, &["x"]).prints("x\n");
        until("the end of the last one", || servers(&scene).len() == 1);
    }
}

#[test]
fn each_run_has_the_surroundings_of_its_command_line() {
    let scene = Scene::playing("pwd; echo \"$A|$B|$CLINVK_DEPTH\"; cat");
    own(&scene, &["x"]).env("A", "1").prints("ROOT/work\n1||1\nx\n");
    let pid = server(&scene);
    own(&scene, &["y"]).env("B", "2 é").dir(scene.path("home")).prints("ROOT/home\n|2 é|1\ny\n");
    // Another configuration, by name, by variable; and programs by another PATH.
    let file = scene.file("work/other.json", "{\"default_backend\": \"echo\"}");
    own(&scene, &["--config", "other.json", "z"]).prints("z\n");
    own(&scene, &["z"]).env("CLINVK_CONFIG", &file).prints("z\n");
    own(&scene, &["z"]).env("CLINVK_BACKEND", "echo").prints("z\n");
    scene.edit_config(|config| config["backends"] = json!({"fake": {"command": ["tool"]}}));
    fs::create_dir(scene.path("more")).unwrap();
    fs::write(scene.path("more/tool"), "#!/bin/sh\ncat; echo tool\n").unwrap();
    fs::set_permissions(scene.path("more/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", scene.text("more"));
    own(&scene, &["p"]).env("PATH", path).prints("ptool\n");
    let seen = own(&scene, &["p"]).seen();
    assert!(seen.status == 2 && seen.err.contains("`tool` is not on PATH"), "{seen}");
    assert_eq!(server(&scene), pid);
}

#[test]
fn it_holds_nothing_of_the_command_line_that_started_it() {
    let scene = Scene::playing("cat");
    // A reader that waits for the end of all that the shell was given sees it.
    let line = format!("('{}' hello 3>&1 4>&2) 2>&1 | cat", env!("CARGO_BIN_EXE_clinvk"));
    scene.program("/bin/sh").args(["-c", &line]).env("CLINVK_SERVER", "auto").prints("hello\n");
    let pid = server(&scene);
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd"), fs::canonicalize(scene.path("home/.clinvk")).unwrap());
    assert_eq!((link("fd/0"), link("fd/1")), ("/dev/null".into(), "/dev/null".into()));
    assert!(link("fd/2").ends_with("server.log"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // A session and a group of its own, and no terminal.
    assert_eq!((fields[2], fields[3], fields[4]), (&*pid.to_string(), &*pid.to_string(), "0"));
}

#[test]
fn inside_a_run_it_is_this_process() {
    let scene = Scene::playing("cat");
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let agent = scene.fake("agent", &format!("cat >/dev/null; '{clinvk}' -b fake -n inner"));
    scene.edit_config(|config| config["backends"]["agent"] = json!({"command": [agent]}));
    scene
        .clinvk(["-b", "agent", "x"])
        .env("CLINVK_SERVER", "auto")
        .env("CLINVK_DEPTH", "1")
        .prints("inner\n");
    assert!(servers(&scene).is_empty());
    own(&scene, &["-b", "agent", "x"]).prints("inner\n");
    assert_eq!(servers(&scene).len(), 1);
}

#[test]
fn lines_of_the_program_come_as_they_are() {
    let scene = Scene::declaring(
        json!({"output": "jsonl", "fields": {"text": "text"}}),
        "say '{\"text\": \"a\", \"more\": [1]}'; say 'no JSON'; say '{}'",
    );
    let here = scene.clinvk(["--raw", "x"]).seen();
    assert!(here.out.contains("\"more\": [1]"), "{here}");
    assert_eq!(own(&scene, &["--raw", "x"]).seen(), here);
}

#[test]
fn what_is_wrong_with_its_start_is_said() {
    let scene = Scene::playing("cat");
    fs::write(scene.path(SOCKET), "mine").unwrap();
    let refused = "clinvk: server `auto`: it cannot be started: cannot listen on";
    let seen = own(&scene, &["x"]).seen();
    assert!(seen.status == 5 && seen.err.starts_with(refused) && seen.err.contains("no socket"), "{seen}");
    assert_eq!(fs::read_to_string(scene.path(SOCKET)).unwrap(), "mine");
    fs::remove_file(scene.path(SOCKET)).unwrap();
    let long = scene.path(&"long".repeat(30));
    let seen = own(&scene, &["x"]).env("CLINVK_HOME", &long).env("CLINVK_BACKEND", "echo").seen();
    assert!(seen.status == 5 && seen.err.contains("CLINVK_HOME"), "{seen}");
    scene.is_deserted();
}

#[test]
fn the_home_of_another_user_is_not_used() {
    let scene = Scene::new();
    let home = if is_superuser() { scene.path("other") } else { "/usr".into() };
    if is_superuser() {
        fs::create_dir(&home).unwrap();
        chown(&home, Some(65_534), None).unwrap();
    }
    let run = scene.clinvk(["--server", "auto", "-b", "echo", "--ephemeral", "x"]);
    let seen = run.env("CLINVK_HOME", &home).seen();
    assert!(seen.status == 5 && seen.err.contains("belongs to another user"), "{seen}");
}

#[test]
fn another_server_on_its_socket_is_refused_and_left_alone() {
    let scene = Scene::playing("cat");
    let socket = scene.text(SOCKET);
    let mut other = scene.clinvk(["serve", "--socket", &socket]).start();
    other.says("Press Ctrl+C");
    let seen = own(&scene, &["x"]).seen();
    assert!(seen.status == 1 && seen.err.contains("was not started by `--server auto`"), "{seen}");
    scene.clinvk(["--server", &format!("unix:{socket}"), "x"]).prints("x\n");
    drop(other);
    // And one that is no clinvk at all.
    until("its end", || scene.processes().is_empty());
    fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let seen = own(&scene, &["x"]).seen();
    assert!(seen.status == 5, "{seen}");
}

#[test]
fn a_signal_ends_the_run_and_not_the_server() {
    let scene =
        Scene::playing("[ -e \"$here/on\" ] || { printf half; tell up; \"$here/sleep\" 1000 & wait; }; cat");
    let mut up = scene.fifo("up");
    let mut run = own(&scene, &["x"]).start();
    up.told();
    run.says("half");
    run.signal(sys::SIGINT);
    run.ends("half\n", "clinvk: cancelled\n", -sys::SIGINT);
    let pid = server(&scene);
    until("the end of the run", || scene.processes().len() == 1);
    scene.file("bin/on", "");
    // The session is what it was.
    let seen = own(&scene, &["-c", "again"]).seen();
    assert!(seen.status == 0 && seen.out.ends_with("again\n"), "{seen}");
    assert_eq!(server(&scene), pid);
}

#[test]
fn a_kept_program_goes_on_with_runs_of_its_own_environment_alone() {
    let keys = json!({"output": "jsonl", "fields": {"text": "text", "done": "done"}, "keep": true});
    let scene = Scene::declaring(
        keys,
        "while read -r prompt; do say \"{\\\"text\\\": \\\"$$ $A\\\"}\"; say '{\"done\": true}'; done",
    );
    let said = |run: Run| {
        let seen = run.seen();
        assert_eq!(seen.status, 0, "{seen}");
        seen.out
    };
    let first = said(own(&scene, &["x"]).env("A", "1").env("SHLVL", "1"));
    assert!(first.ends_with(" 1\n"), "{first}");
    assert_eq!(said(own(&scene, &["y"]).env("A", "1").env("SHLVL", "2").env("OLDPWD", "/")), first);
    let other = said(own(&scene, &["x"]).env("A", "2"));
    assert!(other.ends_with(" 2\n"), "{other}");
    assert_eq!(said(own(&scene, &["y"]).env("A", "1")), first);
    // They end with the server.
    sys::kill(server(&scene), sys::SIGTERM).unwrap();
    until("their end", || scene.processes().is_empty());
}
