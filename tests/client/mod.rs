//! The command line as a client of a running server.

#[cfg(feature = "serve")]
mod auto;
mod fuzz;
mod hostile;
#[cfg(feature = "serve")]
mod runs;
#[cfg(feature = "serve")]
mod same;
#[cfg(feature = "serve")]
mod stops;
#[cfg(feature = "serve")]
mod who;
