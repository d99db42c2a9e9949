//! Drives a courier with the client.

use std::borrow::BorrowMut;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, SendError};
use crate::courier::{Courier, CourierError, Event, Outbox, Scratch, Step};
use crate::time::{MonoTime, WallTime};

/// The longest sleep before looking again: so late is a [`Courier::wake`] noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why delivery paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nothing waits.
    Idle,
    /// The time is up, and something waits.
    TimeUp,
}

/// A random number for jitter, not for secrets.
pub fn random() -> u64 {
    // Keyed anew each time by the operating system's random numbers.
    RandomState::new().build_hasher().finish()
}

impl Client {
    /// Delivers what waits, one report after the other over one connection, until nothing waits or the time is up. Blocks.
    pub fn deliver<O: Outbox, B: Scratch>(
        &mut self,
        courier: &mut Courier<O, B>,
        until: Instant,
    ) -> Result<Pause, CourierError<O::Error>> {
        self.deliver_shared::<&mut Courier<O, B>, O, B>(&Mutex::new(courier), until)
    }

    /// Like [`deliver`](Self::deliver), for a courier that other threads submit to. It is locked between sending, not while.
    pub fn deliver_shared<C, O, B>(
        &mut self,
        courier: &Mutex<C>,
        until: Instant,
    ) -> Result<Pause, CourierError<O::Error>>
    where
        C: BorrowMut<Courier<O, B>>,
        O: Outbox,
        B: Scratch,
    {
        let lock = || courier.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let step = {
                let mut guard = lock();
                let courier: &mut Courier<O, B> = (*guard).borrow_mut();
                match courier.next(MonoTime::now())? {
                    Step::Idle => return Ok(Pause::Idle),
                    _ if left.is_zero() => return Ok(Pause::TimeUp),
                    Step::Wait(ms) => Err(Duration::from_millis(ms)),
                    Step::Send(parcel) => {
                        self.set_clock_offset_ms(parcel.clock_offset_ms);
                        Ok((parcel.ticket, self.take_body(parcel.body)))
                    }
                }
            };
            match step {
                Err(wait) => thread::sleep(wait.min(left).min(LOOK_AGAIN)),
                Ok((ticket, body)) => {
                    let event = self.send_for_event(&body);
                    self.give_body_back(body);
                    let now = MonoTime::now();
                    let mut guard = lock();
                    let courier: &mut Courier<O, B> = (*guard).borrow_mut();
                    courier.settle(ticket, event, now, random())?;
                }
            }
        }
    }

    /// Sends an encoded report once, for [`Courier::settle`].
    pub fn send_for_event(&mut self, body: &[u8]) -> Event {
        match self.send_encoded(body) {
            Ok(reply) => Event::from_reply(&reply, WallTime::now()),
            Err(error) => Event::from(&error),
        }
    }
}

impl From<&SendError> for Event {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::NotSent { .. } => Event::NotSent,
            SendError::MayHaveArrived { .. } => Event::MayHaveArrived,
            SendError::Misconfigured { code, .. } => Event::Misconfigured(*code),
            SendError::Invalid(error) => Event::Misconfigured(error.code()),
        }
    }
}
