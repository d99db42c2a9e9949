//! Makes room in a full log: drops superseded reports and merges what is left of several segments into one,
//! which takes their place in the order.
//!
//! The merged segment counts from its `Commit` record on; until then the old ones do, and afterwards they are discarded.
//! `Commit` and `Gone` stand there twice, so that a flipped bit costs no more than one report here too.

use super::super::newest::Newest;
use super::super::outbox::JobKeys;
use super::outbox::{LogError, LogOutbox, MAX_KEY_BYTES};
use super::record::{Kind, RecordHeader, SEGMENT_HEADER, keys_from, padded, record_len};
use super::segments::{Place, Segment, header_of};
use super::storage::Storage;

/// Frees one segment at least; `false` if that cannot be done.
#[inline(never)] // its stack is for full logs alone
pub(super) fn merge<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
) -> Result<bool, LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    if !may_create(log) {
        return Ok(false);
    }
    // What takes the place of others must last as long as they.
    log.live.sync()?;
    let mut newest = Newest::default();
    find_newest(log, &mut newest)?;
    let mut sizes = heapless::Vec::<usize, MAX>::new();
    for index in 0..log.live.list.len() {
        let Some(segment) = log.live.list.get(index).copied() else {
            break;
        };
        let mut size = 0;
        walk(log, &segment, &newest, |_, entry| {
            size = usize::saturating_add(size, entry.len());
            Ok(())
        })?;
        let _ = sizes.push(size);
    }
    let (len, _) = log.live.storage.limits();
    // What is written next goes into the last segment, which stays.
    let sealed = sizes.len().saturating_sub(1);
    let overhead = SEGMENT_HEADER.saturating_add(record_len(0).saturating_mul(2));
    for first in 0..sealed {
        let mut total = overhead;
        let mut count = 0usize;
        for size in sizes.iter().take(sealed).skip(first) {
            total = total.saturating_add(*size);
            if total > len {
                break;
            }
            count = count.saturating_add(1);
        }
        if count >= 2 {
            return merge_window(log, first, count, len, &newest).map(|()| true);
        }
    }
    Ok(false)
}

/// Writes the last segment anew, into one that takes its place.
pub(super) fn rewrite_last<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
) -> Result<(), LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let Some(last) = log.live.list.last().copied() else {
        return Ok(());
    };
    if !may_create(log) {
        return Err(LogError::Full);
    }
    let first = log.live.list.len().saturating_sub(1);
    // A file that was cut off may have an odd length.
    let (least, _) = log.live.storage.limits();
    let len = padded(last.len).max(least);
    merge_window(log, first, 1, len, &Newest::default())
}

/// Whether there may be one segment more for a while.
fn may_create<L, D, const MAX: usize>(log: &mut LogOutbox<L, D, MAX>) -> bool
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    log.live.discard_doomed();
    let (_, most) = log.live.storage.limits();
    log.live.total() <= most
}

/// What a merged segment gets.
enum Entry {
    /// A report that is kept.
    Report(Place, RecordHeader),
    /// These were dropped, now or before.
    Gone { first: u64, last: u64, fresh: u64 },
}

impl Entry {
    fn len(&self) -> usize {
        match self {
            Entry::Report(_, header) => header.record_len(),
            Entry::Gone { .. } => record_len(8).saturating_mul(2),
        }
    }
}

/// Gives what is left of a segment, in order.
fn walk<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
    segment: &Segment,
    newest: &Newest,
    mut each: impl FnMut(&mut LogOutbox<L, D, MAX>, Entry) -> Result<(), LogError<L::Error>>,
) -> Result<(), LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let front = log.cursor.saturating_add(1);
    let mut gone: Option<(u64, u64, u64)> = None;
    let mut at = Place {
        id: segment.id,
        offset: SEGMENT_HEADER,
    };
    while let Some((place, header)) = log.live.next(at)? {
        if place.id != segment.id {
            break;
        }
        at = place.plus(header.record_len());
        let dropped = match header.kind {
            Kind::Gone => {
                let last = log.gone_until(place)?;
                let known = gone.map_or(log.cursor, |(_, end, _)| end);
                (last > known && header.seq > known).then_some((header.seq, last, 0))
            }
            Kind::Report if header.seq <= log.cursor || !log.live.is_whole(place, &header)? => None,
            // The oldest may be in flight.
            Kind::Report if header.seq == front || !dispensable(log, place, &header, newest)? => {
                if let Some((first, last, fresh)) = gone.take() {
                    each(log, Entry::Gone { first, last, fresh })?;
                }
                each(log, Entry::Report(place, header))?;
                None
            }
            Kind::Report => Some((header.seq, header.seq, 1)),
            _ => None,
        };
        if let Some((first, last, fresh)) = dropped {
            gone = match gone {
                Some((start, end, more)) if first == end.saturating_add(1) => {
                    Some((start, last, u64::saturating_add(fresh, more)))
                }
                Some((start, end, more)) => {
                    each(
                        log,
                        Entry::Gone {
                            first: start,
                            last: end,
                            fresh: more,
                        },
                    )?;
                    Some((first, last, fresh))
                }
                None => Some((first, last, fresh)),
            };
        }
    }
    match gone {
        Some((first, last, fresh)) => each(log, Entry::Gone { first, last, fresh }),
        None => Ok(()),
    }
}

fn dispensable<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
    place: Place,
    header: &RecordHeader,
    newest: &Newest,
) -> Result<bool, LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let keys = read_keys(log, place, header)?;
    let mut each = keys.iter();
    Ok(!keys.is_empty() && each.all(|key| newest.supersedes(*key, header.seq)))
}

fn read_keys<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
    place: Place,
    header: &RecordHeader,
) -> Result<JobKeys, LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let mut bytes = [0; MAX_KEY_BYTES];
    let bytes = bytes.get_mut(..header.prefix()).unwrap_or_default();
    log.live.read(place, 0, bytes)?;
    Ok(keys_from(bytes))
}

/// The newest report of each job. Not the one to come: its write may fail.
fn find_newest<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
    newest: &mut Newest,
) -> Result<(), LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let mut at = log.live.start();
    while let Some((place, header)) = log.live.next(at)? {
        at = place.plus(header.record_len());
        let waits = header.kind == Kind::Report && header.seq > log.cursor;
        // A damaged report supersedes nothing.
        if waits && header.keys > 0 && log.live.is_whole(place, &header)? {
            let keys = read_keys(log, place, &header)?;
            keys.iter().for_each(|key| newest.note(*key, header.seq));
        }
    }
    Ok(())
}

/// Writes what is left of `count` segments from the `first` on into a new one, and discards them.
fn merge_window<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
    first: usize,
    count: usize,
    len: usize,
    newest: &Newest,
) -> Result<(), LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let list = log.live.list.clone();
    let Some(sources) = list.get(first..first.saturating_add(count)) else {
        return Ok(());
    };
    let (Some(oldest), Some(latest)) = (sources.first(), sources.last()) else {
        return Ok(());
    };
    let mut header = log.segment_header();
    (header.from, header.to) = (oldest.from, latest.to);
    let mut superseded = 0u64;
    for source in sources {
        walk(log, source, newest, |_, entry| {
            if let Entry::Gone { fresh, .. } = entry {
                superseded = superseded.saturating_add(fresh);
            }
            Ok(())
        })?;
    }
    header.ledger.superseded = header.ledger.superseded.saturating_add(superseded);
    let merged = log.live.create(len, &header)?;
    let result = write_merged(log, sources, &merged, newest);
    if let Err(error) = result {
        log.live.discard(merged);
        return Err(error);
    }
    log.live.replace(sources, merged);
    log.gone = log.gone.saturating_add(superseded);
    log.ledger.superseded = header.ledger.superseded;
    if sources.iter().any(|source| source.id == log.head.id) {
        log.head = Place {
            id: merged.id,
            offset: SEGMENT_HEADER,
        };
    }
    Ok(())
}

/// Syncs three times: the header, without which it would count as an ordinary segment; the records; and the end, which
/// must not be durable before what it stands for.
fn write_merged<L, D, const MAX: usize>(
    log: &mut LogOutbox<L, D, MAX>,
    sources: &[Segment],
    merged: &Segment,
    newest: &Newest,
) -> Result<(), LogError<L::Error>>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    let mut at = Place {
        id: merged.id,
        offset: SEGMENT_HEADER,
    };
    log.live.storage.sync(at.id).map_err(LogError::Device)?;
    for source in sources {
        walk(log, source, newest, |log, entry| {
            let len = entry.len();
            match entry {
                Entry::Report(place, header) => log.live.copy(place, &header, at)?,
                Entry::Gone { first, last, .. } => {
                    let last = last.to_le_bytes();
                    let header = header_of(Kind::Gone, first, &last, &[]);
                    log.live.write_record(at, &header, &last, &[])?;
                    let second = at.plus(header.record_len());
                    log.live.write_record(second, &header, &last, &[])?;
                }
            }
            at = at.plus(len);
            Ok(())
        })?;
    }
    log.live.storage.sync(at.id).map_err(LogError::Device)?;
    let commit = header_of(Kind::Commit, 0, &[], &[]);
    for place in [at, at.plus(commit.record_len())] {
        log.live.write_record(place, &commit, &[], &[])?;
    }
    log.live.storage.sync(at.id).map_err(LogError::Device)
}
