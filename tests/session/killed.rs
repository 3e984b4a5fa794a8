//! Writers that are killed: nothing that was acknowledged is lost.

use super::processes::{Bare, Dice, begin, blank, count, everything, turn};
use clinvk::session::{self, Filter, Store};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
#[cfg(feature = "serve")]
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Writes until it is killed, and says on standard output what has been saved. `life` makes its words its own.
pub fn write_for_ever(store: &Store, life: &str) {
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
            store.turns(&"b".repeat(32)).unwrap().into_iter().map(|turn| turn.prompt.to_string()).collect();
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
    // All that was saved is read after each: two stores are half the reading of one.
    let twice = || (0..2).for_each(|_| kill(120));
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(twice)).collect();
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
        let kept: BTreeSet<String> = turns.into_iter().map(|turn| turn.prompt.to_string()).collect();
        assert!(done.is_subset(&kept), "{:?}", done.difference(&kept));
    }
    home.clinvk(&["-c", "last"]).prints("last\n");
}

/// Kills a server at so many random moments, with requests in flight: what was answered is there.
#[cfg(feature = "serve")]
fn kill_servers(many: usize) {
    use crate::util::http::Server;
    use crate::util::store::Home;
    let home = Home::new();
    let (shared, mut dice, mut answered) = (home.begin("shared"), Dice::new(), BTreeSet::new());
    let store = Store::at(&home.scene.path("home/.clinvk"));
    for life in 0..many {
        let server = Server::of(home.clinvk(["serve", "--port", "0"]).start());
        let moment = Duration::from_micros(dice.below(120_000) as u64);
        let told = thread::scope(|threads| {
            let (answers, answer) = mpsc::channel();
            let clients: Vec<_> = (0..3)
                .map(|client| {
                    let (address, shared, answers) =
                        (server.address.clone(), shared.clone(), answers.clone());
                    threads.spawn(move || ask_for_ever(&address, &shared, life, client, &answers))
                })
                .collect();
            // As the writers above: before the first answer, or after it, however slow the machine is.
            if life % 4 != 0 {
                answer.recv().unwrap();
            }
            thread::sleep(moment);
            clinvk::base::sys::kill(server.process.pid, clinvk::base::sys::SIGKILL).unwrap();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<String>>()
        });
        server.process.end();
        answered.extend(told);
        let found = everything(&store);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let turns = found.sessions.iter().flat_map(|session| store.turns(&session.id).unwrap());
        let kept: BTreeSet<String> = turns.map(|turn| turn.prompt.to_string()).collect();
        let lost: Vec<_> = answered.difference(&kept).collect();
        assert!(lost.is_empty(), "life {life}: lost {lost:?}");
        // All that is there is looked through each time: it stays small.
        if life % 20 == 19 {
            let others = found.sessions.iter().filter(|session| session.id != shared);
            others.for_each(|session| drop(store.delete(&session.id, &Filter::default())));
            session::fsck(&store, false, &mut |_| {});
            assert_eq!(session::fsck(&store, true, &mut |_| {}).findings, []);
            answered.retain(|prompt| prompt.starts_with("turn"));
        }
    }
    // Not in vain: many were answered.
    assert!(answered.len() > many / 4, "{} answers", answered.len());
    home.clinvk(["resume", &shared, "last"]).prints("last\n");
}

/// Asks until nothing is answered any more. Returns the prompts that were.
#[cfg(feature = "serve")]
fn ask_for_ever(
    address: &str,
    shared: &str,
    life: usize,
    client: usize,
    answers: &mpsc::Sender<()>,
) -> Vec<String> {
    let mut answered = Vec::new();
    for number in 0.. {
        let is_turn = (number + client) % 2 == 0;
        let (word, path) = match is_turn {
            true => ("turn", format!("/api/v1/sessions/{shared}/resume")),
            false => ("new", "/api/v1/prompt".to_owned()),
        };
        let prompt = format!("{word} {life}-{client}-{number}");
        let body = serde_json::json!({"prompt": prompt}).to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nX-Clinvk-Wait: 60\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let Ok(mut stream) = std::net::TcpStream::connect(address) else { break };
        let mut answer = String::new();
        let asked = stream.write_all((head + &body).as_bytes());
        // What broke off is no answer: its object has to be whole.
        if asked.is_err() || std::io::Read::read_to_string(&mut stream, &mut answer).is_err() {
            break;
        }
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { break };
        if serde_json::from_str::<serde_json::Value>(body.trim()).is_ok() && head.starts_with("HTTP/1.1 200")
        {
            answered.push(prompt);
            let _ = answers.send(());
        }
    }
    answered
}

#[cfg(feature = "serve")]
#[test]
fn what_a_server_answered_is_there_when_it_is_killed() {
    kill_servers(30);
}

/// `make soak`
#[cfg(feature = "serve")]
#[test]
#[ignore = "takes minutes"]
fn what_a_server_answered_is_there_when_it_is_killed_1000_times() {
    kill_servers(1000);
}
