//! Clocks that go back, and clocks of two hosts that are apart: order is by what happened, and nothing is lost.

use crate::util::faults::with_clock;
use crate::util::run::Run;
use crate::util::store::Home;
use std::fs;
use std::path::PathBuf;
use std::thread;

const DAY: i64 = 86_400;

/// A file that says how wrong a clock is.
fn shift(home: &Home, seconds: i64) -> PathBuf {
    let path = home.scene.path(&format!("shift{seconds}"));
    fs::write(&path, seconds.to_string()).unwrap();
    path
}

fn at(home: &Home, seconds: i64, args: &[&str]) -> Run {
    with_clock(home.clinvk(args), &shift(home, seconds))
}

#[test]
fn a_clock_that_goes_back_a_day_changes_no_order() {
    let home = Home::new();
    let first = home.begin("one");
    at(&home, -DAY, &["two"]).prints("two\n");
    let day = |id: &str| home.session(id)["last_used_at"].as_str().unwrap()[..10].to_owned();
    let second = home.ids().into_iter().find(|id| *id != first).unwrap();
    assert!(day(&second) < day(&first), "the clock did not go back");
    assert_eq!(home.list(&[]), ["two", "one"]);
    // What was used last goes on, by either clock, and what was used on the day before is of the day before.
    at(&home, -DAY, &["-c", "three"]).prints("three\n");
    home.clinvk(["-c", "four"]).prints("four\n");
    assert_eq!((home.turns(&second).len(), home.turns(&first).len()), (3, 1));
    at(&home, -DAY, &["resume", &first, "five"]).prints("five\n");
    assert_eq!(
        (home.list(&[]), home.list(&["--since", "12h"])),
        (vec!["one".into(), "two".into()], vec!["two".to_owned()])
    );
    assert_eq!(home.fsck(&[]), [""; 0]);
}

#[test]
fn two_hosts_whose_clocks_are_two_days_apart_share_a_store() {
    let home = Home::new();
    let shared = home.begin("shared");
    thread::scope(|threads| {
        for seconds in [-DAY, DAY] {
            let (home, shared) = (&home, &shared);
            threads.spawn(move || {
                for number in 0..8 {
                    at(home, seconds, &[&format!("new {seconds} {number}")])
                        .prints(&format!("new {seconds} {number}\n"));
                    let prompt = format!("turn {seconds} {number}");
                    at(home, seconds, &["resume", shared, "--wait", &prompt]).prints(&format!("{prompt}\n"));
                }
            });
        }
    });
    assert_eq!((home.list(&["-n", "0"]).len(), home.turns(&shared).len()), (17, 17));
    // The index that is made anew goes by time, and has all of them too.
    fs::remove_file(home.dir().join("index.jsonl")).unwrap();
    assert_eq!((home.list(&["-n", "0"]).len(), home.fsck(&[])), (17, vec![]));
}

#[cfg(feature = "serve")]
#[test]
fn a_server_whose_clock_goes_back_a_day_goes_on() {
    use crate::util::http::Server;
    use serde_json::json;
    let home = Home::with(
        json!({"server": {"rate_limit_enabled": true, "rate_limit_rps": 1000, "rate_limit_burst": 1000}}),
    );
    let clock = shift(&home, 0);
    let server = Server::of(with_clock(home.clinvk(["serve", "--port", "0"]), &clock).start());
    let ask = |prompt: &str| {
        let answer = server.post("/api/v1/prompt", &json!({"prompt": prompt}));
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    };
    let before = ask("before");
    fs::write(&clock, (-DAY).to_string()).unwrap();
    let after = ask("after");
    let seconds = after["duration_seconds"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&seconds), "{after}");
    assert_eq!(home.list(&[]), ["after", "before"]);
    let path = format!("/api/v1/sessions/{}/resume", before["session_id"].as_str().unwrap());
    fs::write(&clock, DAY.to_string()).unwrap();
    let answer = server.post(&path, &json!({"prompt": "more"}));
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!((home.list(&[]), home.fsck(&[])), (vec!["before".to_owned(), "after".to_owned()], vec![]));
    assert_eq!(server.get("/ready").status, 200);
    server.stop();
}
