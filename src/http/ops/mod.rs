//! What operators and people ask of the server: health, metrics, pages.

pub mod health; // how the server is
pub mod page; // the API for people, with a prompt to try, and for programs
