//! Prints figures for `tests/real/table.py`, which makes one table of those of all benchmarks.

use std::time::Duration;

/// Prints a figure. `unit`: `x` for a ratio, else of what it is so many. `wanted`: what it was to be in the same unit; empty
/// where that was never said. `detail`: what it is made of.
pub fn row(what: &str, value: f64, unit: &str, wanted: &str, detail: &str) {
    println!("{what}\t{value:.3}\t{unit}\t{wanted}\t{detail}");
}

/// A time in milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
