//! The listener and its connections, from the outside: an in-process service behind it, clients in front of it.

mod answers;
mod bodies;
mod crowds;
mod drain;
mod fuzz;
mod server;
mod leaving;
mod listening;
mod memory;
mod table;
