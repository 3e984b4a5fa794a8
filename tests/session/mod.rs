//! Sessions on disk.

mod bounds;
mod disk;
mod faults;
mod files;
mod index;
mod lists;
mod sessions;
mod turns;
mod waits;
