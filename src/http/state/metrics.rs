//! What is counted while the server runs, and its text for Prometheus (exposition format 0.0.4). Counts what it is told;
//! routes are told by their patterns, so that no path that a client makes up becomes a label.

use crate::engine::pool;
use crate::model::error::Kind;
use crate::model::event::Usage;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The upper ends of the buckets in seconds: from an answer without a run to the longest runs.
const BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
/// The methods that have a name of their own; a client can make up others.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// The kind of a run that went well.
const OK: &str = "ok";

/// The `Content-Type` of `render`.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted.
#[derive(Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: BTreeMap<(&'static str, &'static str, u16), u64>,
    request_times: BTreeMap<&'static str, Histogram>,
    runs: BTreeMap<(String, &'static str), u64>,
    run_times: BTreeMap<String, Histogram>,
    first_event_times: BTreeMap<String, Histogram>,
    tokens: BTreeMap<(String, &'static str), u64>,
}

#[derive(Default)]
struct Histogram {
    /// How many fell into each bucket and not into the one before it.
    counts: [u64; BUCKETS.len()],
    all: u64,
    seconds: f64,
}

/// What is not counted but is so at the moment.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Sessions in the store.
    pub sessions: usize,
    /// Runs that are under way.
    pub slots_used: usize,
    /// Runs that may be under way at once.
    pub slots: usize,
    /// Requests that wait for their turn.
    pub queued: usize,
    /// Open connections.
    pub connections: usize,
    /// The backends, and whether their programs are there.
    pub backends: Vec<(String, bool)>,
    /// The kept programs: backend, state, memory in bytes.
    pub children: Vec<(String, &'static str, u64)>,
    /// What was done with such, by backend.
    pub pool: BTreeMap<String, pool::Counts>,
    /// The memory in use in bytes and the open file descriptors, where they are known: `footprint`.
    pub footprint: Option<(u64, u64)>,
}

impl Gauges {
    fn children_of<'a>(&'a self, backend: &'a str) -> impl Iterator<Item = &'a (String, &'static str, u64)> {
        self.children.iter().filter(move |(of, ..)| of == backend)
    }
}

/// How a run went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ran {
    /// Why it failed; `None` is a success.
    pub(crate) kind: Option<Kind>,
    /// From start to result.
    pub(crate) took: Duration,
    /// From start to the first event, where there was one.
    pub(crate) first_event: Option<Duration>,
    /// What it used.
    pub(crate) usage: Usage,
}

impl Metrics {
    /// A request was answered. `route` is the pattern that it matched.
    pub(crate) fn request(&self, route: &'static str, method: &str, status: u16, took: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let mut counts = self.counts();
        *counts.requests.entry((route, method, status)).or_default() += 1;
        counts.request_times.entry(route).or_default().add(took);
    }

    /// A run is over. `backend` is one that there is.
    pub(crate) fn run(&self, backend: &str, ran: &Ran) {
        let mut counts = self.counts();
        let name = || backend.to_owned();
        *counts.runs.entry((name(), ran.kind.map_or(OK, Kind::word))).or_default() += 1;
        counts.run_times.entry(name()).or_default().add(ran.took);
        if let Some(first) = ran.first_event {
            counts.first_event_times.entry(name()).or_default().add(first);
        }
        for (direction, count) in [("input", ran.usage.input), ("output", ran.usage.output)] {
            let sum = counts.tokens.entry((name(), direction)).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// All of it as text.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut text = Text::default();
        let counts = self.counts();
        text.family("clinvk_http_requests_total", "counter", "Requests that were answered.");
        for ((route, method, status), count) in &counts.requests {
            let status = status.to_string();
            text.sample("", &[("route", route), ("method", method), ("status", &status)], *count as f64);
        }
        text.family(
            "clinvk_http_request_duration_seconds",
            "histogram",
            "Time from a request's head to the end of its answer.",
        );
        counts.request_times.iter().for_each(|(route, times)| text.histogram("route", route, times));
        text.family(
            "clinvk_runs_total",
            "counter",
            "Runs that are over, by the kind of their failure; `ok` is a success.",
        );
        for ((backend, kind), count) in &counts.runs {
            text.sample("", &[("backend", backend), ("kind", kind)], *count as f64);
        }
        text.family(
            "clinvk_run_duration_seconds",
            "histogram",
            "Time from the start of a run to its result.",
        );
        counts.run_times.iter().for_each(|(backend, times)| text.histogram("backend", backend, times));
        text.family(
            "clinvk_run_first_event_seconds",
            "histogram",
            "Time from the start of a run to its first event.",
        );
        counts
            .first_event_times
            .iter()
            .for_each(|(backend, times)| text.histogram("backend", backend, times));
        text.family(
            "clinvk_tokens_total",
            "counter",
            "Tokens that runs have used; cached and reasoning ones are in them.",
        );
        for ((backend, direction), count) in &counts.tokens {
            text.sample("", &[("backend", backend), ("direction", direction)], *count as f64);
        }
        drop(counts);

        for (name, help, value) in [
            ("clinvk_sessions", "Sessions in the store.", gauges.sessions),
            ("clinvk_run_slots_used", "Runs that are under way.", gauges.slots_used),
            ("clinvk_run_slots", "Runs that may be under way at once.", gauges.slots),
            ("clinvk_queue_length", "Requests that wait for their turn to run.", gauges.queued),
            ("clinvk_connections", "Open connections.", gauges.connections),
        ] {
            text.family(name, "gauge", help);
            text.sample("", &[], value as f64);
        }
        text.family("clinvk_backend_available", "gauge", "Whether the program of a backend is there.");
        for (backend, is_available) in &gauges.backends {
            text.sample("", &[("backend", backend)], f64::from(*is_available));
        }
        text.kept(gauges);
        text.family("clinvk_build_info", "gauge", "Always 1: the version is in the labels.");
        let commit = option_env!("SOURCE_COMMIT").unwrap_or("unknown");
        text.sample("", &[("version", env!("CARGO_PKG_VERSION")), ("commit", commit)], 1.0);
        if let Some((memory, files)) = gauges.footprint {
            text.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
            text.sample("", &[], memory as f64);
            text.family("process_open_fds", "gauge", "Number of open file descriptors.");
            text.sample("", &[], files as f64);
        }
        text.out
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        crate::base::sync::lock(&self.0)
    }
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|end| seconds <= *end) {
            self.counts[bucket] += 1;
        }
        self.all += 1;
        self.seconds += seconds;
    }
}

/// The text as it grows; samples belong to the family that was named last.
#[derive(Default)]
struct Text {
    out: String,
    family: &'static str,
}

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to a string cannot fail; nor below.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let label = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
        let labels = match labels {
            [] => String::new(),
            labels => format!("{{{}}}", labels.iter().map(label).collect::<Vec<_>>().join(",")),
        };
        let _ = writeln!(self.out, "{}{suffix}{labels} {value}", self.family);
    }

    fn kept(&mut self, gauges: &Gauges) {
        let of_children = gauges.children.iter().map(|(backend, ..)| backend);
        let backends: BTreeSet<&String> = of_children.chain(gauges.pool.keys()).collect();
        self.family("clinvk_kept_children", "gauge", "Programs that are kept for further runs, by state.");
        for backend in &backends {
            for state in pool::STATES {
                let count = gauges.children_of(backend).filter(|(_, is, _)| *is == state).count();
                self.sample("", &[("backend", backend), ("state", state)], count as f64);
            }
        }
        self.family("clinvk_kept_children_memory_bytes", "gauge", "Memory that kept programs have in use.");
        for backend in &backends {
            let bytes: u64 = gauges.children_of(backend).map(|(.., bytes)| bytes).sum();
            self.sample("", &[("backend", backend)], bytes as f64);
        }
        self.family(
            "clinvk_pool_runs_total",
            "counter",
            "Runs by where their program came from: `continued` and `warm` found it, `started` began one that is kept, \
             `cold` had one of its own.",
        );
        for (backend, counts) in &gauges.pool {
            let pool::Counts { continued, warm, started, cold, .. } = counts;
            for (place, count) in
                [("continued", continued), ("warm", warm), ("started", started), ("cold", cold)]
            {
                self.sample("", &[("backend", backend), ("place", place)], *count as f64);
            }
        }
        self.family(
            "clinvk_pool_retries_total",
            "counter",
            "Runs that were tried once more, because a kept program failed.",
        );
        for (backend, counts) in &gauges.pool {
            self.sample("", &[("backend", backend)], counts.retried as f64);
        }
        self.family("clinvk_pool_spares_total", "counter", "Programs that were started before a run asked.");
        for (backend, counts) in &gauges.pool {
            self.sample("", &[("backend", backend)], counts.spares as f64);
        }
        self.family("clinvk_pool_ended_total", "counter", "Kept programs that were ended, by reason.");
        for (backend, counts) in &gauges.pool {
            for (reason, count) in &counts.ended {
                self.sample("", &[("backend", backend), ("reason", reason)], *count as f64);
            }
        }
    }

    fn histogram(&mut self, label: &str, of: &str, times: &Histogram) {
        let mut below = 0;
        for (end, count) in BUCKETS.iter().zip(times.counts) {
            below += count;
            self.sample("_bucket", &[(label, of), ("le", &end.to_string())], below as f64);
        }
        self.sample("_bucket", &[(label, of), ("le", "+Inf")], times.all as f64);
        self.sample("_sum", &[(label, of)], times.seconds);
        self.sample("_count", &[(label, of)], times.all as f64);
    }
}

/// A label's value between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The memory of this process in bytes, and how many file descriptors it has open. Linux only.
pub(crate) fn footprint() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    // The one that lists them is open, too.
    let files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some((kibibytes * 1024, files as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn counted() -> Metrics {
        let metrics = Metrics::default();
        let millis = Duration::from_millis;
        for (route, method, status, took) in [
            ("/health", "GET", 200, 1),
            ("/health", "GET", 200, 5),
            ("/health", "BREW", 405, 6),
            ("/health", "\"}\n", 405, 7),
            ("/api/v1/sessions/{id}", "DELETE", 404, 7_200_000),
        ] {
            metrics.request(route, method, status, millis(took));
        }
        let usage = Usage { input: 10, output: 3, cached: 8, ..Usage::default() };
        let good = Ran { took: millis(600), first_event: Some(millis(100)), usage, ..Ran::default() };
        let bad = Ran { kind: Some(Kind::Timeout), first_event: None, ..good.clone() };
        metrics.run("claude", &good);
        metrics.run("claude", &bad);
        metrics.run("odd\\\"name\n", &good);
        metrics
    }

    #[test]
    fn a_sum_of_tokens_stays_at_its_limit() {
        let metrics = Metrics::default();
        let usage = Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() };
        let ran = Ran { took: Duration::MAX, first_event: Some(Duration::MAX), usage, ..Ran::default() };
        metrics.run("claude", &ran);
        metrics.run("claude", &ran);
        let text = metrics.render(&gauges());
        assert_eq!(text.matches("clinvk_tokens_total{").count(), 2, "{text}");
        assert_eq!(text.matches(" 18446744073709552000\n").count(), 2, "{text}");
        assert!(!text.contains("inf\n") && !text.contains("NaN"), "{text}");
    }

    fn gauges() -> Gauges {
        Gauges {
            sessions: 7,
            slots_used: 1,
            slots: 16,
            queued: 2,
            connections: 3,
            backends: vec![("claude".to_owned(), true), ("codex".to_owned(), false)],
            children: vec![("claude".to_owned(), "idle", 5), ("claude".to_owned(), "busy", 6)],
            pool: BTreeMap::from([(
                "codex".to_owned(),
                pool::Counts { warm: 4, ended: BTreeMap::from([("idle", 2)]), ..pool::Counts::default() },
            )]),
            footprint: footprint(),
        }
    }

    #[test]
    fn everything_is_there_once_with_its_labels() {
        let text = counted().render(&gauges());
        for line in [
            r#"clinvk_http_requests_total{route="/health",method="GET",status="200"} 2"#,
            r#"clinvk_http_requests_total{route="/health",method="other",status="405"} 2"#,
            r#"clinvk_http_requests_total{route="/api/v1/sessions/{id}",method="DELETE",status="404"} 1"#,
            r#"clinvk_http_request_duration_seconds_bucket{route="/health",le="0.005"} 2"#,
            r#"clinvk_http_request_duration_seconds_bucket{route="/health",le="0.01"} 4"#,
            r#"clinvk_http_request_duration_seconds_bucket{route="/health",le="3600"} 4"#,
            r#"clinvk_http_request_duration_seconds_bucket{route="/api/v1/sessions/{id}",le="3600"} 0"#,
            r#"clinvk_http_request_duration_seconds_bucket{route="/api/v1/sessions/{id}",le="+Inf"} 1"#,
            r#"clinvk_http_request_duration_seconds_sum{route="/api/v1/sessions/{id}"} 7200"#,
            r#"clinvk_http_request_duration_seconds_count{route="/health"} 4"#,
            r#"clinvk_runs_total{backend="claude",kind="ok"} 1"#,
            r#"clinvk_runs_total{backend="claude",kind="timeout"} 1"#,
            r#"clinvk_runs_total{backend="odd\\\"name\n",kind="ok"} 1"#,
            r#"clinvk_run_duration_seconds_count{backend="claude"} 2"#,
            r#"clinvk_run_first_event_seconds_count{backend="claude"} 1"#,
            r#"clinvk_run_first_event_seconds_bucket{backend="claude",le="0.1"} 1"#,
            r#"clinvk_tokens_total{backend="claude",direction="input"} 20"#,
            r#"clinvk_tokens_total{backend="claude",direction="output"} 6"#,
            "clinvk_sessions 7",
            "clinvk_run_slots_used 1",
            "clinvk_run_slots 16",
            "clinvk_queue_length 2",
            "clinvk_connections 3",
            r#"clinvk_backend_available{backend="claude"} 1"#,
            r#"clinvk_backend_available{backend="codex"} 0"#,
            r#"clinvk_kept_children{backend="claude",state="busy"} 1"#,
            r#"clinvk_kept_children{backend="codex",state="idle"} 0"#,
            r#"clinvk_kept_children_memory_bytes{backend="claude"} 11"#,
            r#"clinvk_pool_runs_total{backend="codex",place="warm"} 4"#,
            r#"clinvk_pool_ended_total{backend="codex",reason="idle"} 2"#,
        ] {
            assert_eq!(text.lines().filter(|seen| *seen == line).count(), 1, "{line}\n{text}");
        }
        let build = format!("clinvk_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|line| line.starts_with(&build) && line.ends_with("\"} 1")), "{text}");
        for name in ["process_resident_memory_bytes ", "process_open_fds "] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert!(value.parse::<u64>().unwrap() > 0, "{name}{value}");
        }
    }

    #[test]
    fn every_sample_has_its_family_and_every_family_help_and_type() {
        let text = counted().render(&gauges());
        let mut family = ("", "");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.split_once(' ').unwrap().1.ends_with('.'), "{line}");
                family = (rest.split_once(' ').unwrap().0, "");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(
                    (name, "", name.ends_with("_total")),
                    (family.0, family.1, kind == "counter"),
                    "{line}"
                );
                family.1 = kind;
            } else {
                let name = &line[..line.find(['{', ' ']).unwrap()];
                let suffix = name.strip_prefix(family.0).unwrap_or_else(|| panic!("{line} in {family:?}"));
                let is_histogram = family.1 == "histogram";
                assert_eq!(["_bucket", "_sum", "_count"].contains(&suffix), is_histogram, "{line}");
                assert!(is_histogram || suffix.is_empty(), "{line}");
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    #[ignore = "needs promtool, from Debian's package `prometheus`"]
    #[expect(clippy::disallowed_methods)] // the reference is a program
    fn promtool_has_nothing_to_say() {
        for metrics in [Metrics::default(), counted()] {
            let mut command = Command::new("promtool");
            command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut promtool = command.stderr(Stdio::piped()).spawn().unwrap();
            promtool.stdin.take().unwrap().write_all(metrics.render(&gauges()).as_bytes()).unwrap();
            let said = promtool.wait_with_output().unwrap();
            let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            assert!(said.status.success() && words.is_empty(), "{words}");
        }
    }
}
