//! The HTTP server.

pub mod ids; // what a request is called
pub mod keys; // whose a request is
pub mod origin; // which pages may ask
pub mod policy; // what a request may do
pub mod proxies; // where a request comes from
pub mod rate; // how many requests may come
