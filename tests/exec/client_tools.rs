//! What `exec` does for a program that asks its client for files and terminals. Each test has a process for itself: what a
//! run leaves behind is everybody's in a process.

use crate::util::scene::{PATIENCE, Scene, until};
use clinvk::backend::{ClientTool, Dialogue, Ended, Launch, Step, Steps, ToolError, ToolReply};
use clinvk::base::world::{World, random_id};
use clinvk::exec::{self, Cancel, Control, Stop};
use clinvk::model::error::{Failure, Kind};
use clinvk::model::event::{Event, Listener, Permission};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::thread;

/// Runs the test of that name in a process of its own.
fn alone(name: &str, body: impl FnOnce()) {
    crate::util::run::alone(&format!("exec::client_tools::{name}"), "", body);
}

/// A line of the program is a use: a word and what it takes. What comes of it is a line for the program.
struct Asking;

impl Dialogue for Asking {
    fn start(&mut self, _steps: &mut Steps) {}

    fn line(&mut self, line: &str, steps: &mut Steps) {
        let words: Vec<&str> = line.split(' ').collect();
        let terminal = || words[1].to_owned();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
        let tool = match words[0] {
            "read" => {
                ClientTool::ReadFile { path: words[1].into(), line: number(2).unwrap_or(1), limit: number(3) }
            }
            "write" => ClientTool::WriteFile { path: words[1].into(), text: words[2].replace('|', "\n") },
            "create" => ClientTool::CreateTerminal {
                command: words[2].to_owned(),
                args: words[3..].iter().map(|word| word.replace('_', " ")).collect(),
                env: vec![
                    ("GIVEN".to_owned(), "yes".to_owned()),
                    ("CLINVK_RUN".to_owned(), "other".to_owned()),
                ],
                dir: None,
                output_limit: number(1),
            },
            "output" => ClientTool::TerminalOutput { terminal: terminal() },
            "await" => ClientTool::AwaitExit { terminal: terminal() },
            "kill" => ClientTool::KillTerminal { terminal: terminal() },
            "release" => ClientTool::ReleaseTerminal { terminal: terminal() },
            "done" => return steps.push(Step::Finished(Ok(()))),
            _ => return steps.push(Step::Event(Event::Text(format!("{line}\n")))),
        };
        steps.push(Step::Use { id: words[0].to_owned(), tool });
    }

    fn used(&mut self, id: &str, came: Result<ToolReply, ToolError>, steps: &mut Steps) {
        let exit = |ended: Ended| format!("{:?} {:?}", ended.code, ended.signal);
        let said = match came {
            Ok(ToolReply::Text(text)) => format!("{text:?}"),
            Ok(ToolReply::Done) => "done".to_owned(),
            Ok(ToolReply::Terminal(name)) => name,
            Ok(ToolReply::Output { text, is_truncated, exit: ended }) => {
                format!("{text:?} {is_truncated} {}", ended.map_or("runs".to_owned(), exit))
            }
            Ok(ToolReply::Exit(ended)) => exit(ended),
            Err(ToolError::NotFound(_)) => "not found".to_owned(),
            Err(ToolError::Outside(_)) => "outside".to_owned(),
            Err(ToolError::Failed(sentence)) => sentence,
        };
        steps.push(Step::Send(format!("{id}: {said}")));
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        steps.push(Step::Finished(Err(Failure::new(Kind::Crash, format!("{ended:?}")))));
    }
}

#[derive(Default)]
struct Heard(String);

impl Listener for Heard {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Text(text) = event {
            self.0.push_str(text);
        }
        Ok(())
    }
}

/// What a program can say that is no use: a line with a blank in front.
const ASK: &str = "ask() { say \"$*\"; read -r reply; say \" $reply\"; }\n";

struct Ran {
    scene: Scene,
    said: String,
    stop: Stop,
}

/// Runs a program whose uses are `play`. There are a file of three lines, a directory beside the working one, and links
/// that lead out and in.
fn run_until(play: &str, cancel: &Arc<Cancel>, meanwhile: impl FnOnce(&Scene) + Send) -> Ran {
    let scene = Scene::new();
    scene.fake("fake", &format!("{ASK}{play}"));
    let mut up = scene.fifo("up");
    scene.file("work/three", "one\ntwo\nthree\n");
    scene.file("secret", "hidden\n");
    fs::create_dir(scene.path("beside")).unwrap();
    fs::create_dir(scene.path("work/sub")).unwrap();
    symlink(scene.path("secret"), scene.path("work/out")).unwrap();
    symlink(scene.path("nowhere"), scene.path("work/dangling")).unwrap();
    symlink("..", scene.path("work/sub/up")).unwrap();
    symlink("../..", scene.path("work/sub/above")).unwrap();
    let real = |name: &str| fs::canonicalize(scene.path(name)).unwrap();
    let launch = Launch { dir: real("work"), reach: vec![real("beside")], ..Launch::default() };
    let control = Control { wall: PATIENCE, ..Control::with(cancel.clone()) };
    let world = World { env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(), ..World::default() };
    let mut heard = Heard::default();
    let stop = thread::scope(|threads| {
        let (scene, up) = (&scene, &mut up);
        threads.spawn(move || {
            up.told();
            meanwhile(scene);
        });
        let (program, marker) = (scene.path("bin/fake"), random_id().unwrap());
        let report = exec::run(&program, &launch, &marker, &world, &mut Asking, &control, &mut heard);
        report.unwrap().stop
    });
    Ran { scene, said: heard.0, stop }
}

/// The same to its end, with one word of `tell up` that is only for the others.
fn run(play: &str) -> Ran {
    let cancel = Arc::new(Cancel::new().unwrap());
    let ran = run_until(&format!("tell up\n{play}\nsay done"), &cancel, |_| {});
    assert_eq!(ran.stop, Stop::Finished(Ok(())), "{}", ran.said);
    ran.scene.is_deserted();
    ran
}

#[test]
fn files_are_read_whole_and_in_part_and_written() {
    alone("files_are_read_whole_and_in_part_and_written", || {
        let ran = run(
            "ask read $PWD/three; ask read $PWD/three 2; ask read $PWD/three 2 1; ask read $PWD/three 9 1
             ask write $PWD/new 'a|b'; ask read $PWD/new; ask write $PWD/three short; ask read $PWD/sub/up/three
             ask write ${PWD%/*}/beside/new x; ask read ${PWD%/*}/beside/new",
        );
        let expected = [
            r#"read: "one\ntwo\nthree\n""#,
            r#"read: "two\nthree\n""#,
            r#"read: "two\n""#,
            r#"read: """#,
            "write: done",
            r#"read: "a\nb""#,
            "write: done",
            r#"read: "short""#,
            "write: done",
            r#"read: "x""#,
        ];
        assert_eq!(ran.said, expected.map(|line| format!(" {line}\n")).concat());
    });
}

#[test]
fn nothing_outside_of_the_directories_is_read_or_written() {
    alone("nothing_outside_of_the_directories_is_read_or_written", || {
        for path in [
            "/etc/passwd",
            "$PWD/../secret",
            "$PWD/out",
            "$PWD/sub/above/secret",
            "$PWD/sub/up/../secret",
            "$PWD/..",
        ] {
            let ran = run(&format!("ask read {path}; ask write {path} x"));
            let lines: Vec<&str> = ran.said.lines().collect();
            assert!(lines.iter().all(|line| line.ends_with("outside")), "{path}: {}", ran.said);
            assert_eq!(fs::read_to_string(ran.scene.path("secret")).unwrap(), "hidden\n");
        }
        // What is not there is no refusal, unless it would be made.
        let ran = run("ask read $PWD/../new; ask write $PWD/../new x");
        assert_eq!(ran.said, " read: not found\n write: outside\n");
        assert!(!ran.scene.path("new").exists());
        let ran = run(
            "ask write $PWD/dangling x; ask read three; ask read $PWD/none; ask write $PWD/none/x x; ask read $PWD",
        );
        assert!(!ran.scene.path("nowhere").exists(), "{}", ran.said);
        let lines: Vec<&str> = ran.said.lines().collect();
        assert!(lines[0].contains("cannot write") && lines[1].contains("not an absolute path"), "{lines:?}");
        assert_eq!(lines[2..4], [" read: not found", " write: not found"]);
        assert!(lines[4].contains("not a regular file"), "{lines:?}");
        // A pipe would be waited for.
        let ran = run("mkfifo pipe; ask read $PWD/pipe; ask write $PWD/pipe x");
        assert!(ran.said.lines().count() == 2 && !ran.said.contains("done"), "{}", ran.said);
    });
}

#[test]
fn a_terminal_has_its_output_and_its_end() {
    alone("a_terminal_has_its_output_and_its_end", || {
        let ran = run(r#"ask create - sh -c 'printf_"%s_"_"$GIVEN";_pwd;_echo_no_>&2;_exit_3'
               ask await terminal-1; ask output terminal-1; ask release terminal-1; ask output terminal-1
               ask create 5 sh -c printf_ä123456789€€; ask await terminal-2; ask output terminal-2
               ask create - no-such-program; ask await terminal-9
               printf '#!/bin/sh\necho here\n' >script; chmod +x script
               ask create - ./script; ask await terminal-3; ask output terminal-3"#);
        let work = fs::canonicalize(ran.scene.path("work")).unwrap();
        let expected = [
            "create: terminal-1".to_owned(),
            "await: Some(3) None".to_owned(),
            format!("output: \"yes {}\\nno\\n\" false Some(3) None", work.display()),
            "release: done".to_owned(),
            "output: not found".to_owned(),
            "create: terminal-2".to_owned(),
            "await: Some(0) None".to_owned(),
            "output: \"€\" true Some(0) None".to_owned(),
            "create: not found".to_owned(),
            "await: not found".to_owned(),
            "create: terminal-3".to_owned(),
            "await: Some(0) None".to_owned(),
            "output: \"here\\n\" false Some(0) None".to_owned(),
        ];
        assert_eq!(ran.said, expected.map(|line| format!(" {line}\n")).concat());
    });
}

#[test]
fn a_terminal_can_be_killed_and_nobody_waits_for_it_in_vain() {
    alone("a_terminal_can_be_killed_and_nobody_waits_for_it_in_vain", || {
        let ran = run(r#"ask create - sh -c 'setsid_"$0"_1000_&_exec_"$0"_1000' "$here/sleep"
               ask output terminal-1; say await terminal-1; ask kill terminal-1; read -r reply; say " $reply"
               ask create - "$here/sleep" 1000; say await terminal-2; say release terminal-2
               read -r one; read -r other; say " $one"; say " $other""#);
        let lines: Vec<&str> = ran.said.lines().collect();
        assert_eq!(lines[2..4], [" kill: done", " await: None Some(9)"], "{lines:?}");
        let mut last = lines[5..].to_vec();
        last.sort_unstable();
        assert_eq!(last, [" await: None Some(9)", " release: done"], "{lines:?}");
    });
}

#[test]
fn a_conversation_goes_on_while_a_terminal_prints_without_end() {
    alone("a_conversation_goes_on_while_a_terminal_prints_without_end", || {
        let ran = run(r#"ask create 100 yes
               until case $reply in *"true runs") true ;; *) false ;; esac; do ask output terminal-1; done
               for i in 1 2 3 4 5; do ask read $PWD/three 1 1; done; ask output terminal-1"#);
        assert_eq!(ran.said.matches(r#"read: "one\n""#).count(), 5, "{}", ran.said);
        let output = ran.said.lines().last().unwrap();
        assert!(
            output.contains(r"y\ny\n") && output.ends_with("true runs") && output.len() < 1000,
            "{output}"
        );
    });
}

#[test]
fn a_terminal_has_ended_though_what_it_left_behind_prints_without_end() {
    alone("a_terminal_has_ended_though_what_it_left_behind_prints_without_end", || {
        let ran = run("ask create 100 sh -c 'yes_&_exit_4'; ask await terminal-1; ask release terminal-1");
        assert_eq!(ran.said, " create: terminal-1\n await: Some(4) None\n release: done\n");
    });
}

/// The switch is thrown while a person is asked, who says yes.
struct LateYes(Arc<Cancel>);

impl Listener for LateYes {
    fn event(&mut self, _: &Event) -> io::Result<()> {
        Ok(())
    }

    fn permission(&mut self, _: &Permission) -> io::Result<bool> {
        self.0.throw();
        Ok(true)
    }
}

/// Asks a person, and ends with the answer.
struct Careful;

impl Dialogue for Careful {
    fn start(&mut self, steps: &mut Steps) {
        let [id, tool_use, name, title] = Default::default();
        steps.push(Step::Ask(Permission { id, tool_use, name, title, input: Default::default() }));
    }

    fn line(&mut self, _: &str, _: &mut Steps) {}

    fn permitted(&mut self, _: &str, allowed: bool, steps: &mut Steps) {
        steps.push(Step::Finished(Err(Failure::new(Kind::Internal, format!("allowed: {allowed}")))));
    }

    fn eof(&mut self, _: &Ended, _: &mut Steps) {}
}

#[test]
fn a_yes_that_comes_after_the_order_to_stop_is_none() {
    alone("a_yes_that_comes_after_the_order_to_stop_is_none", || {
        let scene = Scene::new();
        scene.fake("fake", "cat >/dev/null");
        let launch = Launch { dir: fs::canonicalize(scene.path("work")).unwrap(), ..Launch::default() };
        let cancel = Arc::new(Cancel::new().unwrap());
        let (control, marker) = (Control::with(cancel.clone()), random_id().unwrap());
        let (program, world) = (scene.path("bin/fake"), World::default());
        let mut late = LateYes(cancel);
        let report =
            exec::run(&program, &launch, &marker, &world, &mut Careful, &control, &mut late).unwrap();
        let Stop::Finished(Err(failure)) = report.stop else { panic!("{report:?}") };
        assert_eq!(failure.message, "allowed: false");
    });
}

#[test]
fn no_terminal_outlives_its_run() {
    alone("no_terminal_outlives_its_run", || {
        // It has ended well, without a word to its terminals.
        run(r#"ask create - sh -c 'setsid_"$0"_1000_&_exec_"$0"_1000' "$here/sleep""#);
        // It was stopped while they ran, and the program waits for one.
        let cancel = Arc::new(Cancel::new().unwrap());
        let play = r#"ask create - sh -c 'setsid_"$0"_1000_&_exec_"$0"_1000' "$here/sleep"
                      tell up; ask await terminal-1"#;
        let ran = run_until(play, &cancel, |scene| {
            let sleeps = |line: &String| line.contains("sleep 1000");
            until("both are there", || {
                scene.processes().values().filter(|line| sleeps(line) && !line.contains("sh -c")).count() == 2
            });
            cancel.throw();
        });
        assert_eq!(ran.stop, Stop::Cancelled);
        ran.scene.is_deserted();
        // Killed at once.
        let ran = run_until(play, &Arc::new(Cancel::new().unwrap()), |scene| {
            let fake = |line: &&(i32, String)| line.1.contains("bin/fake");
            let all: Vec<(i32, String)> = scene.processes().into_iter().collect();
            all.iter()
                .filter(fake)
                .for_each(|(pid, _)| _ = clinvk::base::sys::kill(*pid, clinvk::base::sys::SIGKILL));
        });
        assert!(matches!(ran.stop, Stop::Finished(Err(_))), "{:?}", ran.stop);
        ran.scene.is_deserted();
    });
}
