//! clinvk spoken to over standard input.

mod serve;
