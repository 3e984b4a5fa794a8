//! Child processes.

mod child;
mod in_process;
pub mod output;
mod stop;
