//! The server. Below `compat` nothing knows of sockets: JSON in, frames and JSON out.

pub mod compat; // what other vendors' clients say and need
pub mod faults; // failures as statuses, headers and bodies
pub mod json; // JSON as the clients compare it
