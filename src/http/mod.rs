//! The server. From the outside inwards: `listen` and `accept` are its door, `head` and `body` read a request strictly,
//! `conn` leads one client through its requests, `watch` notices those who leave, `wire` writes answers. A `Service`
//! behind the door decides what is answered; it never sees a socket.

mod accept; // the loop that lets clients in, and the drain
pub mod body; // bytes of a request: what is held, and the framing of its body
mod conn; // one client
pub mod head; // what comes before the body, checked
mod listen; // where clients come in
mod socket; // a client's socket: deadlines and stalled readers
mod watch; // the thread that notices clients who left
mod wire; // the one file that names tiny_http

pub use accept::{Door, Gauges, Limits};
pub use body::BodyError;
pub use conn::{Exchange, Peer, Response, Sent};
pub use head::Head;
pub use listen::Listen;

/// What is behind the door. Called on the client's own thread, once a request, also for many clients at once. One that
/// panics costs its own client the connection.
pub trait Service: Send + Sync {
    /// Answers one request. The door answers 500 for a service that did not.
    fn serve(&self, exchange: &mut Exchange<'_>);
}
