//! `exec::run` called directly, with a dialogue, limits and listeners of the test's own. Each test has a process for
//! itself: what a run leaves behind is everybody's in a process.

use crate::util::scene::{Fifo, PATIENCE, Scene, is_stopped, until};
use clinvk::backend::{Dialogue, Ended, File, Launch, Step, Steps};
use clinvk::base::world::{World, random_id};
use clinvk::exec::{self, Cancel, Control, Report, Stop};
use clinvk::model::error::{Error, Failure, Kind};
use clinvk::model::event::{Event, Listener};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Runs the test of that name in a process of its own.
fn alone(name: &str, body: impl FnOnce()) {
    crate::util::run::alone(&format!("exec::in_process::{name}"), "", body);
}

/// Says its lines; a line `done` finishes it, one `alarm` sets an alarm that does, the rest is text.
#[derive(Default)]
struct AppServer {
    says: Vec<&'static str>,
    stays: bool,
    interrupt: Option<&'static str>,
}

impl Dialogue for AppServer {
    fn start(&mut self, steps: &mut Steps) {
        steps.extend(self.says.drain(..).map(|line| Step::Send(line.to_owned())));
        steps.extend((!self.stays).then_some(Step::CloseStdin));
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        steps.push(match line {
            "done" => Step::Finished(Ok(())),
            "alarm" => Step::Alarm(Duration::from_millis(20)),
            _ => Step::Event(Event::Text(line.to_owned())),
        });
    }

    fn alarm(&mut self, steps: &mut Steps) {
        steps.extend([Step::Event(Event::Text("alarm".to_owned())), Step::Finished(Ok(()))]);
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        steps.extend(self.interrupt.map(|word| Step::Send(word.to_owned())));
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        let failure = Failure::new(Kind::Crash, format!("{ended:?}"));
        steps.push(Step::Finished(if ended.code == Some(0) { Ok(()) } else { Err(failure) }));
    }
}

/// Hears the text; tells `finished` when it hears the result; leaves at the text `leave`.
#[derive(Default)]
struct Ear {
    text: String,
    finished: Option<Fifo>,
}

impl Listener for Ear {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match (event, &mut self.finished) {
            (Event::Text(text), _) => self.text.push_str(text),
            (Event::Done(_), Some(fifo)) => fifo.tell(),
            _ => {}
        }
        if self.text == "leave" { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

fn control(grace: Duration) -> Control {
    // Whatever goes wrong, no test waits for ever.
    Control { grace, wall: PATIENCE, ..Control::with(Arc::new(Cancel::new().unwrap())) }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a scene's program.
fn run(
    scene: &Scene,
    name: &str,
    talk: AppServer,
    control: &Control,
    ear: &mut Ear,
) -> Result<Report, Error> {
    run_with(&[], scene, name, talk, control, ear)
}

/// Runs a scene's program, with these files in a directory of their own.
fn run_with(
    files: &[&str],
    scene: &Scene,
    name: &str,
    mut talk: AppServer,
    control: &Control,
    ear: &mut Ear,
) -> Result<Report, Error> {
    let file = |name: &&str| File { path: scene.path("tmp/scratch").join(name), text: (*name).to_owned() };
    let files = files.iter().map(file).collect();
    let launch = Launch { dir: fs::canonicalize(scene.path("work")).unwrap(), files, ..Launch::default() };
    let (program, marker) = (scene.path("bin").join(name), random_id().unwrap());
    exec::run(&program, &launch, &marker, &World::default(), &mut talk, control, ear)
}

fn scene(play: &str) -> Scene {
    let scene = Scene::new();
    scene.fake("fake", play);
    scene
}

#[test]
fn a_dialogue_hears_of_the_time_that_it_asked_for() {
    alone("a_dialogue_hears_of_the_time_that_it_asked_for", || {
        // It would wait for ever.
        let scene = scene("say alarm; cat >/dev/null");
        let mut ear = Ear::default();
        let report =
            run(&scene, "fake", AppServer { stays: true, ..AppServer::default() }, &control(HOUR), &mut ear)
                .unwrap();
        assert_eq!((report.stop, ear.text.as_str()), (Stop::Finished(Ok(())), "alarm"));
    });
}

#[test]
fn cancelling_one_run_leaves_the_tree_and_the_orphans_of_another() {
    alone("cancelling_one_run_leaves_the_tree_and_the_orphans_of_another", || {
        let (ours, other) = (scene("daemon; tell up; wait; exec \"$here/sleep\" 1000"), Scene::new());
        other.fake(
            "other",
            "daemon; (setsid \"$here/sleep\" 1000 &) ; \"$here/sleep\" 1000 & tell up; await go; say fine",
        );
        let [mut our_up, mut other_up, mut go] = [ours.fifo("up"), other.fifo("up"), other.fifo("go")];
        let cancel = Arc::new(Cancel::new().unwrap());
        let ours_is_over = || {
            let control = Control { cancel: cancel.clone(), ..control(Duration::from_secs(2)) };
            run(&ours, "fake", AppServer::default(), &control, &mut Ear::default()).unwrap().stop
        };
        let other_is_over = || {
            let mut ear = Ear::default();
            let report = run(&other, "other", AppServer::default(), &control(HOUR), &mut ear).unwrap();
            (report.stop, ear.text)
        };
        thread::scope(|threads| {
            let (first, second) = (threads.spawn(ours_is_over), threads.spawn(other_is_over));
            our_up.told();
            other_up.told();
            let sleeps = |line: &String| line.starts_with(&other.text("bin/sleep"));
            until("all of it", || other.processes().values().filter(|line| sleeps(line)).count() == 3);
            let before = other.processes();
            cancel.throw();
            assert_eq!(first.join().unwrap(), Stop::Cancelled);
            // faults.md G4: the daemon without a marker has lived as long as any other run went on.
            ours.is_deserted();
            let after = other.processes();
            assert!(before == after && after.keys().all(|pid| !is_stopped(*pid)), "{before:#?}\n{after:#?}");
            go.tell();
            assert_eq!(second.join().unwrap(), (Stop::Finished(Ok(())), "fine".to_owned()));
        });
        other.is_deserted();
    });
}

/// faults.md B5.
#[test]
fn what_ends_without_a_parent_is_reaped_while_the_run_goes_on() {
    alone("what_ends_without_a_parent_is_reaped_while_the_run_goes_on", || {
        let scene = scene("for i in 1 2 3 4 5 6; do (setsid true &); done; tell up; await go");
        let [mut up, mut go] = ["up", "go"].map(|name| scene.fifo(name));
        let zombies = || {
            let me = std::process::id().to_string();
            let stats = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("stat"));
            let stats = stats.filter_map(|stat| fs::read_to_string(stat).ok());
            let is_zombie = |stat: &String| {
                let fields: Vec<&str> =
                    stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap();
                fields[0] == "Z" && fields[1] == me
            };
            stats.filter(is_zombie).count()
        };
        thread::scope(|threads| {
            let over = threads.spawn(|| {
                run(&scene, "fake", AppServer::default(), &control(HOUR), &mut Ear::default()).unwrap().stop
            });
            up.told();
            until("they are all there", || zombies() == 6);
            until("none is", || zombies() == 0);
            go.tell();
            assert_eq!(over.join().unwrap(), Stop::Finished(Ok(())));
        });
    });
}

#[test]
fn a_run_that_ends_takes_nobody_elses_program_for_an_orphan() {
    alone("a_run_that_ends_takes_nobody_elses_program_for_an_orphan", || {
        let (ours, other) = (scene("daemon"), Scene::new());
        other.fake("tool", "tell up; await go; say fine");
        let [mut up, mut go] = [other.fifo("up"), other.fifo("go")];
        let path = format!("{}:/usr/bin:/bin", other.text("bin"));
        let world = World { env: [("PATH".to_owned(), path)].into(), ..World::default() };
        thread::scope(|threads| {
            let printed = threads.spawn(|| exec::output(&["tool"], &world, PATIENCE).unwrap());
            up.told();
            run(&ours, "fake", AppServer::default(), &control(HOUR), &mut Ear::default()).unwrap();
            go.tell();
            assert_eq!(printed.join().unwrap().out, b"fine\n");
        });
        ours.is_deserted();
    });
}

#[test]
fn throwing_the_switch_again_takes_away_the_grace() {
    alone("throwing_the_switch_again_takes_away_the_grace", || {
        let scene = scene("trap 'tell asked' TERM; tell up; while :; do await never; done");
        let [mut up, mut asked, _never] = ["up", "asked", "never"].map(|name| scene.fifo(name));
        let control = control(HOUR);
        thread::scope(|threads| {
            let over = threads.spawn(|| {
                run(&scene, "fake", AppServer::default(), &control, &mut Ear::default()).unwrap().stop
            });
            up.told();
            control.cancel.throw();
            asked.told();
            control.cancel.throw();
            assert_eq!(over.join().unwrap(), Stop::Cancelled);
        });
        scene.is_deserted();
    });
}

#[test]
fn a_program_is_asked_to_stop_in_its_own_words_first() {
    alone("a_program_is_asked_to_stop_in_its_own_words_first", || {
        let scene = scene("read -r one; tell up \"$one\"; read -r two; say \"$two\"");
        let mut up = scene.fifo("up");
        let (control, mut ear) = (control(HOUR), Ear::default());
        let talk = AppServer { says: vec!["hello"], stays: true, interrupt: Some("please stop") };
        let report = thread::scope(|threads| {
            let over = threads.spawn(|| run(&scene, "fake", talk, &control, &mut ear).unwrap());
            assert_eq!(up.told(), "hello");
            control.cancel.throw();
            over.join().unwrap()
        });
        assert_eq!(
            (report.stop, report.ended.code, ear.text.as_str()),
            (Stop::Cancelled, Some(0), "please stop")
        );
    });
}

#[test]
fn the_result_is_told_while_the_program_still_flushes() {
    alone("the_result_is_told_while_the_program_still_flushes", || {
        // It ends by itself, and only after the result was heard and its input closed.
        let scene = scene("say answer; say done; await finished; cat; say late; exit 5");
        let mut ear = Ear { finished: Some(scene.fifo("finished")), ..Ear::default() };
        let talk = AppServer { stays: true, ..AppServer::default() };
        let report = run(&scene, "fake", talk, &control(HOUR), &mut ear).unwrap();
        assert_eq!((report.stop, ear.text.as_str()), (Stop::Finished(Ok(())), "answer"));
        assert_eq!(report.ended.code, Some(5));
    });
}

#[test]
fn a_program_that_goes_on_after_its_result_is_stopped() {
    alone("a_program_that_goes_on_after_its_result_is_stopped", || {
        for rest in [
            "exec \"$here/sleep\" 1000",
            "trap '' TERM; while :; do \"$here/sleep\" 1000; done",
            "while :; do say more; done",
        ] {
            let scene = scene(&format!("say answer; say done; {rest}"));
            let mut ear = Ear::default();
            let report =
                run(&scene, "fake", AppServer::default(), &control(Duration::from_millis(200)), &mut ear)
                    .unwrap();
            assert_eq!((report.stop, ear.text.as_str()), (Stop::Finished(Ok(())), "answer"), "{rest}");
            scene.is_deserted();
        }
    });
}

#[test]
fn a_listener_that_leaves_stops_the_run() {
    alone("a_listener_that_leaves_stops_the_run", || {
        let scene = scene("daemon; say leave; exec \"$here/sleep\" 1000");
        let report = run(&scene, "fake", AppServer::default(), &control(HOUR), &mut Ear::default()).unwrap();
        assert_eq!(report.stop, Stop::ReaderGone);
        scene.is_deserted();
    });
}

#[test]
fn a_switch_that_was_thrown_before_stops_the_run_at_once() {
    alone("a_switch_that_was_thrown_before_stops_the_run_at_once", || {
        let (scene, control) = (scene("exec \"$here/sleep\" 1000"), control(HOUR));
        control.cancel.throw();
        let report = run(&scene, "fake", AppServer::default(), &control, &mut Ear::default()).unwrap();
        assert_eq!(report.stop, Stop::Cancelled);
        scene.is_deserted();
    });
}

/// faults.md G1.
#[test]
fn directories_that_have_become_links_since_they_were_checked_are_refused() {
    alone("directories_that_have_become_links_since_they_were_checked_are_refused", || {
        let scene = scene("say started >\"$here/started\"");
        let root = fs::canonicalize(scene.path("")).unwrap();
        symlink("home", root.join("link")).unwrap();
        for (dir, reach) in [("link", "work"), ("work", "link"), ("work", "none")] {
            let (dir, reach) = (root.join(dir), vec![root.join(reach)]);
            let launch = Launch { dir, reach, ..Launch::default() };
            let (control, marker, fake) = (control(HOUR), random_id().unwrap(), scene.path("bin/fake"));
            let (world, mut talk, mut ear) = (World::default(), AppServer::default(), Ear::default());
            let refused = exec::run(&fake, &launch, &marker, &world, &mut talk, &control, &mut ear);
            assert!(matches!(refused, Err(Error::File { verb: "use directory", .. })), "{refused:?}");
        }
        assert!(!scene.path("bin/started").exists());
    });
}

#[test]
fn files_of_a_launch_are_private_and_gone_afterwards() {
    alone("files_of_a_launch_are_private_and_gone_afterwards", || {
        let scene = scene("stat -c %a ../tmp/scratch ../tmp/scratch/*; cat ../tmp/scratch/*");
        let mut ear = Ear::default();
        let report =
            run_with(&["one", "two"], &scene, "fake", AppServer::default(), &control(HOUR), &mut ear)
                .unwrap();
        assert_eq!((report.stop, ear.text.as_str()), (Stop::Finished(Ok(())), "700600600onetwo"));
        assert_eq!(entries(&scene.path("tmp")), [""; 0]);
    });
}

#[test]
fn files_of_a_launch_are_gone_after_a_failed_start_and_a_cancel() {
    alone("files_of_a_launch_are_gone_after_a_failed_start_and_a_cancel", || {
        let scene = scene("tell up; exec \"$here/sleep\" 1000");
        let mut up = scene.fifo("up");
        let failed = run_with(
            &["one", "two"],
            &scene,
            "no-such-program",
            AppServer::default(),
            &control(HOUR),
            &mut Ear::default(),
        );
        assert!(matches!(failed, Err(Error::Start { .. })), "{failed:?}");
        assert_eq!(entries(&scene.path("tmp")), [""; 0]);
        let control = control(HOUR);
        thread::scope(|threads| {
            let over = threads.spawn(|| {
                run_with(&["one", "two"], &scene, "fake", AppServer::default(), &control, &mut Ear::default())
                    .unwrap()
                    .stop
            });
            up.told();
            assert_eq!(entries(&scene.path("tmp/scratch")), ["one", "two"]);
            control.cancel.throw();
            assert_eq!(over.join().unwrap(), Stop::Cancelled);
        });
        assert_eq!(entries(&scene.path("tmp")), [""; 0]);
    });
}

#[test]
fn runs_that_start_while_others_end_lose_nobody() {
    alone("runs_that_start_while_others_end_lose_nobody", || {
        // Each leaves an orphan to be swept while the next ones start and have children of their own.
        let scene = scene("daemon; sh -c 'sh -c \"printf fine\"; :'");
        let again = || {
            for _ in 0..8 {
                let mut ear = Ear::default();
                let report = run(&scene, "fake", AppServer::default(), &control(HOUR), &mut ear);
                assert_eq!((report.unwrap().stop, ear.text.as_str()), (Stop::Finished(Ok(())), "fine"));
            }
        };
        thread::scope(|threads| (0..4).for_each(|_| _ = threads.spawn(again)));
        scene.is_deserted();
    });
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A server raises its own; who walks through all descriptors that there may be, or uses `select`, would not like that.
#[test]
fn a_child_may_open_as_many_files_as_we_might_before_the_server_took_more() {
    let name = "exec::in_process::a_child_may_open_as_many_files_as_we_might_before_the_server_took_more";
    crate::util::run::alone(name, "ulimit -S -n 200", || {
        clinvk::base::sys::raise_open_files().unwrap();
        let ours = fs::read_to_string("/proc/self/limits").unwrap();
        let ours = ours.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        assert!(!ours.contains(" 200 "), "{ours}");
        let scene = scene("say $(ulimit -S -n)");
        let mut ear = Ear::default();
        run(&scene, "fake", AppServer::default(), &control(HOUR), &mut ear).unwrap();
        assert_eq!(ear.text, "200");
        let argv = ["sh", "-c", "ulimit -S -n"];
        let printed = exec::output(&argv, &World::default(), PATIENCE).unwrap();
        assert_eq!(printed.out, b"200\n");
    });
}
