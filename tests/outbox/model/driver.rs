//! Calls a courier, and compares what it says with the model.

use std::collections::BTreeSet;

use edge_report::courier::{
    Courier, CourierError, Disposition, Durability, Event, OutboxError, Policy, Reason, Status,
    Step, Ticket, Verdict,
};
use edge_report::{Code, MonoTime, Outcome, WallTime};

use crate::backend::{Backend, End, FoundLetter, Shared};
use crate::courier_common::{Sample, sample, with_report};
use crate::oracle::{Oracle, Told, says_overtaken, wall_of};
use crate::timing::{self, Clock, Place, Timing};
use crate::{Content, Op, Tally, ensure};

type Check = Result<(), String>;
type Model<B> = Courier<Shared<<B as Backend>::Outbox>, <B as Backend>::Memory>;
type Fault<B> = CourierError<<B as Backend>::Fault>;

/// What fails longer after an acceptance proves nothing.
const RIGHT_AFTER_MS: u64 = 4 * 60_000;

struct InFlight {
    ticket: u64,
    bytes: Vec<u8>,
    /// Older reports of its jobs that wait.
    elders: Vec<u64>,
}

/// A report that was accepted before older ones of its jobs: each of these is tried again right after.
#[derive(Clone, Copy)]
struct Witness {
    ticket: u64,
    seen: Clock,
}

pub(crate) struct Driver<B: Backend> {
    backend: B,
    policy: Policy,
    outbox: Shared<B::Outbox>,
    /// `None` only while it is opened again.
    courier: Option<Model<B>>,
    oracle: Oracle,
    timing: Timing,
    clock: Clock,
    in_flight: Option<InFlight>,
    witness: Option<Witness>,
    /// Those that went ahead of older ones: they are accepted and wait for what becomes of these.
    ahead: BTreeSet<u64>,
    /// When anything was accepted last.
    accepted: Option<Clock>,
    last: Option<(Ticket, Verdict)>,
    /// Names reports.
    number: u64,
    /// When the first report since the last sync was submitted.
    unsynced_since: Option<MonoTime>,
    writes: u64,
    /// Whether what is written next may say what is settled: of a full log not each settling does.
    may_settle: bool,
    full: u64,
    clock_corrected: u64,
}

impl<B: Backend> Driver<B> {
    pub(crate) fn new(backend: B, policy: Policy) -> Result<Self, String> {
        let clock = Clock::new();
        let outbox = backend.open()?;
        let courier = Courier::new(outbox.clone(), backend.memory(), policy, clock.now, 1);
        let timing = Timing::start(policy, courier.status().not_before, &clock)?;
        let (durability, is_memory) = (backend.durability(), backend.is_memory());
        Ok(Driver {
            oracle: Oracle::new(durability, policy.when_letters_full, is_memory),
            backend,
            policy,
            outbox,
            courier: Some(courier),
            timing,
            clock,
            in_flight: None,
            witness: None,
            ahead: BTreeSet::new(),
            accepted: None,
            last: None,
            number: 0,
            unsynced_since: None,
            writes: 0,
            may_settle: false,
            full: 0,
            clock_corrected: 0,
        })
    }

    /// All of `ops`, then delivers what waits: nothing of it may be missing.
    pub(crate) fn run(mut self, ops: &[Op], tally: &Tally) -> Check {
        let result = self.run_all(ops);
        self.oracle.tell(tally);
        Tally::add(&tally.full, self.full);
        Tally::add(&tally.clock_corrected, self.clock_corrected);
        result
    }

    fn run_all(&mut self, ops: &[Op]) -> Check {
        for (index, op) in ops.iter().enumerate() {
            let result = self.step(op).and_then(|()| self.compare());
            result.map_err(|why| format!("at step {index}, {op:?}: {why}"))?;
        }
        self.deliver_all()
            .map_err(|why| format!("when all is delivered: {why}"))
    }

    /// Everything is accepted now, and there is room for dead letters.
    fn deliver_all(&mut self) -> Check {
        let mut left = 4 * self.oracle.waiting.len() + 20;
        while !self.oracle.waiting.is_empty() {
            left = left.checked_sub(1).ok_or_else(|| {
                let status = self.courier().status();
                format!("it does not come to an end: {status:?}")
            })?;
            self.forget(usize::MAX, true)?;
            self.compare()?;
            self.attempt(Event::response(Outcome::Accepted, 200), 0)?;
            self.compare()?;
        }
        self.next().and_then(|()| self.compare())?;
        let status = self.courier().status();
        ensure!(status.waiting == 0, "in the end {} wait", status.waiting);
        Ok(())
    }

    fn courier(&mut self) -> &mut Model<B> {
        self.courier.as_mut().expect("it is open")
    }

    fn step(&mut self, op: &Op) -> Check {
        match op {
            Op::Submit(content) => self.submit(content),
            Op::SubmitEncoded(content) => {
                self.number += 1;
                let mut sample = sample(self.number, &content.jobs, content.padding);
                // Bytes that the library would not write: they are sent as they are.
                sample.bytes = [b" ", &*sample.bytes].concat().into();
                let (now, wall) = (self.clock.now, wall_of(self.number));
                self.backend.was_synced();
                let result = (self.courier()).submit_encoded(&sample.bytes, now, Some(wall));
                self.submitted(result, &sample, wall)
            }
            Op::SubmitInvalid => self.unchanged(|courier, now| {
                let result = courier.submit_encoded(b"{\"jobs\":[{}]}", now, None);
                matches!(result, Err(CourierError::Invalid(_)))
            }),
            Op::Next => self.next(),
            Op::Settle(event, entropy) => self.settle(*event, *entropy),
            Op::Attempt(event, entropy) => self.attempt(*event, *entropy),
            Op::Serve {
                bad,
                bad_event,
                outage,
                count,
                entropy,
            } => {
                for index in 0..*count {
                    self.serve(*bad, *bad_event, index < *outage, *entropy)?;
                    self.compare()?;
                }
                Ok(())
            }
            Op::SettleStale(away) => {
                let flying = self.in_flight.as_ref().map(|flying| flying.ticket);
                let last = self.last.map_or(1, |(ticket, _)| ticket.0);
                let ticket = flying.unwrap_or(last).saturating_add_signed(*away);
                if flying == Some(ticket) {
                    return Ok(());
                }
                self.unchanged(|courier, now| {
                    let result = courier.settle(Ticket(ticket), Event::NOT_SENT, now, 0);
                    matches!(result, Err(CourierError::StaleTicket))
                })
            }
            Op::Pass(ms) => {
                self.clock.pass(*ms);
                Ok(())
            }
            Op::StepBack(ms) => {
                self.clock.step_back(*ms);
                Ok(())
            }
            Op::Wake => {
                self.wake();
                Ok(())
            }
            Op::Flush => {
                self.courier().flush().map_err(|error| error.to_string())?;
                self.flushed()
            }
            Op::Close => self.close(),
            Op::Look => self.look(),
            Op::Resubmit(nth) => self.resubmit(*nth),
            Op::Forget { nth, up_to } => self.forget(*nth, *up_to),
            Op::Restart(end, entropy) => self.restart(*end, *entropy),
        }
    }

    /// What must hold after each step.
    fn compare(&mut self) -> Check {
        self.see_ahead()?;
        let status = self.courier().status();
        let in_flight = self.in_flight.as_ref().map(|flying| flying.ticket);
        self.oracle.check(&status, &self.outbox, in_flight)?;
        self.see_device();
        self.may_settle = false;
        self.timing.check(&status)?;
        ensure!(
            status.in_flight == in_flight.map(Ticket) && status.last == self.last,
            "{status:?}, must be {in_flight:?}, {:?}",
            self.last
        );
        let has_next = status.waiting > 0 && in_flight.is_none();
        ensure!(
            status.next_attempt.is_some() == has_next,
            "{:?} is next",
            status.next_attempt
        );
        Ok(())
    }

    /// What is written, and what of it would survive a power cut.
    fn see_device(&mut self) {
        let writes = self.backend.writes();
        if writes != self.writes {
            self.writes = writes;
            if std::mem::take(&mut self.may_settle) {
                self.oracle.written();
            }
        }
        if self.backend.was_synced() {
            // In the middle of a call, perhaps: then what it settled is not.
            self.oracle.reports_synced();
            self.unsynced_since = None;
        }
        if self.backend.is_synced() {
            self.oracle.synced();
            self.unsynced_since = None;
        }
    }

    /// A call that must be refused, and change nothing.
    fn unchanged(&mut self, call: impl FnOnce(&mut Model<B>, MonoTime) -> bool) -> Check {
        let now = self.clock.now;
        let before = self.courier().status();
        ensure!(call(self.courier(), now), "it is not refused");
        let after = self.courier().status();
        ensure!(before == after, "refused, but {before:?} is now {after:?}");
        Ok(())
    }

    fn submit(&mut self, content: &Content) -> Check {
        self.number += 1;
        let sample = sample(self.number, &content.jobs, content.padding);
        let (now, number) = (self.clock.now, self.number);
        let wall = wall_of(number);
        self.backend.was_synced();
        let courier = self.courier();
        let result = with_report(number, &content.jobs, content.padding, |report| {
            courier.submit(report, now, Some(wall))
        });
        self.submitted(result, &sample, wall)
    }

    fn submitted(
        &mut self,
        result: Result<Ticket, Fault<B>>,
        sample: &Sample,
        wall: WallTime,
    ) -> Check {
        match result {
            Ok(ticket) => {
                if self.backend.was_synced() {
                    // Before what is new was written, perhaps to make room for it.
                    self.oracle.synced();
                    self.unsynced_since = None;
                }
                self.oracle.submitted(ticket.0, sample, wall)?;
                if !self.backend.is_synced() {
                    self.unsynced_since.get_or_insert(self.clock.now);
                }
                self.compare()?;
                self.oracle.check_batch()
            }
            Err(CourierError::Outbox(OutboxError::Full)) => {
                ensure!(!self.oracle.waiting.is_empty(), "full, and empty");
                self.full += 1;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Twice: the second time must say the same.
    fn next(&mut self) -> Check {
        let now = self.clock.now;
        self.may_settle = true;
        if self.in_flight.is_none() && !self.oracle.waiting.is_empty() {
            self.timing.look(&self.clock);
        }
        let mut said = Vec::new();
        for _ in 0..2 {
            let courier = self.courier.as_mut().expect("it is open");
            said.push(
                match courier.next(now).map_err(|error| error.to_string())? {
                    Step::Send(outgoing) => Some(Ok((
                        outgoing.ticket.0,
                        outgoing.body.to_vec(),
                        outgoing.clock_offset_ms,
                    ))),
                    Step::Wait(at) => Some(Err(at.since_ms(now))),
                    Step::Idle => None,
                },
            );
        }
        ensure!(said[0] == said[1], "next says {said:?}");
        let said = said.pop().flatten();
        self.see_device();
        if let (Durability::Batch { ms, .. }, Some(since)) =
            (self.backend.durability(), self.unsynced_since)
        {
            // On a clock that went back nobody knows how late it is.
            let late = self.clock.never_went_back() && now.since_ms(since) >= ms;
            ensure!(!late, "too long not synced");
        }
        // Some may have been buried or dropped on the way.
        let status = self.courier().status();
        let flying = self.in_flight.as_ref().map(|flying| flying.ticket);
        self.see_ahead()?;
        let before = self.oracle.waiting.len();
        self.oracle.check(&status, &self.outbox, flying)?;
        let buried = before - self.oracle.waiting.len();
        self.oracle.count(Told::BuriedLate, buried as u64);
        self.see_device();
        match said {
            None => ensure!(self.oracle.waiting.is_empty(), "idle, but something waits"),
            Some(Err(ms)) => {
                ensure!(self.in_flight.is_none(), "waits with one in flight");
                ensure!(
                    !self.oracle.waiting.is_empty(),
                    "waits, but nothing is there"
                );
                ensure!(
                    status.next_attempt == Some(now.plus_ms(ms)),
                    "waits {ms}, and {:?} is next",
                    status.next_attempt
                );
                self.timing.told_to_wait(ms, status.aside, &self.clock)?;
            }
            Some(Ok((ticket, bytes, offset))) => {
                ensure!(offset == self.timing.offset, "a clock offset of {offset}");
                self.oracle.offered(ticket, &bytes)?;
                match &self.in_flight {
                    Some(flying) => ensure!(
                        (flying.ticket, &flying.bytes) == (ticket, &bytes),
                        "{ticket} is sent while {} is in flight",
                        flying.ticket
                    ),
                    None => self.sent(ticket, bytes)?,
                }
            }
        }
        Ok(())
    }

    /// Whose turn it is, for the first time.
    fn sent(&mut self, ticket: u64, bytes: Vec<u8>) -> Check {
        let is_overtaken = self.is_overtaken(ticket);
        self.timing
            .told_to_send(ticket, is_overtaken, &self.clock)?;
        let mut elders = self.oracle.elders(ticket);
        elders.retain(|elder| !self.ahead.contains(elder));
        // The suspect was tried half as often as would bury it, or more.
        let mut most = 0;
        for elder in &elders {
            // Some between them are passed unsent.
            let failed = self.timing.tries(*elder).filter(|t| t.failed.is_some());
            most = most.max(failed.map_or(0, |tries| tries.count));
        }
        ensure!(
            elders.is_empty() || most * 2 >= self.policy.refuse_after,
            "{ticket} is sent after {most} attempts of {elders:?}"
        );
        self.in_flight = Some(InFlight {
            ticket,
            bytes,
            elders,
        });
        Ok(())
    }

    fn attempt(&mut self, event: Event, entropy: u64) -> Check {
        self.wake();
        self.next()?;
        self.settle(event, entropy)
    }

    /// As a service does that accepts all but the reports on bad jobs, or nothing in an outage.
    fn serve(&mut self, bad: i64, bad_event: Event, outage: bool, entropy: u64) -> Check {
        self.next()?;
        let Some(flying) = &self.in_flight else {
            let at = self.courier().status().next_attempt;
            let wait = at.map_or(0, |at| at.since_ms(self.clock.now));
            self.clock.pass(wait.min(10_000_000));
            return Ok(());
        };
        let entry = self.oracle.waiting.get(&flying.ticket);
        let mut keys = entry.iter().flat_map(|entry| &entry.sample.keys);
        let event = match keys.any(|key| key.job_id == bad) {
            _ if outage => Event::response(Outcome::TryAgain, 503),
            true => bad_event,
            false => Event::response(Outcome::Accepted, 200),
        };
        self.settle(event, entropy)
    }

    fn settle(&mut self, event: Event, entropy: u64) -> Check {
        let Some(flying) = self.in_flight.take() else {
            return Ok(());
        };
        let (ticket, now) = (flying.ticket, self.clock.now);
        self.may_settle = true;
        self.timing.look(&self.clock);
        let is_overtaken = self.is_overtaken(ticket);
        let verdict = self.courier().settle(Ticket(ticket), event, now, entropy);
        let verdict = verdict.map_err(|error| error.to_string())?;
        self.last = Some((Ticket(ticket), verdict));
        let status = self.courier().status();
        let offset = self.timing.offset;
        let place = match is_overtaken {
            true => Place::Overtaken,
            false if flying.elders.is_empty() => Place::InOrder,
            false => Place::Ahead,
        };
        self.timing
            .settled(ticket, place, &event, verdict, &self.clock, &status)?;
        self.clock_corrected += u64::from(self.timing.offset != offset);
        self.see_buried(verdict == Verdict::Delivered)?;
        match verdict {
            Verdict::Delivered => {
                self.accepted = Some(self.clock);
                let elders = self.oracle.elders(ticket);
                match &mut self.witness {
                    Some(witness) if is_overtaken => witness.seen = self.clock,
                    _ if elders.is_empty() => {}
                    witness => {
                        let seen = self.clock;
                        *witness = Some(Witness { ticket, seen });
                    }
                }
                let again = self.oracle.reached(ticket, self.ahead.range(ticket + 1..));
                self.ahead.retain(|newer| !again.contains(newer));
                let mut newer = self.ahead.range(ticket + 1..);
                match elders.is_empty() || newer.any(|n| self.oracle.is_covered(ticket, *n)) {
                    true => self.oracle.delivered(ticket),
                    false => {
                        self.ahead.insert(ticket);
                    }
                }
            }
            Verdict::Refused(reason) if says_overtaken(&reason) => {
                ensure!(is_overtaken, "{ticket} is not overtaken");
                self.oracle.count(Told::Overtaken, 1);
                self.oracle
                    .doomed(ticket, Disposition::Refused(reason), true)?;
            }
            Verdict::Refused(reason) => {
                if let Some(witness) = &mut self.witness
                    && is_overtaken
                {
                    witness.seen = self.clock;
                }
                self.oracle
                    .doomed(ticket, Disposition::Refused(reason), true)?;
            }
            Verdict::Expired(reason) => {
                self.oracle
                    .doomed(ticket, Disposition::Expired(reason), true)?;
            }
            _ => {}
        }
        self.compare()?;
        self.check_last_failure(ticket, verdict, &status)?;
        let waiting = self.oracle.waiting.values();
        let held = waiting.filter(|entry| entry.doomed.is_some()).count();
        self.oracle.count(Told::Held, held as u64);
        Ok(())
    }

    fn check_last_failure(&self, ticket: u64, verdict: Verdict, status: &Status) -> Check {
        let failed = status.last_failure;
        let is_burial =
            failed.is_some_and(|(_, reason)| reason == Reason::failed(Code::LettersFull));
        let expected = verdict.reason().map(|reason| (Ticket(ticket), *reason));
        ensure!(
            is_burial || failed == expected,
            "the last failure is {failed:?}, must be {expected:?}"
        );
        Ok(())
    }

    /// Whether the witness overtook this one, or it was denied before another one was accepted, and it is right after.
    fn is_overtaken(&self, ticket: u64) -> bool {
        let failed = self.timing.tries(ticket).and_then(|tries| tries.failed);
        let was_denied = failed.is_some_and(|(_, reason)| timing::is_denied(&reason))
            && self.accepted.is_some_and(|accepted| {
                let ago = self.clock.since(&accepted);
                ago <= RIGHT_AFTER_MS || !self.clock.is_steady(&accepted)
            });
        was_denied
            || self.witness.is_some_and(|witness| {
                let ago = self.clock.since(&witness.seen);
                let is_fresh = ago <= RIGHT_AFTER_MS || !self.clock.is_steady(&witness.seen);
                let older = self.oracle.waiting.range(..witness.ticket);
                let older = older.map(|(ticket, _)| ticket);
                is_fresh && self.oracle.reached(witness.ticket, older).contains(&ticket)
            })
    }

    /// Those that went ahead leave when none is left that they overtook, or a newer one that went ahead says as much.
    fn see_ahead(&mut self) -> Check {
        let there = self.outbox.waiting_tickets().map_err(|e| e.to_string())?;
        let status = self.courier().status();
        let more = status
            .counters
            .delivered
            .checked_sub(self.oracle.counters.delivered);
        let mut left = more.ok_or("less is delivered than before")?;
        for ticket in self.ahead.clone() {
            let elders = self.oracle.elders(ticket);
            if there.contains(&ticket) {
                continue;
            }
            let mut newer = self.ahead.range(ticket + 1..);
            let is_covered = newer.any(|newer| self.oracle.is_covered(ticket, *newer));
            self.ahead.remove(&ticket);
            // Or a newer one that waits supersedes it.
            if left > 0 {
                left -= 1;
                let is_last = !elders.iter().any(|elder| there.contains(elder));
                ensure!(is_last || is_covered, "{ticket} left before {elders:?}");
                self.oracle.delivered(ticket);
            }
        }
        ensure!(left == 0, "{left} are delivered, and nobody said so");
        Ok(())
    }

    /// The suspects that were buried since another report was accepted.
    fn see_buried(&mut self, is_accepted: bool) -> Check {
        let mut told = BTreeSet::new();
        while let Some((ticket, reason)) = self.courier().take_dead_letter() {
            let Ticket(ticket) = ticket;
            ensure!(is_accepted, "{ticket} is buried, and nothing was accepted");
            ensure!(told.insert(ticket), "{ticket} is buried twice");
            let tries = self.timing.tries(ticket);
            let tries = tries.ok_or_else(|| format!("{ticket} is buried untried"))?;
            self.oracle.count(Told::AtFault, 1);
            let is_right = tries.count >= self.policy.refuse_after.max(1)
                && tries.failed.is_some_and(|(_, last)| last == reason);
            ensure!(is_right, "{ticket} is buried: {reason:?} after {tries:?}");
            self.oracle
                .doomed(ticket, Disposition::Refused(reason), true)?;
        }
        Ok(())
    }

    fn wake(&mut self) {
        let now = self.clock.now;
        self.courier().wake(now);
        self.timing.wake(&self.clock);
    }

    /// All there is, by the outbox and by the courier.
    fn look(&mut self) -> Check {
        let found = self.outbox.look().map_err(|error| error.to_string())?;
        self.oracle.check_found(&found)?;
        let letters = self.letters().map_err(|error| error.to_string())?;
        self.oracle.check_letters(&letters)?;
        for (ticket, ..) in letters {
            let letter = self.courier().find_dead_letter(Ticket(ticket));
            let letter = letter.map_err(|error| error.to_string())?;
            ensure!(
                letter.is_some_and(|(letter, _)| letter.ticket.0 == ticket),
                "letter {ticket} is listed, and not found"
            );
        }
        let front = self.oracle.waiting.values().next();
        let expected = front.map(|entry| entry.wall);
        let oldest = self.courier().oldest().map_err(|error| error.to_string())?;
        ensure!(
            oldest == expected,
            "{oldest:?} is the oldest, not {expected:?}"
        );
        Ok(())
    }

    fn letters(&mut self) -> Result<Vec<FoundLetter>, Fault<B>> {
        let mut letters = Vec::<(u64, Reason, Vec<u8>)>::new();
        let mut last = None;
        while let Some((letter, report)) = self.courier().dead_letter(last)? {
            last = Some(letter.ticket);
            letters.push((letter.ticket.0, letter.reason, report.to_vec()));
        }
        Ok(letters)
    }

    fn resubmit(&mut self, nth: Option<usize>) -> Check {
        let count = self.oracle.letters.len();
        let place = nth.map_or(0, |nth| nth % count.max(1));
        let letter = self.oracle.letters.get(place).cloned();
        let ticket = nth.map(|_| Ticket(letter.as_ref().map_or(u64::MAX, |l| l.ticket)));
        self.number += 1;
        let (now, wall) = (self.clock.now, wall_of(self.number));
        self.backend.was_synced();
        let courier = self.courier();
        match (
            courier.resubmit_dead_letter(ticket, now, Some(wall)),
            letter,
        ) {
            (Ok(None), None) => Ok(()),
            (Ok(Some(ticket)), Some(letter)) => {
                self.oracle.letters.retain(|l| l.ticket != letter.ticket);
                self.oracle.count(Told::Resubmitted, 1);
                self.submitted(Ok(ticket), &letter.entry.sample, wall)
            }
            (Err(error), Some(letter)) => self.submitted(Err(error), &letter.entry.sample, wall),
            (result, letter) => Err(format!("{result:?} of {letter:?}")),
        }
    }

    fn forget(&mut self, nth: usize, up_to: bool) -> Check {
        let letters = &self.oracle.letters;
        let last = letters.len().saturating_sub(1);
        let place = nth.min(last);
        let ticket = letters.get(place).map_or(u64::MAX, |letter| letter.ticket);
        let result = match up_to {
            true => self.courier().forget_dead_letters(Ticket(ticket)),
            false => self.courier().forget_dead_letter(Ticket(ticket)),
        };
        result.map_err(|error| format!("{error} when {place} of {last} is forgotten"))?;
        if !self.oracle.letters.is_empty() {
            let gone = if up_to { 0..=place } else { place..=place };
            self.oracle.letters.drain(gone);
        }
        Ok(())
    }

    fn close(&mut self) -> Check {
        self.courier().close().map_err(|error| error.to_string())?;
        self.flushed()
    }

    fn flushed(&mut self) -> Check {
        ensure!(self.backend.is_synced(), "not synced");
        // A full log has no room to say what is settled.
        if self.backend.writes() != self.writes {
            self.oracle.flushed();
        }
        Ok(())
    }

    fn restart(&mut self, end: End, entropy: u64) -> Check {
        if end == End::Closed {
            self.close()?;
        }
        self.courier = None;
        let (outbox, found) = self.backend.restart(&self.outbox, end)?;
        self.outbox = outbox.clone();
        // What a power cut left without its bytes is found out, and counted as corrupt, when it is read.
        outbox.look().map_err(|error| error.to_string())?;
        let (memory, now) = (self.backend.memory(), self.clock.now);
        let courier = self
            .courier
            .insert(Courier::new(outbox, memory, self.policy, now, entropy));
        let status = courier.status();
        self.timing = Timing::start(self.policy, status.not_before, &self.clock)?;
        (self.in_flight, self.last, self.unsynced_since) = (None, None, None);
        self.witness = None;
        self.ahead.clear();
        self.accepted = None;
        self.writes = self.backend.writes();
        if self.backend.is_memory() {
            self.oracle.forget_verdicts();
            return self.oracle.check_found(&found);
        }
        self.oracle.restarted(&found, &status, end)?;
        ensure!(self.backend.is_synced(), "opened, and not synced");
        Ok(())
    }
}
