//! The server's own API.

mod serve;
