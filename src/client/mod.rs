//! The command line as a client of a running server: what is asked for is sent there, and what comes back is heard as if it
//! happened here. Knows the native API from outside, as any client does.

pub mod events; // what happens there, read back
mod auto; // the server of this user's command lines as the place where runs happen
mod batch; // a run of several over there
pub mod http; // one request and its answer
mod own; // that server itself, which is started
mod request; // what is asked for, as the API has it
mod run; // a run over there
mod runs; // all of them
mod sessions; // the sessions over there
mod site; // the server

pub(crate) use auto::Auto;
#[cfg(feature = "serve")]
pub(crate) use own::LOG;
pub(crate) use own::{NAME as AUTO, SOCKET};
pub(crate) use site::{Server, There};
