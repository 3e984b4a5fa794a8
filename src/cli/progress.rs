//! What a batch does at this moment: on a terminal a line for each run, drawn over and over; elsewhere a line when one
//! begins and when it ends.

use crate::base::printable::{columns, fit, safe};
use crate::base::sync::lock;
use crate::base::{logging, sys, terminal};
use crate::batch::{Finished, Label, State};
use crate::model::event::Event;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often the lines are drawn.
const TURN: Duration = Duration::from_millis(150);
/// How much of a text is kept to show its end.
const TAIL: usize = 200;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Nothing,
    /// A line when a run begins, and when it ends.
    Lines,
    /// A line for each run, drawn over and over; with colours or without.
    Live(bool),
}

/// What a batch does at this moment.
pub(crate) struct Progress {
    show: Show,
    state: Mutex<Running>,
}

struct Running {
    runs: BTreeMap<usize, Run>,
    planned: Option<usize>,
    done: usize,
    failed: usize,
    drawn: Option<Instant>,
}

struct Run {
    backend: String,
    title: String,
    since: Instant,
    state: &'static str,
    /// The last tool, or the end of the last text.
    last: String,
}

/// What a run does once this has happened; none where that changes nothing.
pub(crate) fn doing(event: &Event) -> Option<&'static str> {
    match event {
        Event::Started { .. } | Event::ToolResult { .. } => Some("waiting"),
        Event::Thinking(_) => Some("thinking"),
        Event::Text(_) => Some("answering"),
        Event::ToolUse { .. } => Some("tool"),
        Event::Progress { stage, .. } => (stage == "retry").then_some("retrying"),
        Event::Void(_)
        | Event::Model { .. }
        | Event::PermissionDenied { .. }
        | Event::Plan(_)
        | Event::Usage(_)
        | Event::Line(_)
        | Event::Done(_) => None,
    }
}

impl Progress {
    /// Nothing is shown before something begins. `planned`: how many runs there will be.
    pub(crate) fn new(show: Show, planned: Option<usize>) -> Progress {
        let runs = BTreeMap::new();
        Progress { show, state: Mutex::new(Running { runs, planned, done: 0, failed: 0, drawn: None }) }
    }

    /// A run begins.
    pub(crate) fn started(&self, label: &Label) {
        match self.show {
            Show::Nothing => return,
            Show::Lines => logging::line(&format!("[{}] {}: started", label.index + 1, label.backend)),
            Show::Live(_) => {}
        }
        let run = Run {
            backend: label.backend.clone(),
            title: safe(label.title()),
            since: Instant::now(),
            state: "starting",
            last: String::new(),
        };
        lock(&self.state).runs.insert(label.index, run);
    }

    /// A backend begins with it.
    pub(crate) fn begun(&self, index: usize, backend: &str) {
        if let Some(run) = lock(&self.state).runs.get_mut(&index) {
            backend.clone_into(&mut run.backend);
            run.state = "waiting";
        }
    }

    /// Something happened in it.
    pub(crate) fn event(&self, index: usize, event: &Event) {
        match (self.show, event) {
            (Show::Live(_), _) => {}
            (Show::Lines, Event::Progress { stage, message }) if stage == "retry" => {
                return logging::line(&format!("[{}] {message}", index + 1));
            }
            _ => return,
        }
        let mut state = lock(&self.state);
        let Some(run) = state.runs.get_mut(&index) else { return };
        let Some(now) = doing(event) else { return };
        let before = std::mem::replace(&mut run.state, now);
        match event {
            Event::Text(text) => run.last = tail(if before == now { &run.last } else { "" }, text),
            Event::ToolUse { name, .. } => run.last = safe(name),
            Event::Progress { message, .. } => run.last = safe(message),
            _ => {}
        }
    }

    /// A run is over.
    pub(crate) fn finished(&self, finished: &Finished) {
        let mut state = lock(&self.state);
        let was_running = state.runs.remove(&finished.label.index).is_some();
        state.done += 1;
        state.failed += usize::from(finished.state == State::Failed);
        if self.show != Show::Lines || !(was_running || finished.state == State::Failed) {
            return;
        }
        drop(state);
        let how = match &finished.outcome.failure {
            Some(failure) => format!("{}: {}", finished.state.word(), failure.message),
            None => format!("{} in {:.1} s", finished.state.word(), finished.outcome.duration.as_secs_f64()),
        };
        logging::line(&format!("[{}] {}: {how}", finished.label.index + 1, finished.outcome.backend));
    }

    /// Draws the lines, if it is time.
    pub(crate) fn draw(&self) {
        let Show::Live(has_colours) = self.show else { return };
        // A thread that comes too early or while another one draws has nothing to wait for.
        let Ok(mut state) = self.state.try_lock() else { return };
        if state.drawn.is_none_or(|drawn| drawn.elapsed() >= TURN) {
            state.drawn = Some(Instant::now());
            terminal::draw(&state.lines(has_colours));
        }
    }

    /// Makes room: on the screen stands what was printed, and nothing else.
    pub(crate) fn clear(&self) {
        if matches!(self.show, Show::Live(_)) {
            terminal::draw(&[]);
            lock(&self.state).drawn = None;
        }
    }
}

impl Running {
    /// The lines as they are drawn, each with its width.
    fn lines(&self, has_colours: bool) -> Vec<(String, usize)> {
        let (rows, width) = sys::terminal_size();
        // The last column stays free: some terminals go to the next line there. So does the last row.
        let width = width.saturating_sub(1);
        let most = rows.saturating_sub(3).max(1);
        let mut lines: Vec<_> = self
            .runs
            .iter()
            .take(most)
            .map(|(index, run)| {
                let seconds = format!(" {:>3} s ", run.since.elapsed().as_secs());
                let place = format!("[{}] ", index + 1);
                let last = format!(" {}", if run.last.is_empty() { &run.title } else { &run.last });
                let parts = [
                    (place.as_str(), ""),
                    (&safe(&run.backend), "1"),
                    (&seconds, "2"),
                    (run.state, colour(run.state)),
                    (&last, "2"),
                ];
                line(&parts, width, has_colours)
            })
            .collect();
        let hidden = self.runs.len().saturating_sub(most);
        let of = self.planned.map(|planned| format!(" of {planned}")).unwrap_or_default();
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let more = if hidden > 0 { format!(", {hidden} more under way") } else { String::new() };
        lines.push(line(&[(&format!("{}{of} done{failed}{more}", self.done), "2")], width, has_colours));
        lines
    }
}

fn colour(state: &str) -> &'static str {
    match state {
        "answering" => "32",
        "tool" => "36",
        "retrying" => "33",
        _ => "",
    }
}

/// A line of parts with their colours, cut to a width.
fn line(parts: &[(&str, &str)], width: usize, has_colours: bool) -> (String, usize) {
    let (mut text, mut used) = (String::new(), 0);
    for (whole, colour) in parts {
        let part = fit(whole, width - used);
        used += columns(part);
        if has_colours && !colour.is_empty() && !part.is_empty() {
            text.push_str(&format!("\x1b[{colour}m{part}\x1b[0m"));
        } else {
            text.push_str(part);
        }
        if part.len() < whole.len() {
            break;
        }
    }
    (text, used)
}

/// The end of a text that goes on, in one line. What stood before the last line's end is over.
fn tail(before: &str, text: &str) -> String {
    let text = match text.trim_end_matches('\n').rsplit_once('\n') {
        Some((_, line)) => safe(line),
        None => format!("{before}{}", safe(text)),
    };
    let cut = text.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
    text[cut..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_and_colours_take_none() {
        let parts = [("[1] ", ""), ("日本", "1"), (" tool", "36")];
        assert_eq!(line(&parts, 80, false), ("[1] 日本 tool".to_owned(), 13));
        assert_eq!(line(&parts, 7, false), ("[1] 日".to_owned(), 6));
        assert_eq!(line(&parts, 10, true), ("[1] \x1b[1m日本\x1b[0m\x1b[36m t\x1b[0m".to_owned(), 10));
        assert_eq!(line(&parts, 0, true), (String::new(), 0));
    }

    #[test]
    fn a_tail_is_the_end_of_the_last_line() {
        assert_eq!(tail("ab", "c"), "abc");
        assert_eq!(tail("ab", "c\nde"), "de");
        assert_eq!(tail("ab", "c\n"), "abc ");
        assert_eq!(tail("", &"日".repeat(500)).chars().count(), TAIL + 1);
    }
}
