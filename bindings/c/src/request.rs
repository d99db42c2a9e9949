//! Requests that carry a report, for agents with their own HTTP stack, and the signature of any request.

use core::ffi::c_void;

use edge_report::exchange::{
    Credentials, Endpoint, Header, Keys, Request, RequestError, Signable, canonical_request, sign,
};
use edge_report::json::{Counter, Sink, SliceSink};
use edge_report::{Code, WallTime};

use crate::error::{Failure, Place, credential, edge_report_error};
use crate::guard::guard;
use crate::sized::{Answer, Room, given, required};
use crate::types::{Output, array, buffer, bytes, edge_report_result, edge_report_str};

/// What signs requests: a key pair, with or without a security token; or a token instead. All absent: requests are not signed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_credentials {
    /// Its size: begin with `EDGE_REPORT_CREDENTIALS_INIT`.
    pub struct_size: usize,
    /// Access key of a pair.
    pub access_key: edge_report_str,
    /// Secret key of a pair.
    pub secret_key: edge_report_str,
    /// Goes with temporary key pairs.
    pub security_token: edge_report_str,
    /// A token for `X-Auth-Token`.
    pub token: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// A header of a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_header {
    /// Its name.
    pub name: edge_report_str,
    /// Its value.
    pub value: edge_report_str,
}

/// The most headers of an `edge_report_http_request`.
pub const EDGE_REPORT_MAX_HEADERS: usize = 6;

/// A request that carries a report, for any HTTP stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_http_request {
    /// Its size: begin with `EDGE_REPORT_HTTP_REQUEST_INIT`.
    pub struct_size: usize,
    /// `POST`. Static.
    pub method: edge_report_str,
    /// The path, percent-encoded. In the scratch buffer.
    pub path: edge_report_str,
    /// All headers but `Content-Length`: `Host` is the first. They borrow from the arguments and the scratch buffer.
    pub headers: [edge_report_header; EDGE_REPORT_MAX_HEADERS],
    /// How many of them there are.
    pub headers_len: usize,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Any request to the same gateway, as it is signed. Signed are the host, the date, the security token, and all of `headers` but
/// those with `_` in their name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_signable {
    /// Its size: begin with `EDGE_REPORT_SIGNABLE_INIT`.
    pub struct_size: usize,
    /// `POST`, `GET`, …
    pub method: edge_report_str,
    /// Host with port, as in the `Host` header.
    pub host: edge_report_str,
    /// The path as it is sent, percent-encoded.
    pub path: edge_report_str,
    /// The very bytes that are sent; may be absent.
    pub body: edge_report_str,
    /// The pairs of the query, not encoded, in any order; 16 at most.
    pub query: *const edge_report_header,
    /// How many.
    pub query_len: usize,
    /// Further headers; 16 at most. With an `X-Sdk-Date` among them, that date is signed; with an `X-Sdk-Content-Sha256`, its value in the
    /// place of the body's hash, be it a hash or `UNSIGNED-PAYLOAD`.
    pub headers: *const edge_report_header,
    /// How many.
    pub headers_len: usize,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// What signing adds to a request. For temporary keys their security token is to be sent too, as `X-Security-Token`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_signature {
    /// Its size: begin with `EDGE_REPORT_SIGNATURE_INIT`.
    pub struct_size: usize,
    /// The value of `X-Sdk-Date`. In the buffer.
    pub x_sdk_date: edge_report_str,
    /// The value of `Authorization`. In the buffer.
    pub authorization: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Writes the whole URL that reports go to, which stays the same. It has no NUL at its end.
///
/// Borrows all arguments for the call. Any thread. Does not block.
///
/// @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are needed.
/// @return EDGE_REPORT_OK, or what is wrong with the URL or the project id, with its offset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_url(
    base_url: edge_report_str,
    project_id: edge_report_str,
    buffer: *mut c_void,
    capacity: usize,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let endpoint = unsafe { endpoint(base_url, project_id) }?;
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let mut sink = SliceSink::new(buffer);
        if endpoint.write_url(&mut sink).is_err() {
            let mut counter = Counter::default();
            let _ = endpoint.write_url(&mut counter);
            len.set(counter.len());
            return Err(Failure::too_small(counter.len()));
        }
        len.set(sink.written().len());
        Ok(())
    })
}

/// Makes the request that carries a report: its path and its signature are written to a scratch buffer.
///
/// Borrows all arguments for the call; the result borrows from `base_url`, `project_id`, `credentials` and `scratch`, and holds
/// as long as these do. Any thread. Does not block.
///
/// @param credentials NULL: the request is not signed.
/// @param body        the bytes of the report, which are to be sent unchanged.
/// @param unix_ms     the wall clock: milliseconds since 1970. Must be within 15 minutes of the server's for key pairs.
/// @param scratch     512 bytes do for usual keys and URLs; if not, the error says how many do, the same number for every body and time.
/// @return EDGE_REPORT_OK; what is wrong with the URL, with its offset; or with the credentials.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_request(
    base_url: edge_report_str,
    project_id: edge_report_str,
    credentials: *const edge_report_credentials,
    body: *const c_void,
    body_len: usize,
    unix_ms: i64,
    scratch: *mut c_void,
    capacity: usize,
    request: *mut edge_report_http_request,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(request, "request") }?;
        let endpoint = unsafe { endpoint(base_url, project_id) }?;
        let credentials = unsafe { read_credentials(credentials) }?;
        let body = unsafe { bytes(body, body_len, "body") }?;
        let scratch = unsafe { buffer(scratch, capacity, "scratch") }?;
        let now = WallTime::from_unix_ms(unix_ms);
        let request = Request::new(&endpoint, &credentials, body, now, scratch)?;
        out.fill(|to| {
            to.method = edge_report_str::from_bytes(request.method().as_bytes());
            to.path = edge_report_str::from_bytes(request.path().as_bytes());
            for (slot, header) in to.headers.iter_mut().zip(request.headers()) {
                slot.name = edge_report_str::from_bytes(header.name.as_bytes());
                slot.value = edge_report_str::from_bytes(header.value.as_bytes());
            }
            to.headers_len = request.headers().len();
        });
        Ok(())
    })
}

/// Signs any request to the same gateway with a key pair.
///
/// Borrows all arguments for the call; the result is in `buffer`. Any thread. Does not block.
///
/// @param credentials a key pair.
/// @param unix_ms     the wall clock: milliseconds since 1970.
/// @return EDGE_REPORT_OK, or what cannot be signed; EDGE_REPORT_E_TOO_MANY headers or query parameters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_sign(
    request: *const edge_report_signable,
    credentials: *const edge_report_credentials,
    unix_ms: i64,
    buffer: *mut c_void,
    capacity: usize,
    signature: *mut edge_report_signature,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(signature, "signature") }?;
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let now = WallTime::from_unix_ms(unix_ms);
        unsafe {
            with_signable(request, credentials, |signable, keys| {
                let signature = sign(signable, keys, now, buffer)?;
                let (date, value) = (signature.x_sdk_date(), signature.authorization());
                out.fill(|to| {
                    to.x_sdk_date = edge_report_str::from_bytes(date.as_bytes());
                    to.authorization = edge_report_str::from_bytes(value.as_bytes());
                });
                Ok(())
            })
        }
    })
}

/// Writes the canonical request whose hash is signed: what to compare when a server calls a signature wrong.
/// It has the security token in it, and no key.
///
/// Borrows all arguments for the call. Any thread. Does not block.
///
/// @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_canonical_request(
    request: *const edge_report_signable,
    credentials: *const edge_report_credentials,
    unix_ms: i64,
    buffer: *mut c_void,
    capacity: usize,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let now = WallTime::from_unix_ms(unix_ms);
        unsafe {
            with_signable(request, credentials, |signable, keys| {
                let mut sink = SliceSink::new(buffer);
                match canonical_request(signable, keys, now, &mut sink) {
                    Ok(()) => {
                        len.set(sink.written().len());
                        Ok(())
                    }
                    Err(error) => {
                        if let RequestError::TooSmall { needed } = error {
                            len.set(needed);
                        }
                        Err(error.into())
                    }
                }
            })
        }
    })
}

/// # Safety
/// The views must hold for `'a`.
unsafe fn endpoint<'a>(
    base_url: edge_report_str,
    project_id: edge_report_str,
) -> Result<Endpoint<'a>, Failure> {
    let base_url = unsafe { base_url.required("base_url") }?;
    let project_id = unsafe { project_id.required("project_id") }?;
    Ok(Endpoint::new(base_url, project_id)?)
}

/// # Safety
/// The views must hold for `'a`.
pub(crate) unsafe fn read_credentials<'a>(
    credentials: *const edge_report_credentials,
) -> Result<Credentials<'a>, Failure> {
    let room = &mut Room::new();
    let Some(credentials) = (unsafe { given(credentials, "credentials", room) })? else {
        return Ok(Credentials::None);
    };
    let token = unsafe {
        credentials
            .token
            .text(Place::Member("credentials", "token"))
    }?;
    match (unsafe { read_keys(credentials) }?, token) {
        (None, None) => Ok(Credentials::None),
        (None, Some(token)) => Ok(Credentials::token(token)),
        (Some(keys), None) => Ok(Credentials::Keys(keys)),
        (Some(_), Some(_)) => Err(Failure::at(Code::Conflict, "credentials")),
    }
}

/// # Safety
/// The views must hold for `'a`.
unsafe fn read_keys<'a>(
    credentials: &edge_report_credentials,
) -> Result<Option<Keys<'a>>, Failure> {
    let access_key = unsafe {
        credentials
            .access_key
            .text(Place::Member("credentials", "access_key"))
    }?;
    let secret_key = unsafe {
        credentials
            .secret_key
            .text(Place::Member("credentials", "secret_key"))
    }?;
    let security_token = unsafe {
        credentials
            .security_token
            .text(Place::Member("credentials", "security_token"))
    }?;
    let keys = match (access_key, secret_key, security_token) {
        (None, None, None) => return Ok(None),
        // What is missing is empty, which the core refuses.
        (ak, sk, _) => Keys::new(ak.unwrap_or_default(), sk.unwrap_or_default()),
    };
    Ok(Some(match security_token {
        None => keys,
        Some(token) => keys.with_security_token(token),
    }))
}

/// More would cost stack that a microcontroller has not.
const MAX_PAIRS: usize = 16;

/// # Safety
/// All that the arguments lead to must hold for the call.
unsafe fn with_signable(
    request: *const edge_report_signable,
    credentials: *const edge_report_credentials,
    body: impl FnOnce(&Signable<'_>, &Keys<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (room, keys_room) = (&mut Room::new(), &mut Room::new());
    let request = unsafe { required(request, "request", room) }?;
    let credentials = unsafe { required(credentials, "credentials", keys_room) }?;
    let Some(keys) = (unsafe { read_keys(credentials) })? else {
        return Err(Failure::at(Code::AccessKey, credential(Code::AccessKey)));
    };
    let query = unsafe { array(request.query, request.query_len, "query") }?;
    let headers = unsafe { array(request.headers, request.headers_len, "headers") }?;
    let mut pairs = [("", ""); MAX_PAIRS];
    let mut fields = [Header {
        name: "",
        value: "",
    }; MAX_PAIRS];
    let (Some(pairs), Some(fields)) = (
        pairs.get_mut(..query.len()),
        fields.get_mut(..headers.len()),
    ) else {
        let name = if query.len() > MAX_PAIRS {
            "query"
        } else {
            "headers"
        };
        return Err(Failure::at(Code::TooMany, name));
    };
    for (to, from) in pairs.iter_mut().zip(query) {
        *to = unsafe { (from.name.required("query")?, from.value.required("query")?) };
    }
    for (to, from) in fields.iter_mut().zip(headers) {
        to.name = unsafe { from.name.required("headers") }?;
        to.value = unsafe { from.value.required("headers") }?;
    }
    let signable = Signable::new(
        unsafe { request.method.required("method") }?,
        unsafe { request.host.required("host") }?,
        unsafe { request.path.required("path") }?,
    )
    .with_query(pairs)
    .with_headers(fields)
    .with_body(unsafe { request.body.bytes("body") }?.unwrap_or_default());
    body(&signable, &keys)
}
