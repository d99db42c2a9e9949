//! What one call has done so far, and how long each part of it may take: shared by the client, its look-ups and its connections.

use std::format;
use std::net::SocketAddr;
use std::string::{String, ToString};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::{Error, Timeout};

use super::waker::Bell;
use crate::time::MonoTime;

/// So long a connection that was good is kept, though what comes over it now is doubted.
const LATELY: Duration = Duration::from_secs(60);

/// So many bytes of what is no HTTP are shown.
const MOST_SHOWN: usize = 16;

/// The parts of a call, each with a timeout of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Lookup,
    Connect,
    Tls,
    Send,
    Response,
}

/// How long the parts of one call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// For a look-up, and then for the connection.
    pub(super) connect: Duration,
    pub(super) tls: Duration,
    pub(super) send: Duration,
    pub(super) response: Duration,
    /// The end of all.
    pub(super) until: Instant,
}

impl Plan {
    fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Lookup | Phase::Connect => self.connect,
            Phase::Tls => self.tls,
            Phase::Send => self.send,
            Phase::Response => self.response,
        }
    }
}

/// See the module. Connections hold it, too, so it is the same for all calls of a client.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    bell: Arc<Bell>,
    /// See [`leave_route`](Self::leave_route).
    route: AtomicU32,
    /// When the connection in use was made, or led to the service.
    good_at: Mutex<MonoTime>,
}

#[derive(Clone, Debug)]
struct State {
    plan: Plan,
    phase: Phase,
    phase_began: Instant,
    late: bool,
    /// Where a connection was tried last.
    tried: Option<SocketAddr>,
    /// How the proxy's response to CONNECT begins.
    proxy_said: String,
    /// Whether the connection was made for this attempt.
    fresh: bool,
    /// Whether what goes over the connection is the request, and not a proxy's CONNECT or a handshake.
    requesting: bool,
    /// What of the request the system took, with what TLS adds.
    out: u64,
    /// What came back for it.
    back: u64,
    /// How much of that was interim responses.
    interim: u64,
    body_len: usize,
    /// The response came, or the connection broke, before the body was out.
    unsent: bool,
    /// How long it went out.
    sending: Duration,
}

impl Progress {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        let now = Instant::now();
        let none = Duration::ZERO;
        let state = State {
            plan: Plan {
                connect: none,
                tls: none,
                send: none,
                response: none,
                until: now,
            },
            phase: Phase::Lookup,
            phase_began: now,
            late: false,
            tried: None,
            proxy_said: String::new(),
            fresh: false,
            requesting: false,
            out: 0,
            back: 0,
            interim: 0,
            body_len: 0,
            unsent: false,
            sending: none,
        };
        Progress {
            state: Mutex::new(state),
            bell,
            route: AtomicU32::new(0),
            good_at: Mutex::default(),
        }
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which way connections go; one that was made on another is not used again.
    pub(super) fn route(&self) -> u32 {
        self.route.load(Ordering::Relaxed)
    }

    /// Connections made so far may lead to where the service is no more.
    pub(super) fn leave_route(&self) {
        self.route.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was made, or the service itself answered over it.
    pub(super) fn was_good(&self) {
        *self.good_at() = MonoTime::now();
    }

    /// Whether another connection would hardly lead elsewhere: a busy service is spared the handshakes.
    pub(super) fn was_good_lately(&self) -> bool {
        MonoTime::now().since(*self.good_at()) < LATELY
    }

    fn good_at(&self) -> MutexGuard<'_, MonoTime> {
        self.good_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before an attempt with a body of so many bytes.
    pub(super) fn begin(&self, body_len: usize, plan: Plan) {
        *self.state() = State {
            plan,
            phase: Phase::Lookup,
            phase_began: Instant::now(),
            late: false,
            tried: None,
            proxy_said: String::new(),
            fresh: false,
            requesting: false,
            out: 0,
            back: 0,
            interim: 0,
            body_len,
            unsent: false,
            sending: Duration::ZERO,
        };
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase == Phase::Send {
            state.sending = state.phase_began.elapsed();
        }
        state.phase = phase;
        state.phase_began = Instant::now();
        state.late = false;
        match phase {
            Phase::Lookup => {}
            Phase::Connect => state.fresh = true,
            Phase::Tls => {}
            Phase::Send | Phase::Response => state.requesting = true,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().phase
    }

    /// A connection to this address is tried.
    pub(super) fn tries(&self, address: SocketAddr) {
        self.state().tried = Some(address);
    }

    pub(super) fn tried(&self) -> Option<SocketAddr> {
        self.state().tried
    }

    /// The start of this is kept, as visible ASCII, while the connection is made.
    pub(super) fn proxy_said(&self, input: &[u8]) {
        let mut state = self.state();
        if state.phase == Phase::Connect {
            let start = input.get(..MOST_SHOWN).unwrap_or(input);
            state.proxy_said = start.escape_ascii().to_string();
        }
    }

    pub(super) fn how_proxy_began(&self) -> String {
        self.state().proxy_said.clone()
    }

    /// When the phase ends, or the whole call.
    pub(super) fn deadline(&self) -> Instant {
        let state = self.state();
        let end = state
            .phase_began
            .checked_add(state.plan.of(state.phase))
            .unwrap_or(state.plan.until);
        end.min(state.plan.until)
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// The error of a wait that has reached [`deadline`](Self::deadline).
    pub(super) fn timeout(&self) -> Error {
        self.state().late = true;
        Error::Timeout(Timeout::Global)
    }

    pub(super) fn is_late(&self) -> bool {
        self.state().late
    }

    /// The system took so many bytes.
    pub(super) fn went_out(&self, bytes: usize) {
        let mut state = self.state();
        if state.requesting {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            state.out = state.out.saturating_add(bytes);
        }
    }

    pub(super) fn came_back(&self, bytes: usize) {
        let mut state = self.state();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        state.back = state.back.saturating_add(bytes);
    }

    /// So much of what came back was in front of the final response.
    pub(super) fn was_interim(&self, bytes: usize) {
        let mut state = self.state();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        state.interim = state.interim.saturating_add(bytes);
    }

    pub(super) fn body_len(&self) -> usize {
        self.state().body_len
    }

    pub(super) fn set_unsent(&self) {
        self.state().unsent = true;
    }

    /// Whether a part of the body was kept here.
    pub(super) fn is_unsent(&self) -> bool {
        self.state().unsent
    }

    /// Whether any byte of the request can have left this machine.
    pub(super) fn went_anything_out(&self) -> bool {
        self.state().out > 0
    }

    /// Whether the request went to a connection kept from before, and no byte came back.
    pub(super) fn is_stale_connection(&self) -> bool {
        let state = self.state();
        state.requesting && !state.fresh && state.back == 0
    }

    /// Whether any of the final response came.
    pub(super) fn has_response_begun(&self) -> bool {
        let state = self.state();
        state.back > state.interim
    }

    /// What a timeout met, with the figures from which a user can see whether a setting or the link is to blame. `place` is what was looked up or
    /// connected to.
    pub(super) fn describe_timeout(&self, place: &str) -> String {
        let state = self.state();
        let took = state.phase_began.elapsed();
        let seconds = format!("{:.1} s", took.as_secs_f64());
        let (out, body) = (state.out, state.body_len);
        let back = state.back.saturating_sub(state.interim);
        let rate = match state.phase {
            // The system may have taken all at once.
            Phase::Response => rate(out, state.sending.saturating_add(took)),
            _ => rate(out, took),
        };
        match state.phase {
            Phase::Lookup => format!("timeout: no address for {place} within {seconds}"),
            Phase::Connect => format!("timeout: no connection to {place} within {seconds}"),
            Phase::Tls => format!("timeout: the TLS handshake did not end within {seconds}"),
            Phase::Send => format!(
                "timeout: {out} bytes went out in {seconds}, {rate} bytes/s; the report has {body}"
            ),
            Phase::Response if back == 0 => format!(
                "timeout: no response within {seconds} after {out} bytes, {rate} bytes/s; the report has {body}"
            ),
            Phase::Response if state.unsent => format!(
                "timeout within the response: {back} bytes of it came in {seconds}; of the report, of {body} bytes, {out} went out before"
            ),
            Phase::Response => format!(
                "timeout within the response: {back} bytes of it came in {seconds}; the report, of {body} bytes, went out"
            ),
        }
    }
}

/// Bytes a second.
fn rate(bytes: u64, took: Duration) -> u128 {
    u128::from(bytes)
        .saturating_mul(1000)
        .checked_div(took.as_millis())
        .unwrap_or_default()
}
