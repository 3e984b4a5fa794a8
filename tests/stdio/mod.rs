//! clinvk spoken to over standard input.

mod acp;
mod mcp;
mod peer;
mod permissions;
mod serve;
