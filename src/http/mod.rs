//! The server. From the outside inwards: `listen` and `accept` are its door, `head` and `body` read a request strictly,
//! `conn` leads one client through its requests, `watch` notices those who leave, `wire` writes answers. A `Service`
//! behind the door decides what is answered; it never sees a socket. That service is `server`: `layers` lead each request
//! to what `routes` says.

mod accept; // the loop that lets clients in, and the drain
pub mod body; // bytes of a request: what is held, and the framing of its body
mod conn; // one client
pub mod head; // what comes before the body, checked
mod listen; // where clients come in
mod socket; // a client's socket: deadlines and stalled readers
mod watch; // the thread that notices clients who left
mod wire; // the one file that names tiny_http

pub mod ids; // what a request is called
pub mod keys; // whose a request is
pub mod origin; // which pages may ask
pub mod policy; // what a request may do
pub mod proxies; // where a request comes from
pub mod rate; // how many requests may come

pub mod compat; // what other vendors' clients say and need: JSON in, frames and JSON out
pub mod faults; // failures as statuses, headers and bodies
pub mod json; // JSON as the clients compare it

pub use accept::{Door, Gauges, Limits};
pub use body::BodyError;
pub use conn::{Exchange, Peer, Response, Sent};
pub use head::Head;
pub use listen::Listen;

pub mod call; // one request on its way
pub mod health; // how the server is
pub mod idempotency; // requests that are sent again
pub mod layers; // the nine layers
pub mod loops; // backends that would ask this very server
pub mod native; // our own API
pub mod outlet; // an answer that takes its time
pub mod page; // the API for people, with a prompt to try, and for programs
pub mod routes; // every path
pub mod runs; // what runs
pub mod server; // what all requests share
pub mod slots; // how many runs at once
pub mod tape; // what a run says, for whoever listens later

/// What is behind the door. Called on the client's own thread, once a request, also for many clients at once. One that
/// panics costs its own client the connection.
pub trait Service: Send + Sync {
    /// Answers one request. The door answers 500 for a service that did not.
    fn serve(&self, exchange: &mut Exchange<'_>);
}
