//! clinvk spoken to over standard input.

mod acp;
mod chain;
mod fuzz;
mod mcp;
mod peer;
mod permissions;
mod serve;
