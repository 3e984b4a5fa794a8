//! What goes wrong with sessions: writers that are killed, many of them at once, disks that are full, files that may not
//! be read or make no sense. Nothing is lost, and the answer is printed all the same.

use crate::util::run::{Run, is_superuser};
use crate::util::store::Home;
use clinvk::model::error::Error;
use clinvk::model::event::Event;
use clinvk::session::{self, Filter, Keep, Session, Store, TurnEnd};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const KEEP: Keep = Keep { turns: true, tokens: true };
const NOBODY: u32 = 65_534;

/// A home for the library. In memory where that is possible: what a kill does is the same, and it is faster by far.
struct Bare(PathBuf);

impl Bare {
    fn new() -> Bare {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let home = Bare(root.join(format!("clinvk-bare-{}", clinvk::base::world::random_id().unwrap())));
        fs::create_dir_all(&home.0).unwrap();
        home
    }

    fn store(&self) -> Store {
        Store::at(&self.0)
    }

    /// A process of its own that does this with the store: see `worker`.
    fn process(&self, does: &str, with: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["session::faults::worker", "--exact", "--nocapture"])
            .env("CLINVK_TEST_WORKER", does)
            .env("CLINVK_TEST_WITH", with)
            .env("CLINVK_TEST_HOME", &self.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The same in several, to their ends.
    fn processes(&self, many: usize, does: &str, with: &str) {
        let all: Vec<Child> = (0..many).map(|_| self.process(does, with)).collect();
        for child in all {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&[out.stdout, out.stderr].concat()));
        }
    }

    fn clinvk(&self, args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clinvk"));
        command
            .env_clear()
            .env("CLINVK_HOME", &self.0)
            .env("CLINVK_BACKEND", "echo")
            .current_dir(&self.0)
            .args(args);
        Run::new(command, &self.0)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A session as `begin` wants it, whose id is that digit 32 times.
fn blank(digit: char) -> Session {
    Session::new(digit.to_string().repeat(32), "echo", "/".into(), "prompt")
}

/// A whole turn on a session: it is saved when this returns.
fn turn(store: &Store, id: &str, prompt: &str) -> Result<(), Error> {
    let mut run = store.resume(id, None, Arc::new(|| Ok(())), prompt, KEEP)?;
    run.hear(&Event::Text(prompt.to_owned()));
    run.end(TurnEnd { backend: "echo".to_owned(), ..TurnEnd::default() })
}

fn begin(store: &Store, session: Session) -> Result<(), Error> {
    let mut run = store.begin(session, Arc::new(|| Ok(())), "first", KEEP)?;
    run.hear(&Event::Text("first".to_owned()));
    run.end(TurnEnd { backend: "echo".to_owned(), ..TurnEnd::default() })
}

fn everything(store: &Store) -> session::Listing {
    store.list(&Filter::default(), 0, usize::MAX, 0, &mut |_| {}).unwrap()
}

/// Not a test: what the processes of `Bare::process` do. In the suite it has nothing to do.
#[test]
fn worker() {
    let Ok(does) = std::env::var("CLINVK_TEST_WORKER") else { return };
    let with = std::env::var("CLINVK_TEST_WITH").unwrap();
    let home = std::env::var("CLINVK_TEST_HOME").unwrap();
    let store = Store::at(Path::new(&home));
    match does.as_str() {
        "count" => (0..with.parse().unwrap()).for_each(|_| count(&store, &"a".repeat(32))),
        "turns" => {
            let ids = store.ids().unwrap();
            for number in 0..with.parse().unwrap() {
                let mut dice = Dice::new();
                turn(&store, &ids[dice.below(ids.len())], &format!("{}-{number}", std::process::id()))
                    .unwrap();
            }
        }
        "exclude" => exclude(&store, &Path::new(&home).join("counter"), with.parse().unwrap()),
        "write" => write_for_ever(&store, &with),
        other => panic!("{other}"),
    }
}

fn count(store: &Store, id: &str) {
    let one_more = |session: &mut Session| {
        let number = session.metadata.get("n").and_then(Value::as_u64).unwrap_or(0);
        session.metadata.insert("n".to_owned(), json!(number + 1));
        Ok(())
    };
    store.update(id, one_more).unwrap();
}

/// Random numbers: which moments and which sessions is of no interest.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        Dice(u64::from_str_radix(&clinvk::base::world::random_id().unwrap()[..16], 16).unwrap() | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

// Killed writers.

/// Writes until it is killed, and says on standard output what has been saved. `life` makes its words its own.
fn write_for_ever(store: &Store, life: &str) {
    let (counted, turned) = ("a".repeat(32), "b".repeat(32));
    let (mut dice, mut made) = (Dice::new(), Vec::new());
    let say = |word: String| std::io::stdout().write_all(format!("ack {word}\n").as_bytes()).unwrap();
    for number in 0.. {
        let word = format!("{life}-{number}");
        match dice.below(6) {
            0 | 1 => {
                count(store, &counted);
                say("count".to_owned());
            }
            2 | 3 => {
                turn(store, &turned, &word).unwrap();
                say(format!("turn {word}"));
            }
            4 => {
                let mut session = blank('0');
                session.id = clinvk::base::world::random_id().unwrap();
                made.push(session.id.clone());
                let id = session.id.clone();
                begin(store, session).unwrap();
                say(format!("made {id}"));
            }
            _ => {
                let Some(id) = made.pop() else { continue };
                say(format!("deleting {id}"));
                store.delete(&id, &Filter::default()).unwrap();
                say(format!("deleted {id}"));
            }
        }
    }
}

/// What a writer has said.
#[derive(Default)]
struct Acknowledged {
    count: u64,
    turns: BTreeSet<String>,
    made: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ack", "count"] => self.count += 1,
            ["ack", "turn", word] => _ = self.turns.insert(word.to_owned()),
            ["ack", "made", id] => _ = self.made.insert(id.to_owned()),
            // Killed in the middle of that, it may be there or not.
            ["ack", "deleting", id] => _ = self.made.remove(id),
            ["ack", "deleted", id] => _ = self.deleted.insert(id.to_owned()),
            _ => {}
        }
    }

    /// Everything is there, every file makes sense, and the next command works.
    #[track_caller]
    fn are_there(&mut self, store: &Store, life: &str) {
        let found = everything(store);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let listed: BTreeSet<&str> = found.sessions.iter().map(|session| session.id.as_str()).collect();
        let missing: Vec<_> = self.made.iter().filter(|id| !listed.contains(id.as_str())).collect();
        let back: Vec<_> = self.deleted.iter().filter(|id| listed.contains(id.as_str())).collect();
        assert!(missing.is_empty() && back.is_empty(), "missing {missing:?}, back again {back:?}");
        let active: Vec<_> =
            found.sessions.iter().filter(|session| session.status == session::Status::Active).collect();
        assert!(active.is_empty(), "{active:?}");
        let counted = store.load(&"a".repeat(32)).unwrap().metadata["n"].as_u64().unwrap();
        assert!(counted >= self.count, "{} were acknowledged, {counted} are there", self.count);
        // The one that was under way may have been saved without having been acknowledged.
        self.count = counted;
        for id in store.ids().unwrap() {
            store.load(&id).unwrap();
        }
        let turns: BTreeSet<String> =
            store.turns(&"b".repeat(32)).unwrap().into_iter().map(|turn| turn.prompt).collect();
        let lost: Vec<_> = self.turns.difference(&turns).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
        turn(store, &"b".repeat(32), life).unwrap();
        self.turns.insert(life.to_owned());
    }
}

/// Kills so many writers of one store, one after the other, and looks after each.
fn kill(many: usize) {
    let home = Bare::new();
    let (store, mut saved, mut dice) = (home.store(), Acknowledged::default(), Dice::new());
    begin(&store, blank('a')).unwrap();
    begin(&store, blank('b')).unwrap();
    count(&store, &"a".repeat(32));
    for life in 0..many {
        let mut child = home.process("write", &life.to_string());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // A random moment is what this test is about: from before its first line, or after it, however slow the machine
        // is, to the middle of its work.
        if life % 4 != 0 {
            saved.hear(&lines.find(|line| line.starts_with("ack")).unwrap());
        }
        let moment = Duration::from_micros(dice.below(9_000) as u64);
        let killer = thread::spawn(move || {
            thread::sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        lines.for_each(|line| saved.hear(&line));
        killer.join().unwrap();
        saved.are_there(&store, &format!("after-{life}"));
        if life % 50 == 49 {
            let seen = home.clinvk(&["resume", "bbbbbbbb", "x"]).seen();
            assert!(seen.out.ends_with("x\n") && seen.err.is_empty() && seen.status == 0, "{seen}");
        }
    }
    // Not in vain: many were killed while they worked.
    assert!(saved.turns.len() > 2 * many, "{}", saved.turns.len());
    session::fsck(&store, false, &mut |_| {});
    assert_eq!(session::fsck(&store, true, &mut |_| {}).findings, []);
    saved.are_there(&store, "at last");
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_a_writer_is_killed_1000_times() {
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| kill(240))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_prompt_that_is_killed_loses_no_turn_before_it() {
    let home = Bare::new();
    let (store, mut dice, mut done) = (home.store(), Dice::new(), BTreeSet::new());
    home.clinvk(&["first"]).prints("first\n");
    for number in 0..40 {
        let prompt = format!("prompt {number}");
        let run = home.clinvk(&["-q", "-c", &prompt]).start();
        thread::sleep(Duration::from_micros(dice.below(25_000) as u64));
        // It may have come to its end by now.
        let _ = clinvk::base::sys::kill(run.pid, clinvk::base::sys::SIGKILL);
        if run.end().status == 0 {
            done.insert(prompt);
        }
        let found = everything(&store);
        assert!(found.problems.is_empty() && found.sessions.len() == 1, "{found:?}");
        let turns = store.turns(&found.sessions[0].id).unwrap();
        let kept: BTreeSet<String> = turns.into_iter().map(|turn| turn.prompt).collect();
        assert!(done.is_subset(&kept), "{:?}", done.difference(&kept));
    }
    home.clinvk(&["-c", "last"]).prints("last\n");
}

// Many at once.

#[test]
fn four_processes_with_1000_increments_each_make_4000() {
    let home = Bare::new();
    begin(&home.store(), blank('a')).unwrap();
    home.processes(4, "count", "1000");
    assert_eq!(home.store().load(&"a".repeat(32)).unwrap().metadata["n"], 4000);
}

#[test]
fn eight_processes_save_turns_of_50_shared_sessions() {
    let home = Bare::new();
    let store = home.store();
    for _ in 0..50 {
        begin(&store, Session { id: clinvk::base::world::random_id().unwrap(), ..blank('0') }).unwrap();
    }
    home.processes(8, "turns", "60");
    let found = everything(&store).sessions;
    let counted: u64 = found.iter().map(|session| session.turn_count).sum();
    let prompts: Vec<String> =
        found.iter().flat_map(|session| store.turns(&session.id).unwrap()).map(|turn| turn.prompt).collect();
    let different = prompts.iter().collect::<BTreeSet<_>>().len();
    assert_eq!((found.len(), counted, prompts.len(), different), (50, 50 + 480, 50 + 480, 1 + 480));
    assert_eq!(session::fsck(&store, true, &mut |_| {}).findings, []);
}

/// Whoever has the session counts in a file that nothing else protects. Now and then somebody deletes the session, and
/// its lock's file with it.
fn exclude(store: &Store, counter: &Path, times: usize) {
    let (id, mut dice) = ("c".repeat(32), Dice::new());
    for _ in 0..times {
        let run = loop {
            // Without patience, because who waits looks again so seldom that nothing ever goes wrong.
            let taken = match store.resume(&id, Some(Duration::ZERO), Arc::new(|| Ok(())), "", KEEP) {
                Err(Error::SessionNotFound { .. }) => store.begin(blank('c'), Arc::new(|| Ok(())), "", KEEP),
                taken => taken,
            };
            match taken {
                Ok(run) => break run,
                Err(Error::SessionBusy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let number: u64 = fs::read_to_string(counter).unwrap().parse().unwrap();
        thread::yield_now();
        fs::write(counter, (number + 1).to_string()).unwrap();
        drop(run);
        if dice.below(2) == 0 {
            match store.delete(&id, &Filter::default()) {
                Ok(_) | Err(Error::SessionBusy { .. } | Error::SessionNotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn deleting_a_session_with_its_lock_never_lets_two_in() {
    let home = Bare::new();
    fs::write(home.0.join("counter"), "0").unwrap();
    home.processes(4, "exclude", "400");
    assert_eq!(fs::read_to_string(home.0.join("counter")).unwrap(), "1600");
}

#[test]
fn a_process_that_saves_leaves_what_others_have_saved_in_the_index() {
    let home = Bare::new();
    let long_lived = home.store();
    begin(&long_lived, blank('a')).unwrap();
    assert_eq!(everything(&long_lived).sessions.len(), 1);
    for _ in 0..5 {
        home.clinvk(&["hi"]).prints("hi\n");
    }
    turn(&long_lived, &"a".repeat(32), "more").unwrap();
    begin(&home.store(), blank('b')).unwrap();
    assert_eq!((everything(&long_lived).sessions.len(), everything(&home.store()).sessions.len()), (7, 7));
}

#[test]
fn a_list_is_whole_while_the_index_is_compacted() {
    let home = Bare::new();
    let store = home.store();
    for digit in ['a', 'b', 'c'] {
        begin(&store, blank(digit)).unwrap();
    }
    let journal = home.0.join("sessions/index.jsonl");
    let mut writer = home.process("count", "3000");
    let (mut lists, mut smallest, mut largest) = (0, u64::MAX, 0);
    while writer.try_wait().unwrap().is_none() {
        let found = everything(&store);
        assert_eq!((found.sessions.len(), found.problems.len()), (3, 0));
        let length = fs::metadata(&journal).unwrap().len();
        (lists, smallest, largest) = (lists + 1, smallest.min(length), largest.max(length));
    }
    let length = fs::metadata(&journal).unwrap().len();
    assert!(
        writer.wait().unwrap().success() && lists > 10 && length < 300_000,
        "{lists} lists, {smallest} to {largest}, {length}"
    );
    assert_eq!(store.load(&"a".repeat(32)).unwrap().metadata["n"], 3000);
}

#[test]
fn a_session_that_was_used_since_it_was_chosen_is_not_deleted() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    let old = Filter { before: Some("2020-01-01".to_owned()), ..Filter::default() };
    let deleted = [&old, &Filter::default()].map(|only| store.delete(&"a".repeat(32), only).unwrap());
    assert_eq!(deleted, [false, true]);
    let gone = store.delete(&"a".repeat(32), &old);
    assert!(matches!(gone, Err(Error::SessionNotFound { .. })), "{gone:?}");
}

#[test]
fn a_number_that_nobody_has_is_not_told_as_the_holder() {
    let home = Bare::new();
    home.clinvk(&["one"]).prints("one\n");
    let id = home.store().ids().unwrap().remove(0);
    let lock = fs::File::create(home.0.join(format!("sessions/{id}.lock"))).unwrap();
    (&lock).write_all(b"2147483646\n").unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    let error = format!("clinvk: session `{id}` is busy (`--wait` waits for it)\n");
    home.clinvk(&["resume", &id, "two"]).fails(4, &error);
    fs2::FileExt::unlock(&lock).unwrap();
    home.clinvk(&["resume", &id, "two"]).prints("two\n");
}

// Files that may not be read or written.

/// Runs as somebody who owns nothing in the home.
pub fn as_nobody(home: &Home, args: &[&str]) -> Run {
    home.clinvk(args).by_nobody()
}

/// To the user as whom `as_nobody` runs: without a superuser that is the one who owns it.
pub fn give_to_nobody(home: &Home) {
    if !is_superuser() {
        return;
    }
    chown(home.dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    home.files().keys().for_each(|name| chown(home.dir().join(name), Some(NOBODY), Some(NOBODY)).unwrap());
}

/// What a home looks like whose owner is another; for whoever is no superuser, one that may not be written.
pub fn protect(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn in_a_home_that_may_not_be_written_the_answer_is_printed() {
    let home = Home::new();
    protect(home.scene.path("home/.clinvk"), 0o555);
    let error = "cannot create `ROOT/home/.clinvk/sessions`: Permission denied (os error 13)";
    as_nobody(&home, &["hi"]).is("hi\n", &format!("clinvk: session: {error}\n"), 4);
    let seen = as_nobody(&home, &["-o", "json", "hi"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let warned = said["warnings"] == json!([format!("the session was not saved: {error}")]);
    assert!(said["content"] == "hi" && said["session_id"].is_null() && warned && seen.status == 4, "{seen}");
    as_nobody(&home, &["--ephemeral", "hi"]).prints("hi\n");
    protect(home.scene.path("home/.clinvk"), 0o755);
}

#[test]
fn a_store_that_may_only_be_read_is_read() {
    let home = Home::new();
    let id = home.begin("one");
    home.files().keys().for_each(|name| protect(home.dir().join(name), 0o444));
    protect(home.dir(), 0o555);
    let seen = as_nobody(&home, &["sessions", "list", "--json"]).seen();
    assert!(seen.out.contains(&id) && seen.err.is_empty() && seen.status == 0, "{seen}");
    as_nobody(&home, &["sessions", "show", "--turns", &id]).seen();
    let locked =
        format!("cannot open `ROOT/home/.clinvk/sessions/{id}.lock`: Permission denied (os error 13)");
    as_nobody(&home, &["resume", &id, "two"]).fails(4, &format!("clinvk: {locked}\n"));
    as_nobody(&home, &["sessions", "delete", &id]).fails(4, &format!("clinvk: {locked}\n"));
    let seen = as_nobody(&home, &["two"]).seen();
    assert!(
        seen.out == "two\n" && seen.err.starts_with("clinvk: session: cannot open `") && seen.status == 4,
        "{seen}"
    );
    protect(home.dir(), 0o700);
}

#[test]
fn a_dead_run_in_a_store_that_may_only_be_read_is_told_all_the_same() {
    let home = Home::new();
    let id = home.begin("one");
    home.edit(&id, json!({"status": "active"}));
    // This makes the index, and looks at no session.
    assert_eq!(home.clinvk(["sessions", "show", "nobody"]).seen().status, 4);
    let store = home.dir();
    home.files().keys().for_each(|name| protect(store.join(name), 0o444));
    protect(&store, 0o555);
    let seen = as_nobody(&home, &["sessions", "list", "--status", "error", "--json"]).seen();
    assert!(seen.out.contains(&id) && seen.err.is_empty() && seen.status == 0, "{seen}");
    assert_eq!(home.session(&id)["status"], "active");
    protect(&store, 0o700);
}

#[test]
fn a_store_that_may_not_be_read_is_no_empty_one() {
    let home = Home::new();
    home.begin("one");
    let config = home.scene.file("work/config.json", "{}");
    for dir in [home.dir(), home.scene.path("home/.clinvk")] {
        protect(&dir, 0o000);
        let seen = as_nobody(&home, &["sessions", "list", "--config", &config]).seen();
        assert!(seen.out.is_empty() && seen.err.contains("Permission denied") && seen.status == 4, "{seen}");
        protect(&dir, 0o755);
    }
}

#[test]
fn a_session_that_may_not_be_read_hides_no_other_one() {
    let home = Home::new();
    let (id, _) = (home.begin("one"), home.begin("two"));
    give_to_nobody(&home);
    protect(home.path(&id, "json"), 0o000);
    let error =
        format!("cannot read `ROOT/home/.clinvk/sessions/{id}.json`: Permission denied (os error 13)");
    let seen = as_nobody(&home, &["sessions", "list", "--json"]).seen();
    assert!(
        seen.out.contains("two") && seen.err == format!("clinvk: {error}\n") && seen.status == 0,
        "{seen}"
    );
    for args in [&["resume", &id, "x"][..], &["sessions", "show", &id], &["sessions", "tag", &id, "x"]] {
        as_nobody(&home, args).fails(4, &format!("clinvk: {error}\n"));
    }
    as_nobody(&home, &["sessions", "fsck"])
        .prints(&format!("unreadable: {error}: left alone\n1 findings, 0 repaired\n"));
    assert!(home.path(&id, "json").exists());
}

// A disk that is full.

/// A file system of its own for the sessions, gone with it.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`: mounting is not permitted here.
    fn mount(args: &[&str], at: PathBuf) -> Option<Mounted> {
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount").args(args).arg(&at).output().unwrap();
        done.status.success().then_some(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The binary, whose files may not be longer than so many bytes.
fn limited(home: &Home, bytes: usize, args: &[&str]) -> Run {
    assert!(bytes % 512 == 0);
    let line = format!("ulimit -f {}; exec \"$@\"", bytes / 512);
    home.scene.program("sh").args(["-c", &line, "sh", env!("CARGO_BIN_EXE_clinvk")]).args(args)
}

#[test]
fn when_nothing_can_be_written_the_answer_is_printed() {
    let home = Home::new();
    let id = home.begin("one");
    let before = home.files();
    let seen = limited(&home, 0, &["two"]).seen();
    assert!(
        seen.out == "two\n" && seen.err.contains("File too large (os error 27)") && seen.status == 4,
        "{seen}"
    );
    let seen = limited(&home, 0, &["resume", &id, "two"]).seen();
    assert!(seen.out.is_empty() && seen.err.contains("File too large") && seen.status == 4, "{seen}");
    assert!(home.files() == before, "{:?}", home.files().keys());
    assert_eq!((home.list(&[]), home.fsck(&[])), (vec!["one".to_owned()], vec![]));
    home.clinvk(["resume", &id, "two"]).prints("two\n");
}

#[test]
fn when_only_the_turn_cannot_be_written_nothing_before_it_is_lost() {
    let home = Home::new();
    let id = home.begin("one");
    let long = "x".repeat(20_000);
    let seen = limited(&home, 8192, &["resume", &id, &long]).seen();
    assert!(
        seen.out.len() == 20_001 && seen.err.contains("turns.jsonl`: File too large") && seen.status == 4,
        "{seen}"
    );
    let turns = home.turns(&id);
    assert!(turns.len() == 1 && turns[0]["prompt"] == "one", "{turns:?}");
    assert_eq!((home.session(&id)["status"].clone(), home.fsck(&[])), (json!("completed"), vec![]));
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    assert_eq!(home.turns(&id).len(), 2);
}

#[test]
fn a_full_disk_loses_nothing_and_leaves_nothing_half() {
    let home = Home::new();
    let Some(disk) = Mounted::mount(&["-t", "tmpfs", "-o", "size=256k", "none"], home.dir()) else {
        // Where nothing can be mounted, the two tests above are what there is.
        assert!(fs::metadata("/proc/self").is_ok_and(|_| !is_root()), "root, and a mount is not permitted");
        return;
    };
    let ids = [home.begin("one"), home.begin("two")];
    let before = ids.each_ref().map(|id| (home.session(id), home.turns(id)));
    let filler = disk.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    for format in ["text", "json"] {
        let seen = home.clinvk(["-o", format, "three"]).seen();
        assert!(
            seen.out.contains("three") && seen.err.contains("No space left on device") && seen.status == 4,
            "{seen}"
        );
    }
    let long = "y ".repeat(30_000);
    let seen = home.clinvk(["resume", &ids[0], &long]).seen();
    assert!(seen.err.contains("No space left on device") && seen.status == 4, "{seen}");
    assert_eq!(home.list(&[]).len(), 2);
    fs::remove_file(&filler).unwrap();
    let after = ids.each_ref().map(|id| (home.session(id)["turn_count"].clone(), home.turns(id)));
    assert_eq!(after, before.map(|(session, turns)| (session["turn_count"].clone(), turns)));
    let left: Vec<String> = home.files().into_keys().filter(|name| name.ends_with("tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
    home.clinvk(["resume", &ids[0], "more"]).prints("more\n");
    home.begin("four");
    assert_eq!(home.list(&[]), ["four", "one", "two"]);
    home.fsck(&[]);
    assert_eq!(home.fsck(&[]), [""; 0]);
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

// Files that make no sense.

#[test]
fn a_truncated_or_deleted_or_senseless_index_is_made_anew() {
    let home = Home::new();
    let index = home.dir().join("index.jsonl");
    let mut titles: Vec<String> = Vec::new();
    type Breaks<'a> = &'a dyn Fn(&[u8]);
    let break_it: [Breaks<'_>; 8] = [
        &|_| fs::remove_file(&index).unwrap(),
        &|text| fs::write(&index, &text[..text.len() / 2]).unwrap(),
        &|text| fs::write(&index, &text[..text.len() - 1]).unwrap(),
        // Cut between two lines.
        &|text| {
            let end = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
            fs::write(&index, &text[..=end]).unwrap();
        },
        &|text| fs::write(&index, &text[..10]).unwrap(),
        &|_| fs::write(&index, "").unwrap(),
        &|text| fs::write(&index, vec![0; text.len()]).unwrap(),
        &|_| {
            fs::remove_file(&index).unwrap();
            fs::create_dir(&index).unwrap();
            fs::write(index.join("x"), "x").unwrap();
        },
    ];
    for (number, break_it) in break_it.into_iter().enumerate() {
        home.begin(&format!("before {number}"));
        let text = fs::read(&index).unwrap();
        titles.insert(0, format!("before {number}"));
        break_it(&text);
        assert_eq!(home.list(&["-n", "99"]), titles, "listed: {number}");
        let _ = fs::remove_dir_all(&index);
        fs::write(&index, fs::read(&index).unwrap_or(text.clone())).unwrap();
        break_it(&fs::read(&index).unwrap());
        home.begin(&format!("after {number}"));
        titles.insert(0, format!("after {number}"));
        assert_eq!(home.list(&["-n", "99"]), titles, "saved: {number}");
        break_it(&fs::read(&index).unwrap());
        home.clinvk(["-c", "x"]).prints("x\n");
        assert_eq!(home.fsck(&[]), [""; 0], "{number}");
    }
}

#[test]
fn a_session_file_that_makes_no_sense_is_named_and_kept() {
    let home = Home::new();
    let (id, _) = (home.begin("one"), home.begin("two"));
    for content in ["", "{", "[]", "{\"id\": 1}", "\u{0}\u{0}\u{0}"] {
        fs::write(home.path(&id, "json"), content).unwrap();
        let start = format!("clinvk: session file `ROOT/home/.clinvk/sessions/{id}.json` is broken: ");
        let end = " (`clinvk sessions fsck` moves it aside)\n";
        for args in [&["resume", &id, "x"][..], &["resume", &id[..9], "x"], &["sessions", "show", &id]] {
            let seen = home.clinvk(args).seen();
            assert!(
                seen.err.starts_with(&start) && seen.err.ends_with(end) && seen.status == 4,
                "{args:?}: {seen}"
            );
        }
        let seen = home.clinvk(["sessions", "list"]).seen();
        assert!(seen.err.starts_with(&start) && seen.out.contains("two") && seen.status == 0, "{seen}");
        assert_eq!(fs::read_to_string(home.path(&id, "json")).unwrap(), content);
    }
}

#[test]
fn a_newest_session_that_makes_no_sense_is_not_passed_over_in_silence() {
    let home = Home::new();
    home.begin("one");
    let id = home.begin("two");
    fs::write(home.path(&id, "json"), "{").unwrap();
    let seen = home.clinvk(["-c", "x"]).seen();
    assert!(seen.err.contains("is broken") && seen.out.is_empty() && seen.status == 4, "{seen}");
    home.does(["sessions", "fsck"]);
    home.clinvk(["-c", "x"]).prints("x\n");
    assert_eq!(home.list(&[]), ["one"]);
}

#[test]
fn directories_where_files_should_be_are_named_and_moved_aside() {
    let home = Home::new();
    let (id, _) = (home.begin("one"), home.begin("two"));
    for end in ["turns.jsonl", "json"] {
        fs::remove_file(home.path(&id, end)).unwrap();
        fs::create_dir(home.path(&id, end)).unwrap();
        fs::write(home.path(&id, end).join("inside"), "x").unwrap();
        let seen = home.clinvk(["resume", &id, "x"]).seen();
        assert!(seen.err.contains("it is no regular file") && seen.status == 4, "{end}: {seen}");
        let found = home.fsck(&[]);
        assert!(found.iter().any(|found| found.starts_with("corrupt: ")), "{found:?}");
        assert_eq!(fs::read(home.path(&id, &format!("{end}.corrupt/inside"))).unwrap(), b"x");
        assert_eq!(home.fsck(&[]), [""; 0], "{end}");
    }
    assert_eq!(home.list(&[]), ["two"]);
}

#[test]
fn a_file_where_the_store_should_be_is_named() {
    let home = Home::new();
    fs::write(home.dir(), "x").unwrap();
    let seen = home.clinvk(["hi"]).seen();
    assert!(
        seen.out == "hi\n"
            && seen.err.contains("cannot create `ROOT/home/.clinvk/sessions`")
            && seen.status == 4,
        "{seen}"
    );
}

#[test]
fn a_clock_that_went_back_hides_nothing() {
    let home = Home::new();
    let id = home.begin("from the future");
    home.edit(
        &id,
        json!({"created_at": "2999-01-01T00:00:00.000Z", "last_used_at": "2999-01-01T00:00:00.000Z"}),
    );
    assert_eq!(home.list(&[]), ["from the future"]);
    home.begin("now");
    assert_eq!(home.list(&[]), ["now", "from the future"]);
    assert_eq!(home.json(["-c", "x"])["session_id"], home.json(["sessions", "list"])["sessions"][0]["id"]);
    home.clinvk(["sessions", "clean"]).prints("deleted 0 sessions\n");
    home.does(["resume", &id, "x"]);
    assert_eq!((home.list(&["--since", "1h"]).len(), home.fsck(&[])), (2, vec![]));
}

// fsck.

/// What was wrong, in one store, at once.
fn broken() -> (Home, Vec<String>) {
    let home = Home::new();
    let ids: Vec<String> = (0..7).map(|number| home.begin(&format!("s{number}"))).collect();
    home.does(["sessions", "delete", &ids[6]]);
    // An orphan and a missing one in the index, and lines in it that make no sense or are older than the file.
    fs::remove_file(home.path(&ids[0], "json")).unwrap();
    let copy = "0".repeat(32);
    let text = fs::read_to_string(home.path(&ids[1], "json")).unwrap().replace(&ids[1], &copy);
    fs::write(home.path(&copy, "json"), text).unwrap();
    let text = fs::read_to_string(home.path(&ids[1], "json")).unwrap().replace("s1", "other");
    fs::write(home.path(&ids[1], "json"), text).unwrap();
    let mut index = fs::OpenOptions::new().append(true).open(home.dir().join("index.jsonl")).unwrap();
    index.write_all(b"senseless\n{\"id\":\"half").unwrap();
    // Half a turn, and a whole one without its line end.
    let append = |id: &str, text: &[u8]| {
        let turns = home.path(id, "turns.jsonl");
        fs::write(&turns, [fs::read(&turns).unwrap(), text.to_vec()].concat()).unwrap();
    };
    append(&ids[2], b"{\"time\":\"\xe6\x97");
    let turns = fs::read(home.path(&ids[3], "turns.jsonl")).unwrap();
    append(&ids[3], turns.trim_ascii_end());
    // Temporary files, a session that nobody runs, one that makes no sense, with an earlier one of its kind.
    fs::write(home.path(&ids[1], "json.tmp"), "half").unwrap();
    fs::write(home.dir().join("index.jsonl.tmp"), "half").unwrap();
    let text = fs::read_to_string(home.path(&ids[4], "json")).unwrap().replace("\"completed\"", "\"active\"");
    fs::write(home.path(&ids[4], "json"), text).unwrap();
    fs::write(home.path(&ids[5], "json"), "broken").unwrap();
    fs::write(home.path(&ids[5], "json.corrupt"), "earlier").unwrap();
    (home, ids)
}

#[test]
fn fsck_finds_and_repairs_everything_once() {
    let (home, ids) = broken();
    let before = home.files();
    let would = home.fsck(&["--dry-run"]);
    assert!(home.files() == before);
    let found = home.fsck(&[]);
    let kinds = |found: &[String]| -> Vec<String> {
        let mut kinds: Vec<String> =
            found.iter().map(|found| found.split(':').next().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    };
    let index = ["corrupt", "index", "index", "index", "index", "index"];
    let others = ["stale", "temporary", "temporary", "torn", "torn"];
    assert_eq!(kinds(&found), [&index[..], &["orphan", "orphan"], &others].concat(), "{found:#?}");
    // And while the corrupt one is in its place, its turns are no orphan.
    assert_eq!(kinds(&would), [&index[..], &["orphan"], &others].concat(), "{would:#?}");
    for problem in [
        "the index has 2 lines without a session: made anew",
        "the index has 1 sessions missing: made anew",
        "the index has 2 lines that are not as their session is: made anew",
        "the index has 1 lines that make no sense: made anew",
        "the index has 1 half line at its end: made anew",
    ] {
        assert!(found.iter().any(|found| found.ends_with(problem)), "{problem}: {found:#?}");
    }
    // faults.md F14: what would be done is not told as if it were.
    for would in would {
        assert!(would.contains(": would be "), "{would}");
    }
    assert_eq!(home.fsck(&[]), [""; 0]);
    let titles: BTreeSet<String> = home.list(&[]).into_iter().collect();
    let expected: BTreeSet<String> = ["other", "s1", "s2", "s3", "s4"].map(str::to_owned).into();
    assert_eq!(titles, expected);
    let read =
        |id: &str, end: &str| String::from_utf8_lossy(&fs::read(home.path(id, end)).unwrap()).into_owned();
    let kept =
        [read(&ids[5], "json.corrupt"), read(&ids[5], "json.corrupt.2"), read(&ids[2], "turns.jsonl.torn")];
    assert_eq!(kept, ["earlier", "broken", "{\"time\":\"\u{fffd}"]);
    assert_eq!((home.turns(&ids[2]).len(), home.turns(&ids[3]).len()), (1, 2));
    assert!(home.path(&ids[0], "turns.jsonl.orphan").exists() && !home.path(&ids[0], "lock").exists());
    assert_eq!(home.session(&ids[4])["status"], "error");
    let modes: Vec<_> = home.files().into_keys().filter(|name| name.ends_with(".torn")).collect();
    let mode = fs::metadata(home.dir().join(&modes[0])).unwrap().permissions().mode() & 0o777;
    assert_eq!(format!("{mode:o}"), "600");
}

#[test]
fn fsck_leaves_alone_what_others_are_working_on() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    begin(&store, blank('b')).unwrap();
    let mut writer = home.process("write", "x");
    let mut heard = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut found = Vec::new();
    for _ in 0..15 {
        // Some of its work is between two looks.
        heard.by_ref().map_while(Result::ok).filter(|line| line.starts_with("ack")).nth(5).unwrap();
        found.extend(session::fsck(&store, false, &mut |_| {}).findings);
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(found, []);
}

// Two homes.

#[test]
fn two_homes_on_one_directory_are_one_store() {
    for bind in [false, true] {
        let home = Home::new();
        home.begin("first");
        let other = home.scene.path("other");
        fs::create_dir(&other).unwrap();
        let mounted = if bind {
            let from = home.dir().to_str().unwrap().to_owned();
            let mounted = Mounted::mount(&["--bind", &from], other.join("sessions"));
            assert!(mounted.is_some() || !is_root(), "root, and a mount is not permitted");
            mounted
        } else {
            symlink(home.dir(), other.join("sessions")).unwrap();
            None
        };
        if bind && mounted.is_none() {
            continue;
        }
        let there =
            |args: &[&str]| home.clinvk(args).env("CLINVK_HOME", &other).env("CLINVK_BACKEND", "echo");
        let stores = [Store::at(home.dir().parent().unwrap()), Store::at(&other)];
        let id = home.ids()[0].clone();
        thread::scope(|scope| {
            for store in &stores {
                for _ in 0..2 {
                    scope.spawn(|| (0..25).for_each(|_| count(store, &id)));
                }
            }
        });
        there(&["second"]).prints("second\n");
        home.begin("third");
        let seen = there(&["sessions", "list", "--json"]).seen();
        let found: Value = serde_json::from_str(&seen.out).unwrap();
        let titles: Vec<_> =
            found["sessions"].as_array().unwrap().iter().map(|session| &session["title"]).collect();
        assert_eq!(titles, ["third", "second", "first"]);
        assert_eq!(
            (home.list(&[]), home.session(&id)["metadata"]["n"].clone()),
            (vec!["third".into(), "second".into(), "first".into()], json!(100))
        );
        let held = stores[1].resume(&id, None, Arc::new(|| Ok(())), "x", KEEP).unwrap();
        let seen = home.clinvk(["resume", &id, "x"]).seen();
        assert!(
            seen.err.contains(&format!("process {} runs it", std::process::id())) && seen.status == 4,
            "{seen}"
        );
        drop(held);
        drop(mounted);
    }
}

#[test]
fn threads_of_one_process_are_many_writers_too() {
    let home = Bare::new();
    let store = home.store();
    begin(&store, blank('a')).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| count(&store, &"a".repeat(32))));
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(everything(&store).sessions.len(), 1)));
            scope.spawn(|| {
                (0..10).for_each(|number| turn(&store, &"a".repeat(32), &format!("{number}")).unwrap())
            });
        }
    });
    let kept = store.load(&"a".repeat(32)).unwrap();
    assert_eq!(
        (&kept.metadata["n"], kept.turn_count, store.turns(&kept.id).unwrap().len()),
        (&json!(400), 41, 41)
    );
}

#[test]
fn a_look_at_a_full_disk_leaves_nothing() {
    let name = "session::faults::a_look_at_a_full_disk_leaves_nothing";
    crate::util::run::alone(name, "trap '' XFSZ; ulimit -f 0", || {
        // A scene has files of its own, which it could not write.
        let home = std::env::temp_dir().join(format!("clinvk-look-{}", std::process::id()));
        let problem = Store::at(&home).look().unwrap_err().to_string();
        let names = fs::read_dir(home.join("sessions")).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.collect();
        fs::remove_dir_all(home).unwrap();
        assert!(problem.contains("File too large") && names == ["store.lock"], "{problem}: {names:?}");
    });
}
