//! Backends: what a task becomes for each of them, and what their dialogues mean.

mod claude;
mod codex;
mod declared;
mod gemini;
mod options;
