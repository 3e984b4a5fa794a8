//! What a run is: the task, its events, its outcome and what can go wrong. No I/O.

pub mod error; // what can go wrong
pub mod event; // what is said while it runs
pub mod fields; // objects that people write by hand
pub mod mcp; // servers with tools for an agent
pub mod outcome; // how a run went
pub mod retry_after; // when a vendor wants to be asked again
pub mod task; // what is asked
pub mod unified; // runs as JSON: events and answers
