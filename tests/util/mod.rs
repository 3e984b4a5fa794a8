//! What the tests share.

#[cfg(feature = "serve")]
pub mod http;
pub mod replay;
pub mod run;
pub mod scene;
pub mod store;
