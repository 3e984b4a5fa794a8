//! Many runs at once, and one after the other.

mod chain;
mod fuzz;
mod compare;
mod kept;
mod parallel;
mod shards;
