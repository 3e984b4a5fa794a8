//! What stands before the handlers: who is let in, from where, how often, how large.

mod gopass;
mod keys;
mod layers;
mod policy;
mod requests;
