//! `make bench`, the server's part: a load program of our own that prints ratios and medians of one run on one machine,
//! and asserts nothing but that no process is left behind.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[path = "row.rs"]
mod row;
use row::{millis, row};

fn main() {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        // The other half: what a backend is here.
        (Some("word"), _) => println!("word"),
        (Some("tick"), Some(count)) => tick(count.parse().unwrap()),
        _ => load(),
    }
}

/// Says what time it is, fifty times a second.
fn tick(count: u32) {
    let since = Instant::now();
    for number in 1..=count {
        println!("{}", now());
        std::io::stdout().flush().unwrap();
        thread::sleep((since + Duration::from_millis(20) * number).saturating_duration_since(Instant::now()));
    }
}

/// Nanoseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn load() {
    let binary = std::env::var("CLINVK").expect("CLINVK names the release binary: run `make bench`");
    clinvk::base::sys::raise_open_files().unwrap();
    let dir = std::env::temp_dir().join(format!("clinvk-load-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    row("server, idle", Server::start(&binary, &dir).memory("VmRSS"), "MB", "", "");
    overhead(&binary, &dir);
    rates(&binary, &dir);
    long_prompt(&binary, &dir);
    health(&binary, &dir);
    streams(&binary, &dir);
    completions(&binary, &dir);
    departures(&binary, &dir);
    crowds(&binary, &dir);
    fs::remove_dir_all(&dir).unwrap();
}

/// `POST /prompt` on a program that says a word, against that program alone.
fn overhead(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    let me = std::env::current_exe().unwrap();
    let bare = || assert!(Command::new(&me).arg("word").stdout(Stdio::null()).status().unwrap().success());
    for clients in [1, 16] {
        let ask = |connection: &mut Connection| {
            let answer =
                connection.post("/api/v1/prompt", r#"{"backend":"word","prompt":"x","ephemeral":true}"#);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        let asked = at_once(clients, 200, || server.connect(), ask);
        let alone = at_once(clients, 200, || (), |()| bare());
        let what = format!("POST /prompt with {clients} clients / bare spawns");
        let (us, them) = (asked[asked.len() / 2], alone[alone.len() / 2]);
        let detail = format!(
            "{:.2} ms / {:.2} ms, p99 {:.1} ms / {:.1} ms",
            millis(us),
            millis(them),
            millis(asked[asked.len() * 99 / 100]),
            millis(alone[alone.len() * 99 / 100])
        );
        row(&what, ratio(us, them), "x", if clients == 16 { "2" } else { "" }, &detail);
    }
}

/// How many prompts on the echo backend are answered in a second, without and with a session on disk.
fn rates(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    for (clients, aims) in [(1, ["900", "350"]), (16, ["1200", "800"])] {
        for (ephemeral, aim) in [true, false].into_iter().zip(aims) {
            let body = format!(r#"{{"backend":"echo","prompt":"x","ephemeral":{ephemeral}}}"#);
            let ask = |connection: &mut Connection| {
                assert!(connection.post("/api/v1/prompt", &body).starts_with("HTTP/1.1 200"));
            };
            let (since, before) = (Instant::now(), server.cpu());
            let count = at_once(clients, 800, || server.connect(), ask).len() as f64;
            let how = if ephemeral { "ephemeral" } else { "with a session" };
            let what = format!("POST /prompt on echo, kept alive, {clients} clients, {how}");
            let (rate, used) = (count / since.elapsed().as_secs_f64(), (server.cpu() - before) * 1e3 / count);
            let detail = format!("at least; the server used {used:.2} ms of CPU each");
            row(&what, rate, "/s", aim, &detail);
        }
    }
}

/// What a prompt of 7.5 MB that is echoed costs in memory, and what of that stays.
fn long_prompt(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    let prompt = "a word or two ".repeat(540_000);
    let body = format!(r#"{{"backend":"echo","prompt":"{prompt}","ephemeral":true}}"#);
    assert!(server.connect().post("/api/v1/prompt", &body).starts_with("HTTP/1.1 200"));
    let peak = server.memory("VmHWM");
    thread::sleep(Duration::from_secs(1));
    row("prompt of 7.5 MB on echo: peak memory of the server", peak, "MB", "40", "");
    row("the same a second later", server.memory("VmRSS"), "MB", "8", "");
}

fn health(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    for clients in [1, 32] {
        let since = Instant::now();
        let times = at_once(clients, 20_000, || server.connect(), |connection| _ = connection.get("/health"));
        let detail = format!("p99 {:.2} ms", millis(times[times.len() * 99 / 100]));
        let rate = times.len() as f64 / since.elapsed().as_secs_f64();
        row(&format!("/health, kept alive, {clients} clients"), rate, "/s", "", &detail);
    }
}

/// 200 streams of 50 events a second, each from a child of its own.
fn streams(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    let (delays, used) = (Mutex::new(Vec::new()), server.cpu());
    let since = Instant::now();
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let body =
                    r#"{"backend":"tick","prompt":"x","ephemeral":true,"output_format":"stream-json"}"#;
                let heard = ticks(&server, "/api/v1/prompt", body, r#""text":""#, r#""type":"done""#);
                delays.lock().unwrap().extend(heard.delays);
            });
        }
        thread::sleep(Duration::from_secs(2));
        row("server with 200 streams", server.memory("VmRSS"), "MB", "", "");
    });
    let delays = Delays::of(delays.into_inner().unwrap());
    let share = 100.0 * (server.cpu() - used) / since.elapsed().as_secs_f64();
    row("200 streams x 50 events/s: of a core", share, "%", "", &delays.to_string());
}

/// The same over `/chat/completions`, and how long the first word takes, against the program alone.
fn completions(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    let me = std::env::current_exe().unwrap();
    let bare = || {
        let mut child = Command::new(&me).args(["tick", "1"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(child.wait().unwrap().success() && !line.is_empty());
    };
    let body = r#"{"model":"tick","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    for clients in [1, 64] {
        let (firsts, delays) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let path = "/openai/v1/chat/completions";
                    let heard = ticks(&server, path, body, r#""content":""#, "[DONE]");
                    firsts.lock().unwrap().push(heard.first);
                    delays.lock().unwrap().extend(heard.delays);
                });
            }
        });
        let mut firsts = firsts.into_inner().unwrap();
        firsts.sort_unstable();
        let alone = at_once(clients, clients, || (), |()| bare());
        let (us, them) = (firsts[firsts.len() / 2], alone[alone.len() / 2]);
        let delays = Delays::of(delays.into_inner().unwrap());
        let detail = format!("{:.2} ms / {:.2} ms; {delays}", millis(us), millis(them));
        let what = format!("chat/completions, {clients} streams: first word / from the program alone");
        row(&what, ratio(us, them), "x", "2", &detail);
    }
}

/// What was heard of a stream of ticks.
struct Heard {
    /// From the request to the first of them.
    first: Duration,
    /// How long each was on its way, in nanoseconds.
    delays: Vec<u128>,
}

/// Hears a stream of ticks: each stands behind `mark`, and `end` is in the last line.
fn ticks(server: &Server, path: &str, body: &str, mark: &str, end: &str) -> Heard {
    let mut connection = server.connect();
    let since = Instant::now();
    connection.send("POST", path, body);
    let mut heard = Heard { first: Duration::ZERO, delays: Vec::new() };
    loop {
        let line = connection.line();
        if line.contains(end) {
            return heard;
        }
        let Some(rest) = line.split(mark).nth(1) else { continue };
        let arrived = now();
        // The end of the line before comes with the next one.
        let said = rest.trim_start_matches("\\n").split(['"', '\\']).next();
        let Some(said) = said.and_then(|text| text.parse::<u128>().ok()) else { continue };
        if heard.delays.is_empty() {
            heard.first = since.elapsed();
        }
        heard.delays.push(arrived.saturating_sub(said));
    }
}

/// Delays, sorted.
struct Delays(Vec<u128>);

impl Delays {
    fn of(mut delays: Vec<u128>) -> Delays {
        delays.sort_unstable();
        Delays(delays)
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize] as f64 / 1e6;
        write!(f, "{} events, delay p50 {:.2} ms, p99 {:.2} ms", self.0.len(), at(0.5), at(0.99))
    }
}

/// Clients that leave while a child that ignores SIGTERM and has children of its own works for them.
fn departures(binary: &str, dir: &Path) {
    let server = Server::start(binary, dir);
    let body = r#"{"backend":"stubborn","prompt":"x","ephemeral":true,"output_format":"stream-json"}"#;
    let mut times = Vec::new();
    for _ in 0..10 {
        let mut connection = server.connect();
        connection.send("POST", "/api/v1/prompt", body);
        while !connection.line().contains("started") {}
        let since = Instant::now();
        drop(connection);
        while !marked(dir).is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        times.push(since.elapsed());
    }
    times.sort_unstable();
    row(
        "from a client's leaving to the last process gone",
        times[5].as_secs_f64(),
        "s",
        "",
        "a grace of 2 s",
    );
    let since = Instant::now();
    at_once(
        100,
        1000,
        || (),
        |()| {
            let mut connection = server.connect();
            connection.send("POST", "/api/v1/prompt", body);
            while !connection.line().contains("started") {}
        },
    );
    while server.get("/api/v1/runs").contains("\"id\"") {
        thread::sleep(Duration::from_millis(20));
    }
    let left = marked(dir);
    let detail = format!("{} processes left", left.len());
    row("1,000 cancelled requests", since.elapsed().as_secs_f64(), "s", "", &detail);
    assert!(left.is_empty(), "{left:#?}");
}

/// `/health` while 1,000 clients say nothing, and while 1,000 say their heads slowly.
fn crowds(binary: &str, dir: &Path) {
    for (what, slow) in [("idle", false), ("slow-head", true)] {
        let server = Server::start(binary, dir);
        let mut crowd: Vec<TcpStream> =
            (0..1000).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
        let times = thread::scope(|scope| {
            let asked = scope
                .spawn(|| at_once(4, 2000, || server.connect(), |connection| _ = connection.get("/health")));
            while slow && !asked.is_finished() {
                // Some are cut at their deadline: they need not be told.
                crowd.iter_mut().for_each(|client| _ = client.write_all(b"G"));
                thread::sleep(Duration::from_millis(100));
            }
            asked.join().unwrap()
        });
        let (p99, size) = (millis(times[times.len() * 99 / 100]), server.memory("VmRSS"));
        let detail = format!("p99 {p99:.2} ms; {size:.1} MB");
        row(
            &format!("/health beside 1,000 {what} clients"),
            millis(times[times.len() / 2]),
            "ms",
            "",
            &detail,
        );
    }
}

/// How long each of `count` calls took, sorted; so many clients at once, each with something of its own.
fn at_once<T>(
    clients: usize,
    count: usize,
    begin: impl Fn() -> T + Sync,
    call: impl Fn(&mut T) + Sync,
) -> Vec<Duration> {
    let times = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut own = begin();
                let took: Vec<Duration> = (0..count / clients)
                    .map(|_| {
                        let since = Instant::now();
                        call(&mut own);
                        since.elapsed()
                    })
                    .collect();
                times.lock().unwrap().extend(took);
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    times
}

fn ratio(ours: Duration, theirs: Duration) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64()
}

/// Processes that have the bench's own name for backends in their environment.
fn marked(dir: &Path) -> BTreeMap<u32, String> {
    let mark = format!("LOAD_OF={}", dir.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32, name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    pids.filter(|pid| read(*pid, "environ").windows(mark.len()).any(|part| part == mark.as_bytes()))
        .map(|pid| (pid, String::from_utf8_lossy(&read(pid, "cmdline")).replace('\0', " ")))
        .collect()
}

/// The real binary as a server.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(binary: &str, dir: &Path) -> Server {
        let me = std::env::current_exe().unwrap();
        let me = me.to_str().unwrap();
        let env = format!(r#""env": {{"LOAD_OF": "{}"}}"#, dir.display());
        let stubborn = "trap '' TERM; sleep 1000 & setsid sleep 1001 & echo started; while :; do wait; done";
        let config = format!(
            r#"{{"default_backend": "word", "server": {{"max_runs": 1000}}, "backends": {{
                "word": {{"command": ["{me}", "word"]}},
                "tick": {{"command": ["{me}", "tick", "200"]}},
                "stubborn": {{"command": ["/bin/sh", "-c", "{stubborn}"], {env}}}
            }}}}"#
        );
        let home: PathBuf = dir.join("home");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("config.json"), config).unwrap();
        let mut child = Command::new(binary)
            .args(["serve", "--port", "0", "--quiet"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &home)
            .env("CLINVK_HOME", &home)
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().split_once("http://")?.1.to_owned())).unwrap();
        Server { child, address }
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream: BufReader::new(stream) }
    }

    fn get(&self, path: &str) -> String {
        self.connect().get(path)
    }

    /// Resident memory in MB: VmRSS now, VmHWM at its peak.
    fn memory(&self, what: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim_matches([':', '\t', ' ']).trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time of the server itself, in seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // utime and stime, in ticks of 10 ms (proc_pid_stat(5)).
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = clinvk::base::sys::kill(self.child.id() as i32, clinvk::base::sys::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn send(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).unwrap() > 0, "the server has closed the connection");
        line
    }

    /// A whole answer that says its length.
    fn whole(&mut self) -> String {
        let (mut answer, mut length) = (String::new(), 0);
        loop {
            let line = self.line();
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            answer += &line;
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        answer + &String::from_utf8(body).unwrap()
    }

    fn get(&mut self, path: &str) -> String {
        self.send("GET", path, "");
        self.whole()
    }

    fn post(&mut self, path: &str, body: &str) -> String {
        self.send("POST", path, body);
        self.whole()
    }
}
