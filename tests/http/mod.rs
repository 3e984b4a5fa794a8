//! The server.

mod fuzz;
mod compat;
mod front;
mod manual;
mod native;
mod net;
mod ops;
mod several;
mod state;
