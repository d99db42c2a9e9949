//! The engine without its memory: what to do next, and what a response means.

use super::ask::{Ask, Path};
use super::cluster::Cluster;
use super::details::Details;
use super::draft::{Draft, Item, MAX_JOBS, Needs};
use super::failure::Failure;
use super::jid::Jid;
use super::making::{Making, NoRoom, cut};
use super::metrics::Metrics;
use super::options::Options;
use super::overview::Overview;
use super::state::Phase;
use super::steps::{ResponseError, Step};
use super::table::{PATIENCE, Slot, find};
use super::turn::{Pick, Turn};
use crate::json::{Sink, SliceSink};
use crate::time::MonoTime;

/// A response that never came costs an end one strike, a wrong one four: of [`PATIENCE`].
const NO_RESPONSE: u8 = 1;
const WRONG_RESPONSE: u8 = 4;

const LEAST_POLL_MS: u64 = 100;
const LEAST_REQUESTS: u16 = 4;
const NODE_ROOM: usize = 64;
const MESSAGE_ID: usize = NODE_ROOM + 96;

/// Everything but the memory of the caller.
#[derive(Debug)]
pub(super) struct Engine<'o> {
    pub(super) options: Options<'o>,
    pub(super) cluster: Cluster,
    making: Making,
    asked: Option<Ask>,
    path: Path,
    message_id: heapless::String<MESSAGE_ID>,
    /// The draft is complete.
    is_ready: bool,
    /// Drafts so far.
    drafts: u32,
    /// Where the next search for a job begins.
    from: usize,
    /// Of the last call that told it.
    now: MonoTime,
    poll_at: MonoTime,
    /// No report is offered before then.
    store_at: MonoTime,
    requests: u16,
    primed: Option<MonoTime>,
    /// Since the last overview no draft was begun.
    is_drafts_turn: bool,
}

impl<'o> Engine<'o> {
    pub(super) fn new(options: Options<'o>) -> Self {
        let poll_ms = options.poll_ms.max(LEAST_POLL_MS);
        let heartbeat_ms = match options.heartbeat_ms {
            0 => 0,
            // Only an overview tells that a job is still there.
            heartbeat_ms => heartbeat_ms.max(poll_ms),
        };
        Engine {
            options: Options {
                poll_ms,
                heartbeat_ms,
                requests: options.requests.max(LEAST_REQUESTS),
                ..options
            },
            cluster: Cluster::NEW,
            making: Making::NEW,
            asked: None,
            path: Path::new(),
            message_id: heapless::String::new(),
            is_ready: false,
            drafts: 1,
            from: 0,
            now: MonoTime::from_ms(0),
            poll_at: MonoTime::from_ms(0),
            store_at: MonoTime::from_ms(0),
            requests: LEAST_REQUESTS,
            primed: None,
            is_drafts_turn: false,
        }
    }

    pub(super) fn next<'w>(
        &'w mut self,
        slots: &mut [Slot],
        texts: &'w mut [u8],
        now: MonoTime,
    ) -> Step<'w> {
        self.now = now;
        match self.advance(slots, texts) {
            Todo::Get => Step::Get(&self.path),
            Todo::Wait(until) => Step::Wait(until),
            Todo::Report => Step::Report(Draft {
                message_id: &self.message_id,
                is_final: self.making.is_final(),
                items: &self.making.items,
                texts,
                form: self.options.exceptions,
            }),
        }
    }

    #[inline(never)]
    fn advance(&mut self, slots: &mut [Slot], texts: &mut [u8]) -> Todo {
        if self.asked.is_some() {
            return Todo::Get;
        }
        // Each round asks, or takes a job into the draft, or is the last.
        loop {
            let can_store = self.now >= self.store_at;
            if self.is_ready && can_store {
                return Todo::Report;
            }
            let is_making = !self.is_ready && !self.making.items.is_empty();
            if is_making && self.ask_about_current() {
                return Todo::Get;
            }
            let is_turn = is_making || self.is_drafts_turn || self.now < self.poll_at;
            if is_turn && !self.is_ready && can_store {
                match self.pick(slots) {
                    Some(Pick::Prime(place)) => {
                        let jid = slots.get(place).map(|slot| slot.jid);
                        return self.ask(Ask::Prime, jid.unwrap_or_default());
                    }
                    Some(Pick::Job {
                        place,
                        is_beat,
                        needs,
                    }) => {
                        self.complete_current(texts);
                        if self.making.is_closed {
                            continue;
                        }
                        if let Some(slot) = slots.get_mut(place) {
                            slot.drafted = self.drafts;
                            let used = self.making.used();
                            let item = Item::of(slot, place, is_beat, needs, used);
                            self.making.is_closed |= self.making.items.push(item).is_err();
                            self.from = place.saturating_add(1);
                        }
                        self.is_drafts_turn = false;
                        continue;
                    }
                    None => {}
                }
                if is_making {
                    self.seal(texts);
                    continue;
                }
            }
            self.is_drafts_turn = false;
            if self.now >= self.poll_at {
                return self.ask(Ask::Overview, Jid::default());
            }
            return Todo::Wait(self.until(slots));
        }
    }

    fn turn(&self) -> Turn<'_> {
        Turn {
            options: &self.options,
            now: self.now,
            generation: self.cluster.generation,
            is_up: self.cluster.is_up,
            requests: self.requests,
            primed: self.primed,
            draft: self.drafts,
        }
    }

    /// The next job for the draft. One that ended goes alone.
    fn pick(&self, slots: &[Slot]) -> Option<Pick> {
        let (turn, making) = (self.turn(), &self.making);
        if making.items.is_empty() {
            return turn.ended(slots).or_else(|| turn.other(slots, self.from));
        }
        let is_full = making.is_closed || making.is_final() || making.items.len() >= MAX_JOBS;
        let pick = (!is_full).then(|| turn.other(slots, self.from))?;
        // A draft that is begun does not wait.
        pick.filter(|pick| matches!(pick, Pick::Job { .. }))
    }

    fn until(&self, slots: &[Slot]) -> MonoTime {
        let next = self.turn().next(slots).filter(|_| !self.is_ready);
        let store = (self.store_at > self.now).then_some(self.store_at);
        let times = [next, store];
        let first = times.into_iter().flatten().min();
        first.map_or(self.poll_at, |first| first.min(self.poll_at))
    }

    /// Asks for what the last job of the draft still needs, if it may.
    fn ask_about_current(&mut self) -> bool {
        let is_final = self.making.is_final();
        // What is no end does not hold up the next overview.
        let in_time = is_final || self.now < self.poll_at;
        let may_ask = self.requests > 0 && in_time;
        let Some(item) = self.making.current() else {
            return false;
        };
        let needs = &mut item.needs;
        let ask = if !may_ask {
            *needs = Needs::default();
            return false;
        } else if needs.details {
            Ask::Details
        } else if needs.metrics {
            Ask::Metrics
        } else if needs.exceptions {
            Ask::Exceptions
        } else {
            return false;
        };
        let jid = item.jid;
        self.ask(ask, jid);
        true
    }

    fn ask(&mut self, ask: Ask, jid: Jid) -> Todo {
        self.asked = Some(ask);
        self.requests = self.requests.saturating_sub(1);
        ask.put_path(jid, self.options.metrics, &mut self.path);
        Todo::Get
    }

    /// All that could be had of the last job is there.
    fn complete_current(&mut self, texts: &mut [u8]) {
        let has_metrics = !self.options.metrics.is_empty();
        let wants_metrics = |item: &Item| has_metrics && (item.is_beat || item.phase.is_final());
        let Some(item) = self.making.current() else {
            return;
        };
        if wants_metrics(item) && item.metrics.is_none() {
            let written = self.making.take_metrics(None, &self.options, texts);
            self.make_room_if(written);
        }
    }

    fn make_room_if(&mut self, written: Result<(), NoRoom>) {
        if written == Err(NoRoom) {
            self.making.drop_last();
        }
    }

    /// No other job comes into this draft.
    fn seal(&mut self, texts: &mut [u8]) {
        self.complete_current(texts);
        self.is_ready = true;
        self.message_id.clear();
        let mut room = [0; NODE_ROOM];
        let node = cut(self.options.node, &mut room);
        let id = &mut self.message_id;
        let Some(item) = self.making.items.first() else {
            return;
        };
        let hex = item.jid.to_hex();
        let (hex, state) = (hex.as_str(), item.state.name());
        let _ = id.push_str(node);
        for part in [hex, state] {
            let _ = id.push_str("-").and_then(|()| id.push_str(part));
        }
        let _ = match item.phase.is_final() {
            true => push_number(id, item.state_time),
            // The time of the overview tells it from all of former processes, the number from all of this one.
            false => push_number(id, self.cluster.clock)
                .and_then(|()| push_number(id, i64::from(self.drafts))),
        };
    }

    /// Takes a response to what was asked last.
    #[inline(never)]
    pub(super) fn response(
        &mut self,
        slots: &mut [Slot],
        texts: &mut [u8],
        status: u16,
        body: &[u8],
        now: MonoTime,
    ) -> Result<(), ResponseError> {
        self.now = now;
        let ask = self.asked.take().ok_or(ResponseError::NotAsked)?;
        let is_good = (200..300).contains(&status);
        let result = match (is_good, ask) {
            (false, _) => Err(ResponseError::Status(status)),
            (true, Ask::Overview) => self.take_overview(slots, body),
            (true, Ask::Prime) => Ok(()),
            (true, _) => self.take_about_current(slots, texts, ask, body),
        };
        match (ask, result) {
            (Ask::Overview, Ok(())) => {}
            (Ask::Overview, Err(_)) => self.no_overview(),
            (Ask::Prime, _) => self.primed = Some(now),
            (_, Ok(())) => {}
            (_, Err(error)) => {
                let strikes = match error {
                    // The run that ended is forgotten: what is said is of the next one.
                    ResponseError::OtherJob => PATIENCE,
                    _ => WRONG_RESPONSE,
                };
                self.strike(slots, ask, strikes);
            }
        }
        result
    }

    /// No response came.
    pub(super) fn failed(&mut self, slots: &mut [Slot], now: MonoTime) {
        self.now = now;
        let Some(ask) = self.asked.take() else {
            return;
        };
        // One timeout is enough until the next overview.
        self.requests = 0;
        match ask {
            Ask::Overview => self.no_overview(),
            Ask::Prime => self.primed = Some(now),
            ask => self.strike(slots, ask, NO_RESPONSE),
        }
    }

    fn no_overview(&mut self) {
        self.cluster.is_up = false;
        self.begin_interval();
    }

    fn begin_interval(&mut self) {
        self.poll_at = self.now.plus_ms(self.options.poll_ms);
        self.requests = self.options.requests.saturating_sub(1);
        self.is_drafts_turn = true;
    }

    fn take_overview(&mut self, slots: &mut [Slot], body: &[u8]) -> Result<(), ResponseError> {
        let overview = Overview::read(body)?;
        let (options, now) = (&self.options, self.now);
        self.cluster.observe(slots, &overview, options, now);
        self.begin_interval();
        Ok(())
    }

    #[inline(never)]
    fn take_about_current(
        &mut self,
        slots: &mut [Slot],
        texts: &mut [u8],
        ask: Ask,
        body: &[u8],
    ) -> Result<(), ResponseError> {
        let (options, making) = (&self.options, &mut self.making);
        let Some(item) = making.current() else {
            return Ok(());
        };
        let (is_final, is_failed) = (item.phase.is_final(), item.phase == Phase::Failed);
        let taken = match ask {
            Ask::Details => {
                let details = Details::read(body)?;
                let other_run = |start| is_final && start != item.start_time;
                if details.jid != item.jid || details.start_time.is_some_and(other_run) {
                    return Err(ResponseError::OtherJob);
                }
                if is_final && details.state != item.state {
                    // Older than the end: read it again when Flink has forgotten it.
                    self.strike(slots, ask, WRONG_RESPONSE);
                    return Ok(());
                }
                item.needs.details = false;
                making.take_details(&details, options, texts)
            }
            Ask::Metrics => {
                let metrics = Metrics::read(body)?;
                item.needs.metrics = false;
                making.take_metrics(Some(&metrics), options, texts)
            }
            _ => match Failure::read(body)? {
                Some(failure) => {
                    item.needs.exceptions = false;
                    if let (Some(time), Some(slot)) = (failure.time, slots.get_mut(item.slot)) {
                        let age = self.cluster.clock.saturating_sub(time);
                        slot.is_calm = u64::try_from(age).is_ok_and(|age| age >= options.steady_ms);
                    }
                    making.take_failure(&failure, options, texts)
                }
                None if is_failed => {
                    self.strike(slots, ask, WRONG_RESPONSE);
                    return Ok(());
                }
                None => {
                    item.needs.exceptions = false;
                    Ok(())
                }
            },
        };
        self.make_room_if(taken);
        Ok(())
    }

    /// What was asked about a job could not be had. An end is asked for again later, some times; others go without.
    fn strike(&mut self, slots: &mut [Slot], ask: Ask, strikes: u8) {
        let (now, is_final) = (self.now, self.making.is_final());
        let Some(item) = self.making.current() else {
            return;
        };
        match ask {
            _ if strikes == PATIENCE => item.needs = Needs::default(),
            Ask::Details => item.needs.details = false,
            Ask::Metrics => item.needs.metrics = false,
            _ => item.needs.exceptions = false,
        }
        let Some(slot) = slots.get_mut(item.slot).filter(|_| is_final) else {
            return;
        };
        slot.strikes = slot.strikes.saturating_add(strikes);
        if slot.strikes < PATIENCE {
            let later = match strikes {
                NO_RESPONSE => self.options.poll_ms,
                _ => self.options.cache_ms,
            };
            slot.due = now.plus_ms(later.max(1));
            self.new_draft();
        }
    }

    fn new_draft(&mut self) {
        self.making.clear();
        self.is_ready = false;
        self.drafts = self.drafts.wrapping_add(1).max(1);
    }

    /// Whether the report that was offered is stored.
    #[inline(never)]
    pub(super) fn reported(&mut self, slots: &mut [Slot], is_stored: bool) {
        if !self.is_ready {
            return;
        }
        if !is_stored {
            self.store_at = self.now.plus_ms(self.options.poll_ms);
            // An end stays as it is, whatever Flink says until then.
            if !self.making.is_final() {
                self.new_draft();
            }
            return;
        }
        for item in &self.making.items {
            let slot = slots.get_mut(item.slot);
            let is_same = |slot: &Slot| slot.jid == item.jid && slot.start_time == item.start_time;
            let Some(slot) = slot.filter(|slot| slot.is_taken && is_same(slot)) else {
                continue;
            };
            self.cluster.is_changed |= slot.reported != item.phase || slot.plan != item.plan_hash;
            // An end that was reported is one.
            if item.phase.is_final() {
                slot.phase = item.phase;
            }
            slot.reported = item.phase;
            slot.plan = item.plan_hash;
            slot.next_beat = self.now.plus_ms(self.options.heartbeat_ms);
        }
        self.new_draft();
    }

    /// The agent itself asked this job to stop.
    pub(super) fn stop_asked(&mut self, slots: &mut [Slot], jid: Jid) -> bool {
        match find(slots, jid, 0) {
            Some((_, slot)) => {
                slot.stop_asked = true;
                self.cluster.is_changed = true;
                true
            }
            None => false,
        }
    }
}

/// What `next` has found.
enum Todo {
    Get,
    Report,
    Wait(MonoTime),
}

fn push_number<const N: usize>(
    to: &mut heapless::String<N>,
    number: i64,
) -> Result<(), heapless::CapacityError> {
    let mut digits = [0; 20];
    let mut sink = SliceSink::new(&mut digits);
    let _ = sink.put_integer(number);
    to.push_str("-")?;
    to.push_str(core::str::from_utf8(sink.written()).unwrap_or_default())
}
