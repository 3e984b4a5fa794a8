//! A store for the library, and processes that work on it.

use super::crowded::exclude;
use super::killed::write_for_ever;
use crate::util::run::Run;
use crate::util::scene::place;
use clinvk::model::error::Error;
use clinvk::model::event::Event;
use clinvk::model::outcome::Outcome;
use clinvk::session::{self, Filter, Keep, Page, Session, Store};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

pub const KEEP: Keep = Keep { turns: true, tokens: true };

/// A home for the library. In memory where that is possible: what a kill does is the same, and it is faster by far.
pub struct Bare(pub PathBuf);

impl Bare {
    pub fn new() -> Bare {
        let home = Bare(place().join(format!("clinvk-bare-{}", clinvk::base::world::random_id().unwrap())));
        fs::create_dir_all(&home.0).unwrap();
        home
    }

    pub fn store(&self) -> Store {
        Store::at(&self.0)
    }

    /// A process of its own that does this with the store: see `worker`.
    pub fn process(&self, does: &str, with: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["session::processes::worker", "--exact", "--nocapture"])
            .env("CLINVK_TEST_WORKER", does)
            .env("CLINVK_TEST_WITH", with)
            .env("CLINVK_TEST_HOME", &self.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The same in several, to their ends.
    pub fn processes(&self, many: usize, does: &str, with: &str) {
        let all: Vec<Child> = (0..many).map(|_| self.process(does, with)).collect();
        for child in all {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&[out.stdout, out.stderr].concat()));
        }
    }

    pub fn clinvk(&self, args: &[&str]) -> Run {
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
pub fn blank(digit: char) -> Session {
    Session::new(digit.to_string().repeat(32), "echo", "/".into(), "prompt")
}

/// A whole turn on a session: it is saved when this returns.
pub fn turn(store: &Store, id: &str, prompt: &str) -> Result<(), Error> {
    let mut run = store.resume(id, None, Arc::new(|| Ok(())), prompt, KEEP)?;
    run.hear(&Event::Text(prompt.to_owned()));
    run.end(&Outcome { backend: "echo".to_owned(), ..Outcome::default() })
}

pub fn begin(store: &Store, session: Session) -> Result<(), Error> {
    let mut run = store.begin(session, Arc::new(|| Ok(())), "first", KEEP)?;
    run.hear(&Event::Text("first".to_owned()));
    run.end(&Outcome { backend: "echo".to_owned(), ..Outcome::default() })
}

pub fn everything(store: &Store) -> session::Listing {
    store.list(&Filter::default(), Page::ALL, &mut |_| {}).unwrap()
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

pub fn count(store: &Store, id: &str) {
    let one_more = |session: &mut Session| {
        let number = session.metadata.get("n").and_then(Value::as_u64).unwrap_or(0);
        session.metadata.insert("n".to_owned(), json!(number + 1));
        Ok(())
    };
    store.update(id, one_more).unwrap();
}

/// Random numbers: which moments and which sessions is of no interest.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Dice {
        Dice(u64::from_str_radix(&clinvk::base::world::random_id().unwrap()[..16], 16).unwrap() | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
