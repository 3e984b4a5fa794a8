//! Whoever waits for the store can be called off (faults.md G5).

use crate::util::scene::until;
use crate::util::store::Home;
use clinvk::base::sys;
use fs2::FileExt;
use std::fs::{self, File};
use std::time::{Duration, Instant};

/// G5: a prompt, a resume and their end wait for `store.lock`, and end by INT, TERM and HUP while another process has it.
#[test]
fn who_waits_for_the_store_can_be_interrupted() {
    for signal in [sys::SIGINT, sys::SIGTERM, sys::SIGHUP] {
        let home = Home::new();
        let id = home.begin("first");
        let other = File::open(home.dir().join("store.lock")).unwrap();
        other.lock_exclusive().unwrap();
        for args in [&["new"][..], &["resume", &id, "again"], &["-c", "again"]] {
            let run = home.clinvk(args).start();
            until("the thread that hears signals", || {
                fs::read_dir(format!("/proc/{}/task", run.pid)).is_ok_and(|tasks| tasks.count() == 2)
            });
            run.signal(signal);
            // A shell's loop ends with a run that Ctrl-C has ended.
            run.ends("", "clinvk: cancelled\n", if signal == sys::SIGINT { -signal } else { 7 });
        }
        FileExt::unlock(&other).unwrap();
        // Nothing came of any of them.
        assert_eq!((home.ids().len(), home.turns(&id).len(), home.fsck(&[])), (1, 1, vec![]), "{signal}");
        home.clinvk(["resume", &id, "again"]).prints("again\n");
    }
}

/// G5: a turn that was called off is saved within a moment, or it ends all the same.
#[test]
fn a_turn_that_cannot_be_saved_does_not_hold_its_run() {
    let home = Home::with(serde_json::json!({"backends": {"echo": {"hang": true}}}));
    let mut run = home.clinvk(["hi"]).start();
    run.says("hi");
    let other = File::open(home.dir().join("store.lock")).unwrap();
    other.lock_exclusive().unwrap();
    let since = Instant::now();
    run.signal(sys::SIGTERM);
    let seen = run.end();
    assert!(seen.status == 7 && since.elapsed() < Duration::from_secs(30), "{seen}");
    FileExt::unlock(&other).unwrap();
    assert_eq!(home.only()["status"], "active");
    // Who looks next finds that nobody runs it.
    assert_eq!(home.json(["sessions", "list"])["sessions"][0]["status"], "error");
}
