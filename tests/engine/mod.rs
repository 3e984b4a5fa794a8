//! What every surface has because it runs through one engine.

mod dry_run;
mod fallback;
mod formed;
mod mcp;
mod most_answer;
mod permissions;
mod places;
mod policy;
#[cfg(feature = "serve")]
pub mod pool;
#[cfg(feature = "serve")]
mod threads;
