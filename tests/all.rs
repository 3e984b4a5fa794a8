//! One integration binary; its folders mirror those of src.
#![cfg_attr(not(feature = "serve"), allow(dead_code, unused_imports))] // what only tests of the server use
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests are outside the seams, and may panic

mod backend;
mod base;
mod batch;
mod cli;
mod client;
mod config;
mod engine;
mod exec;
#[cfg(feature = "serve")]
mod http;
mod layers;
mod session;
mod stdio;
mod util;
