//! Where clinvk keeps its things and where it stands: what works without a home, or without a working directory, and what is
//! said by all else (faults.md C3, C4, G10).

use crate::util::run::Run;
use crate::util::scene::Scene;
use crate::util::store::Home;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const EPHEMERAL: &str = " (`--ephemeral` keeps no session)";

/// C3: without a home that can be used, what needs none works, what costs nothing works, and all else says why, with the same
/// words; and nothing is made.
#[test]
fn without_a_home_what_needs_none_works() {
    let scene = Scene::new();
    let ran = scene.path("ran");
    scene.fake("tool", &format!("touch '{}'; cat", ran.display()));
    scene.file("work/config.json", json!({"no_such_key": 1}).to_string());
    scene.file("work/tools.json", json!({"backends": {"tool": {"command": ["tool"]}}}).to_string());
    scene.file("tmp/file", "");
    let missing = scene.path("missing/deep");
    let missing = missing.to_str().unwrap();
    let gone = "the home directory `ROOT/missing/deep` cannot be used: No such file or directory (os error 2): create it, \
                or set CLINVK_HOME";
    let file = scene.text("tmp/file");
    for (home, why) in [
        ("rel", "HOME is `rel`, which is no absolute path: correct it, or set CLINVK_HOME"),
        (missing, gone),
        (&*file, "the home directory `ROOT/tmp/file` is not a directory: correct HOME, or set CLINVK_HOME"),
    ] {
        let run = |args: &[&str]| scene.clinvk(args).env("HOME", home);
        run(&["-b", "echo", "--ephemeral", "hi"]).prints("hi\n");
        let warned = format!("clinvk: the session was not saved: {why}\n");
        run(&["-b", "echo", "hi"]).is("hi\n", &warned, 0);
        run(&["--config", "tools.json", "-b", "tool", "--ephemeral", "hi"]).prints("hi\n");
        fs::remove_file(&ran).unwrap();
        let refused = format!("clinvk: {why}\n");
        run(&["--config", "tools.json", "-b", "tool", "hi"])
            .fails(1, &refused.replace('\n', &format!("{EPHEMERAL}\n")));
        assert!(!ran.exists());
        for args in [
            &["sessions", "list"][..],
            &["sessions", "fsck"],
            &["-c", "-b", "echo", "hi"],
            &["resume", "0123456789abcdef0123456789abcdef", "hi"],
            &["config", "set", "output.show_tokens", "true"],
            &["config", "path"],
            #[cfg(feature = "serve")]
            &["serve", "--port", "0"],
        ] {
            let seen = run(args).seen();
            assert_eq!((&*seen.out, &*seen.err, seen.status), ("", &*refused, 1), "{home}: {args:?}: {seen}");
        }
        assert!(!scene.path("work/rel").exists() && !scene.path("missing").exists());
        let other = scene.text("other");
        run(&["-b", "echo", "hi"]).env("CLINVK_HOME", &other).prints("hi\n");
        assert!(scene.path("other/sessions").is_dir());
    }
}

/// C3: without HOME the user database says where it is; a user who is not in it has none.
#[test]
fn without_the_variable_the_user_database_is_asked() {
    let scene = Scene::new();
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let entry = Command::new("getent").args(["passwd", &uid.to_string()]).output().unwrap();
    let entry = String::from_utf8(entry.stdout).unwrap();
    let home = entry.split(':').nth(5).filter(|home| std::path::Path::new(home).is_dir());
    let seen = scene.clinvk(["config", "path"]).without("HOME").seen();
    match home {
        Some(home) => assert_eq!(seen.out, format!("{home}/.clinvk/config.json\n"), "{seen}"),
        None => assert!(seen.status == 1 && seen.err.contains("set CLINVK_HOME"), "{seen}"),
    }
    assert_eq!(scene.clinvk(["config", "path"]).env("HOME", "").seen(), seen);
    if uid == 0 {
        let as_unknown = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_clinvk"));
            command.env_clear().uid(54_321).gid(54_321).args(args).current_dir("/");
            Run::new(command, &scene.path(""))
        };
        as_unknown(&["-b", "echo", "--ephemeral", "hi"]).prints("hi\n");
        let why = "HOME is not set, and the user has no home directory: set it, or set CLINVK_HOME";
        as_unknown(&["sessions", "list"]).fails(1, &format!("clinvk: {why}\n"));
    }
}

/// C4: in a directory that has been deleted all works that does not need it, and what does says so.
#[test]
fn in_a_deleted_directory_all_works_that_does_not_need_it() {
    let home = Home::new();
    let id = home.begin("first");
    let gone = |args: &[&str]| {
        let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
        home.scene.program("sh").args(["-c", script, "sh", env!("CARGO_BIN_EXE_clinvk")]).args(args)
    };
    let elsewhere = home.scene.text("tmp");
    let seen = gone(&["sessions", "list"]).seen();
    assert!(seen.out.contains("first") && seen.err.is_empty() && seen.status == 0, "{seen}");
    gone(&["-w", &elsewhere, "hi"]).prints("hi\n");
    gone(&["resume", &id, "again"]).prints("again\n");
    gone(&["config", "path"]).prints("ROOT/home/.clinvk/config.json\n");
    let sentence = "clinvk: the working directory is gone: change to another one, or give one (`-w DIR`)\n";
    for args in [&["hi"][..], &["-w", "..", "hi"], &["-c", "hi"], &["sessions", "list", "--here"]] {
        gone(args).fails(1, sentence);
    }
    gone(&["sessions", "list"])
        .env("CLINVK_HOME", "rel")
        .fails(1, "clinvk: CLINVK_HOME is `rel`, and the working directory is gone: give an absolute path\n");
    assert_eq!(home.ids().len(), 2);
}

/// C4: a directory whose name is not UTF-8 cannot be a session's: that is said before anything is run.
#[test]
fn a_directory_that_is_no_text_is_refused_before_anything_is_run() {
    let home = Home::new();
    let ran = home.scene.path("ran");
    home.scene.fake("tool", &format!("touch '{}'; cat", ran.display()));
    home.scene.edit_config(|config| config["backends"]["tool"] = json!({"command": ["tool"]}));
    let odd = home.scene.path("work").join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    let seen = home.clinvk(["-b", "tool", "hi"]).dir(&odd).seen();
    let sentence =
        "is not valid UTF-8, so that no session can have it: give another one (`-w DIR`), or keep no session";
    assert!(seen.out.is_empty() && seen.err.contains(sentence) && seen.status == 1, "{seen}");
    assert!(!ran.exists() && home.ids().is_empty());
    home.clinvk(["-b", "tool", "--ephemeral", "hi"]).dir(&odd).prints("hi\n");
    home.clinvk(["-w", &home.scene.text("tmp"), "hi"]).dir(&odd).prints("hi\n");
    let seen = home.clinvk(["sessions", "list"]).dir(&odd).seen();
    assert!(seen.out.contains("hi") && seen.status == 0, "{seen}");
}

/// What tells of such a directory in JSON, whose texts are UTF-8, has U+FFFD for what is none.
#[test]
fn a_directory_that_is_no_text_is_told_of_in_json() {
    let home = Home::new();
    let odd = home.scene.path("work").join(OsStr::from_bytes(b"\xff"));
    fs::create_dir_all(odd.join(".clinvk/prompts")).unwrap();
    fs::write(odd.join(".clinvk/prompts/odd.md"), "hi").unwrap();
    fs::write(odd.join(".clinvk/config.json"), r#"{"default_backend": "echo"}"#).unwrap();
    for args in [
        &["--ephemeral", "-o", "stream-json", "hi"][..],
        &["--ephemeral", "--dry-run", "--json", "hi"],
        &["--ephemeral", "--dry-run", "--json", "-b", "claude", "--json-schema", "{}", "hi"],
        &["--ephemeral", "--dry-run", "--json", "-b", "gemini", "hi"],
        &["--server", "auto", "--ephemeral", "-o", "stream-json", "hi"],
        &["prompts", "--json"],
        &["doctor", "--json"],
    ] {
        let seen = home.clinvk(args).dir(&odd).env("TMPDIR", &odd).env("HOME", &odd).seen();
        assert!(seen.out.contains('\u{fffd}') && !seen.err.contains("panicked"), "{args:?}: {seen}");
    }
}

/// G10: a home whose name is not UTF-8 is the home; a relative TMPDIR is found from everywhere.
#[test]
fn odd_variables_mean_what_they_say() {
    let scene = Scene::new();
    let odd = scene.path("").join(OsStr::from_bytes(b"h\xff"));
    fs::create_dir(&odd).unwrap();
    let run = |args: &[&str]| scene.clinvk(args).env("HOME", &odd);
    run(&["-b", "echo", "hi"]).prints("hi\n");
    let seen = run(&["sessions", "list"]).seen();
    assert!(seen.out.contains("hi") && seen.status == 0, "{seen}");
    assert!(odd.join(".clinvk/sessions").is_dir());
    let seen = scene.clinvk(["-b", "gemini", "--dry-run", "hi"]).env("TMPDIR", "rel").seen();
    assert!(seen.out.contains("ROOT/work/rel/clinvk-") && seen.status == 0, "{seen}");
}
