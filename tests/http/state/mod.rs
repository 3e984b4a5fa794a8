//! The server's own state.

mod self_reference;
