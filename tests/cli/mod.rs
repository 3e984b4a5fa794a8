//! The command line as a whole.

mod backends;
mod chat;
mod command_line;
mod completions;
mod doctor;
mod input;
mod json;
pub mod manual;
mod prompt;
mod prompts;
mod readme;
mod terminal;
