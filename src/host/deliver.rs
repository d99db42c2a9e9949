//! Drives a courier with the client.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::Client;
use super::fair::FairMutex;
use super::random::random;
use super::send_error::SendError;
use super::tls::Clock;
use crate::courier::{Courier, CourierError, Event, Outbox, Scratch, Step, Ticket};
use crate::exchange::Outcome;
use crate::time::{MonoTime, WallTime};

/// Why delivery paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nothing waits.
    Idle,
    /// The time is up, and something waits.
    TimeUp,
    /// Somebody cancelled it: see [`Waker`](super::Waker).
    Cancelled,
}

/// The way to a courier: that one thread has, or that several share under a lock of any kind.
pub trait Access<O, B> {
    /// Runs `use_it` with the courier.
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R;
}

impl<O, B> Access<O, B> for &mut Courier<O, B> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        use_it(self)
    }
}

impl<O, B> Access<O, B> for &FairMutex<Courier<O, B>> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        use_it(&mut self.lock())
    }
}

/// On a slow disk who submits without a pause keeps all others out: see [`FairMutex`].
impl<O, B> Access<O, B> for &Mutex<Courier<O, B>> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        use_it(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What to do outside of the courier.
enum Task {
    Send(Ticket),
    Sleep(Duration),
    Pause(Pause),
}

/// What became of a report.
struct Done {
    ticket: Ticket,
    event: Event,
    /// The service's time.
    trusted: Option<WallTime>,
    at: MonoTime,
}

impl Done {
    fn settle<O: Outbox, B: Scratch>(
        self,
        courier: &mut Courier<O, B>,
    ) -> Result<(), CourierError<O::Error>> {
        if let Some(time) = self.trusted {
            courier.note_trusted_time(time);
        }
        match courier.settle(self.ticket, self.event, self.at, random()) {
            // Somebody else delivered the same report, and was told what became of it.
            Ok(_) | Err(CourierError::StaleTicket) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Client {
    /// Delivers what waits, one report after the other over one connection, until nothing waits, the time is up, or it is cancelled. Blocks.
    /// With the time up before it begins, nothing is sent. While it waits to try again it sleeps, and looks at the clock once a minute.
    pub fn deliver<O: Outbox, B: Scratch>(
        &mut self,
        courier: &mut Courier<O, B>,
        until: Instant,
    ) -> Result<Pause, CourierError<O::Error>> {
        self.deliver_with(courier, until)
    }

    /// Like [`deliver`](Self::deliver), for a courier that other threads submit to. It is locked between sending, not while. Who calls
    /// [`Courier::wake`] then calls [`Waker::wake`](super::Waker::wake), or it is noticed a minute later.
    pub fn deliver_shared<O: Outbox, B: Scratch>(
        &mut self,
        courier: &FairMutex<Courier<O, B>>,
        until: Instant,
    ) -> Result<Pause, CourierError<O::Error>> {
        self.deliver_with(courier, until)
    }

    /// Like [`deliver_shared`](Self::deliver_shared), for a lock of another kind.
    pub fn deliver_with<O: Outbox, B: Scratch>(
        &mut self,
        mut courier: impl Access<O, B>,
        until: Instant,
    ) -> Result<Pause, CourierError<O::Error>> {
        if let Some(time) = courier.with(|courier| courier.trusted_time()) {
            self.clock.learn(time);
        }
        let mut body = self.take_body();
        let mut done: Option<Done> = None;
        let result = loop {
            let is_cancelled = self.bell().take_cancelled();
            if is_cancelled && done.is_none() {
                break Ok(Pause::Cancelled);
            }
            let left = until.saturating_duration_since(Instant::now());
            // One turn for both what became of a report and what is next: a turn may take long.
            let task = courier.with(|courier| {
                if let Some(done) = done.take() {
                    done.settle(courier)?;
                }
                if is_cancelled {
                    return Ok(Task::Pause(Pause::Cancelled));
                }
                // Before anything is put in flight.
                if left.is_zero() {
                    return Ok(Task::Pause(match courier.status().waiting {
                        0 => Pause::Idle,
                        _ => Pause::TimeUp,
                    }));
                }
                Ok(match courier.next(MonoTime::now())? {
                    Step::Idle => Task::Pause(Pause::Idle),
                    Step::Wait(ms) => Task::Sleep(Duration::from_millis(ms).min(left)),
                    Step::Send(parcel) => {
                        self.set_clock_offset_ms(parcel.clock_offset_ms);
                        body.clear();
                        body.extend_from_slice(parcel.body);
                        Task::Send(parcel.ticket)
                    }
                })
            });
            match task {
                Err(error) => break Err(error),
                Ok(Task::Pause(pause)) => break Ok(pause),
                Ok(Task::Sleep(wait)) => self.bell().doze(wait),
                Ok(Task::Send(ticket)) => {
                    let (event, trusted) = match self.event_of(&body) {
                        Ok(event) => event,
                        // That says nothing of the report, nor of the link: it stays in flight, and is offered again.
                        Err(_) if self.bell().is_cancelled() => continue,
                        Err(error) => (Event::from(&error), None),
                    };
                    let at = MonoTime::now();
                    done = Some(Done {
                        ticket,
                        event,
                        trusted,
                        at,
                    });
                }
            }
        };
        self.give_body_back(body);
        result
    }

    /// Sends an encoded report once, for [`Courier::settle`]: as a failure also when it was cancelled, which need not be settled.
    pub fn send_for_event(&mut self, body: &[u8]) -> Event {
        let event = self.event_of(body);
        self.bell().take_cancelled();
        event.map_or_else(|error| Event::from(&error), |(event, _)| event)
    }

    /// What was answered, and the service's time, if it can be trusted.
    fn event_of(&mut self, body: &[u8]) -> Result<(Event, Option<WallTime>), SendError> {
        let is_verified = self.url.scheme_str() == Some("https");
        let head = self.exchange(body)?;
        let reply = self.read(head)?;
        let is_sure = is_verified && reply.outcome == Outcome::Accepted;
        let trusted = reply
            .date
            .filter(|date| is_sure && Clock::is_plausible(*date));
        Ok((Event::from_reply(&reply, WallTime::now()), trusted))
    }
}

impl From<&SendError> for Event {
    /// With the error's own words, which have no secrets: `connection refused`, or why a certificate is not trusted.
    fn from(error: &SendError) -> Self {
        let event = Event::failed(error.code());
        match error {
            SendError::Invalid(_) => event,
            SendError::NotSent { detail }
            | SendError::MayHaveArrived { detail }
            | SendError::Misconfigured { detail, .. } => event.with_text(detail),
        }
    }
}
