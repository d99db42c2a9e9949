//! Watches of a Flink cluster: the handle, in the caller's memory.

use core::ffi::c_void;

use edge_report::flink::{MappedJob, ResponseError, Slot, Step, Watch};
use edge_report::json::SliceSink;
use edge_report::{Code, Encode, MonoTime};

use crate::error::{Failure, edge_report_error};
use crate::flink::{
    edge_report_flink_config, edge_report_flink_mapped_job, edge_report_flink_state,
    edge_report_flink_step, read_config, read_jid,
};
use crate::guard::{State, guard};
use crate::sized::Answer;
use crate::storage::{ALIGN, Arena, room_of};
use crate::types::{Output, buffer, bytes, edge_report_result, edge_report_str, reference};

/// Learns from a Flink cluster what its jobs do, and says what to report. Opaque.
///
/// It asks nothing itself: it names the paths of Flink's REST API (versions 1.10 to 2.3), and reads what came back. docs/flink.md says what becomes
/// a report and when. One request is out at a time. Any order of calls leaves it valid.
pub struct edge_report_flink {
    state: State,
    watch: AnyWatch,
}

type AnyWatch = Watch<'static, &'static mut [Slot], &'static mut [u8]>;

/// How much memory a watch takes at the most, beside its jobs and texts.
#[cfg(target_pointer_width = "64")]
pub const EDGE_REPORT_FLINK_SIZE: usize = 5632;
/// How much memory a watch takes at the most, beside its jobs and texts.
#[cfg(target_pointer_width = "32")]
pub const EDGE_REPORT_FLINK_SIZE: usize = 5120;
/// How much memory each job of the table takes at the most.
pub const EDGE_REPORT_FLINK_SLOT_SIZE: usize = 144;

const _: () = {
    assert!(room_of::<edge_report_flink>() + 2 * (ALIGN - 1) <= EDGE_REPORT_FLINK_SIZE);
    assert!(size_of::<Slot>() <= EDGE_REPORT_FLINK_SLOT_SIZE);
    // So that what they take can be told in C.
    assert!(size_of::<MappedJob<'_>>() <= size_of::<edge_report_flink_mapped_job>());
};

/// Makes a watch that knows nothing yet, in the caller's memory. No build needs a heap for it.
///
/// `EDGE_REPORT_FLINK_MEMORY(jobs, text_bytes)` is enough, and for a configuration with mapped jobs the size of that table more. All memory that is left is
/// for the texts of one report: 4 KB are enough for an end with its exception and metrics; more, for more jobs in a report and for plans (2 to 60 KB each).
/// What has no room there is cut or left out; a status is always reported.
///
/// Takes the memory until `edge_report_flink_free`, and borrows the texts of the configuration as long; borrows the rest for the call. Any thread. Does not
/// block.
///
/// @param jobs   for how many jobs there is room, greater than 0: all that run at once, and some more. Ended ones leave when they are reported.
/// @param config NULL: the defaults.
/// @param flink  gives the handle, which is in the memory.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with the least length of memory; or what is wrong with the arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_new(
    memory: *mut c_void,
    memory_len: usize,
    jobs: usize,
    config: *const edge_report_flink_config,
    flink: *mut *mut edge_report_flink,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(flink, "flink")?;
        let config = unsafe { read_config(config) }?;
        if jobs == 0 {
            return Err(Failure::at(Code::OutOfRange, "jobs"));
        }
        let given = unsafe { config.mapped() }?;
        let mut arena = unsafe { Arena::new(memory, memory_len) }?;
        let tables = room_for::<Slot>(jobs).saturating_add(room_for::<MappedJob<'_>>(given.len()));
        let needed = tables.saturating_add(room_of::<edge_report_flink>());
        let too_small = || Failure::too_small(needed.saturating_add(arena.skipped));
        let texts = arena.left().checked_sub(needed).ok_or_else(too_small)? & !(ALIGN - 1);
        let none = MappedJob { job: "", job_id: 0 };
        let (Some(handle), Some(slots), Some(mapped), Some(texts)) = (
            arena.room::<edge_report_flink>(),
            arena.table(jobs, Slot::EMPTY),
            arena.table(given.len(), none),
            arena.bytes(texts),
        ) else {
            return Err(Failure::too_small(needed));
        };
        for (to, from) in mapped.iter_mut().zip(given) {
            *to = unsafe { from.read() }?;
        }
        let options = unsafe { config.options(mapped) }?;
        let watch = Watch::new(slots, texts, options);
        let state = State::ready();
        out.set(handle.write(edge_report_flink { state, watch }));
        Ok(())
    })
}

/// What a table of so many takes of an arena.
const fn room_for<T>(len: usize) -> usize {
    len.saturating_mul(size_of::<T>()).saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

/// Frees a watch: gives its memory back. The handle is not usable after it. NULL is fine.
///
/// Takes the watch. One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_free(flink: *mut edge_report_flink) {
    // It has nothing on a heap.
    if let Ok((state, _)) = unsafe { open(flink) } {
        state.end();
    }
}

/// Says what to do next. Calling it again changes nothing, until it is told what came of it: by `edge_report_flink_response`,
/// `edge_report_flink_failed` or `edge_report_flink_reported`.
///
/// `EDGE_REPORT_FLINK_REPORT(text_bytes)` bytes are enough for any report, and the half of it for all that Flink is known to say.
///
/// The step's path and message id are borrowed from the watch until the next call with it, its body is in the buffer. One thread at a time. Does not block.
///
/// @param buffer where the bytes of a report are written.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with how many bytes are enough: the report stays, and is offered again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_next(
    flink: *mut edge_report_flink,
    now_ms: u64,
    buffer: *mut c_void,
    capacity: usize,
    step: *mut edge_report_flink_step,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(step, "step") }?;
        let (state, watch) = unsafe { open(flink) }?;
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let now = MonoTime::from_ms(now_ms);
        state.run("flink", || {
            let step = watch.next(now);
            let mut sink = SliceSink::new(buffer);
            if let Step::Report(draft) = &step {
                draft.report().encode_into(&mut sink)?;
            }
            out.fill(|to| to.fill(step, sink.written(), now));
            Ok(())
        })
    })
}

/// Takes Flink's response to the path that `edge_report_flink_next` gave: any status, any body, whole or cut. Read up to 1 MiB.
///
/// Borrows the body for the call. One thread at a time. Does not block.
///
/// @param status the HTTP status.
/// @return EDGE_REPORT_OK; or why the response was of no use, for a log: the watch goes on. EDGE_REPORT_E_FLINK_STATUS: not 200 to 299;
///         EDGE_REPORT_E_FLINK_OTHER_JOB; EDGE_REPORT_E_FLINK_NOT_ASKED; or what is wrong with the body, with its offset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_response(
    flink: *mut edge_report_flink,
    status: u32,
    body: *const c_void,
    body_len: usize,
    now_ms: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, watch) = unsafe { open(flink) }?;
        let body = unsafe { bytes(body, body_len, "body") }?;
        let status = u16::try_from(status).map_err(|_| Failure::at(Code::OutOfRange, "status"))?;
        state.run("flink", || {
            Ok(watch.response(status, body, MonoTime::from_ms(now_ms))?)
        })
    })
}

/// Tells that no response came, or one that is too large: the connection, a timeout.
///
/// One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_failed(
    flink: *mut edge_report_flink,
    now_ms: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, watch) = unsafe { open(flink) }?;
        state.run("flink", || {
            watch.failed(MonoTime::from_ms(now_ms));
            Ok(())
        })
    })
}

/// Tells whether the report that `edge_report_flink_next` gave is stored. If not, it comes again after `poll_ms`: one of an end with the same bytes, others
/// as things stand then. One that can never be stored (EDGE_REPORT_E_TOO_LARGE_FOR_OUTBOX) keeps others waiting until it is told as stored.
///
/// One thread at a time. Does not block.
///
/// @param is_stored 0, or 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_reported(
    flink: *mut edge_report_flink,
    is_stored: u32,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, watch) = unsafe { open(flink) }?;
        state.run("flink", || {
            watch.reported(is_stored != 0);
            Ok(())
        })
    })
}

/// Tells that the agent itself asked this job to stop: if it ends as `FINISHED`, as with a savepoint, that is reported as `job_cancel_success`.
///
/// Borrows the id for the call. One thread at a time. Does not block.
///
/// @param jid      Flink's id, 32 hex digits.
/// @param is_known gives 1 if the job is in the table, else 0, and nothing is done; may be NULL.
/// @return EDGE_REPORT_OK, or EDGE_REPORT_E_FLINK_JOB_ID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_stop_asked(
    flink: *mut edge_report_flink,
    jid: edge_report_str,
    is_known: *mut u32,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(is_known, "is_known")?;
        let (state, watch) = unsafe { open(flink) }?;
        let jid = unsafe { read_jid(jid) }?;
        let is_known = state.run("flink", || Ok(watch.stop_asked(jid)))?;
        if let Some(out) = out {
            out.set(u32::from(is_known));
        }
        Ok(())
    })
}

/// Tells under which `job_id` the watch reports a job: what is mapped by hand, else the integer that Flink's id is, else a hash of it.
///
/// Borrows its arguments for the call. Threads may share the watch for it. Does not block.
///
/// @param jid  Flink's id, 32 hex digits.
/// @param name the job's name in Flink; may be absent.
/// @param id   gives it; 0 if the job is reported without one.
/// @return EDGE_REPORT_OK, or EDGE_REPORT_E_FLINK_JOB_ID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_job_id(
    flink: *const edge_report_flink,
    jid: edge_report_str,
    name: edge_report_str,
    id: *mut i64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(id, "id")?;
        let watch = unsafe { shared(flink) }?;
        let jid = unsafe { read_jid(jid) }?;
        let name = unsafe { name.text("name") }?.unwrap_or_default();
        out.set(watch.job_id(jid, name).unwrap_or(0));
        Ok(())
    })
}

/// Writes the table, so that an end is reported once over restarts, too. Save it when a report is stored: what is forgotten by a crash in between is reported
/// again under the same message id.
///
/// One thread at a time. Does not block.
///
/// @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are enough. Required.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_save(
    flink: *mut edge_report_flink,
    buffer: *mut c_void,
    capacity: usize,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let (state, watch) = unsafe { open(flink) }?;
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        state.run("flink", || match watch.save(buffer) {
            Ok(written) => {
                len.set(written);
                Ok(())
            }
            Err(_) => {
                len.set(watch.saved_len());
                Err(Failure::too_small(watch.saved_len()))
            }
        })
    })
}

/// Takes a table that `edge_report_flink_save` wrote: what it has is known, and not reported again. For a new watch, before the first
/// `edge_report_flink_next`; it may have room for another number of jobs.
///
/// Borrows the bytes for the call. One thread at a time. Does not block.
///
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_FLINK_TABLE: damaged, cut, or of another version. Then the watch begins with an empty table, and what it reports again
///         has the message ids that it had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_restore(
    flink: *mut edge_report_flink,
    table: *const c_void,
    table_len: usize,
    now_ms: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, watch) = unsafe { open(flink) }?;
        let table = unsafe { bytes(table, table_len, "table") }?;
        state.run("flink", || {
            let restored = watch.restore(table, MonoTime::from_ms(now_ms));
            restored.map_err(|error| Failure::at(error.code(), "table"))
        })
    })
}

/// Tells how things stand.
///
/// Borrows its arguments for the call. Threads may share the watch for it. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_status(
    flink: *const edge_report_flink,
    status: *mut edge_report_flink_state,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(status, "status") }?;
        let watch = unsafe { shared(flink) }?;
        out.fill(|to| to.fill(watch.status(), watch.saved_len(), watch.needs_saving()));
        Ok(())
    })
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Body(error) => {
                let mut failure = Failure::at(error.code(), error.member());
                failure.offset = error.offset();
                failure
            }
            error => error.code().into(),
        }
    }
}

/// # Safety
/// The watch holds for `'a`.
unsafe fn shared<'a>(flink: *const edge_report_flink) -> Result<&'a AnyWatch, Failure> {
    let flink = unsafe { reference(flink, "flink") }?;
    flink.state.check("flink")?;
    Ok(&flink.watch)
}

/// The state beside the watch, so that a panic in it can be noted.
///
/// # Safety
/// The watch is the caller's alone for `'a`.
unsafe fn open<'a>(
    flink: *mut edge_report_flink,
) -> Result<(&'a State, &'a mut AnyWatch), Failure> {
    unsafe { shared(flink) }?;
    // SAFETY: checked above for NULL and alignment, and the caller's alone; two members.
    Ok(unsafe { (&(*flink).state, &mut (*flink).watch) })
}
