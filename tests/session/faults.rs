//! A disk that is full, or fails, at each of the calls that change it: what was acknowledged is there, what was not says which file it
//! was, and `fsck` has nothing left to do.

use crate::util::faults::{self, Fault};
use crate::util::run::{Run, Seen};
use crate::util::store::Home;
use clinvk::session::{self, Filter, Page, Store};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// No command makes more calls that can fail.
const MOST_CALLS: usize = 400;

/// Two sessions of a turn each, in a scene that can be put back to how it was.
struct Disk {
    home: Home,
    ids: [String; 2],
}

impl Disk {
    fn new() -> Disk {
        let home = Home::new();
        let ids = [home.begin("one"), home.begin("two")];
        home.scene.file("work/tasks.json", json!({"tasks": [{"prompt": "p"}, {"prompt": "q"}]}).to_string());
        home.scene.file("work/steps.json", json!({"steps": [{"prompt": "p"}, {"prompt": "q"}]}).to_string());
        home.scene.file("work/items", "p\nq\n");
        let disk = Disk { home, ids };
        disk.copy("home", "kept-home");
        disk.copy("work", "kept-work");
        disk
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.home.scene.path(to));
        let (from, to) = (self.home.scene.path(from), self.home.scene.path(to));
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    fn put_back(&self) {
        self.copy("kept-home", "home");
        self.copy("kept-work", "work");
    }

    fn store(&self) -> Store {
        Store::at(&self.home.scene.path("home/.clinvk"))
    }

    /// All prompts that are on the disk.
    fn prompts(&self) -> BTreeSet<String> {
        let store = self.store();
        let all = store.list(&Filter::default(), Page::ALL, &mut |_| {}).unwrap();
        assert!(all.problems.is_empty(), "{:?}", all.problems);
        let turns = all.sessions.iter().flat_map(|session| store.turns(&session.id).unwrap());
        turns.map(|turn| turn.prompt.to_string()).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.scene.path("failed")).unwrap_or_default()
    }

    fn failing(&self, run: Run, fault: Fault) -> Seen {
        let _ = fs::remove_file(self.home.scene.path("failed"));
        faults::on_disk(run, fault, &self.home.scene.path(""), &self.home.scene.path("failed")).seen()
    }

    /// Nothing is wrong, and nothing is left over, once `fsck` was here.
    fn is_whole(&self, what: &str) {
        let store = self.store();
        session::fsck(&store, false, &mut |_| {});
        let second = session::fsck(&store, true, &mut |_| {});
        assert_eq!(second.findings, [], "{what}");
        let left = |dir: &Path| -> Vec<String> {
            let names = fs::read_dir(dir)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.contains("tmp") || name.ends_with(".next")).collect()
        };
        for dir in [self.home.dir(), self.home.scene.path("home/.clinvk"), self.home.scene.path("work/out")] {
            assert!(left(&dir).is_empty(), "{what}: {}: {:?}", dir.display(), left(&dir));
        }
    }
}

/// What a command does.
struct Case {
    args: Vec<String>,
    /// A failure of the disk is told by these exit statuses.
    statuses: &'static [i32],
    /// The prompts of before that are there whatever happens.
    keeps: &'static [&'static str],
    /// What has to be so where it says that it is done.
    is_done: fn(&Disk) -> bool,
}

fn case(
    args: &[&str],
    statuses: &'static [i32],
    keeps: &'static [&'static str],
    is_done: fn(&Disk) -> bool,
) -> Case {
    Case { args: args.iter().map(|arg| (*arg).to_owned()).collect(), statuses, keeps, is_done }
}

fn prompts_are(disk: &Disk, prompts: &[&str]) -> bool {
    let there = disk.prompts();
    prompts.iter().all(|prompt| there.contains(*prompt))
}

/// Lets each call fail, one after the other, until the command needs no further one. Returns those that did.
fn fails_everywhere(disk: &Disk, case: &Case, fault: fn(usize) -> Fault) -> String {
    let mut failed = String::new();
    for at in 1..MOST_CALLS {
        disk.put_back();
        let fault = fault(at);
        let seen = disk.failing(disk.home.clinvk(&case.args), fault);
        let log = disk.log();
        failed += &log;
        let what = format!("clinvk {}: {fault:?}: {}: {seen}", case.args.join(" "), log.trim_end());
        if seen.status == 0 {
            let is_told = seen.err.contains(fault.words()) && seen.err.contains("`ROOT/");
            assert!(is_told || (case.is_done)(disk), "it says that it is done, and is not: {what}");
        } else {
            assert!(case.statuses.contains(&seen.status), "{what}");
            let is_told = seen.err.contains(fault.words()) || seen.out.contains(fault.words());
            assert!(
                is_told && (seen.err + &seen.out).contains("`ROOT/"),
                "it does not say which file: {what}"
            );
        }
        assert!(prompts_are(disk, case.keeps), "{:?}: {what}", disk.prompts());
        if let (Fault::Full(_), false) = (fault, log.is_empty()) {
            // The disk is still full.
            let fsck = disk.failing(disk.home.clinvk(["sessions", "fsck"]), Fault::Full(1));
            assert!(prompts_are(disk, case.keeps), "{fsck}: {what}");
            assert!(fsck.status == 0 || fsck.err.contains("`ROOT/"), "{fsck}: {what}");
        }
        disk.is_whole(&what);
        assert!(prompts_are(disk, case.keeps), "after fsck: {:?}: {what}", disk.prompts());
        if log.is_empty() {
            assert!(at > 1 && seen.status == 0, "{what}");
            return failed;
        }
    }
    panic!("it never came to an end: {:?}", case.args);
}

/// Returns the calls that failed on the broken one.
fn on_both_disks(make: impl Fn(&Disk) -> Vec<Case>) -> String {
    let disk = Disk::new();
    let mut failed = String::new();
    for case in make(&disk) {
        fails_everywhere(&disk, &case, Fault::Full);
        failed += &fails_everywhere(&disk, &case, Fault::Broken);
    }
    failed
}

const BOTH: &[&str] = &["one", "two"];

#[test]
fn a_prompt_on_a_disk_that_fails() {
    on_both_disks(|disk| {
        vec![
            case(&["three"], &[4], BOTH, |disk| prompts_are(disk, &["three"])),
            case(&["resume", &disk.ids[0], "three"], &[4], BOTH, |disk| prompts_are(disk, &["three"])),
        ]
    });
}

#[test]
fn many_prompts_on_a_disk_that_fails() {
    let is_in_folder = |disk: &Disk| {
        let files = fs::read_dir(disk.home.scene.path("work/out")).unwrap().count();
        files > 2
    };
    let failed = on_both_disks(|_| {
        vec![
            case(
                &["parallel", "-q", "--max-parallel", "1", "--output-dir", "out", "-f", "tasks.json"],
                &[1, 4],
                BOTH,
                is_in_folder,
            ),
            case(
                &["map", "-q", "--max-parallel", "1", "--resume", "out", "-f", "items", "say {}"],
                &[1, 4],
                BOTH,
                is_in_folder,
            ),
            case(&["chain", "--keep-sessions", "-f", "steps.json"], &[1, 4], BOTH, |disk| {
                prompts_are(disk, &["p", "q"])
            }),
        ]
    });
    // The names of the results outlive a power failure.
    let is_sync = |call: &str| call.starts_with("fsync ") && call.ends_with("/work/out");
    assert!(failed.lines().any(is_sync), "{failed}");
}

#[test]
fn sessions_that_are_changed_on_a_disk_that_fails() {
    on_both_disks(|disk| {
        let id = disk.ids[0].as_str();
        vec![
            case(&["sessions", "tag", id, "x"], &[4], BOTH, |disk| {
                disk.home.session(&disk.ids[0])["tags"] == json!(["x"])
            }),
            case(&["sessions", "rename", id, "x"], &[4], BOTH, |disk| {
                disk.home.session(&disk.ids[0])["title"] == "x"
            }),
            case(&["sessions", "delete", id], &[4], &["two"], |disk| !prompts_are(disk, &["one"])),
            case(&["sessions", "clean", "--all", "--search", "one"], &[4], &["two"], |disk| {
                !prompts_are(disk, &["one"])
            }),
            case(&["sessions", "fork", id], &[4], BOTH, |disk| disk.home.ids().len() == 3),
            case(&["sessions", "fsck"], &[4], BOTH, |_| true),
        ]
    });
}

#[test]
fn a_configuration_that_is_changed_on_a_disk_that_fails() {
    let value = |disk: &Disk| {
        let text = fs::read_to_string(disk.home.scene.path("home/.clinvk/config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["default_backend"], "echo");
        config["unified_flags"]["command_timeout_secs"] == 7
    };
    on_both_disks(|_| {
        vec![case(&["config", "set", "unified_flags.command_timeout_secs", "7"], &[1, 3], BOTH, value)]
    });
}

/// What a server answers to a prompt.
#[cfg(feature = "serve")]
#[test]
fn a_server_on_a_disk_that_fails() {
    use crate::util::http::Server;
    let disk = Disk::new();
    for fault in [Fault::Full, Fault::Broken] {
        for at in 1..MOST_CALLS {
            disk.put_back();
            let _ = fs::remove_file(disk.home.scene.path("failed"));
            let run = disk.home.clinvk(["serve", "--port", "0"]);
            let (root, log) = (disk.home.scene.path(""), disk.home.scene.path("failed"));
            let server = Server::of(faults::on_disk(run, fault(at), &root, &log).start());
            let path = format!("/api/v1/sessions/{}/resume", disk.ids[0]);
            let answers = [
                server.post("/api/v1/prompt", &json!({"prompt": "three"})),
                server.post(&path, &json!({"prompt": "four"})),
            ];
            let what = format!("{:?}: {}: {} {}", fault(at), disk.log().trim_end(), answers[0], answers[1]);
            server.stop();
            for (answer, prompt) in answers.iter().zip(["three", "four"]) {
                let told = answer.json();
                let is_saved = answer.status == 200
                    && !answer.to_string().contains("`ROOT/")
                    && !answer.to_string().contains(fault(at).words());
                assert!(
                    !is_saved || prompts_are(&disk, &[prompt]),
                    "{prompt} was acknowledged: {told}: {what}"
                );
                assert!(
                    is_saved || answer.to_string().contains(fault(at).words()),
                    "it does not say why: {what}"
                );
            }
            assert!(prompts_are(&disk, BOTH), "{:?}: {what}", disk.prompts());
            disk.is_whole(&what);
            if disk.log().is_empty() {
                assert!(at > 1 && prompts_are(&disk, &["three", "four"]), "{what}");
                break;
            }
        }
    }
}
