//! A board with two devices that lose power together: what was not synced may be lost, in parts and in any order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use edge_report::courier::{Storage, StorageLimits};

use super::Rng;

/// What a device writes in one piece.
const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// No segment for notes alone is longer here.
const NOTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceError {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    NoSuchSegment(u32),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for DeviceError {}

/// A write that may not have reached the device.
#[derive(Clone, Debug)]
struct Unsynced {
    offset: usize,
    bytes: Arc<[u8]>,
}

impl Unsynced {
    fn sectors(&self) -> std::ops::RangeInclusive<usize> {
        self.offset / SECTOR..=(self.offset + self.bytes.len() - 1) / SECTOR
    }

    fn touches(&self, sector: usize) -> bool {
        self.sectors().contains(&sector)
    }
}

#[derive(Clone, Debug)]
struct Segment {
    /// What survives a power cut.
    durable: Arc<Vec<u8>>,
    /// What is read.
    view: Arc<Vec<u8>>,
    unsynced: Vec<Unsynced>,
    /// One flag for every 8 bytes: written since the power came.
    written: Arc<Vec<bool>>,
}

/// The bytes of one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    segments: BTreeMap<u32, Segment>,
    used: BTreeSet<u32>,
    /// Made by a call that failed.
    failed: BTreeSet<u32>,
    /// What cannot be read: of a segment from here to there.
    bad: BTreeMap<(u32, usize), usize>,
    blank: u8,
}

impl Image {
    /// A device that is erased to `blank`.
    pub(crate) fn new(blank: u8) -> Self {
        Image {
            blank,
            ..Image::default()
        }
    }

    /// With these segments.
    pub(crate) fn of(segments: impl IntoIterator<Item = (u32, Vec<u8>)>) -> Self {
        let mut image = Image::default();
        for (id, bytes) in segments {
            image.used.insert(id);
            image.segments.insert(id, Segment::of(bytes));
        }
        image
    }

    pub(crate) fn lens(&self) -> Vec<(u32, usize)> {
        self.segments
            .iter()
            .map(|(id, segment)| (*id, segment.view.len()))
            .collect()
    }

    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        &self.segments[&id].view
    }

    /// How many bytes the log asked for.
    pub(crate) fn total(&self) -> usize {
        let asked = self
            .segments
            .iter()
            .filter(|(id, _)| !self.failed.contains(id));
        asked.map(|(_, segment)| segment.view.len()).sum()
    }

    pub(crate) fn flip(&mut self, id: u32, bit: usize) {
        let segment = self.segments.get_mut(&id).unwrap();
        let mut bytes = segment.durable.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        *segment = Segment::of(bytes);
    }

    pub(crate) fn blank(&self) -> u8 {
        self.blank
    }

    /// Without this segment.
    pub(crate) fn remove(&mut self, id: u32) {
        self.segments.remove(&id);
    }

    /// With a segment of these bytes, which the log did not ask for.
    pub(crate) fn put(&mut self, id: u32, bytes: Vec<u8>) {
        self.used.insert(id);
        if !self.segments.contains_key(&id) {
            self.failed.insert(id);
        }
        self.segments.insert(id, Segment::of(bytes));
    }

    /// These bytes cannot be read.
    pub(crate) fn spoil(&mut self, id: u32, bytes: std::ops::Range<usize>) {
        self.bad.insert((id, bytes.start), bytes.end);
    }

    pub(crate) fn is_synced(&self) -> bool {
        let is_synced = |s: &Segment| Arc::ptr_eq(&s.view, &s.durable) || s.view == s.durable;
        self.segments.values().all(is_synced)
    }
}

impl Segment {
    fn of(bytes: Vec<u8>) -> Self {
        Segment::of_shared(&Arc::new(bytes))
    }

    fn touched_sectors(&self) -> BTreeSet<usize> {
        self.unsynced.iter().flat_map(Unsynced::sectors).collect()
    }

    /// What is left when of each touched sector only the first so many writes arrived.
    fn survived(&self, arrived: &BTreeMap<usize, usize>) -> Segment {
        if arrived.values().all(|&n| n == 0) {
            return Segment::of_shared(&self.durable);
        }
        let mut bytes = self.durable.to_vec();
        for (&sector, &count) in arrived {
            let (from, to) = (sector * SECTOR, (sector * SECTOR + SECTOR).min(bytes.len()));
            for write in self.unsynced.iter().take(count) {
                let begin = write.offset.max(from);
                let end = (write.offset + write.bytes.len()).min(to);
                if begin < end {
                    let part = &write.bytes[begin - write.offset..end - write.offset];
                    bytes[begin..end].copy_from_slice(part);
                }
            }
        }
        Segment::of(bytes)
    }

    fn of_shared(durable: &Arc<Vec<u8>>) -> Self {
        Segment {
            view: durable.clone(),
            durable: durable.clone(),
            unsynced: Vec::new(),
            written: Arc::new(vec![false; durable.len() / 8]),
        }
    }
}

/// A call that changes a device.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create {
        id: u32,
        len: usize,
    },
    Write {
        id: u32,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Sync {
        id: u32,
    },
    Discard {
        id: u32,
    },
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Create { id, len } => write!(f, "create {id} of {len}"),
            Call::Write { id, offset, bytes } => {
                write!(f, "write {} to {id} at {offset}", bytes.len())
            }
            Call::Sync { id } => write!(f, "sync {id}"),
            Call::Discard { id } => write!(f, "discard {id}"),
        }
    }
}

/// The two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    Live = 0,
    Dead = 1,
}

pub(crate) type Images = [Image; 2];

/// A moment at which the power can fail: right before or in the middle of a call.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    before: Images,
    side: Side,
    call: Call,
    /// Whether the call failed: then what it does is not done.
    fails: bool,
    /// What the test was doing.
    pub(crate) step: usize,
}

/// How much of what was not synced survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Model {
    Nothing,
    Everything,
    Pages,
    Sectors,
    /// The write at which the power fails is torn at any byte.
    Torn,
}

impl Model {
    pub(crate) const ALL: [Model; 5] = [
        Model::Nothing,
        Model::Everything,
        Model::Pages,
        Model::Sectors,
        Model::Torn,
    ];
}

/// For each segment with something unsynced: how many of the writes to each sector arrived.
type Arrived = BTreeMap<(Side, u32), BTreeMap<usize, usize>>;

impl Cut {
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    /// Gives every different state that the models leave, with `seeds` draws of the random ones.
    pub(crate) fn states(&self, seeds: u64, each: &mut dyn FnMut(Model, Images)) {
        let mut after = self.before.clone();
        let side = self.side as usize;
        if self.fails {
            return self.survivors(seeds, &self.before, each);
        }
        match &self.call {
            Call::Create { id, len } => {
                self.survivors(seeds, &self.before, each);
                after[side].create(*id, *len);
                self.survivors(1, &after, each);
            }
            Call::Discard { id } => {
                self.survivors(seeds, &self.before, each);
                after[side].segments.remove(id);
                self.survivors(1, &after, each);
            }
            Call::Sync { .. } => self.survivors(seeds, &self.before, each),
            Call::Write { id, offset, bytes } => {
                after[side].write(*id, *offset, bytes.clone());
                self.survivors(seeds, &after, each);
                let mut rng = Rng(self.step as u64);
                let background = touched(&self.before);
                let mut choices = vec![nothing(&background)];
                if background.values().any(|sectors| !sectors.is_empty()) {
                    choices.push(everything(&self.before, &background));
                    choices.push(by_sector(&self.before, &background, &mut rng));
                    choices.push(by_page(&self.before, &background, &mut rng));
                }
                choices.sort();
                choices.dedup();
                let survived: Vec<_> = choices.iter().map(|c| survive(&self.before, c)).collect();
                for torn in 1..bytes.len() {
                    // What else is not synced survives in one way or another.
                    let mut images = survived[torn % survived.len()].clone();
                    images[side].tear(*id, *offset, &bytes[..torn]);
                    each(Model::Torn, images);
                }
            }
        }
    }

    fn survivors(&self, seeds: u64, images: &Images, each: &mut dyn FnMut(Model, Images)) {
        let touched = touched(images);
        let mut seen = HashSet::new();
        let mut give = |model, arrived: Arrived| {
            if seen.insert(arrived.clone()) {
                each(model, survive(images, &arrived));
            }
        };
        give(Model::Nothing, nothing(&touched));
        give(Model::Everything, everything(images, &touched));
        for seed in 0..seeds {
            let mut rng = Rng(seed << 32 | self.step as u64);
            give(Model::Pages, by_page(images, &touched, &mut rng));
            give(Model::Sectors, by_sector(images, &touched, &mut rng));
        }
    }
}

type Touched = BTreeMap<(Side, u32), BTreeSet<usize>>;

fn touched(images: &Images) -> Touched {
    let mut touched = Touched::new();
    for side in [Side::Live, Side::Dead] {
        for (id, segment) in &images[side as usize].segments {
            if !segment.unsynced.is_empty() {
                touched.insert((side, *id), segment.touched_sectors());
            }
        }
    }
    touched
}

fn nothing(touched: &Touched) -> Arrived {
    let none = |sectors: &BTreeSet<usize>| sectors.iter().map(|&sector| (sector, 0)).collect();
    touched
        .iter()
        .map(|(at, sectors)| (*at, none(sectors)))
        .collect()
}

fn everything(images: &Images, touched: &Touched) -> Arrived {
    arrived(images, touched, 1, |most| most)
}

fn by_sector(images: &Images, touched: &Touched, rng: &mut Rng) -> Arrived {
    arrived(images, touched, 1, |most| rng.below(most + 1))
}

fn by_page(images: &Images, touched: &Touched, rng: &mut Rng) -> Arrived {
    arrived(images, touched, PAGE / SECTOR, |most| rng.below(most + 1))
}

/// Of each `group` of sectors as many writes arrive as `choose` says.
fn arrived(
    images: &Images,
    touched: &Touched,
    group: usize,
    mut choose: impl FnMut(usize) -> usize,
) -> Arrived {
    let mut arrived = Arrived::new();
    for ((side, id), sectors) in touched {
        let unsynced = &images[*side as usize].segments[id].unsynced;
        let mut chosen = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for &sector in sectors {
            let count = groups
                .entry(sector / group)
                .or_insert_with(|| choose(unsynced.len()));
            // Only the writes to this sector count, so that the same state is found to be the same.
            let last = unsynced[..*count]
                .iter()
                .rposition(|write| write.touches(sector));
            chosen.insert(sector, last.map_or(0, |last| last + 1));
        }
        arrived.insert((*side, *id), chosen);
    }
    arrived
}

/// What the power cut leaves.
fn survive(images: &Images, arrived: &Arrived) -> Images {
    let mut images = images.clone();
    for (side, image) in [Side::Live, Side::Dead].into_iter().zip(&mut images) {
        for (id, segment) in &mut image.segments {
            // What a failed sync lost is gone, too, although nothing is left to be written.
            let none = BTreeMap::new();
            *segment = segment.survived(arrived.get(&(side, *id)).unwrap_or(&none));
        }
    }
    images
}

/// Loses all that is not synced.
pub(crate) fn lose_unsynced(images: &Images) -> Images {
    survive(images, &nothing(&touched(images)))
}

/// Of each sector some of the writes arrive, by `seed`.
pub(crate) fn lose_some(images: &Images, seed: u64) -> Images {
    let touched = touched(images);
    survive(images, &by_sector(images, &touched, &mut Rng(seed)))
}

/// Keeps all of it.
pub(crate) fn keep_unsynced(images: &Images) -> Images {
    survive(images, &everything(images, &touched(images)))
}

impl Image {
    /// An id that is not there may be used again by who does not know, and what is blank be written.
    fn forget(&mut self) {
        self.used = self.segments.keys().copied().collect();
        for segment in self.segments.values_mut() {
            segment.written = Arc::new(vec![false; segment.view.len() / 8]);
        }
    }

    fn create(&mut self, id: u32, len: usize) {
        self.used.insert(id);
        self.segments.insert(id, Segment::of(vec![self.blank; len]));
    }

    fn write(&mut self, id: u32, offset: usize, bytes: Arc<[u8]>) {
        let segment = self.segments.get_mut(&id).unwrap();
        let end = offset + bytes.len();
        Arc::make_mut(&mut segment.view)[offset..end].copy_from_slice(&bytes);
        segment.unsynced.push(Unsynced { offset, bytes });
    }

    /// Writes durably.
    fn tear(&mut self, id: u32, offset: usize, bytes: &[u8]) {
        let segment = self.segments.get_mut(&id).unwrap();
        let mut torn = segment.durable.to_vec();
        torn[offset..offset + bytes.len()].copy_from_slice(bytes);
        *segment = Segment::of(torn);
    }
}

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The number of the call, counted from 0 over all that change a device.
    pub(crate) first: u64,
    /// How many calls fail from there on.
    pub(crate) count: u64,
    pub(crate) error: DeviceError,
    /// Of a write that fails, so many quarters arrive. Of a sync: whether what was written is thrown away
    /// (0), written later (1) or only seems to be there, and never reaches the device (2 and more). Of the
    /// making of a segment: whether it is there (2 and more).
    pub(crate) part: usize,
    /// Whether a call of this kind fails at all: creates, writes, syncs, discards.
    pub(crate) kinds: [bool; 4],
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Accesses {
    pub(crate) calls: u64,
    pub(crate) reads: u64,
    /// Of each device.
    pub(crate) writes: [u64; 2],
    pub(crate) bytes: u64,
    pub(crate) flushes: u64,
    pub(crate) creates: u64,
    pub(crate) discards: u64,
    pub(crate) failed: u64,
    /// The most bytes that all segments of a device had.
    pub(crate) most: [usize; 2],
    /// The longest segment that was made.
    pub(crate) longest: usize,
}

struct Board {
    images: Images,
    limits: [StorageLimits; 2],
    cuts: Option<Vec<Cut>>,
    step: usize,
    fault: Option<Fault>,
    accesses: Accesses,
    /// The bytes that all segments of a device had when it was switched on.
    at_start: [usize; 2],
    /// Which devices had nothing unsynced at some time.
    synced: [bool; 2],
    /// How often what cannot be read fails yet; for good without.
    bad_reads: Option<u32>,
}

/// The handle that the test keeps.
#[derive(Clone)]
pub(crate) struct Power(Rc<RefCell<Board>>);

impl Power {
    pub(crate) fn on(mut images: Images, limits: [StorageLimits; 2]) -> Self {
        images.iter_mut().for_each(Image::forget);
        Power(Rc::new(RefCell::new(Board {
            at_start: [images[0].total(), images[1].total()],
            images,
            limits,
            cuts: None,
            step: 0,
            fault: None,
            accesses: Accesses::default(),
            synced: [false; 2],
            bad_reads: None,
        })))
    }

    pub(crate) fn devices(&self) -> (Device, Device) {
        self.0
            .borrow_mut()
            .images
            .iter_mut()
            .for_each(Image::forget);
        let device = |side| Device {
            board: self.0.clone(),
            side,
        };
        (device(Side::Live), device(Side::Dead))
    }

    pub(crate) fn images(&self) -> Images {
        self.0.borrow().images.clone()
    }

    /// Remembers each moment at which the power can fail.
    pub(crate) fn record(&self) {
        self.0.borrow_mut().cuts = Some(Vec::new());
    }

    /// Nothing of a device can be read, or all of it again.
    pub(crate) fn make_unreadable(&self, side: Side, is_unreadable: bool) {
        let image = &mut self.0.borrow_mut().images[side as usize];
        image.bad.clear();
        for (id, len) in image.lens() {
            if is_unreadable {
                image.spoil(id, 0..len);
            }
        }
    }

    /// These bytes cannot be read any more.
    pub(crate) fn spoil(&self, side: Side, id: u32, bytes: std::ops::Range<usize>) {
        self.0.borrow_mut().images[side as usize].spoil(id, bytes);
    }

    /// What cannot be read fails so often, and then not any more.
    pub(crate) fn heals_after(&self, reads: Option<u32>) {
        self.0.borrow_mut().bad_reads = reads;
    }

    pub(crate) fn step(&self, step: usize) {
        self.0.borrow_mut().step = step;
    }

    pub(crate) fn cuts(&self) -> Vec<Cut> {
        self.0.borrow_mut().cuts.take().unwrap_or_default()
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.0.borrow_mut().fault = fault;
    }

    pub(crate) fn accesses(&self) -> Accesses {
        self.0.borrow().accesses
    }

    /// Whether everything written was synced at some time since this was asked.
    pub(crate) fn was_synced(&self, side: Side) -> bool {
        std::mem::take(&mut self.0.borrow_mut().synced[side as usize])
    }

    /// Whether everything written would survive a power cut.
    pub(crate) fn is_synced(&self, side: Side) -> bool {
        self.0.borrow().images[side as usize].is_synced()
    }
}

pub(crate) struct Device {
    board: Rc<RefCell<Board>>,
    side: Side,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.side)
    }
}

impl Board {
    /// Remembers the moment, and says whether the call shall fail.
    fn call(&mut self, side: Side, call: Call) -> Option<Fault> {
        let number = self.accesses.calls;
        self.accesses.calls += 1;
        let kind = match &call {
            Call::Create { .. } => 0,
            Call::Write { .. } => 1,
            Call::Sync { .. } => {
                self.accesses.flushes += 1;
                2
            }
            Call::Discard { .. } => 3,
        };
        let hit = |fault: &Fault| number >= fault.first && number - fault.first < fault.count;
        let fault = self.fault.filter(|fault| hit(fault) && fault.kinds[kind]);
        if let Some(cuts) = &mut self.cuts {
            cuts.push(Cut {
                before: self.images.clone(),
                side,
                call,
                fails: fault.is_some(),
                step: self.step,
            });
        }
        self.accesses.failed += u64::from(fault.is_some());
        fault
    }
}

impl Storage for Device {
    type Error = DeviceError;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), DeviceError> {
        // From the last to the first: any order is right.
        for (id, len) in self.board.borrow().images[self.side as usize]
            .lens()
            .into_iter()
            .rev()
        {
            each(id, len);
        }
        Ok(())
    }

    fn limits(&self) -> StorageLimits {
        self.board.borrow().limits[self.side as usize]
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), DeviceError> {
        let mut board = self.board.borrow_mut();
        let limits = board.limits[self.side as usize];
        let (least, most) = (limits.segment, limits.total);
        let image = &board.images[self.side as usize];
        assert!(
            len.is_multiple_of(limits.length_unit) && len <= limits.longest_segment,
            "create {id}: a length of {len}"
        );
        assert!(
            !image.used.contains(&id),
            "create {id}: the id was used before"
        );
        // One segment more while others are compacted, another after a failed sync, and two short ones for notes.
        let rewritten = match board.accesses.failed {
            0 => 0,
            _ => board.accesses.longest,
        };
        // More is there already if the power was cut meanwhile.
        let most = most.max(board.at_start[self.side as usize]);
        let total = image.total() + len;
        assert!(
            total <= most + least.max(len) + rewritten + 2 * NOTES.min(least),
            "create {id} of {len}: {total} > {most} and a segment, {:?}",
            image.lens()
        );
        if let Some(fault) = board.call(self.side, Call::Create { id, len }) {
            let image = &mut board.images[self.side as usize];
            image.used.insert(id);
            if fault.part >= 2 {
                image.create(id, len);
                image.failed.insert(id);
            }
            return Err(fault.error);
        }
        board.accesses.creates += 1;
        board.accesses.longest = board.accesses.longest.max(len);
        let image = &mut board.images[self.side as usize];
        image.create(id, len);
        let total = image.total();
        let seen = &mut board.accesses.most[self.side as usize];
        *seen = total.max(*seen);
        Ok(())
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), DeviceError> {
        let mut board = self.board.borrow_mut();
        let board = &mut *board;
        board.accesses.reads += 1;
        let image = &board.images[self.side as usize];
        let end = offset + buffer.len();
        let mut bad = image.bad.range((id, 0)..=(id, usize::MAX));
        if bad.any(|((_, from), to)| offset < *to && *from < end) {
            match &mut board.bad_reads {
                // Not any more.
                Some(0) => {}
                Some(left) => {
                    *left -= 1;
                    return Err(DeviceError::Io);
                }
                None => return Err(DeviceError::Io),
            }
        }
        let segment = image
            .segments
            .get(&id)
            .ok_or(DeviceError::NoSuchSegment(id))?;
        let part = segment.view.get(offset..offset + buffer.len());
        buffer.copy_from_slice(part.expect("reads past the end"));
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut board = self.board.borrow_mut();
        let unit = board.limits[self.side as usize].write_unit;
        let image = &mut board.images[self.side as usize];
        let blank = image.blank;
        let segment = image
            .segments
            .get_mut(&id)
            .ok_or(DeviceError::NoSuchSegment(id))?;
        assert!(
            offset.is_multiple_of(unit) && bytes.len().is_multiple_of(unit) && !bytes.is_empty(),
            "write {id}: not aligned"
        );
        let end = offset + bytes.len();
        assert!(end <= segment.view.len(), "write {id}: past the end");
        let there = &segment.view[offset..end];
        assert!(
            there.iter().all(|&b| b == blank),
            "write {id}: over something at {offset}"
        );
        let written = &mut Arc::make_mut(&mut segment.written)[offset / 8..end / 8];
        assert!(!written.iter().any(|&w| w), "write {id}: twice at {offset}");
        written.fill(true);
        let bytes: Arc<[u8]> = bytes.into();
        let fault = board.call(
            self.side,
            Call::Write {
                id,
                offset,
                bytes: bytes.clone(),
            },
        );
        let image = &mut board.images[self.side as usize];
        match fault {
            None => {
                image.write(id, offset, bytes.clone());
                board.accesses.writes[self.side as usize] += 1;
                board.accesses.bytes += bytes.len() as u64;
            }
            Some(fault) => {
                let part = bytes.len() * fault.part.min(4) / 4;
                if part > 0 {
                    image.write(id, offset, bytes[..part].into());
                }
                return Err(fault.error);
            }
        }
        Ok(())
    }

    fn sync(&mut self, id: u32) -> Result<(), DeviceError> {
        let mut board = self.board.borrow_mut();
        let fault = board.call(self.side, Call::Sync { id });
        let image = &mut board.images[self.side as usize];
        let segment = image
            .segments
            .get_mut(&id)
            .ok_or(DeviceError::NoSuchSegment(id))?;
        match fault.map(|fault| (fault.part, fault.error)) {
            None => {
                segment.apply();
                board.synced[self.side as usize] |= board.images[self.side as usize].is_synced();
                Ok(())
            }
            Some((0, error)) => {
                segment.unsynced.clear();
                segment.view = segment.durable.clone();
                Err(error)
            }
            Some((1, error)) => Err(error),
            Some((_, error)) => {
                segment.unsynced.clear();
                Err(error)
            }
        }
    }

    fn discard(&mut self, id: u32) -> Result<(), DeviceError> {
        let mut board = self.board.borrow_mut();
        if let Some(fault) = board.call(self.side, Call::Discard { id }) {
            return Err(fault.error);
        }
        board.accesses.discards += 1;
        let image = &mut board.images[self.side as usize];
        image.segments.remove(&id);
        Ok(())
    }
}

impl Segment {
    fn apply(&mut self) {
        let mut durable = self.durable.to_vec();
        for write in self.unsynced.drain(..) {
            durable[write.offset..write.offset + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        self.durable = Arc::new(durable);
    }
}
