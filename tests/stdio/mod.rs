//! clinvk spoken to over standard input.

mod acp;
mod peer;
mod permissions;
mod serve;
