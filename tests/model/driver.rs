//! Calls a courier, and compares what it says with the model.

use edge_report::MonoTime;
use edge_report::courier::{
    Courier, CourierError, Durability, Event, Fate, LogError, Policy, Reason, Status, Step, Ticket,
    Verdict,
};

use crate::account::Account;
use crate::courier_common::{Sample, sample, with_report};
use crate::ground::{End, FoundLetter, Ground};
use crate::pace::{Clock, Pace};
use crate::{Content, Op, Tally, ensure};

type Check = Result<(), String>;

/// To note that some dead letters are forgotten takes room too, which the oldest ones make.
const FORGETTING_PUSHES_OUT: bool = true;

pub(crate) struct Driver<G: Ground> {
    ground: G,
    policy: Policy,
    /// `None` only while it is opened again.
    courier: Option<Courier<G::Outbox, G::Memory>>,
    account: Account,
    pace: Pace,
    clock: Clock,
    in_flight: Option<(u64, Vec<u8>)>,
    last: Option<(Ticket, Verdict)>,
    /// Names reports.
    number: u64,
    /// When the first report since the last sync was submitted.
    unsynced_since: Option<MonoTime>,
    writes: u64,
    full: u64,
}

impl<G: Ground> Driver<G> {
    pub(crate) fn new(ground: G, policy: Policy) -> Result<Self, String> {
        let clock = Clock::new();
        let courier = Courier::new(ground.open()?, ground.memory(), policy, clock.now, 1);
        let pace = Pace::start(policy, courier.status().not_before, &clock)?;
        Ok(Driver {
            account: Account::new(ground.durability()),
            ground,
            policy,
            courier: Some(courier),
            pace,
            clock,
            in_flight: None,
            last: None,
            number: 0,
            unsynced_since: None,
            writes: 0,
            full: 0,
        })
    }

    /// All of `ops`, then delivers what waits: nothing of it may be missing.
    pub(crate) fn run(mut self, ops: &[Op], tally: &Tally) -> Check {
        let result = self.run_all(ops);
        self.account.tell(tally);
        Tally::add(&tally.full, self.full);
        Tally::add(&tally.clock_corrected, u64::from(self.pace.offset != 0));
        result
    }

    fn run_all(&mut self, ops: &[Op]) -> Check {
        for (index, op) in ops.iter().enumerate() {
            let result = self.step(op).and_then(|()| self.compare());
            result.map_err(|why| format!("at step {index}, {op:?}: {why}"))?;
            if self.account.tickets_come_again() {
                return Ok(());
            }
        }
        let accepted = Event::Answered {
            outcome: edge_report::Outcome::Accepted,
            status: 200,
            retry_after_ms: None,
            clock_skew_ms: None,
        };
        while !self.account.waiting.is_empty() {
            let result = self.step(&Op::Attempt(accepted, 0));
            let result = result.and_then(|()| self.compare());
            result.map_err(|why| format!("when all is delivered: {why}"))?;
        }
        self.next().and_then(|()| self.compare())?;
        let status = self.courier().status();
        ensure!(status.waiting == 0, "in the end {} wait", status.waiting);
        Ok(())
    }

    fn courier(&mut self) -> &mut Courier<G::Outbox, G::Memory> {
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
                let now = self.clock.now;
                let result = self.courier().submit_encoded(&sample.bytes, now);
                self.submitted(result, &sample)
            }
            Op::SubmitInvalid => self.unchanged(|courier, now| {
                let result = courier.submit_encoded(b"{\"jobs\":[{}]}", now);
                matches!(result, Err(CourierError::Invalid(_)))
            }),
            Op::Next => self.next(),
            Op::Settle(event, entropy) => self.settle(*event, *entropy),
            Op::Attempt(event, entropy) => {
                self.wake();
                self.next()?;
                self.settle(*event, *entropy)
            }
            Op::SettleStale(away) => {
                let near = self.in_flight.as_ref().map(|(ticket, _)| *ticket);
                let near = near.unwrap_or(self.account.ledger.submitted);
                let ticket = Ticket(near.saturating_add_signed(*away));
                if self
                    .in_flight
                    .as_ref()
                    .is_some_and(|(flying, _)| *flying == ticket.0)
                {
                    return Ok(());
                }
                self.unchanged(|courier, now| {
                    let result = courier.settle(ticket, Event::NotSent, now, 0);
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
                ensure!(self.ground.is_synced(), "flushed, and not synced");
                Ok(())
            }
            Op::ReadLetters => self.check_letters(false),
            Op::Resubmit => self.resubmit(),
            Op::Forget(count) => {
                let Some(index) = count.checked_sub(1) else {
                    return Ok(());
                };
                let until = self
                    .account
                    .letters
                    .get(index)
                    .or(self.account.letters.back());
                let until = until.map_or(u64::MAX, |letter| letter.ticket);
                let forgotten = self.courier().forget_dead_letters(Ticket(until));
                forgotten.map_err(|error| error.to_string())?;
                self.account.forget_letters(until);
                self.check_letters(FORGETTING_PUSHES_OUT)
            }
            Op::Restart(end, entropy) => self.restart(*end, *entropy),
        }
    }

    /// What must hold after each step.
    fn compare(&mut self) -> Check {
        self.see_device();
        let status = self.courier().status();
        self.account.check(&status)?;
        let pace = &self.pace;
        let expected = Status {
            ledger: status.ledger,
            waiting: status.waiting,
            not_before: status.not_before,
            in_flight: self.in_flight.as_ref().map(|(ticket, _)| Ticket(*ticket)),
            failures: pace.failures,
            circuit_open: pace.is_open(),
            clock_offset_ms: pace.offset,
            last: self.last,
        };
        ensure!(status == expected, "{status:?}, must be {expected:?}");
        Ok(())
    }

    /// What is written, and what of it would survive a power cut.
    fn see_device(&mut self) {
        let writes = self.ground.writes();
        if writes != self.writes {
            self.writes = writes;
            self.account.written();
        }
        if self.ground.is_synced() {
            self.account.synced();
            self.unsynced_since = None;
        }
    }

    /// A call that must be refused, and change nothing.
    fn unchanged(
        &mut self,
        call: impl FnOnce(&mut Courier<G::Outbox, G::Memory>, MonoTime) -> bool,
    ) -> Check {
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
        let courier = self.courier();
        let result = with_report(number, &content.jobs, content.padding, |report| {
            courier.submit(report, now)
        });
        self.submitted(result, &sample)
    }

    fn submitted(
        &mut self,
        result: Result<Ticket, CourierError<LogError<G::Fault>>>,
        sample: &Sample,
    ) -> Check {
        let superseded = self.courier().status().ledger.superseded;
        match result {
            Ok(ticket) => {
                let expected = self.account.next_ticket();
                ensure!(ticket.0 == expected, "ticket {ticket}, must be {expected}");
                self.account.submitted(sample);
                self.account.may_have_dropped(superseded);
                self.unsynced_since.get_or_insert(self.clock.now);
                self.see_device();
                self.account.check_batch()
            }
            Err(CourierError::Outbox(LogError::Full)) => {
                ensure!(!self.account.waiting.is_empty(), "full, and empty");
                self.account.may_have_dropped(superseded);
                self.full += 1;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Twice: the second time must say the same.
    fn next(&mut self) -> Check {
        let now = self.clock.now;
        let mut said = Vec::new();
        for _ in 0..2 {
            let courier = self.courier.as_mut().expect("it is open");
            said.push(
                match courier.next(now).map_err(|error| error.to_string())? {
                    Step::Send(parcel) => Some(Ok((
                        parcel.ticket.0,
                        parcel.body.to_vec(),
                        parcel.clock_offset_ms,
                    ))),
                    Step::Wait(ms) => Some(Err(ms)),
                    Step::Idle => None,
                },
            );
        }
        ensure!(said[0] == said[1], "next says {said:?}");
        if let (Durability::Batch { ms, .. }, Some(since)) =
            (self.ground.durability(), self.unsynced_since)
        {
            // On a clock that went back nobody knows how late it is.
            let late = self.clock.never_went_back() && now.since(since) >= ms;
            ensure!(!late || self.ground.is_synced(), "too long not synced");
        }
        self.see_device();
        match said.pop().flatten() {
            None => ensure!(self.account.waiting.is_empty(), "idle, but something waits"),
            Some(Err(ms)) => {
                ensure!(self.in_flight.is_none(), "waits with one in flight");
                ensure!(
                    !self.account.waiting.is_empty(),
                    "waits, but nothing is there"
                );
                self.pace.told_to_wait(ms, &self.clock)?;
            }
            Some(Ok((ticket, bytes, offset))) => {
                ensure!(offset == self.pace.offset, "a clock offset of {offset}");
                self.account.offered(ticket, &bytes)?;
                match &self.in_flight {
                    Some(flying) => ensure!(
                        *flying == (ticket, bytes),
                        "{ticket} is sent while {} is in flight",
                        flying.0
                    ),
                    None => {
                        self.pace.told_to_send(ticket, &self.clock)?;
                        self.in_flight = Some((ticket, bytes));
                    }
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, event: Event, entropy: u64) -> Check {
        let Some((ticket, _)) = self.in_flight.take() else {
            return Ok(());
        };
        let now = self.clock.now;
        let verdict = self.courier().settle(Ticket(ticket), event, now, entropy);
        let verdict = verdict.map_err(|error| error.to_string())?;
        self.last = Some((Ticket(ticket), verdict));
        let status = self.courier().status();
        let (failures, not_before) = (status.failures, status.not_before);
        self.pace
            .settled(event, verdict, &self.clock, failures, not_before)?;
        match verdict {
            Verdict::Delivered => self.account.settled(Fate::Delivered),
            Verdict::Refused(reason) => self.buried(Fate::Refused(reason))?,
            Verdict::GaveUp(reason) => self.buried(Fate::Expired(reason))?,
            Verdict::Again { .. } | Verdict::Held { .. } => {}
        }
        Ok(())
    }

    fn buried(&mut self, fate: Fate) -> Check {
        self.account.settled(fate);
        self.check_letters(true)
    }

    fn wake(&mut self) {
        let now = self.clock.now;
        self.courier().wake(now);
        self.pace.wake(&self.clock);
    }

    fn check_letters(&mut self, may_lose_oldest: bool) -> Check {
        let letters = self.letters().map_err(|error| error.to_string())?;
        self.account.check_letters(&letters, may_lose_oldest)
    }

    fn letters(&mut self) -> Result<Vec<FoundLetter>, CourierError<LogError<G::Fault>>> {
        let mut letters = Vec::<(u64, Reason, Vec<u8>)>::new();
        let mut last = None;
        while let Some(letter) = self.courier().dead_letter(last)? {
            last = Some(letter.ticket);
            letters.push((letter.ticket.0, letter.reason, letter.body.to_vec()));
        }
        Ok(letters)
    }

    fn resubmit(&mut self) -> Check {
        let now = self.clock.now;
        let oldest = self.account.oldest_letter();
        let result = match (self.courier().resubmit_dead_letter(now), oldest) {
            (Ok(None), None) => Ok(()),
            (Ok(Some(ticket)), Some(sample)) => {
                self.account.resubmit_letter();
                self.submitted(Ok(ticket), &sample)
            }
            (Err(error), Some(sample)) => self.submitted(Err(error), &sample),
            (result, oldest) => Err(format!("{result:?} with the oldest {oldest:?}")),
        };
        result.and_then(|()| self.check_letters(FORGETTING_PUSHES_OUT))
    }

    fn restart(&mut self, end: End, entropy: u64) -> Check {
        let courier = self.courier.take().ok_or("it is not open")?;
        let (outbox, found) = self.ground.restart(courier.into_outbox(), end)?;
        let (memory, now) = (self.ground.memory(), self.clock.now);
        let courier = self
            .courier
            .insert(Courier::new(outbox, memory, self.policy, now, entropy));
        let status = courier.status();
        self.pace = Pace::start(self.policy, status.not_before, &self.clock)?;
        (self.in_flight, self.last, self.unsynced_since) = (None, None, None);
        self.writes = self.ground.writes();
        if let Some(found) = found {
            self.account.restarted(&found, &status)?;
            ensure!(self.ground.is_synced(), "opened, and not synced");
        }
        Ok(())
    }
}
