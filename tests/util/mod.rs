//! What the tests share.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub mod faults;
pub mod fuzz;
#[cfg(feature = "serve")]
pub mod http;
pub mod replay;
pub mod run;
pub mod scene;
pub mod store;
