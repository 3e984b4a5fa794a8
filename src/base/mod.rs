//! Leaves that know nothing of clinvk: the operating system, what the process was given, text, JSON, the terminal.

pub mod collect; // maps and sets in the order of their keys
pub mod disk; // files, and nothing else in their place
pub mod encoding; // bytes as text: base64, percent escapes
pub mod escapes; // what a text may say to a terminal
pub mod json; // JSON as programs write it and clients compare it
pub mod lock; // between processes, and threads
pub mod logging; // where `log` goes
pub mod mounts; // how file systems were mounted
pub mod printable; // text that is safe to print, and how wide it is
pub mod schema; // what JSON has to look like
pub mod sha256; // digests
pub mod sync; // the mutex that survives a panic
pub mod sys; // all unsafe code
pub mod terminal; // the bottom of the terminal
pub mod text; // text as files and clients have it
pub mod time; // moments and lengths of time as text
pub mod words; // closed lists of words that users type
pub mod world; // what the process was given
