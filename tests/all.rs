//! One integration binary, a file a feature.
#![allow(clippy::disallowed_methods)] // tests are outside the seams

mod claude;
mod codex;
mod exec;
mod manual;
mod util;
