//! What is told while reports are delivered.

use core::ffi::c_void;
use std::error::Error;
use std::string::{String, ToString};
use std::time::Duration;

use edge_report::courier::{CourierError, OutboxError, Reason};
use edge_report::json::{Scanner, Token};
use edge_report::{Code, DeliveryEvent, MonoTime, SpoolIoError};

use crate::delivery::{
    EDGE_REPORT_VERDICT_AGAIN, EDGE_REPORT_VERDICT_DELIVERED, EDGE_REPORT_VERDICT_EXPIRED,
    EDGE_REPORT_VERDICT_HELD, EDGE_REPORT_VERDICT_REFUSED, edge_report_reason,
};
use crate::error::{Failure, Place, write_text};
use crate::guard::number;
use crate::sized::{Room, given};
use crate::storage::{Device, DeviceError};
use crate::types::edge_report_str;

/// What happened: one of `EDGE_REPORT_EVENT_…`. The first five are the numbers of `EDGE_REPORT_VERDICT_…`.
pub type edge_report_event_kind = u32;
/// The service has the report.
pub const EDGE_REPORT_EVENT_DELIVERED: u32 = 1;
/// It will never be taken: it is a dead letter, durable where the courier makes things durable.
pub const EDGE_REPORT_EVENT_REFUSED: u32 = 2;
/// It could not be delivered now, and is tried again.
pub const EDGE_REPORT_EVENT_WAITING: u32 = 3;
/// Credentials or settings are wrong, or the clock: nothing is sent for a while, and the report waits, too.
pub const EDGE_REPORT_EVENT_HELD: u32 = 4;
/// Its budget is spent: it is a dead letter.
pub const EDGE_REPORT_EVENT_EXPIRED: u32 = 5;
/// It will never be taken, but cannot be made a dead letter now. It is not sent meanwhile; once it is one, EDGE_REPORT_EVENT_REFUSED or
/// EDGE_REPORT_EVENT_EXPIRED says so.
pub const EDGE_REPORT_EVENT_DEAD_LETTER_FAILED: u32 = 6;
/// Reports were dropped since newer ones of all their jobs wait.
pub const EDGE_REPORT_EVENT_SUPERSEDED: u32 = 7;
/// Reports were lost, as the storage lost or changed their bytes.
pub const EDGE_REPORT_EVENT_CORRUPT: u32 = 8;
/// A reporter met an error of its storage, and goes on after a pause. Nothing is lost by it.
pub const EDGE_REPORT_EVENT_FAILED: u32 = 9;

const _: () = assert!(
    EDGE_REPORT_EVENT_DELIVERED == EDGE_REPORT_VERDICT_DELIVERED
        && EDGE_REPORT_EVENT_REFUSED == EDGE_REPORT_VERDICT_REFUSED
        && EDGE_REPORT_EVENT_WAITING == EDGE_REPORT_VERDICT_AGAIN
        && EDGE_REPORT_EVENT_HELD == EDGE_REPORT_VERDICT_HELD
        && EDGE_REPORT_EVENT_EXPIRED == EDGE_REPORT_VERDICT_EXPIRED
);

/// What became of a report, or why nothing is sent. All of it is the library's, and holds until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_event {
    /// Its size in the library; members of a newer header that lie beyond it are not there.
    pub struct_size: usize,
    /// What happened.
    pub kind: edge_report_event_kind,
    /// FAILED: the error number of the operating system, or of the storage's callback; 0 if there is none.
    pub device_error: i32,
    /// DELIVERED to DEAD_LETTER_FAILED: the report's name.
    pub ticket: u64,
    /// The same: its `message_id`, decoded.
    pub message_id: edge_report_str,
    /// The same: its bytes.
    pub report: edge_report_str,
    /// WAITING, HELD, FAILED: when the next attempt comes at the earliest, by the monotonic clock. Else 0.
    pub at_ms: u64,
    /// SUPERSEDED, CORRUPT: how many since the last event of this kind.
    pub count: u64,
    /// A line for a log: `report 7 is a dead letter: refused: 400 DLI.0001 no such job`. UTF-8, without the report's bytes.
    pub line: edge_report_str,
    /// Why; all zeros for DELIVERED, SUPERSEDED and CORRUPT.
    pub reason: edge_report_reason,
    /// DEAD_LETTER_FAILED: why it cannot be made a dead letter.
    pub obstacle: edge_report_reason,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Who is told what becomes of reports.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_observer {
    /// Its size: begin with `EDGE_REPORT_OBSERVER_INIT`.
    pub struct_size: usize,
    /// Passed to the function.
    pub user: *mut c_void,
    /// Told of each event, in order; the next report waits until it returns. It must not throw or longjmp.
    pub event: Option<unsafe extern "C" fn(user: *mut c_void, event: *const edge_report_event)>,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// The caller's function and its argument.
#[derive(Clone, Copy)]
pub(crate) struct Observer(Option<edge_report_observer>);

// SAFETY: the header says on which thread it is called.
unsafe impl Send for Observer {}

impl Observer {
    /// # Safety
    /// `observer` is readable, unless NULL.
    pub(crate) unsafe fn new(observer: *const edge_report_observer) -> Result<Self, Failure> {
        let room = &mut Room::new();
        let observer = unsafe { given(observer, "observer", room) }?.copied();
        if observer.is_some_and(|observer| observer.event.is_none()) {
            let place = Place::Member("observer", "event");
            return Err(Failure::at(Code::NullPointer, place));
        }
        Ok(Observer(observer))
    }

    /// Tells an event, if anybody wants to know.
    pub(crate) fn tell(&self, event: &DeliveryEvent<'_>) {
        let Some(edge_report_observer {
            user,
            event: Some(tell),
            ..
        }) = self.0
        else {
            return;
        };
        let line = event.to_string();
        // SAFETY: plain data, which may be all zeros.
        let mut told: edge_report_event = unsafe { core::mem::zeroed() };
        told.struct_size = size_of::<edge_report_event>();
        told.line = edge_report_str::from_bytes(line.as_bytes());
        let message_id = told.fill(event);
        if let Some(message_id) = &message_id {
            told.message_id = edge_report_str::from_bytes(message_id.as_bytes());
        }
        // SAFETY: the caller's function with the caller's argument, as the header has it.
        unsafe { tell(user, &raw const told) }
    }
}

impl edge_report_event {
    /// Fills one in that is all zeros, but for the report's `message_id`, which it gives.
    fn fill(&mut self, event: &DeliveryEvent<'_>) -> Option<String> {
        let (kind, ticket, report) = match *event {
            DeliveryEvent::Delivered { ticket, report } => {
                (EDGE_REPORT_EVENT_DELIVERED, ticket, report)
            }
            DeliveryEvent::Refused {
                ticket,
                report,
                reason,
            } => {
                self.reason.fill(&reason);
                (EDGE_REPORT_EVENT_REFUSED, ticket, report)
            }
            DeliveryEvent::Expired {
                ticket,
                report,
                reason,
            } => {
                self.reason.fill(&reason);
                (EDGE_REPORT_EVENT_EXPIRED, ticket, report)
            }
            DeliveryEvent::Waiting {
                ticket,
                report,
                wait,
                reason,
            } => {
                self.waits(wait, &reason);
                (EDGE_REPORT_EVENT_WAITING, ticket, report)
            }
            DeliveryEvent::Held {
                ticket,
                report,
                wait,
                reason,
            } => {
                self.waits(wait, &reason);
                (EDGE_REPORT_EVENT_HELD, ticket, report)
            }
            DeliveryEvent::DeadLetterFailed {
                ticket,
                report,
                reason,
                obstacle,
            } => {
                self.reason.fill(&reason);
                self.obstacle.fill(&obstacle);
                (EDGE_REPORT_EVENT_DEAD_LETTER_FAILED, ticket, report)
            }
            DeliveryEvent::Superseded { count } => {
                (self.kind, self.count) = (EDGE_REPORT_EVENT_SUPERSEDED, count);
                return None;
            }
            DeliveryEvent::Corrupt { count } => {
                (self.kind, self.count) = (EDGE_REPORT_EVENT_CORRUPT, count);
                return None;
            }
            DeliveryEvent::Failed { error, wait } => {
                self.kind = EDGE_REPORT_EVENT_FAILED;
                self.at_ms = after(wait);
                self.failed(error);
                return None;
            }
            // A kind that this version does not know yet.
            _ => return None,
        };
        self.kind = kind;
        self.ticket = ticket.0;
        self.report = edge_report_str::from_bytes(report);
        message_id(report)
    }

    fn waits(&mut self, wait: Duration, reason: &Reason) {
        self.at_ms = after(wait);
        self.reason.fill(reason);
    }

    fn failed(&mut self, error: &(dyn Error + 'static)) {
        let known = why::<DeviceError>(error).or_else(|| why::<SpoolIoError>(error));
        let (code, device_error) = known.unwrap_or((Code::Internal, 0));
        self.reason.code = number(code);
        self.device_error = device_error;
        write_text(&error.to_string(), &mut self.reason.text);
    }
}

/// The code and the device's number of a courier's error.
fn why<E: Device + 'static>(error: &(dyn Error + 'static)) -> Option<(Code, i32)> {
    let error = error.downcast_ref::<CourierError<E>>()?;
    let number = match error {
        CourierError::Outbox(OutboxError::Device(device)) => device.number(),
        _ => 0,
    };
    Some((error.code(), number))
}

fn after(wait: Duration) -> u64 {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    MonoTime::now().ms().saturating_add(wait)
}

/// The `message_id` of a report that was checked.
fn message_id(report: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(report);
    let mut is_it = false;
    while let Some(token) = scanner.next_token().ok()? {
        match token {
            Token::Key(key) if scanner.depth() == 1 => is_it = key.is("message_id"),
            Token::String(text) if scanner.depth() == 1 && is_it => {
                return Some(text.chars().collect());
            }
            _ => {}
        }
    }
    None
}
