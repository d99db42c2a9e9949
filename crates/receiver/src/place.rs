//! What bounds connections: so many at a time, each with a time for whatever is next.
//!
//! Nobody who is slow keeps out others. When all places are taken, the one whose client has been waited for longest goes: among many that open connections
//! and send nothing, an agent that has something to say gets through.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// For the next request on a connection: agents that report each minute keep theirs.
pub(crate) const IDLE: Duration = Duration::from_secs(75);

/// For a TLS handshake, and then for the head of a request.
pub(crate) const HEAD: Duration = Duration::from_secs(15);

/// For a body, beside what it takes at `SLOWEST`.
pub(crate) const BODY: Duration = Duration::from_secs(30);

/// Bytes in a second, of a link that is slow.
pub(crate) const SLOWEST: u64 = 1024;

/// For the store and the response.
pub(crate) const RESPONSE: Duration = Duration::from_secs(60);

/// The places of all connections, of one thread.
pub(crate) struct Places {
    most: usize,
    taken: RefCell<BTreeMap<u64, Rc<Seat>>>,
    next: Cell<u64>,
    closing: Cell<bool>,
    left: Notify,
}

/// The place of a connection. It is free when this is dropped.
pub(crate) struct Place {
    places: Rc<Places>,
    number: u64,
    seat: Rc<Seat>,
}

struct Seat {
    deadline: Cell<Instant>,
    /// Since when its client has to send something. None: it waits for us.
    waited_for: Cell<Option<Instant>>,
    evicted: Cell<bool>,
    /// Rung when it is evicted, or all are to close.
    bell: Notify,
}

impl Places {
    pub(crate) fn new(most: usize) -> Rc<Places> {
        Rc::new(Places {
            most,
            taken: RefCell::default(),
            next: Cell::new(0),
            closing: Cell::new(false),
            left: Notify::new(),
        })
    }

    /// None: all places are taken by requests that are being answered.
    pub(crate) fn take(self: &Rc<Self>) -> Option<Place> {
        if self.taken.borrow().len() >= self.most && !self.evict() {
            return None;
        }
        let now = Instant::now();
        let seat = Rc::new(Seat {
            deadline: Cell::new(after(now, HEAD)),
            waited_for: Cell::new(Some(now)),
            evicted: Cell::new(false),
            bell: Notify::new(),
        });
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        self.taken.borrow_mut().insert(number, Rc::clone(&seat));
        let places = Rc::clone(self);
        Some(Place {
            places,
            number,
            seat,
        })
    }

    /// Sends away who has been waited for longest. Whether there is such a one.
    pub(crate) fn evict(&self) -> bool {
        let mut taken = self.taken.borrow_mut();
        let waited_for = taken
            .iter()
            .filter_map(|(number, seat)| Some((seat.waited_for.get()?, *number)));
        let Some((_, longest)) = waited_for.min() else {
            return false;
        };
        if let Some(seat) = taken.remove(&longest) {
            seat.evicted.set(true);
            seat.bell.notify_one();
        }
        true
    }

    /// Lets each connection end with the request under way, and waits until all have, or the time is up.
    pub(crate) async fn close(&self, within: Duration) {
        self.closing.set(true);
        for seat in self.taken.borrow().values() {
            seat.bell.notify_one();
        }
        let closed = async {
            while !self.taken.borrow().is_empty() {
                self.left.notified().await;
            }
        };
        let _ = tokio::time::timeout(within, closed).await;
    }
}

impl Place {
    /// The client has so long to send what is next.
    pub(crate) fn client_has(&self, time: Duration) {
        let now = Instant::now();
        self.seat.deadline.set(after(now, time));
        self.seat.waited_for.set(Some(now));
    }

    /// It is our turn, for so long.
    pub(crate) fn we_have(&self, time: Duration) {
        self.seat.deadline.set(after(Instant::now(), time));
        self.seat.waited_for.set(None);
    }

    /// Does `work` to its end, unless the time is up or the place is needed. `close` is called when no more is wanted after what is under way.
    pub(crate) async fn watch<W: Future>(
        &self,
        mut work: Pin<&mut W>,
        close: impl Fn(Pin<&mut W>),
    ) -> Option<W::Output> {
        let mut alarm = pin!(sleep_until(self.seat.deadline.get()));
        let mut bell = pin!(self.seat.bell.notified());
        // The bell may have rung during a handshake, which has nothing to close.
        if self.places.closing.get() {
            close(work.as_mut());
        }
        poll_fn(|cx| {
            if bell.as_mut().poll(cx).is_ready() {
                if self.seat.evicted.get() {
                    return Poll::Ready(None);
                }
                close(work.as_mut());
                bell.set(self.seat.bell.notified());
                let _ = bell.as_mut().poll(cx);
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            loop {
                let deadline = self.seat.deadline.get();
                // A later one is looked at when the alarm goes off.
                if deadline < alarm.deadline() {
                    alarm.as_mut().reset(deadline);
                }
                if alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if deadline <= alarm.deadline() {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(deadline);
            }
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.borrow_mut().remove(&self.number);
        self.places.left.notify_one();
    }
}

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}
