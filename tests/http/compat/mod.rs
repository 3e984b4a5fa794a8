//! The surfaces for other vendors' clients.

mod dialects;
mod responses;
mod served;
