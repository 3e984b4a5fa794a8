//! The server.

mod compat;
mod front;
mod native;
mod net;
mod ops;
mod state;
