//! A lock that goes to whoever asked first.
//!
//! A courier is locked while its disk syncs, which takes 200 ms on some cards. std's `Mutex` goes to whoever asks first *after* it was
//! given back, and that is the thread that gave it back and wants it again: the others are still waking up, and on a slow disk they
//! never get it. Here each draws a number, and waits until it is called.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A lock whose users take turns: for a [`Courier`](crate::courier::Courier) that several threads use, of which none may starve the
/// others while a disk is slow. A panic of who holds it does not spoil it.
///
/// ```
/// use edge_report::FairMutex;
///
/// let number = FairMutex::new(1);
/// *number.lock() += 1;
/// assert_eq!(number.into_inner(), 2);
/// ```
#[derive(Debug, Default)]
pub struct FairMutex<T> {
    line: Line,
    /// Nobody waits here: only who was called asks for it.
    value: Mutex<T>,
}

/// Those who wait.
#[derive(Debug, Default)]
struct Line {
    numbers: Mutex<Numbers>,
    called: Condvar,
}

#[derive(Debug, Default)]
struct Numbers {
    /// The next that is drawn.
    next: u64,
    /// Whose turn it is.
    now: u64,
}

/// The lock, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct FairGuard<'a, T> {
    // Given back in this order.
    value: MutexGuard<'a, T>,
    _turn: Turn<'a>,
}

#[derive(Debug)]
struct Turn<'a>(&'a Line);

impl<T> FairMutex<T> {
    /// A lock around this.
    pub fn new(value: T) -> Self {
        FairMutex {
            line: Line::default(),
            value: Mutex::new(value),
        }
    }

    /// Waits for its turn. A thread that has the lock already waits for ever.
    pub fn lock(&self) -> FairGuard<'_, T> {
        let turn = self.line.wait();
        FairGuard {
            value: self.value.lock().unwrap_or_else(PoisonError::into_inner),
            _turn: turn,
        }
    }

    /// What was locked.
    pub fn into_inner(self) -> T {
        self.value
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Turn<'_> {
        let mut numbers = self.numbers();
        let mine = numbers.next;
        numbers.next = mine.wrapping_add(1);
        let called = self
            .called
            .wait_while(numbers, |numbers| numbers.now != mine);
        drop(called.unwrap_or_else(PoisonError::into_inner));
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut numbers = self.0.numbers();
        numbers.now = numbers.now.wrapping_add(1);
        drop(numbers);
        self.0.called.notify_all();
    }
}

impl<T> Deref for FairGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for FairGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::vec::Vec;

    use super::*;

    /// Who gives it back and asks again comes after all that asked meanwhile.
    #[test]
    fn it_goes_to_who_asked_first() {
        const OTHERS: u64 = 3;
        let lock = FairMutex::new(Vec::new());
        let numbers = || {
            let numbers = lock.line.numbers();
            (numbers.next, numbers.now)
        };
        for _ in 0..100 {
            let held = lock.lock();
            let (begin, _) = numbers();
            thread::scope(|scope| {
                for other in 0..OTHERS {
                    let lock = &lock;
                    scope.spawn(move || lock.lock().push(other));
                    while numbers().0 < begin + other + 1 {
                        thread::yield_now();
                    }
                }
                drop(held);
                lock.lock().push(OTHERS);
            });
            assert_eq!(std::mem::take(&mut *lock.lock()), [0, 1, 2, OTHERS]);
            let (next, now) = numbers();
            assert_eq!(next, now, "somebody waits");
        }
    }

    #[test]
    fn a_panic_spoils_nothing() {
        let lock = FairMutex::new(1);
        thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _held = lock.lock();
                panic!("on purpose");
            });
            assert!(panics.join().is_err());
        });
        *lock.lock() += 1;
        assert_eq!(lock.into_inner(), 2);
    }
}
