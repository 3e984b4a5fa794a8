//! clinvk: one interface to AI command-line tools. The layers, each of which uses only those above it.
//! Public is what tests reach; all else is the crate's.

// What only the server uses is not called without it: the linker leaves it out.
#![cfg_attr(not(feature = "serve"), allow(dead_code))]

pub mod base; // leaves that know nothing of us
pub mod model; // what a run is: task, events, outcome, errors
pub mod config; // the table of keys, the file, the environment
pub mod backend; // how each program is launched and talked to
pub mod session; // conversations on disk
pub mod exec; // one child process
pub mod engine; // every run goes through it
pub mod batch; // many runs at once
pub mod stdio; // spoken to over standard input
pub mod client; // a running server, asked over HTTP
#[cfg(feature = "serve")]
pub mod http; // the server
pub mod cli; // the command line
