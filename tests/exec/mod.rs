//! Child processes.

mod child;
mod client_tools;
mod in_process;
pub mod output;
mod stop;
