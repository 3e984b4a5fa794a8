//! Exit statuses: the one place that knows them.

use crate::model::error::Kind;

/// The exit status for a kind of failure. A backend that crashed passes its own on when it is 8 or more, so that it
/// cannot be mistaken for one of ours.
pub(crate) fn status(kind: Kind, backends_own: i32) -> u8 {
    match kind {
        Kind::InvalidRequest => 1,
        Kind::UnknownBackend | Kind::UnknownModel | Kind::NotInstalled => 2,
        Kind::Config => 3,
        Kind::SessionNotFound | Kind::SessionBusy | Kind::SessionNotResumable | Kind::SessionStore => 4,
        Kind::Remote => 5,
        Kind::Timeout => 6,
        Kind::Cancelled => 7,
        Kind::Unauthorized | Kind::Policy | Kind::RateLimited | Kind::Busy | Kind::Draining => 1,
        Kind::Quota
        | Kind::Login
        | Kind::VendorFlag
        | Kind::Refusal
        | Kind::Overloaded
        | Kind::Unreachable
        | Kind::ContextTooLong
        | Kind::TurnLimit
        | Kind::PermissionDenied => 1,
        Kind::Crash | Kind::Unreadable | Kind::Internal => {
            u8::try_from(backends_own).ok().filter(|own| *own >= 8).unwrap_or(1)
        }
    }
}
