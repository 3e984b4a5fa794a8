//! The connection layer, from the outside inwards: `listen` and `accept` take connections, `head` and `body` read a
//! request strictly, `connection` leads one client through its requests, `watch` notices those who leave, `response`
//! writes answers. A `Service` decides what is answered; it never sees a socket.

mod accept; // the loop that accepts connections, and the drain
pub mod body; // bytes of a request: what is held, and the framing of its body
mod connection; // one client
pub mod head; // what comes before the body, checked
mod listen; // where clients come in
pub mod memory; // the one bound of what clients make us keep
mod places; // how many connections, and who gives way
mod response; // the one file that names tiny_http
mod socket; // a client's socket: deadlines and stalled readers
mod watch; // the thread that notices clients who left

use std::net::IpAddr;

pub use accept::{Acceptor, Gauges, Limits};
pub use body::BodyError;
pub use connection::{Exchange, Peer, Response, Sent};
pub use head::Head;
pub use listen::Listen;

/// Answers requests. Called on the client's own thread, once a request, also for many clients at once. One that
/// panics costs its own client the connection.
pub trait Service: Send + Sync {
    /// Answers one request. The connection answers 500 for a service that did not.
    fn serve(&self, exchange: &mut Exchange<'_>);

    /// Whether what is at this path says how the server is, and is told when there is no place for anything else.
    fn tells_health(&self, _path: &str) -> bool {
        false
    }

    /// Whether many clients come from this address: it has no bound of its own.
    fn is_of_many(&self, _address: IpAddr) -> bool {
        false
    }
}
