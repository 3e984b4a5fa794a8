//! The command line as a client of a running server.

mod hostile;
#[cfg(feature = "serve")]
mod same;
#[cfg(feature = "serve")]
mod stops;
#[cfg(feature = "serve")]
mod who;
