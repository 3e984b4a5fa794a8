//! `exec::output`: a program that is nobody's run.

use crate::util::scene::{PATIENCE, Scene, until};
use clinvk::base::world::World;
use clinvk::exec::{Printed, output};
use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};

/// Enough for what ends by itself.
const LONG: Duration = PATIENCE;

pub fn world(scene: &Scene) -> World {
    let path = format!("{}:/usr/bin:/bin", scene.text("bin"));
    World {
        env: [("PATH".to_owned(), path)].into(),
        cwd: scene.path("work"),
        home: scene.path("home"),
        ..World::default()
    }
}

fn tool(play: &str) -> Scene {
    let scene = Scene::new();
    scene.fake("tool", play);
    scene
}

fn printed(play: &str) -> Printed {
    output(&["tool", "one", "two words"], &world(&tool(play)), LONG).unwrap()
}

#[test]
fn what_it_prints_and_how_it_ends_is_told() {
    let seen = printed(r#"printf '%s|' "$@"; cat; echo why >&2; exit 3"#);
    assert_eq!((seen.out.as_slice(), seen.ended.code), (&b"one|two words|"[..], Some(3)));
    assert_eq!(seen.ended.stderr, "why");
    let seen = printed("bytes 300000; echo >&2; bytes 20000 >&2; kill -9 $$");
    assert_eq!((seen.out.len(), seen.ended.code, seen.ended.signal), (300_000, None, Some(9)));
    assert_eq!(seen.ended.stderr.len(), 8 << 10);
}

#[test]
fn a_program_that_does_not_end_is_killed_with_its_group() {
    let scene = tool(r#""$here/sleep" 1000 & exec "$here/sleep" 1000"#);
    let error = output(&["tool"], &world(&scene), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    until("nobody left", || scene.processes().is_empty());
}

#[test]
fn a_program_that_ends_is_not_waited_for_longer_than_that() {
    // One that stays in the group goes; one that left it holds the pipe, and is let be.
    let scene = tool(r#"echo out; "$here/sleep" 1000 & daemon"#);
    let since = Instant::now();
    let seen = output(&["tool"], &world(&scene), LONG).unwrap();
    assert_eq!((seen.out.as_slice(), seen.ended.code), (&b"out\n"[..], Some(0)));
    assert!(since.elapsed() < LONG / 2, "{:?}", since.elapsed());
    until("the daemon only", || scene.processes().len() == 1);
}

#[test]
fn a_flood_is_an_error() {
    let scene = tool("exec cat /dev/zero");
    let error = output(&["tool"], &world(&scene), LONG).unwrap_err();
    assert_eq!(error.to_string(), "it prints more than 1 MiB");
    until("nobody left", || scene.processes().is_empty());
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = output(&["tool"], &world(&Scene::new()), LONG).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "`tool` is not on PATH"));
}

#[test]
fn it_sees_neither_our_keys_nor_our_input() {
    let name = "exec::output::it_sees_neither_our_keys_nor_our_input";
    if std::env::var_os("CLINVK_API_KEYS").is_some() {
        let seen = printed("env; cat");
        let text = String::from_utf8(seen.out).unwrap();
        assert!(text.contains("CLINVK_OTHER=seen") && !text.contains("secret"), "{text}");
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact"]).env("CLINVK_API_KEYS", "secret").env("CLINVK_OTHER", "seen");
    let out = child.env("CLINVK_API_KEYS_GOPASS_PATH", "secret/path").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}
