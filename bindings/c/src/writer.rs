//! A report job by job, in the caller's memory.

use core::ffi::c_void;
use core::mem::{MaybeUninit, align_of, size_of};

use edge_report::json::SliceSink;
use edge_report::{Code, ReportWriter};

use crate::error::{Failure, edge_report_error};
use crate::guard::{State, guard};
use crate::report::{checked_job, edge_report_job, envelope};
use crate::sized::{Room, required};
use crate::types::{Output, buffer, edge_report_result, edge_report_str, reference};

/// A report that is written job by job, for agents that cannot hold all jobs at once. In the caller's memory, which must not move
/// between `edge_report_writer_init` and `edge_report_writer_finish`; no part of it is to be touched. It needs no freeing.
#[repr(C)]
pub struct edge_report_writer {
    /// The library's own.
    pub private_: [u64; 12],
}

type Writer = ReportWriter<'static, SliceSink<'static>>;

/// What stands in `edge_report_writer`.
struct Inner {
    state: State,
    writer: MaybeUninit<Writer>,
}

const _: () = {
    assert!(size_of::<Inner>() <= size_of::<edge_report_writer>());
    assert!(align_of::<Inner>() <= align_of::<edge_report_writer>());
};

/// Begins a report in a buffer. The room for its end is set aside, so that `edge_report_writer_finish` always fits.
/// May be called again for a new report; one that was begun before is dropped.
///
/// Borrows `buffer`, `msg_confirm_topic` and `message_id` until `edge_report_writer_finish`. One thread at a time. Does not block.
///
/// @param writer            memory for the writer; its content does not matter.
/// @param msg_confirm_topic may be absent.
/// @return EDGE_REPORT_OK. After an error the writer is not usable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_writer_init(
    writer: *mut edge_report_writer,
    buffer: *mut c_void,
    capacity: usize,
    msg_confirm_topic: edge_report_str,
    message_id: edge_report_str,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let place = Output::new(writer.cast::<Inner>(), "writer")?;
        let ended = Inner {
            state: State::ready(),
            writer: MaybeUninit::uninit(),
        };
        ended.state.end();
        place.set(ended);
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let (topic, message_id) = unsafe { envelope(msg_confirm_topic, message_id) }?;
        place.set(Inner {
            state: State::ready(),
            writer: MaybeUninit::new(ReportWriter::over(buffer, topic, message_id)?),
        });
        Ok(())
    })
}

/// Adds a job. One that is invalid or does not fit leaves what was written before intact.
///
/// Borrows `job` for the call. One thread at a time. Does not block.
///
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with how many bytes the report would need with this job; or what is
///         wrong with the job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_writer_job(
    writer: *mut edge_report_writer,
    job: *const edge_report_job,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, writer) = unsafe { open(writer) }?;
        let room = &mut Room::new();
        let job = unsafe { required(job, "job", room) }?;
        state.run("writer", || {
            let job = unsafe { checked_job(job, writer.jobs()) }?;
            Ok(writer.job(&job)?)
        })
    })
}

/// Tells how many jobs are written, and how many bytes the report has if it ends here.
///
/// Borrows its arguments for the call. Threads may share the writer for it. Does not block.
///
/// @param jobs may be NULL.
/// @param len  may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_writer_status(
    writer: *const edge_report_writer,
    jobs: *mut usize,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let jobs = Output::optional(jobs, "jobs")?;
        let len = Output::optional(len, "len")?;
        let inner: &Inner = unsafe { reference(writer.cast(), "writer") }?;
        inner.state.check("writer")?;
        // SAFETY: the state says that it was begun and is not ended.
        let writer = unsafe { inner.writer.assume_init_ref() };
        if let Some(jobs) = jobs {
            jobs.set(writer.jobs());
        }
        if let Some(len) = len {
            len.set(writer.encoded_len());
        }
        Ok(())
    })
}

/// Ends the report: its bytes stand at the front of the buffer. The writer can only be begun again after this, whatever the result.
///
/// Gives the borrowed memory back. One thread at a time. Does not block.
///
/// @return EDGE_REPORT_OK, or EDGE_REPORT_E_EMPTY if there is no job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_writer_finish(
    writer: *mut edge_report_writer,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let (state, writer) = unsafe { open(writer) }?;
        // Taken out once, since the state ends here.
        // SAFETY: the state ends before anybody could read it a second time.
        let writer = unsafe { core::ptr::read(writer) };
        state.end();
        len.set(writer.finish()?.into_written().len());
        Ok(())
    })
}

/// # Safety
/// `writer` is the caller's alone for `'a`.
unsafe fn open<'a>(
    writer: *mut edge_report_writer,
) -> Result<(&'a State, &'a mut Writer), Failure> {
    let inner: *mut Inner = writer.cast();
    if inner.is_null() {
        return Err(Failure::at(Code::NullPointer, "writer"));
    }
    if !inner.is_aligned() {
        return Err(Failure::at(Code::OutOfRange, "writer"));
    }
    // SAFETY: checked above for NULL and alignment, and the caller's alone.
    let state = unsafe { &(*inner).state };
    state.check("writer")?;
    // SAFETY: the state says that it was begun and is not ended.
    Ok((state, unsafe { (*inner).writer.assume_init_mut() }))
}
