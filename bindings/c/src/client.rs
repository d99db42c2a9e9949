//! The blocking client.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use std::boxed::Box;
use std::string::ToString;
use std::time::{Duration, Instant};
use std::vec::Vec;

use edge_report::courier::Courier;
use edge_report::exchange::{Endpoint, ServiceCodes};
use edge_report::{
    Access, BuildError, Client, ClientBuilder, Code, DeliveryEvent, Encode, Pause, Reply,
    SendError, TlsSettings, Waker, WallTime,
};

use crate::courier::{
    Engine, MemoryCourier, SpoolCourier, edge_report_courier, open as open_courier,
};
use crate::error::{Failure, Place, credential, edge_report_error};
use crate::event::{Observer, edge_report_observer};
use crate::exchange::{
    edge_report_credentials, edge_report_reply, read_credentials, read_service_codes,
};
use crate::guard::{State, guard};
use crate::report::{Source, edge_report_report};
use crate::sized::{Answer, Room, given, required};
use crate::types::{Output, bytes, edge_report_result, edge_report_str, reference};

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

/// The settings of a client. All but the first three may be zeros, which stand for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_client_config {
    /// Its size: begin with `EDGE_REPORT_CLIENT_CONFIG_INIT`.
    pub struct_size: usize,
    /// `https://` or `http://`, host, optional port and path.
    pub base_url: edge_report_str,
    /// The project.
    pub project_id: edge_report_str,
    /// NULL: requests are not signed. Copied; the copy is wiped when the client is freed.
    pub credentials: *const edge_report_credentials,
    /// The prefixes by which the service's own error codes are known: see `edge_report_read_reply_with`.
    pub service_codes: *const edge_report_str,
    /// How many. Default: `DLI.` alone.
    pub service_codes_len: usize,
    /// CA certificates, PEM (one or more) or DER: these are trusted, and no others. Default: the bundled Mozilla roots, or the
    /// system's with its TLS.
    pub ca_certificate: edge_report_str,
    /// Shown to servers that ask for a certificate: PEM. Together with its key.
    pub client_certificate: edge_report_str,
    /// The key to it: PEM, not encrypted. The copy is wiped; what the TLS library keeps of the key is its own.
    pub client_key: edge_report_str,
    /// `http://user:password@host:port`. Default: none.
    pub proxy: edge_report_str,
    /// The `User-Agent` header. Default: `edge-report/` and the version.
    pub user_agent: edge_report_str,
    /// The most that looking up the name may take, and then connecting (to the proxy, if there is one). Default: 10 s. Like all timeouts,
    /// a day at the most.
    pub connect_timeout_ms: u32,
    /// The most a TLS handshake may take. Default: 30 s.
    pub tls_timeout_ms: u32,
    /// The most that sending may take, and what the report's length takes at `min_rate`. Default: 15 s.
    pub send_timeout_ms: u32,
    /// The most that the response may take once the system has the report, and what the report's length takes at `min_rate`. Default: 15 s.
    pub response_timeout_ms: u32,
    /// The most one send may take in all, and what the report's length takes at `min_rate`. Default: 60 s.
    pub total_timeout_ms: u32,
    /// The slowest link that a long report must get through, in bytes a second: 64 KB may take 66 s more than an empty one. Default: 1000.
    pub min_rate: u32,
    /// How long a connection that is not used is kept, a day at the most. Default: 90 s, so that a report a minute needs no new handshake.
    /// Where a firewall forgets connections and says nothing, set less than its limit.
    pub max_idle_ms: u32,
    /// 1 allows `http://` to hosts other than loopback, and through a proxy: tokens and reports go out in the clear. Without it a name such
    /// as `localhost` is believed only when the address that it leads to is a loopback one.
    pub allow_plain_http: u32,
    /// See edge_report_client_set_known_time. Default: the release date of this library.
    pub known_time_ms: i64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Whom to trust, and who the client is: for edge_report_client_set_tls. What is empty is as in edge_report_client_config.
///
/// Not checked is whether a certificate was revoked: no CRL and no OCSP response is asked for or read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_tls {
    /// Its size: begin with `EDGE_REPORT_TLS_INIT`.
    pub struct_size: usize,
    /// CA certificates, PEM (one or more) or DER: these are trusted, and no others.
    pub ca_certificate: edge_report_str,
    /// Shown to servers that ask for a certificate: PEM. Together with its key.
    pub client_certificate: edge_report_str,
    /// The key to it: PEM, not encrypted.
    pub client_key: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// The caller's own lock, for a courier that other threads submit to. Best one that serves threads in the order in which they ask: with another,
/// a thread that submits without a pause may keep delivery waiting while the disk is slow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_lock {
    /// Its size: begin with `EDGE_REPORT_LOCK_INIT`.
    pub struct_size: usize,
    /// Passed to both.
    pub user: *mut c_void,
    /// Returns when the calling thread has the lock.
    pub lock: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Gives it back.
    pub unlock: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Why delivery paused: one of `EDGE_REPORT_PAUSE_…`.
pub type edge_report_pause = u32;
/// Nothing waits.
pub const EDGE_REPORT_PAUSE_IDLE: u32 = 1;
/// The time is up, and something waits.
pub const EDGE_REPORT_PAUSE_TIME_UP: u32 = 2;
/// edge_report_client_cancel was called.
pub const EDGE_REPORT_PAUSE_CANCELLED: u32 = 3;

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

/// Delivers what waits in a courier, one report after the other, until nothing waits or the time is up.
///
/// Borrows all arguments for the call; the observer's `user` must hold as long. One thread at a time has the client. The courier is this thread's
/// alone for the call. With `lock` it is so only while the lock is held, which is not while something is sent, so that other threads can submit
/// under the same lock. All times given to this courier must be `edge_report_monotonic_ms()`. Blocks for `timeout_ms`, and the time of one send
/// more, at the most; edge_report_client_cancel ends it.
///
/// @param lock  NULL: no other thread uses the courier.
/// @param observer told of each event, by this thread, without the lock. It may use the courier, under the lock if there is one, and call
///              edge_report_client_wake and _cancel; other calls of the client are EDGE_REPORT_E_IN_USE there. What it submits may be left to the
///              next delivery. NULL: nobody.
/// @param pause why it returned: one of EDGE_REPORT_PAUSE_…; may be NULL.
/// @return EDGE_REPORT_OK, whatever became of the reports: see edge_report_courier_status, whose `failure` tells why something is not
///         delivered. EDGE_REPORT_E_STORAGE and the like: the courier's storage failed; what is stored stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_deliver(
    client: *mut edge_report_client,
    courier: *mut edge_report_courier,
    lock: *const edge_report_lock,
    timeout_ms: u32,
    observer: *const edge_report_observer,
    pause: *mut edge_report_pause,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(pause, "pause")?;
        let observer = unsafe { Observer::new(observer) }?;
        let room = &mut Room::new();
        let lock = unsafe { given(lock, "lock", room) }?.copied();
        if lock.is_some_and(|lock| lock.lock.is_none() || lock.unlock.is_none()) {
            return Err(Failure::at(Code::NullPointer, "lock"));
        }
        let (client_state, client) = unsafe { open(client) }?;
        let (state, lent, which) = {
            let _held = Held::new(lock);
            let (state, engine) = unsafe { open_courier(courier) }?;
            let which = which(engine);
            // SAFETY: checked by `open_courier`; another member than the engine.
            (state, unsafe { &(*courier).lent }, which)
        };
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now);
        let observe = |event: DeliveryEvent<'_>| observer.tell(&event);
        let pause = client_state.run("client", || {
            lent.fetch_add(1, Ordering::Relaxed);
            let _given_back = GivenBack(lent);
            Ok(match which {
                Which::Memory(at) => client.deliver(Locked { at, state, lock }, until, observe)?,
                Which::Spool(at) => client.deliver(Locked { at, state, lock }, until, observe)?,
            })
        })?;
        if let Some(out) = out {
            out.set(pause_number(pause));
        }
        Ok(())
    })
}

pub(crate) const fn pause_number(pause: Pause) -> edge_report_pause {
    match pause {
        Pause::Idle => EDGE_REPORT_PAUSE_IDLE,
        Pause::Cancelled => EDGE_REPORT_PAUSE_CANCELLED,
        _ => EDGE_REPORT_PAUSE_TIME_UP,
    }
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

/// Counts a delivery off when it ends.
struct GivenBack<'a>(&'a AtomicU32);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sleeps until another thread calls edge_report_client_wake or edge_report_client_cancel, or the time is up. For a thread that delivers, after
/// EDGE_REPORT_PAUSE_IDLE: whoever submits wakes it.
///
/// One thread at a time. Blocks for `timeout_ms` at the most.
///
/// @param timeout_ms 0: until it is woken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_wait(
    client: *mut edge_report_client,
    timeout_ms: u32,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, client) = unsafe { open(client) }?;
        let longest = Duration::from_millis(u64::from(timeout_ms));
        state.run("client", || {
            client.wait(Some(longest).filter(|longest| !longest.is_zero()));
            Ok(())
        })
    })
}

/// Something was submitted, or edge_report_courier_wake was called: a delivery of this client that sleeps looks again at once, and
/// edge_report_client_wait returns. If neither runs, the next one begins that way.
///
/// Any thread, also while another has the client, but not while it is freed. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_wake(
    client: *const edge_report_client,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        unsafe { waker_of(client) }?.wake();
        Ok(())
    })
}

/// Ends the call of this client that runs, within 100 ms, whatever it waits for of the network or the time: a delivery with
/// EDGE_REPORT_PAUSE_CANCELLED, a send as EDGE_REPORT_E_NOT_SENT or EDGE_REPORT_E_MAY_HAVE_ARRIVED. A delivery whose disk syncs, or that
/// waits for a courier which another thread has locked meanwhile, ends right after. If none runs, the next one ends at once.
///
/// The report that was being delivered stays in flight, and the next delivery begins with it, under the same `message_id`: it may have
/// arrived. What was cancelled is no failure, and counts as no attempt.
///
/// Any thread, also while another has the client, but not while it is freed. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_cancel(
    client: *const edge_report_client,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        unsafe { waker_of(client) }?.cancel();
        Ok(())
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
unsafe fn waker_of<'a>(client: *const edge_report_client) -> Result<&'a Waker, Failure> {
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
/// All that the config leads to must hold for the call.
unsafe fn build(config: &edge_report_client_config) -> Result<Client, Failure> {
    let of = |member| Place::Member("config", member);
    let base_url = unsafe { config.base_url.required(of("base_url")) }?;
    let project_id = unsafe { config.project_id.required(of("project_id")) }?;
    // For its offset: what the builder tells has none.
    if let Err(error) = Endpoint::new(base_url, project_id) {
        let mut failure = Failure::at(error.code(), member_of(error.code(), "config"));
        failure.offset = error.offset();
        return Err(failure);
    }
    let credentials = unsafe { read_credentials(config.credentials) }?;
    let mut builder = Client::builder(base_url, project_id).credentials(credentials);
    let texts = &mut [""; ServiceCodes::MOST];
    let codes =
        unsafe { read_service_codes(config.service_codes, config.service_codes_len, texts) }?;
    if let Some(codes) = codes {
        builder = builder.service_codes(codes);
    }
    let (ca, chain, key) = (
        config.ca_certificate,
        config.client_certificate,
        config.client_key,
    );
    builder = builder.tls(unsafe { read_tls("config", ca, chain, key) }?);
    if let Some(proxy) = unsafe { config.proxy.text(of("proxy")) }? {
        builder = builder.proxy(proxy);
    }
    if let Some(user_agent) = unsafe { config.user_agent.text(of("user_agent")) }? {
        builder = builder.user_agent(user_agent);
    }
    type Set = fn(ClientBuilder, Duration) -> ClientBuilder;
    let times: [(&str, u32, Set); 6] = [
        (
            "connect_timeout_ms",
            config.connect_timeout_ms,
            ClientBuilder::connect_timeout,
        ),
        (
            "tls_timeout_ms",
            config.tls_timeout_ms,
            ClientBuilder::tls_timeout,
        ),
        (
            "send_timeout_ms",
            config.send_timeout_ms,
            ClientBuilder::send_timeout,
        ),
        (
            "response_timeout_ms",
            config.response_timeout_ms,
            ClientBuilder::response_timeout,
        ),
        (
            "total_timeout_ms",
            config.total_timeout_ms,
            ClientBuilder::total_timeout,
        ),
        ("max_idle_ms", config.max_idle_ms, ClientBuilder::max_idle),
    ];
    for (name, ms, set) in times {
        if ms > DAY_MS {
            return Err(Failure::at(Code::OutOfRange, of(name)).with_detail("a day at the most"));
        }
        if ms != 0 {
            builder = set(builder, Duration::from_millis(u64::from(ms)));
        }
    }
    if config.min_rate != 0 {
        builder = builder.min_rate(config.min_rate);
    }
    if config.known_time_ms != 0 {
        builder = builder.known_time(WallTime::from_unix_ms(config.known_time_ms));
    }
    builder = match config.allow_plain_http {
        0 => builder,
        1 => builder.allow_plain_http(),
        _ => return Err(Failure::at(Code::OutOfRange, of("allow_plain_http"))),
    };
    builder.build().map_err(|error| refused(error, "config"))
}

/// The longest timeout.
const DAY_MS: u32 = 24 * 60 * 60 * 1000;

/// Which setting a builder refuses.
fn refused(error: BuildError, settings: &'static str) -> Failure {
    let mut failure = Failure::at(error.code, member_of(error.code, settings));
    failure.detail = error.detail;
    failure
}

fn member_of(code: Code, settings: &'static str) -> Place {
    let member = match code {
        Code::ProjectId => "project_id",
        Code::UrlScheme
        | Code::UrlHost
        | Code::UrlPort
        | Code::UrlPath
        | Code::UrlUserInfo
        | Code::UrlQuery
        | Code::PlainHttp => "base_url",
        Code::CaCertificate => "ca_certificate",
        Code::ClientCertificate => "client_certificate",
        Code::Proxy => "proxy",
        Code::UserAgent => "user_agent",
        Code::ServiceCodes => "service_codes",
        Code::AccessKey | Code::SecretKey | Code::Token => return credential(code),
        _ => return Place::Name(settings),
    };
    Place::Member(settings, member)
}

/// # Safety
/// The texts must hold for the call.
unsafe fn read_tls(
    settings: &'static str,
    ca: edge_report_str,
    chain: edge_report_str,
    key: edge_report_str,
) -> Result<TlsSettings, Failure> {
    let mut tls = TlsSettings::new();
    let of = |member| Place::Member(settings, member);
    if let Some(ca) = unsafe { ca.bytes(of("ca_certificate")) }? {
        tls = tls.ca_certificate(ca);
    }
    let chain = unsafe { chain.bytes(of("client_certificate")) }?;
    let key = unsafe { key.bytes(of("client_key")) }?;
    match (chain, key) {
        (None, None) => Ok(tls),
        (Some(chain), Some(key)) => Ok(tls.client_certificate(chain, key)),
        (None, Some(_)) => Err(Failure::at(
            Code::ClientCertificate,
            of("client_certificate"),
        )),
        (Some(_), None) => Err(Failure::at(Code::ClientCertificate, of("client_key"))),
    }
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

/// The engine of a courier, whose type is known from here on.
enum Which {
    Memory(*mut MemoryCourier),
    Spool(*mut SpoolCourier),
}

fn which(engine: &mut Engine) -> Which {
    match engine {
        Engine::Memory(courier) => Which::Memory(&raw mut **courier),
        Engine::Spool(courier) => Which::Spool(&raw mut **courier),
    }
}

/// A courier under the caller's lock, if there is one.
struct Locked<'s, O, B> {
    at: *mut Courier<O, B>,
    state: &'s State,
    lock: Option<edge_report_lock>,
}

impl<O, B> Access<O, B> for Locked<'_, O, B> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        let _held = Held::new(self.lock);
        let _use = self.state.hold();
        // This thread's alone: by its lock, or since the caller said so.
        use_it(unsafe { &mut *self.at })
    }
}

/// The caller's lock, held as long as this lives.
struct Held(Option<edge_report_lock>);

impl Held {
    fn new(lock: Option<edge_report_lock>) -> Self {
        if let Some(edge_report_lock {
            user,
            lock: Some(take),
            ..
        }) = lock
        {
            // SAFETY: the caller's function with the caller's argument, as the header has it.
            unsafe { take(user) }
        }
        Held(lock)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(edge_report_lock {
            user,
            unlock: Some(give),
            ..
        }) = self.0
        {
            // SAFETY: as for `take`, which was called before.
            unsafe { give(user) }
        }
    }
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
