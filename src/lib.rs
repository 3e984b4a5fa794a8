//! clinvk: one interface to AI command-line tools. The modules in reading order.

pub mod task; // what is asked
pub mod event; // what is said while it runs
pub mod error; // what can go wrong
pub mod backend; // how each program is launched and talked to
pub mod world; // what the process was given
pub mod config; // the table of keys, the file, the environment
pub mod sys; // all unsafe code
pub mod exec; // one child process
pub mod session; // conversations on disk
pub mod engine; // the one door: every run goes through it
pub mod fields; // objects that people write by hand
pub mod request; // what somebody asks for, before defaults
pub mod fallback; // who is asked when one cannot answer for now
pub mod dry_run; // what would be executed
pub mod unified; // runs as JSON: events and answers
pub mod schema; // what JSON has to look like
pub mod sha256; // digests
pub mod metrics; // what is counted
pub mod retry_after; // when a vendor wants to be asked again
pub mod batch; // many runs at once
pub mod http; // the server
pub mod cli; // the command line
mod log; // where `log` goes
mod screen; // the bottom of the terminal
