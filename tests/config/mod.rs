//! The configuration through the binary: where values come from, where files are, who may read them.

mod fuzz;
mod homes;
mod secrecy;
mod sources;
