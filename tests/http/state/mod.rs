//! The server's own state.

mod reload;
mod self_reference;
