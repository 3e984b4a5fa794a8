//! The server's own: what all requests share, what runs, and what one request carries.

pub mod admission; // how many runs at once
pub mod call; // one request on its way
pub mod event_log; // what a run says, for clients that listen later
pub mod idempotency; // requests that are sent again
pub mod metrics; // what is counted
pub mod reuse; // conversations that may go on
pub mod runs; // what runs
pub mod self_reference; // backends that would ask this very server
pub mod server; // what all requests share
pub mod streaming; // an answer that takes its time
