//! A disk that is full, fails, or turns read-only at each of the calls that change it: what was acknowledged is there, what was not says
//! which file it was, no file is half, and `fsck` has nothing left to do.

use crate::util::faults::{self, Fault};
use crate::util::run::{Run, Seen};
use crate::util::store::Home;
use clinvk::session::{self, Filter, Page, Store};
use serde_json::{Value, json};
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
        let exported = home.export(&ids[0]);
        home.scene.file("work/exported.json", &exported);
        home.scene
            .file("work/other.json", exported.replace(&ids[0], &"c".repeat(32)).replace("one", "other"));
        let map = home.clinvk(["map", "-q", "{}", "--output-dir", "part"]).stdin("p\nq\n");
        assert_eq!(
            map.env("CLINVK_HOME", home.scene.path("home/other")).env("CLINVK_BACKEND", "echo").seen().status,
            0
        );
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

    /// The prompts of all turns that are on the disk.
    fn prompts(&self) -> Vec<String> {
        let store = self.store();
        let all = store.list(&Filter::default(), Page::ALL, &mut |_| {}).unwrap();
        assert!(all.problems.is_empty(), "{:?}", all.problems);
        let turns = all.sessions.iter().flat_map(|session| store.turns(&session.id).unwrap());
        turns.map(|turn| turn.prompt.to_string()).collect()
    }

    /// The text of a chat, where it was saved.
    fn saved(&self) -> Option<String> {
        fs::read_to_string(self.home.scene.path("work/talk.md")).ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.scene.path("failed")).unwrap_or_default()
    }

    fn failing(&self, run: Run, fault: Fault) -> Seen {
        let _ = fs::remove_file(self.home.scene.path("failed"));
        faults::on_disk(run, fault, &self.home.scene.path(""), &self.home.scene.path("failed")).seen()
    }

    /// Nothing is wrong, nothing is half, and nothing is left over, once `fsck` was here. On a disk that has turned read-only what was
    /// begun could not be removed: the next one who writes does.
    fn is_whole(&self, fault: Fault, what: &str) {
        let may_leave = matches!(fault, Fault::ReadOnly(_));
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
        for dir in ["home/.clinvk/sessions", "home/.clinvk", "work", "work/out", "work/all"] {
            let dir = self.home.scene.path(dir);
            assert!(may_leave || left(&dir).is_empty(), "{what}: {}: {:?}", dir.display(), left(&dir));
            for file in fs::read_dir(&dir).into_iter().flatten().map(|entry| entry.unwrap().path()) {
                let is_json = file.extension().is_some_and(|end| end == "json");
                let is_half = is_json && serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).is_err();
                assert!(!is_half, "{what}: `{}` is half", file.display());
            }
        }
        assert_eq!(self.config()["default_backend"], "echo", "{what}");
        assert!(may_leave || self.saved().as_deref() != Some(""), "{what}");
    }

    fn config(&self) -> Value {
        let text = fs::read_to_string(self.home.scene.path("home/.clinvk/config.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// What a command does.
struct Case {
    args: Vec<String>,
    stdin: &'static str,
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
    Case { args: args.iter().map(|arg| (*arg).to_owned()).collect(), stdin: "", statuses, keeps, is_done }
}

fn prompts_are(disk: &Disk, prompts: &[&str]) -> bool {
    let there = disk.prompts();
    prompts.iter().all(|prompt| there.iter().any(|there| there == prompt))
}

/// Lets each call fail, one after the other, until the command needs no further one. Returns those that did.
fn fails_everywhere(disk: &Disk, case: &Case, fault: fn(usize) -> Fault) -> String {
    let mut failed = String::new();
    for at in 1..MOST_CALLS {
        disk.put_back();
        let fault = fault(at);
        let seen = disk.failing(disk.home.clinvk(&case.args).stdin(case.stdin), fault);
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
        let still = match fault {
            Fault::Full(_) => Some(Fault::Full(1)),
            Fault::ReadOnly(_) => Some(Fault::ReadOnly(1)),
            Fault::Broken(_) | Fault::Stale(_) => None,
        };
        if let (Some(still), false) = (still, log.is_empty()) {
            let fsck = disk.failing(disk.home.clinvk(["sessions", "fsck"]), still);
            assert!(prompts_are(disk, case.keeps), "{fsck}: {what}");
            assert!(fsck.status == 0 || fsck.err.contains("`ROOT/"), "{fsck}: {what}");
        }
        disk.is_whole(fault, &what);
        assert!(prompts_are(disk, case.keeps), "after fsck: {:?}: {what}", disk.prompts());
        if log.is_empty() {
            assert!(at > 1 && seen.status == 0, "{what}");
            return failed;
        }
    }
    panic!("it never came to an end: {:?}", case.args);
}

/// Returns the calls that failed on the broken one.
fn on_all_disks(make: impl Fn(&Disk) -> Vec<Case>) -> String {
    let disk = Disk::new();
    let mut failed = String::new();
    for case in make(&disk) {
        fails_everywhere(&disk, &case, Fault::Full);
        fails_everywhere(&disk, &case, Fault::ReadOnly);
        failed += &fails_everywhere(&disk, &case, Fault::Broken);
    }
    failed
}

const BOTH: &[&str] = &["one", "two"];

#[test]
fn a_prompt_on_a_disk_that_fails() {
    on_all_disks(|disk| {
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
    let failed = on_all_disks(|_| {
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
    on_all_disks(|disk| {
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
            case(&["sessions", "import", "exported.json"], &[4], BOTH, |disk| disk.home.ids().len() == 3),
            case(&["sessions", "import", "other.json"], &[4], BOTH, |disk| prompts_are(disk, &["other"])),
        ]
    });
}

#[test]
fn a_configuration_that_is_changed_on_a_disk_that_fails() {
    on_all_disks(|_| {
        vec![
            case(&["config", "set", "unified_flags.command_timeout_secs", "7"], &[1, 3], BOTH, |disk| {
                disk.config()["unified_flags"]["command_timeout_secs"] == 7
            }),
            case(&["config", "unset", "backends.cat"], &[1, 3], BOTH, |disk| {
                disk.config().get("backends").is_none()
            }),
        ]
    });
}

#[test]
fn results_that_are_merged_on_a_disk_that_fails() {
    on_all_disks(|_| {
        let args = ["map", "-q", "--merge", "part", "--output-dir", "all"];
        vec![case(&args, &[1], BOTH, |disk| {
            let read = |name: &str| {
                fs::read_to_string(disk.home.scene.path("work/all").join(name)).unwrap_or_default()
            };
            read("summary.json").contains("\"finished\"") && read("00002.json").contains("\"q\"")
        })]
    });
}

#[test]
fn a_chat_that_is_saved_on_a_disk_that_fails() {
    let case = case(&["chat"], &[1, 4], BOTH, |disk| {
        prompts_are(disk, &["three"]) && disk.saved().is_some_and(|text| text.contains("three"))
    });
    let case = Case { stdin: "three\n/save talk.md\n", ..case };
    let disk = Disk::new();
    for fault in [Fault::Full, Fault::ReadOnly, Fault::Broken] {
        fails_everywhere(&disk, &case, fault);
    }
}

/// What a server answers to a prompt, to one that is sent again, and to one whose client comes back for it.
#[cfg(feature = "serve")]
#[test]
fn a_server_on_a_disk_that_fails() {
    use crate::util::http::{Answer, Server};
    use crate::util::scene::until;
    let disk = Disk::new();
    for fault in [Fault::Full, Fault::Broken, Fault::ReadOnly] {
        for at in 1..MOST_CALLS {
            disk.put_back();
            let _ = fs::remove_file(disk.home.scene.path("failed"));
            let run = disk.home.clinvk(["serve", "--port", "0"]);
            let (root, log) = (disk.home.scene.path(""), disk.home.scene.path("failed"));
            let server = Server::of(faults::on_disk(run, fault(at), &root, &log).start());
            let keyed = server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k");
            let keyed = keyed.json(&json!({"prompt": "three"}));
            let path = format!("/api/v1/sessions/{}/resume", disk.ids[0]);
            let detached = || {
                let begun = server.post("/api/v1/prompt", &json!({"prompt": "five", "detach": true})).json();
                let path = format!("/api/v1/runs/{}", begun["run_id"].as_str().expect("an id"));
                until("it is done", || server.get(&path).json()["state"] == "done");
                let Answer { body, .. } = server.get(&path);
                let told: Value = serde_json::from_str(&body).unwrap();
                (told["status"].as_u64().unwrap(), told.to_string())
            };
            let answers =
                [keyed.clone().answer(), keyed.answer(), server.post(&path, &json!({"prompt": "four"}))];
            let [first, again, _] = &answers;
            let is_same = first.status != 200 || first.body == again.body;
            let [one, two, three] =
                answers.each_ref().map(|answer| (u64::from(answer.status), answer.to_string()));
            let told = [one, two, three, detached()];
            let what = format!("{:?}: {}: {told:?}", fault(at), disk.log().trim_end());
            server.stop();
            assert!(is_same, "a success, and another answer when it is asked again: {what}");
            for ((status, text), prompt) in told.iter().zip(["three", "three", "four", "five"]) {
                let is_failing = text.contains("`ROOT/") || text.contains(fault(at).words());
                let is_saved = *status == 200 && !is_failing;
                assert!(!is_saved || prompts_are(&disk, &[prompt]), "{prompt} was acknowledged: {what}");
                assert!(
                    is_saved || text.contains(fault(at).words()),
                    "{prompt}: it does not say why: {what}"
                );
            }
            let prompts = disk.prompts();
            let is_once = |prompt: &str| prompts.iter().filter(|there| *there == prompt).count() <= 1;
            assert!(["three", "four", "five"].into_iter().all(is_once), "{prompts:?}: {what}");
            assert!(prompts_are(&disk, BOTH), "{prompts:?}: {what}");
            disk.is_whole(fault(at), &what);
            if disk.log().is_empty() {
                assert!(at > 1 && prompts_are(&disk, &["three", "four", "five"]), "{what}");
                break;
            }
        }
    }
}

/// On NFS its file is gone when another host has ended a turn.
#[test]
fn a_session_that_is_replaced_while_it_is_read_is_read_anew() {
    let disk = Disk::new();
    let file = disk.home.scene.path(&format!("home/.clinvk/sessions/{}.json", disk.ids[0]));
    let run = disk.home.clinvk(["sessions", "show", &disk.ids[0]]);
    let seen = faults::on_disk(run, Fault::Stale(1), &file, &disk.home.scene.path("failed")).seen();
    let was_stale = disk.log().starts_with("read ");
    assert!(seen.status == 0 && seen.out.contains("one") && was_stale, "{}: {seen}", disk.log());
}
