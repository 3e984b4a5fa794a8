//! Numbers at the limits, wherever they are read from a file: an error that names it, or a sum that stays where it is; no panic, and
//! nothing that begins again at 0.

use super::processes::{Bare, KEEP, begin, blank, everything, turn};
use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::model::event::Usage;
use clinvk::model::outcome::Outcome;
use clinvk::session;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

const NUMBERS: &[&str] = &[
    "18446744073709551615",
    "18446744073709551614",
    "18446744073709551616",
    "9223372036854775808",
    "4294967296",
    "-1",
    "-9223372036854775808",
    "1.5",
    "1e19",
    "1.7976931348623157e308",
    "-1.7976931348623157e308",
    "1e999",
];

/// A text with another number in that place, which may be none that a value can have.
fn with_number(from: &Value, pointer: &str, number: &str) -> String {
    let mut value = from.clone();
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in {from}")) = json!("HERE");
    value.to_string().replace("\"HERE\"", number)
}

#[test]
fn a_session_whose_numbers_are_at_the_limits_goes_on_or_is_called_broken() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    begin(&store, blank('b')).unwrap();
    let id = "a".repeat(32);
    let file = |end: &str| home.0.join(format!("sessions/{id}.{end}"));
    let read = || serde_json::from_slice::<Value>(&fs::read(file("json")).unwrap()).unwrap();
    let whole = read();
    let usage = Usage {
        input: u64::MAX,
        output: u64::MAX,
        cached: u64::MAX,
        reasoning: u64::MAX,
        cost: Some(f64::MAX),
    };
    let names = ["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost"];
    let places =
        names.map(|name| format!("/token_usage/{name}")).into_iter().chain(["/turn_count".to_owned()]);
    for place in places {
        for number in NUMBERS {
            let mut whole = whole.clone();
            whole["token_usage"]["cost"] = json!(0.5);
            fs::write(file("json"), with_number(&whole, &place, number)).unwrap();
            fs::remove_file(home.0.join("sessions/index.jsonl")).unwrap();
            let what = format!("{place} is {number}");
            let before = match store.load(&id) {
                Err(error) => {
                    assert!(error.to_string().contains(&format!("{id}.json` is broken")), "{what}: {error}");
                    assert_eq!(everything(&store).sessions.len(), 1, "{what}");
                    continue;
                }
                Ok(session) => session.turn_count,
            };
            let mut run = store.resume(&id, None, Arc::new(|| Ok(())), "more", KEEP).unwrap();
            run.end(&Outcome { backend: "echo".to_owned(), usage, ..Outcome::default() }).unwrap();
            drop(run);
            let now = read();
            let sums: Vec<Option<u64>> =
                names[..4].iter().map(|name| now["token_usage"][name].as_u64()).collect();
            assert_eq!(
                (sums, now["turn_count"].as_u64()),
                (vec![Some(u64::MAX); 4], Some(before.saturating_add(1))),
                "{what}: {now}"
            );
            assert!(now["token_usage"]["cost"].is_f64(), "{what}: {now}");
            assert_eq!(everything(&store).sessions.len(), 2, "{what}");
            assert_eq!(session::fsck(&store, true, &mut |_| {}).findings, [], "{what}");
        }
    }
}

#[test]
fn an_index_whose_numbers_are_at_the_limits_is_read_or_made_anew() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    begin(&store, blank('b')).unwrap();
    let path = home.0.join("sessions/index.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let names: [&[&str]; 2] =
        [&["clinvk_journal", "compacted_bytes", "length", "directory"], &["turn_count"]];
    for (line, names) in names.into_iter().enumerate() {
        for (name, number) in names.iter().flat_map(|name| NUMBERS.iter().map(move |number| (name, number))) {
            let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
            lines[line] =
                with_number(&serde_json::from_str(&lines[line]).unwrap(), &format!("/{name}"), number);
            fs::write(&path, lines.join("\n") + "\n").unwrap();
            let what = format!("{name} is {number}");
            let listed = everything(&store);
            assert!(
                listed.sessions.len() == 2 && listed.problems.is_empty(),
                "{what}: {:?}",
                listed.problems
            );
            turn(&store, &"b".repeat(32), "more").unwrap();
            session::fsck(&store, false, &mut |_| {});
            assert_eq!(session::fsck(&store, true, &mut |_| {}).findings, [], "{what}");
            assert_eq!(everything(&store).sessions.len(), 2, "{what}");
        }
    }
}

/// A lock file from before 1970 says when the turn of a session began that has no end.
#[test]
fn a_turn_that_began_before_1970_began_then() {
    let home = Home::new();
    let id = home.begin("one");
    fs::write(home.path(&id, "next"), "").unwrap();
    let lock = fs::OpenOptions::new().write(true).open(home.path(&id, "lock")).unwrap();
    let long_ago = std::time::UNIX_EPOCH.checked_sub(std::time::Duration::from_secs(1 << 31)).unwrap();
    lock.set_modified(long_ago).unwrap();
    let shown = home.json(["sessions", "show", &id]);
    assert_eq!(shown["last_used_at"].as_str().map(|time| &time[..16]), Some("1970-01-01T00:00"), "{shown}");
}

#[test]
fn results_whose_numbers_are_at_the_limits_are_merged_or_are_none() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene.clinvk(["map", "-q", "{}", "--output-dir", "part"]).stdin("a\nb\n").seen();
    let read = |name: &str| serde_json::from_slice::<Value>(&fs::read(scene.path(name)).unwrap()).unwrap();
    let (mut result, summary) = (read("work/part/00002.json"), read("work/part/summary.json"));
    result["cost"] = json!(0.5);
    let of_result = [
        "index",
        "attempts",
        "exit_code",
        "duration_seconds",
        "cost",
        "permission_denials",
        "usage/input_tokens",
        "usage/output_tokens",
    ];
    let of_summary = ["total_tasks", "completed", "results/1/index", "total_duration_seconds"];
    let places = of_result.map(|place| ("work/part/00002.json", &result, place));
    for (name, whole, place) in
        places.into_iter().chain(of_summary.map(|place| ("work/part/summary.json", &summary, place)))
    {
        for number in NUMBERS {
            let mut whole = whole.clone();
            if place == "results/1/index" {
                whole["results"][1].as_object_mut().unwrap().remove("file");
            }
            scene.file(name, with_number(&whole, &format!("/{place}"), number));
            let seen = scene.clinvk(["map", "-q", "--merge", "part", "--output-dir", "all"]).seen();
            let what = format!("{place} is {number}: {seen}");
            assert!(!seen.err.contains("panicked") && [0, 1].contains(&seen.status), "{what}");
            assert!(seen.status == 0 || seen.err.contains("part"), "{what}");
            let lines: Vec<Value> =
                seen.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(lines.len() == 2 || seen.status == 1, "{what}");
            // Not there where nothing was merged.
            let _ = fs::remove_dir_all(scene.path("work/all"));
        }
        scene.file(name, whole.to_string());
    }
}

/// The largest number that a file of results can have in its name.
#[test]
fn a_result_of_the_last_number_there_is_is_merged() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene.clinvk(["map", "-q", "{}", "--output-dir", "part"]).stdin("a\n").seen();
    let read = |name: &str| serde_json::from_slice::<Value>(&fs::read(scene.path(name)).unwrap()).unwrap();
    let (result, summary) = (read("work/part/00001.json"), read("work/part/summary.json"));
    let last = u64::MAX - 1;
    fs::remove_file(scene.path("work/part/00001.json")).unwrap();
    scene.file("work/part/18446744073709551615.json", with_number(&result, "/index", &last.to_string()));
    let mut summary = summary;
    summary["results"] = json!([{"index": last, "status": "completed", "file": "18446744073709551615.json"}]);
    scene.file("work/part/summary.json", summary.to_string());
    let seen = scene.clinvk(["map", "-q", "--merge", "part", "--output-dir", "all"]).seen();
    let merged: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
    assert!(merged["index"] == last && merged["item"] == "a" && seen.status == 0, "{seen}");
    assert_eq!(read("work/all/summary.json")["results"], summary["results"]);
}

#[test]
fn times_on_the_command_line_are_within_a_year_or_refused() {
    let home = Home::new();
    home.begin("one");
    for word in ["99999999999h", "18446744073709551615", "18446744073709551616s", "-1", "1e308", "8761h"] {
        for flag in ["--timeout", "--stall-timeout", "--first-byte-timeout", "--wait"] {
            let seen = home.clinvk([&format!("{flag}={word}"), "hi"]).seen();
            assert!(
                seen.status == 1
                    && seen.err.contains(flag.trim_start_matches('-'))
                    && !seen.err.contains("panicked"),
                "{flag}={word}: {seen}"
            );
        }
    }
    home.clinvk(["--timeout=8760h", "--ephemeral", "hi"]).prints("hi\n");
    home.clinvk(["--timeout=1.5h", "--ephemeral", "hi"]).prints("hi\n");
    for word in ["99999999999h", "584554049253w", "99999999999999999999w", "1.5d"] {
        for args in [["list", "--since"], ["clean", "--older-than"]] {
            let seen = home.clinvk(["sessions", args[0], args[1], word]).seen();
            assert!([0, 1].contains(&seen.status) && !seen.err.contains("panicked"), "{word}: {seen}");
        }
    }
    assert_eq!(home.ids().len(), 1);
}

#[cfg(feature = "serve")]
#[test]
fn a_list_that_begins_behind_all_that_can_be_is_empty_here_and_on_a_server() {
    let home = Home::new();
    home.begin("one");
    let server = home.scene.serve([]);
    let url = format!("http://{}", server.address);
    for on in [&[][..], &["--server", &url]] {
        for args in [["-n", "0"], ["-n", "18446744073709551615"]] {
            let args = [&["sessions", "list", "--offset", "18446744073709551615"], &args[..], on].concat();
            let listed = home.json(&args);
            assert!(listed["sessions"] == json!([]) && listed["total"] == 1, "{args:?}: {listed}");
        }
    }
    server.stop();
}
