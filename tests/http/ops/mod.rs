//! Health, metrics and pages.

mod openapi;
mod page;
