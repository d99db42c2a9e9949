//! The blocking client.

use core::ffi::c_void;
use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

use edge_report::{Client, Code, Encode, Reply, SendError, Waker, WallTime};

use crate::client_settings::{
    build, edge_report_client_config, edge_report_tls, read_tls, refused,
};
use crate::error::{Failure, edge_report_error};
use crate::guard::{State, guard};
use crate::reply::edge_report_reply;
use crate::report::{Source, edge_report_report};
use crate::request::{edge_report_credentials, read_credentials};
use crate::sized::{Answer, Room, required};
use crate::types::{Output, bytes, edge_report_result, reference};

/// Sends reports, one at a time, over one connection that is kept. Opaque.
///
/// No environment variable changes what it does, and it follows no redirect. Not for a child after `fork`.
pub struct edge_report_client {
    state: State,
    /// A reporter has it, and lends it.
    is_lent: bool,
    /// On the heap.
    client: &'static mut Client,
    /// The one part that other threads may use meanwhile.
    waker: Waker,
}

/// Checks all settings and makes a client. Touches no network.
///
/// Borrows the config for the call, and copies what it needs. Any thread. Does not block.
///
/// @param client gives the handle; free it with edge_report_client_free.
/// @return EDGE_REPORT_OK, or which setting cannot be used, and why.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_new(
    config: *const edge_report_client_config,
    client: *mut *mut edge_report_client,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(client, "client")?;
        let room = &mut Room::new();
        let config = unsafe { required(config, "config", room) }?;
        let client = unsafe { build(config) }?;
        out.set(Box::into_raw(Box::new(edge_report_client {
            state: State::ready(),
            is_lent: false,
            waker: client.waker(),
            client: Box::leak(Box::new(client)),
        })));
        Ok(())
    })
}

/// Frees a client; its keys and tokens are wiped, but not what the TLS library made of `client_key`, nor the password of a proxy. The handle is
/// not usable after it. NULL is fine; within a call of the client, or while a reporter lends it, it does nothing.
///
/// Takes the client. One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_free(client: *mut edge_report_client) {
    guard(core::ptr::null_mut(), || {
        if client.is_null() {
            return Ok(());
        }
        unsafe { edge_report_client::check_own(client) }?;
        // SAFETY: the caller gives it back, once.
        drop(unsafe { edge_report_client::take(client) });
        Ok(())
    });
}

/// Checks a report, encodes it, sends it once and reads the response.
///
/// Borrows the report for the call; the texts of the reply borrow from the client until the next call with it. One thread at a
/// time. Blocks for `total_timeout_ms`, and what the report's length takes at `min_rate`, at the most.
///
/// @return EDGE_REPORT_OK: a response came, and `reply->outcome` says what it means. EDGE_REPORT_E_NOT_SENT: not sent, try
///         again later. EDGE_REPORT_E_MAY_HAVE_ARRIVED: send it again with the same message_id. Others: the report or a setting is
///         wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_send(
    client: *mut edge_report_client,
    report: *const edge_report_report,
    reply: *mut edge_report_reply,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let source = unsafe { Source::new(report) }?;
        unsafe {
            send(client, reply, |client| {
                let mut body = Vec::new();
                source.report().encode_into(&mut body)?;
                Ok(client.send_encoded(&body)?)
            })
        }
    })
}

/// Like `edge_report_client_send`, for a report that is encoded: these very bytes are signed and sent, unchecked.
///
/// Borrows the bytes for the call; the texts of the reply borrow from the client until the next call with it. One thread at a time.
/// Blocks for `total_timeout_ms`, and what the report's length takes at `min_rate`, at the most.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_send_encoded(
    client: *mut edge_report_client,
    body: *const c_void,
    body_len: usize,
    reply: *mut edge_report_reply,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let body = unsafe { bytes(body, body_len, "body") }?;
        unsafe { send(client, reply, |client| Ok(client.send_encoded(body)?)) }
    })
}

/// Replaces the credentials, from the next report on: tokens live 24 hours. After an error the old ones stay.
///
/// Borrows `credentials` for the call, and copies them; NULL: requests are not signed any more. One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_set_credentials(
    client: *mut edge_report_client,
    credentials: *const edge_report_credentials,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, client) = unsafe { open(client) }?;
        let credentials = unsafe { read_credentials(credentials) }?;
        state.run("client", || {
            (client.set_credentials(&credentials)).map_err(|error| refused(error, "credentials"))
        })
    })
}

/// Replaces the CA and client certificates, from the next report on: certificates expire. The old connection is closed; no report
/// fails for it. After an error all stays as it was.
///
/// Borrows `tls` for the call, and copies it. One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_set_tls(
    client: *mut edge_report_client,
    tls: *const edge_report_tls,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, client) = unsafe { open(client) }?;
        let room = &mut Room::new();
        let tls = unsafe { required(tls, "tls", room) }?;
        let tls = unsafe {
            read_tls(
                "tls",
                tls.ca_certificate,
                tls.client_certificate,
                tls.client_key,
            )
        }?;
        state.run("client", || {
            client.set_tls(&tls).map_err(|error| refused(error, "tls"))
        })
    })
}

/// Tells the client that it is at least this late: certificates are verified at the latest of this, the release date of this library, and the
/// system's clock, so that a node that boots in 1970 can deliver. A certificate that has expired by then is accepted anyway if it has not by
/// the system's clock, or where that is before the release, by this. From a source that can be trusted: an RTC, GNSS. The system's TLS knows
/// its own clock alone.
///
/// One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_set_known_time(
    client: *mut edge_report_client,
    unix_ms: i64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, client) = unsafe { open(client) }?;
        state.run("client", || {
            client.set_known_time(WallTime::from_unix_ms(unix_ms));
            Ok(())
        })
    })
}

/// Signs with a clock that is ahead of the system's by `ms`: see `clock_skew_ms` of a reply. edge_report_client_deliver sets it, too.
///
/// One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_set_clock_offset(
    client: *mut edge_report_client,
    ms: i64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, client) = unsafe { open(client) }?;
        state.run("client", || {
            client.set_clock_offset_ms(ms);
            Ok(())
        })
    })
}

impl edge_report_client {
    /// Checks that nobody else needs it.
    ///
    /// # Safety
    /// The client is readable, unless it is NULL or not aligned.
    pub(crate) unsafe fn check_own(client: *const Self) -> Result<(), Failure> {
        unsafe { reference::<State>(client.cast(), "client") }?;
        if !client.is_aligned() {
            return Err(Failure::at(Code::OutOfRange, "client"));
        }
        // SAFETY: checked above; members that are never borrowed as `&mut`.
        let (state, is_lent) = unsafe { (&(*client).state, (*client).is_lent) };
        match state.check("client") {
            Err(failure) if failure.code == Code::InUse => Err(failure),
            _ if is_lent => Err(Failure::at(Code::InUse, "client")),
            _ => Ok(()),
        }
    }

    /// Takes the client out of its handle, which ends.
    ///
    /// # Safety
    /// The handle is usable, and not lent.
    pub(crate) unsafe fn take(client: *mut Self) -> Client {
        // SAFETY: both made by `Box` in `_new`.
        unsafe {
            let handle = Box::from_raw(client);
            handle.state.end();
            *Box::from_raw(&raw mut *handle.client)
        }
    }

    /// A handle to a client that somebody else has. It lives no longer than the loan.
    ///
    /// # Safety
    /// The handle is ended before the loan is.
    pub(crate) unsafe fn lent(client: &mut Client) -> Self {
        edge_report_client {
            state: State::ready(),
            is_lent: true,
            waker: client.waker(),
            // SAFETY: the caller's word.
            client: unsafe { &mut *core::ptr::from_mut(client) },
        }
    }

    /// Ends a loan; an error if it cannot be used any more.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        let usable = self.state.check("client");
        self.state.end();
        usable
    }
}

/// # Safety
/// The client is the caller's alone for `'a`.
pub(crate) unsafe fn open<'a>(
    client: *mut edge_report_client,
) -> Result<(&'a State, &'a mut Client), Failure> {
    unsafe { reference::<State>(client.cast(), "client") }?;
    if !client.is_aligned() {
        return Err(Failure::at(Code::OutOfRange, "client"));
    }
    // SAFETY: checked above for NULL and alignment, and the caller's alone.
    let state = unsafe { &(*client).state };
    state.check("client")?;
    // SAFETY: as above; another member than `state`.
    Ok((state, unsafe { &mut *(*client).client }))
}

/// # Safety
/// The client is not freed during `'a`. Other threads may have the rest of it.
pub(crate) unsafe fn waker_of<'a>(client: *const edge_report_client) -> Result<&'a Waker, Failure> {
    if client.is_null() {
        return Err(Failure::at(Code::NullPointer, "client"));
    }
    if !client.is_aligned() {
        return Err(Failure::at(Code::OutOfRange, "client"));
    }
    // SAFETY: checked above; this member is shared by all threads, and never borrowed as `&mut`.
    Ok(unsafe { &(*client).waker })
}

/// # Safety
/// The pointers are what the functions of the header demand.
unsafe fn send(
    client: *mut edge_report_client,
    reply: *mut edge_report_reply,
    exchange: impl for<'c> FnOnce(&'c mut Client) -> Result<Reply<'c>, Failure>,
) -> Result<(), Failure> {
    let out = unsafe { Answer::new(reply, "reply") }?;
    let (state, client) = unsafe { open(client) }?;
    state.run("client", || {
        let reply = exchange(client)?;
        out.fill(|to| to.fill(&reply, WallTime::now()));
        Ok(())
    })
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Invalid(error) => error.into(),
            error => {
                let mut failure = Failure::new(error.code());
                failure.detail = match error {
                    SendError::NotSent { detail, .. }
                    | SendError::MayHaveArrived { detail }
                    | SendError::Misconfigured { detail, .. } => detail,
                    other => other.to_string(),
                };
                failure
            }
        }
    }
}
