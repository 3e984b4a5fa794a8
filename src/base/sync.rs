//! Locks that survive a panic of a thread that held them: what is behind these is whole after every step.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Takes a lock alone.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock together with other readers.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Takes such a lock alone.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of a lock until it is woken or the time has passed, and takes it again.
pub(crate) fn wait_timeout<'a, T>(
    woken: &Condvar,
    held: MutexGuard<'a, T>,
    limit: Duration,
) -> MutexGuard<'a, T> {
    woken.wait_timeout(held, limit).unwrap_or_else(PoisonError::into_inner).0
}
