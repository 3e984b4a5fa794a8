//! One integration binary, a file a feature.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests are outside the seams, and may panic

mod batch;
mod batch_chain;
mod batch_compare;
mod batch_diff;
mod batch_kept;
mod claude;
mod cli;
mod codex;
mod compat;
mod compat_serve;
mod configuration;
mod declared;
mod door;
mod dry_run;
mod exec;
mod fallback;
mod gemini;
mod in_process;
mod keys;
mod loops;
mod manual;
mod openapi;
mod options;
mod output;
mod page;
mod policy;
mod prompt;
mod schema;
mod serve;
mod serve_layers;
mod session_faults;
mod sessions;
mod stop;
mod terminal;
mod util;
