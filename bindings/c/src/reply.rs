//! What the response to a report means.

use core::ffi::c_void;

use edge_report::exchange::{MAX_REPLY_BYTES, Reply, ReplyHeaders, ServiceCodes, read_reply_with};
use edge_report::json::{SliceSink, Text};
use edge_report::{Code, WallTime};

use crate::error::{Failure, edge_report_error};
use crate::guard::guard;
use crate::sized::Answer;
use crate::types::{Output, array, buffer, bytes, edge_report_result, edge_report_str};

/// What a response means: one of `EDGE_REPORT_OUTCOME_…`.
pub type edge_report_outcome = u32;

/// The most bytes of a body that can be accepted or refused. Of a longer one, give at least one byte more: cut, it might be taken for
/// another.
pub const EDGE_REPORT_MAX_REPLY_BYTES: usize = 65536;
const _: () = assert!(EDGE_REPORT_MAX_REPLY_BYTES == MAX_REPLY_BYTES);

/// The most prefixes of error codes that can be set.
pub const EDGE_REPORT_MAX_SERVICE_CODES: usize = 8;
const _: () = assert!(EDGE_REPORT_MAX_SERVICE_CODES == ServiceCodes::MOST);

/// A response, read. The texts are as they stand in JSON: `edge_report_unescape` decodes them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_reply {
    /// Its size: begin with `EDGE_REPORT_REPLY_INIT`.
    pub struct_size: usize,
    /// What it means.
    pub outcome: edge_report_outcome,
    /// The HTTP status.
    pub status: u32,
    /// For instance `DLI.0001`; may be absent, as the following.
    pub error_code: edge_report_str,
    /// The service's reason.
    pub error_msg: edge_report_str,
    /// What the service says beside `is_success`.
    pub message: edge_report_str,
    /// The gateway's name for the request.
    pub request_id: edge_report_str,
    /// How long the server asks to wait, if `has_retry_after` is not 0.
    pub retry_after_ms: u64,
    /// By how much the server's clock is ahead, if `has_clock_skew` is not 0.
    pub clock_skew_ms: i64,
    /// Whether `retry_after_ms` counts.
    pub has_retry_after: u32,
    /// Whether `clock_skew_ms` counts.
    pub has_clock_skew: u32,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Reads the response to a report. The body may be cut or anything else: a report is accepted or refused only by a whole JSON object
/// of the service itself, of EDGE_REPORT_MAX_REPLY_BYTES at the most. With 400, 404, 405, 409, 413 and 422, and with an `error_code`
/// under 200, that is one whose `error_code` is `DLI.` and digits: others may refuse what they know nothing of, and their responses
/// are EDGE_REPORT_OUTCOME_NOT_UNDERSTOOD.
///
/// Borrows all arguments for the call; the texts of the result borrow from `body`. Any thread. Does not block.
///
/// @param status      the HTTP status.
/// @param retry_after the header `Retry-After`; may be absent.
/// @param date        the header `Date`; may be absent.
/// @param unix_ms     the wall clock when the response came, as it is: without the correction of edge_report_step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_read_reply(
    status: u32,
    retry_after: edge_report_str,
    date: edge_report_str,
    body: *const c_void,
    body_len: usize,
    unix_ms: i64,
    reply: *mut edge_report_reply,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(reply, "reply") }?;
        let body = unsafe { bytes(body, body_len, "body") }?;
        let codes = ServiceCodes::default();
        unsafe { read_reply_of(out, &codes, status, retry_after, date, body, unix_ms) }
    })
}

/// Like `edge_report_read_reply`, for a service with error codes of its own.
///
/// Borrows all arguments for the call; the texts of the result borrow from `body`. Any thread. Does not block.
///
/// @param service_codes     the prefixes by which the service's error codes are known, EDGE_REPORT_MAX_SERVICE_CODES at the most,
///                          each of printable ASCII and not empty. A code is the service's when it is one of them and at least one
///                          character more; after `DLI.`, digits and nothing else.
/// @param service_codes_len how many; 0 stands for `DLI.` alone.
/// @return EDGE_REPORT_OK, or EDGE_REPORT_E_SERVICE_CODES.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_read_reply_with(
    service_codes: *const edge_report_str,
    service_codes_len: usize,
    status: u32,
    retry_after: edge_report_str,
    date: edge_report_str,
    body: *const c_void,
    body_len: usize,
    unix_ms: i64,
    reply: *mut edge_report_reply,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(reply, "reply") }?;
        let texts = &mut [""; ServiceCodes::MOST];
        let codes = unsafe { read_service_codes(service_codes, service_codes_len, texts) }?;
        let codes = match codes {
            None => ServiceCodes::default(),
            Some(texts) => ServiceCodes::new(texts.iter().copied())
                .map_err(|code| Failure::at(code, "service_codes"))?,
        };
        let body = unsafe { bytes(body, body_len, "body") }?;
        unsafe { read_reply_of(out, &codes, status, retry_after, date, body, unix_ms) }
    })
}

/// # Safety
/// The views must hold for the call.
unsafe fn read_reply_of(
    out: Answer<edge_report_reply>,
    codes: &ServiceCodes<'_>,
    status: u32,
    retry_after: edge_report_str,
    date: edge_report_str,
    body: &[u8],
    unix_ms: i64,
) -> Result<(), Failure> {
    let status = u16::try_from(status).map_err(|_| Failure::at(Code::OutOfRange, "status"))?;
    // What is not UTF-8 is none of the forms that are known.
    let retry_after = unsafe { retry_after.bytes("retry_after") }?;
    let date = unsafe { date.bytes("date") }?;
    let headers = ReplyHeaders::default()
        .with_retry_after(retry_after.and_then(|bytes| core::str::from_utf8(bytes).ok()))
        .with_date(date.and_then(|bytes| core::str::from_utf8(bytes).ok()));
    let reply = read_reply_with(codes, status, headers, body);
    out.fill(|to| to.fill(&reply, WallTime::from_unix_ms(unix_ms)));
    Ok(())
}

/// Decodes a text of a response: from how it stands in JSON to plain UTF-8, which is never longer.
///
/// Borrows all arguments for the call. Any thread. Does not block.
///
/// @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are enough.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_unescape(
    text: edge_report_str,
    buffer: *mut c_void,
    capacity: usize,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let text = unsafe { text.text("text") }?.unwrap_or_default();
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let mut sink = SliceSink::new(buffer);
        if Text::from_raw(text).decode(&mut sink).is_err() {
            len.set(text.len());
            return Err(Failure::too_small(text.len()));
        }
        len.set(sink.written().len());
        Ok(())
    })
}

/// The texts of these views; none for their number 0.
///
/// # Safety
/// The views must hold for `'a`.
pub(crate) unsafe fn read_service_codes<'t, 'a>(
    codes: *const edge_report_str,
    len: usize,
    texts: &'t mut [&'a str; ServiceCodes::MOST],
) -> Result<Option<&'t [&'a str]>, Failure> {
    let codes = unsafe { array(codes, len, "service_codes") }?;
    let Some(texts) = texts.get_mut(..codes.len()) else {
        return Err(Failure::at(Code::ServiceCodes, "service_codes"));
    };
    for (to, from) in texts.iter_mut().zip(codes) {
        *to = unsafe { from.required("service_codes") }?;
    }
    Ok((!texts.is_empty()).then_some(texts))
}

impl edge_report_reply {
    /// Fills one in that is all zeros.
    pub(crate) fn fill(&mut self, reply: &Reply<'_>, now: WallTime) {
        let text =
            |text: Option<Text<'_>>| edge_report_str::from_option(text.map(|text| text.raw()));
        self.outcome = u32::from(reply.outcome.number());
        self.status = u32::from(reply.status);
        self.error_code = text(reply.error_code);
        self.error_msg = text(reply.error_msg);
        self.message = text(reply.message);
        self.request_id = text(reply.request_id);
        if let Some(ms) = reply.retry_after_ms(now) {
            self.retry_after_ms = ms;
            self.has_retry_after = 1;
        }
        if let Some(ms) = reply.clock_skew_ms(now) {
            self.clock_skew_ms = ms;
            self.has_clock_skew = 1;
        }
    }
}
