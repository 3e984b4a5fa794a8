//! What the tests share.

pub mod fuzz;
#[cfg(feature = "serve")]
pub mod http;
pub mod replay;
pub mod run;
pub mod scene;
pub mod store;
