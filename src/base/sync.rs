//! Locks that survive a panic of a thread that held them: what is behind these is whole after every step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
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

/// Lets go of a lock until it is woken, and takes it again.
pub(crate) fn wait<'a, T>(woken: &Condvar, held: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    woken.wait(held).unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of a lock until it is woken or the time has passed, and takes it again.
pub(crate) fn wait_timeout<'a, T>(
    woken: &Condvar,
    held: MutexGuard<'a, T>,
    limit: Duration,
) -> MutexGuard<'a, T> {
    woken.wait_timeout(held, limit).unwrap_or_else(PoisonError::into_inner).0
}

/// A value that is replaced as a whole. What was begun with the one before goes on with it.
#[derive(Debug)]
pub struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    /// To begin with, this one.
    pub fn new(value: T) -> Arc<Current<T>> {
        Arc::new(Current(RwLock::new(Arc::new(value))))
    }

    /// The one that holds now.
    pub(crate) fn get(&self) -> Arc<T> {
        read(&self.0).clone()
    }

    /// From now on, this one.
    pub(crate) fn replace(&self, value: T) {
        let before = std::mem::replace(&mut *write(&self.0), Arc::new(value));
        // Where that was the last of it, its end may take a while: without the lock.
        drop(before);
    }
}
