//! The server. `layers` lead each request to what `routes` says; the folders in the order in which they build on each
//! other: `net`, `front`, `state`, then the surfaces.

pub mod net; // connections, requests, responses
pub mod front; // who asks, and what they may
pub mod state; // what all requests share
pub mod native; // our own API
pub mod compat; // what other vendors' clients say and need: JSON in, frames and JSON out
pub mod ops; // health, metrics, pages
pub mod routes; // every path
pub mod layers; // the nine layers
