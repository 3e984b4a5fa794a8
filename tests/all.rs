//! One integration binary; its folders mirror those of src.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests are outside the seams, and may panic

mod backend;
mod base;
mod batch;
mod cli;
mod config;
mod engine;
mod exec;
mod http;
mod layers;
mod session;
mod util;
