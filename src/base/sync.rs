//! The mutex that survives a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also after a thread that panicked while it held it: what is behind these is whole after every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
