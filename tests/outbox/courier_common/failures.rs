//! Collects what fails over many states.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::device::Images;

/// The first failures are told, the rest counted.
#[derive(Default)]
pub(crate) struct Failures(Mutex<(usize, BTreeMap<String, String>)>);

impl Failures {
    pub(crate) fn note(&self, failure: &str, place: impl Fn() -> String) {
        let kind: String = failure.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut failures = self.0.lock().unwrap();
        failures.0 += 1;
        failures
            .1
            .entry(kind)
            .or_insert_with(|| format!("{failure}: {}", place()));
    }

    pub(crate) fn end(self) {
        let (count, kinds) = self.0.into_inner().unwrap();
        assert_eq!(
            count,
            0,
            "failed states:\n{:#?}",
            kinds.values().collect::<Vec<_>>()
        );
    }
}

/// A panic is a failure like the others.
pub(crate) fn guarded<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("a panic").to_owned())
    })
}

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Gives each cut to one of several threads.
pub(crate) fn in_threads<T: Sync>(items: &[T], each: impl Fn(usize, &T) + Sync) {
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                loop {
                    let index = taken.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        break;
                    };
                    each(index, item);
                }
            });
        }
    });
}

pub(crate) fn dump(images: &Images) -> String {
    let mut out = String::new();
    if std::env::var("EDGE_REPORT_DUMP").is_err() {
        return out;
    }
    for (side, image) in images.iter().enumerate() {
        for (id, len) in image.lens() {
            let bytes = image.bytes(id);
            let n = |o: usize| u32::from_le_bytes(bytes[o..o + 4].try_into().unwrap());
            let long = |o: usize| u64::from_le_bytes(bytes[o..o + 8].try_into().unwrap());
            let head = if &bytes[..6] == b"EDGLOG" {
                let checkpoint: Vec<_> = (48..136).step_by(8).map(long).collect();
                format!(
                    "{} of {:?} {checkpoint:?}",
                    long(24),
                    [n(32), n(36), n(40), n(44)]
                )
            } else {
                "no header".into()
            };
            out += &format!("\n   {side}/{id} {len}: {head}:");
            for o in (160..len - 160).step_by(8) {
                if bytes[o..o + 2] == [0x1e, 2] {
                    out += &format!(
                        " {}{}@{o}+{} {}#{}",
                        ["", "R", "C", "S", "L", "F", "E"][bytes[o + 2] as usize % 7],
                        bytes[o + 3],
                        n(o + 4),
                        long(o + 8),
                        long(o + 16)
                    );
                }
            }
        }
    }
    out
}
