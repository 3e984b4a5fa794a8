//! What stands below everything else.

mod schema;
