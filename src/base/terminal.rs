//! The bottom of the terminal: lines that are drawn over and over, and what is printed above them.

use crate::base::logging::write;
use crate::base::sync::lock;
use crate::base::sys;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is drawn at the bottom of the terminal.
static LIVE: Mutex<Live> = Mutex::new(Live { text: String::new(), widths: Vec::new() });

struct Live {
    text: String,
    /// How many columns each of its lines takes.
    widths: Vec<usize>,
}

impl Live {
    /// Back to the beginning of what is drawn, and nothing behind it.
    fn erasing(&self) -> String {
        let up = self.back();
        if self.widths.is_empty() { up } else { up + "\x1b[J" }
    }

    /// Back to the beginning of what is drawn. In a terminal that has become narrower since, a line is several rows.
    fn back(&self) -> String {
        let (_, columns) = sys::terminal_size();
        match self.widths.iter().map(|width| width.div_ceil(columns).max(1)).sum::<usize>() {
            0 => String::new(),
            rows => format!("\r\x1b[{rows}A"),
        }
    }
}

/// The cursor stands behind a line of standard output that has no end yet, on the terminal that standard error is too.
static IN_LINE: AtomicBool = AtomicBool::new(false);

/// This was written to standard output, which is the same terminal.
pub(crate) fn printed(text: &str) {
    if !text.is_empty() {
        IN_LINE.store(!text.ends_with('\n'), Ordering::Relaxed);
    }
}

/// Whether the cursor stands behind a line that has no end yet.
pub(crate) fn is_in_line() -> bool {
    IN_LINE.load(Ordering::Relaxed)
}

/// Writes a text above what is drawn, in lines of its own.
pub(crate) fn above(text: &str) {
    let live = lock(&LIVE);
    let end = if IN_LINE.swap(false, Ordering::Relaxed) { "\n" } else { "" };
    write(&format!("{}{end}{text}{}", live.erasing(), live.text));
}

/// Draws lines at the bottom of the terminal, in the place of those that are drawn there: text, and the columns that it
/// takes. One write, and nothing is erased that stays, so that nothing flickers.
pub(crate) fn draw(lines: &[(String, usize)]) {
    let mut live = lock(&LIVE);
    let text: String = lines.iter().map(|(line, _)| format!("{line}\x1b[K\n")).collect();
    let rest = if live.widths.is_empty() { "" } else { "\x1b[J" };
    if text != live.text {
        write(&format!("{}{text}{rest}", live.back()));
    }
    live.widths = lines.iter().map(|(_, width)| *width).collect();
    live.text = text;
}
