//! Sessions on disk: shared by many processes, never lost, as fast with a hundred thousand as with ten. The session
//! files are the truth, the journal is a cache of them. The store has a gate between the threads of
//! a process and flock between processes, each session a lock of its own; a wait for either can be called off. Readers need
//! none of them.

pub mod bounds;
mod find;
mod fsck;
mod journal;
mod locked;
mod model;
pub mod replay;
mod run;
mod sessions;
mod store;

pub use find::{Filter, Listing, Page};
pub use fsck::{Finding, Report, fsck};
pub use journal::Entry;
pub use model::{Session, Status, Tokens, Turn, shorten};
pub use run::{Keep, KeepWaiting, Run};
pub(crate) use sessions::{Edit, Sessions};
pub use store::{Store, is_id};
