//! Our own API, `/api/v1`: strict JSON in, JSON or streams of results out.

pub mod backends;
pub mod batch;
pub mod deliver;
pub mod pool;
pub mod prompt;
pub mod runs;
pub mod sessions;
