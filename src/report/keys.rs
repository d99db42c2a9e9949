//! The jobs of a report that is JSON, as [`Encode::job_keys`](super::Encode::job_keys) gives those of a typed one.

use super::model::JobStatus;
use crate::json::{Scanner, Token};

/// Takes the id of a job, and whether its status is final. `None` ends the reading.
pub(crate) type TakeJob<'t> = dyn FnMut(Option<i64>, bool) -> Option<()> + 't;

/// Gives each job to `take`; `None` if that ends it, or if this is not JSON.
pub(crate) fn read_job_keys(report: &[u8], take: &mut TakeJob<'_>) -> Option<()> {
    let mut scanner = Scanner::new(report);
    let mut in_jobs = false;
    let mut job_id = None;
    let mut is_final = false;
    let mut member = None;
    while let Some(token) = scanner.next_token().ok()? {
        let depth = scanner.depth();
        match token {
            Token::Key(key) if depth == 1 => in_jobs = key.is("jobs"),
            Token::Key(key) if depth == 3 && in_jobs => member = Some(key),
            Token::ObjectStart if depth == 3 && in_jobs => (job_id, is_final) = (None, false),
            Token::ObjectEnd if depth == 2 && in_jobs => take(job_id, is_final)?,
            Token::Number(number) if depth == 3 && member.is_some_and(|m| m.is("job_id")) => {
                job_id = Some(number.to_i64()?);
            }
            Token::String(text) if depth == 3 && member.is_some_and(|m| m.is("status")) => {
                is_final = JobStatus::KNOWN
                    .iter()
                    .any(|s| s.is_final() && text.is(s.name()));
            }
            _ => {}
        }
    }
    Some(())
}
