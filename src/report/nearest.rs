//! Which known status a name was likely meant to be.

use super::model::JobStatus;

/// The letters and digits of a name, in lower case and without `job`. Whoever has more of them misspelt no status.
type Letters = heapless::Vec<u8, 28>;

/// The known status that differs least, if that is by a third of its letters at the most: `running` and `job_runing` are `job_running`.
#[inline(never)]
pub(super) fn nearest(name: &mut dyn Iterator<Item = char>) -> Option<JobStatus<'static>> {
    let meant = letters(name)?;
    let mut nearest = None;
    let mut fewest = usize::MAX;
    for known in JobStatus::KNOWN {
        let edits = edits(&meant, &letters(&mut known.name().chars())?);
        if edits < fewest {
            (nearest, fewest) = (Some(*known), edits);
        }
    }
    nearest.filter(|_| fewest.saturating_mul(3) <= meant.len())
}

fn letters(name: &mut dyn Iterator<Item = char>) -> Option<Letters> {
    let mut letters = Letters::new();
    for letter in name.filter(char::is_ascii_alphanumeric) {
        letters.push(letter.to_ascii_lowercase() as u8).ok()?;
        if letters == b"job" {
            letters.clear();
        }
    }
    Some(letters)
}

/// How many letters must be added, left out or changed to make one of the other.
fn edits(from: &[u8], to: &[u8]) -> usize {
    // A row of the table of all beginnings of the one and the other, without its first column.
    let mut row: heapless::Vec<usize, 28> = heapless::Vec::new();
    for column in 1..=to.len() {
        let _ = row.push(column);
    }
    for (before, a) in from.iter().enumerate() {
        let mut diagonal = before;
        let mut left = before.saturating_add(1);
        for (cell, b) in row.iter_mut().zip(to) {
            let changed = diagonal.saturating_add(usize::from(a != b));
            diagonal = *cell;
            left = changed
                .min(diagonal.saturating_add(1))
                .min(left.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(from.len())
}
