//! `make bench`: prints ratios of one run on one machine, asserts nothing. Medians of alternating runs, so that a noisy
//! neighbour hits both sides alike.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, unsafe_code, missing_docs)]

use clinvk::session::{Session, Store};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "row.rs"]
mod row;
use row::{millis, row};

/// What one run cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    wall: Duration,
    /// User and system time of the process and all that it waited for.
    cpu: Duration,
    /// Peak resident memory in KiB.
    rss: i64,
}

fn main() {
    let binary = std::env::var("CLINVK").expect("CLINVK names the release binary: run `make bench`");
    let binary = Path::new(&binary);
    let dir = std::env::temp_dir().join(format!("clinvk-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    row("the binary", std::fs::metadata(binary).unwrap().len() as f64 / 1e6, "MB", "2.1", "");
    start_up(binary, &dir);
    one_way(binary, &dir);
    long_prompt(binary, &dir);
    many(binary, &dir);
    flood(binary, &dir);
    sessions(binary, &dir);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn start_up(binary: &Path, dir: &Path) {
    let pair = compare(51, || clinvk(binary, dir, &["version"]), || Command::new("/bin/true"));
    report("clinvk version / true", "1.5", pair);
}

/// A prompt on a program that says a word, against that program alone.
fn one_way(binary: &Path, dir: &Path) {
    let home = home(dir, "one-way", r#"{"backends": {"fake": {"command": ["/bin/sh", "-c", "cat"]}}}"#);
    let bare = || {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cat"]);
        command
    };
    let pair = compare(101, || clinvk(binary, &home, &["-b", "fake", "--ephemeral", "hi"]), bare);
    report("prompt on a one-way fake / the fake", "1.5", pair);
    let pair = compare(101, || clinvk(binary, &home, &["-b", "fake", "hi"]), bare);
    report("the same with a session on disk", "", pair);
}

/// A prompt of 10.8 MB from a file, on the echo backend.
fn long_prompt(binary: &Path, dir: &Path) {
    let home = home(dir, "long-prompt", "{}");
    std::fs::write(home.join("prompt"), "a word or two \n".repeat(720_000)).unwrap();
    let cost = measure(&mut clinvk(binary, &home, &["-b", "echo", "--ephemeral", "-f", "prompt"]));
    row("prompt of 10.8 MB on echo: peak memory", cost.rss as f64 / 1024.0, "MB", "36", "");
}

/// 64 tasks on the echo backend, eight at once, against what they start (and against nothing but the shell); and what ten
/// thousand of them take.
fn many(binary: &Path, dir: &Path) {
    let home = home(
        dir,
        "many-at-once",
        r#"{"default_backend": "echo", "backends": {"fake": {"command": ["/bin/sh", "-c", "cat"]}}}"#,
    );
    let plan = |count: usize| {
        let path = home.join(format!("{count}.json"));
        let tasks: Vec<String> = (0..count).map(|n| format!("{{\"prompt\": \"task number {n}\"}}")).collect();
        std::fs::write(&path, format!("{{\"tasks\": [{}]}}", tasks.join(","))).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let parallel = |count: usize, backend: &str| {
        clinvk(binary, &home, &["parallel", "-q", "-P", "8", "--json", "-b", backend, "-f", &plan(count)])
    };
    let xargs = |each: &str| {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("seq 64 | xargs -P 8 -I@ sh -c '{each}'"));
        command
    };
    let program = binary.to_str().unwrap();
    let bare = format!("echo task number @ | exec {program} echo-backend");
    let pair = compare(21, || parallel(64, "echo"), || xargs(&bare));
    report("64 echo tasks, -P 8 / the same under xargs -P 8", "1.3", pair);
    let pair = compare(21, || parallel(64, "fake"), || xargs("echo task number @ | sh -c cat"));
    report("64 tasks on `sh -c cat`, -P 8 / the same under xargs -P 8", "", pair);
    let (few, all) = (measure(&mut parallel(100, "echo")), measure(&mut parallel(10_000, "echo")));
    let detail = format!("{:.1} MB / {:.1} MB", all.rss as f64 / 1024.0, few.rss as f64 / 1024.0);
    row("10,000 echo tasks / 100: peak memory", all.rss as f64 / few.rss as f64, "x", "", &detail);
    row("10,000 echo tasks, each", millis(all.wall) / 10_000.0, "ms", "", "");
}

fn flood(binary: &Path, dir: &Path) {
    let config = r#"{"backends": {"fake": {"command": ["/bin/sh", "-c", "head -c $BYTES /dev/zero | tr '\\0' x | fold -w 99"]}}}"#;
    let home = home(dir, "flood", config);
    let run = |bytes: &str| {
        let mut command = clinvk(binary, &home, &["-b", "fake", "--ephemeral", "hi"]);
        measure(command.env("BYTES", bytes))
    };
    let bare = |bytes: &str| {
        let mut command = Command::new("/bin/sh");
        measure(
            command.args(["-c", "head -c $BYTES /dev/zero | tr '\\0' x | fold -w 99"]).env("BYTES", bytes),
        )
    };
    let (small, large, alone) = (run("1000000"), run("100000000"), bare("100000000"));
    let (with_us, without) = (large.wall.as_secs_f64(), alone.wall.as_secs_f64());
    let detail = format!("{:.0} MB/s / {:.0} MB/s", 100.0 / with_us, 100.0 / without);
    row("100 MB of output / the program alone", with_us / without, "x", "", &detail);
    let detail = format!("{:.1} MB / {:.1} MB", large.rss as f64 / 1024.0, small.rss as f64 / 1024.0);
    row("100 MB of output / 1 MB: peak memory", large.rss as f64 / small.rss as f64, "x", "", &detail);
}

fn sessions(binary: &Path, dir: &Path) {
    let few = filled(binary, dir, "few", 10);
    let hundred = filled(binary, dir, "hundred", 100);
    let many = filled(binary, dir, "many", 100_000);
    let pair = compare(
        101,
        || clinvk(binary, &many, &["-b", "echo", "hi"]),
        || clinvk(binary, &few, &["-b", "echo", "hi"]),
    );
    report("a prompt with 100,000 sessions / with 10", "1.1", pair);
    let list = ["sessions", "list", "-n", "20"];
    let pair = compare(51, || clinvk(binary, &many, &list), || clinvk(binary, &hundred, &list));
    report("sessions list -n 20 of 100,000 / of 100", "2", pair);
    let again = ["-c", "-b", "echo", "hi"];
    let pair = compare(51, || clinvk(binary, &many, &again), || clinvk(binary, &hundred, &again));
    report("--continue with 100,000 / with 100", "2", pair);
    std::fs::remove_file(many.join("sessions/index.jsonl")).unwrap();
    let rebuilt = measure(&mut clinvk(binary, &many, &list));
    row("rebuild of a deleted index with 100,000 sessions", rebuilt.wall.as_secs_f64(), "s", "", "");
    shared(binary, dir);
}

/// 8 processes, 500 turns each, 50 sessions.
fn shared(binary: &Path, dir: &Path) {
    let home = filled(binary, dir, "shared", 50);
    let ids = Store::at(&home).ids().unwrap();
    let since = Instant::now();
    let failed: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (ids, home) = (&ids, &home);
                scope.spawn(move || {
                    let turn = |turn: usize| {
                        let id = &ids[(writer * 7 + turn) % ids.len()];
                        let mut command = clinvk(binary, home, &["resume", id, "--wait", "hi"]);
                        !command.stdout(Stdio::null()).status().unwrap().success()
                    };
                    (0..500).filter(|number| turn(*number)).count()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let kept: usize = ids.iter().map(|id| Store::at(&home).turns(id).unwrap().len()).sum();
    let detail = format!("{failed} failed, {kept} of 4000 kept");
    let seconds = since.elapsed().as_secs_f64();
    row("8 processes saving 500 turns each to 50 sessions", seconds, "s", "", &detail);
}

/// A home with that many sessions of the echo backend. The index is made by the binary: what this process grew to would be
/// counted as its children's peak memory.
fn filled(binary: &Path, dir: &Path, name: &str, count: usize) -> PathBuf {
    let home = home(dir, name, "{}");
    let sessions = home.join("sessions");
    std::fs::create_dir_all(&sessions).unwrap();
    for number in 0..count {
        let id = format!("{number:032x}");
        let mut session = Session::new(id.clone(), "echo", home.clone(), &format!("prompt number {number}"));
        session.status = clinvk::session::Status::Completed;
        session.backend_session_id = Some("echo".to_owned());
        std::fs::write(sessions.join(format!("{id}.json")), serde_json::to_vec(&session).unwrap()).unwrap();
    }
    measure(&mut clinvk(binary, &home, &["sessions", "list"]));
    home
}

fn home(dir: &Path, name: &str, config: &str) -> PathBuf {
    let home = dir.join(name);
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.json"), config).unwrap();
    home.canonicalize().unwrap()
}

fn clinvk(binary: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("CLINVK_HOME", home)
        .current_dir(home);
    command
}

/// The medians of both sides, run in turns.
fn compare(runs: usize, ours: impl Fn() -> Command, theirs: impl Fn() -> Command) -> (Cost, Cost) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        left.push(measure(&mut ours()));
        right.push(measure(&mut theirs()));
    }
    (median(left), median(right))
}

fn median(costs: Vec<Cost>) -> Cost {
    fn middle<T: Ord + Copy>(mut values: Vec<T>) -> T {
        values.sort_unstable();
        values[values.len() / 2]
    }
    Cost {
        wall: middle(costs.iter().map(|cost| cost.wall).collect()),
        cpu: middle(costs.iter().map(|cost| cost.cpu).collect()),
        rss: middle(costs.iter().map(|cost| cost.rss).collect()),
    }
}

fn report(what: &str, wanted: &str, (ours, theirs): (Cost, Cost)) {
    let detail = format!(
        "{:.2} ms / {:.2} ms, CPU {:.2}x, peak memory {:.1} MB / {:.1} MB",
        millis(ours.wall),
        millis(theirs.wall),
        ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64().max(1e-9),
        ours.rss as f64 / 1024.0,
        theirs.rss as f64 / 1024.0
    );
    row(what, ours.wall.as_secs_f64() / theirs.wall.as_secs_f64(), "x", wanted, &detail);
}

/// Runs it with a word on standard input, reads its output to the end, and asks the kernel what it cost.
#[allow(clippy::zombie_processes)] // it is waited for by wait4, which also tells the cost
fn measure(command: &mut Command) -> Cost {
    // The child's own group, so that a terminal's signals reach the bench alone.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let since = Instant::now();
    let mut child = command.spawn().unwrap();
    // A program that does not read is no failure here.
    let _ = child.stdin.take().unwrap().write_all(b"hi");
    let mut out = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 16];
    while out.read(&mut buffer).unwrap() > 0 {}
    // SAFETY: a zeroed rusage is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is ours and not reaped yet; std is never asked for it again.
    unsafe { libc::wait4(child.id() as i32, std::ptr::null_mut(), 0, &mut usage) };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Cost { wall: since.elapsed(), cpu: time(usage.ru_utime) + time(usage.ru_stime), rss: usage.ru_maxrss }
}
