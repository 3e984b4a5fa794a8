//! Who asks, from where, and what they may: the checks that the layers make, without the server's own state.

pub mod client_address; // where a request comes from
pub mod errors; // failures as statuses, headers and bodies
pub mod keys; // whose a request is
pub mod origin; // which pages may ask
pub mod rate; // how many requests may come
pub mod request_id; // what a request is called
