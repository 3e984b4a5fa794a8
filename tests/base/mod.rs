//! What stands below everything else.

mod fuzz;
mod schema;
