//! One connection: hyper reads the requests and writes the responses, up to one that a fault spoils.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::body;
use super::content::Content;
use super::fault::{Effect, Raw};
use super::io::Wire;
use super::look;
use super::place::{self, Place};
use super::raw::{self, After};
use super::response;
use super::socket::Socket;
use super::state::{Arrival, State};

/// Bytes of a request's head, and its lines.
const MAX_HEAD: usize = 64 * 1024;
const MAX_LINES: usize = 100;

/// A body that is not longer is read though its head was refused, so that the connection can be used again.
const SMALL: usize = 64 * 1024;

/// Serves a connection to its end.
pub(super) async fn connection(stream: TcpStream, state: Arc<State>, place: Place) {
    // A response must not wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(mut socket) = secured(stream, &state, &place).await else {
        return;
    };
    place.client_has(place::HEAD);
    loop {
        let turn = Turn::new(&state, &place);
        let wire = Wire {
            peeks: state.has_faults(),
            socket: &mut socket,
            arrives: || turn.begin(),
        };
        let handler = service_fn(|request| respond(request, &turn));
        let mut connection = pin!(
            http1::Builder::new()
                // Who only ends its own side still gets its response.
                .half_close(true)
                .max_headers(MAX_LINES)
                .max_header_size(MAX_HEAD)
                .max_buf_size(MAX_HEAD)
                .serve_connection(wire, handler)
        );
        let watched = place.watch(connection.as_mut(), |it| it.graceful_shutdown());
        // An error of its own is a client that went away, or the hand-over itself.
        let ended = watched.await.is_some();
        match turn.handed_over.take() {
            // Who was too slow, or had to make room, gets no more of our time.
            None if !ended => return,
            None => {
                let mut end = pin!(raw::linger(socket));
                place.client_has(raw::LINGER);
                place.watch(end.as_mut(), |_| ()).await;
                return;
            }
            Some(HandedOver::Reset) => return raw::reset_on_close(socket.tcp()),
            Some(HandedOver::Raw(how, response)) => {
                let after = raw::deliver(&mut socket, how, &response).await;
                if !after.is_ok_and(|after| after == After::Serve) {
                    return;
                }
            }
        }
    }
}

/// After the TLS handshake, if there is to be one. None: it failed.
async fn secured(stream: TcpStream, state: &State, place: &Place) -> Option<Socket> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &state.tls {
        let mut handshake = pin!(tls.acceptor().accept(stream).into_fallible());
        return match place.watch(handshake.as_mut(), |_| ()).await? {
            Ok(stream) => Some(Socket::Tls(Box::new(stream))),
            Err((why, _)) => {
                state.log(None, &format!("refused handshake why=\"{why}\""));
                None
            }
        };
    }
    let (_, _) = (state, place);
    Some(Socket::Plain(stream))
}

/// What the socket, the handler and the connection tell each other about the request under way.
struct Turn<'s> {
    state: &'s Arc<State>,
    place: &'s Place,
    stage: Cell<Stage>,
    handed_over: Cell<Option<HandedOver>>,
}

#[derive(Default)]
enum Stage {
    /// The next byte is the first one of a request.
    #[default]
    Awaited,
    Arrived(Arrival),
    Reading,
}

/// What is left to the connection once hyper has let go of the socket.
enum HandedOver {
    Reset,
    Raw(Raw, Response<String>),
}

impl<'s> Turn<'s> {
    fn new(state: &'s Arc<State>, place: &'s Place) -> Turn<'s> {
        Turn {
            state,
            place,
            stage: Cell::default(),
            handed_over: Cell::default(),
        }
    }

    /// There are bytes to read. Fails if a fault forbids to read them.
    fn begin(&self) -> io::Result<()> {
        match self.stage.take() {
            Stage::Awaited => {
                self.place.client_has(place::HEAD);
                let arrival = self.state.arrival();
                let fault = arrival.fault.as_ref();
                if fault.is_some_and(|fault| matches!(fault.effect, Effect::ResetBefore)) {
                    self.state.log(fault, "");
                    return Err(self.hand_over(HandedOver::Reset));
                }
                self.stage.set(Stage::Arrived(arrival));
            }
            under_way => self.stage.set(under_way),
        }
        Ok(())
    }

    /// The request that the handler is called for.
    fn arrival(&self) -> io::Result<Arrival> {
        // A pipelined request was read along with the one before it.
        self.begin()?;
        match self.stage.replace(Stage::Reading) {
            Stage::Arrived(arrival) => Ok(arrival),
            _ => Err(io::Error::other("a request within a request")),
        }
    }

    /// Failing with this error, hyper lets go of the socket without a word.
    fn hand_over(&self, what: HandedOver) -> io::Error {
        self.handed_over.set(Some(what));
        io::Error::other("handed over")
    }
}

async fn respond(request: Request<Incoming>, turn: &Turn<'_>) -> io::Result<Response<Content>> {
    let arrival = turn.arrival()?;
    let (head, body) = request.into_parts();
    turn.place.we_have(place::RESPONSE);
    if let Some(response) = look::respond(turn.state, &head).await {
        turn.stage.set(Stage::Awaited);
        turn.place.client_has(place::IDLE);
        return Ok(turn.state.dated(response));
    }
    let answered = respond_to_report(&head, body, arrival, turn).await;
    // Which the client has to read, before or with its next request.
    turn.place.client_has(place::IDLE);
    answered.map(|response| response.map(Content::from))
}

async fn respond_to_report(
    head: &Parts,
    body: Incoming,
    arrival: Arrival,
    turn: &Turn<'_>,
) -> io::Result<Response<String>> {
    let state = turn.state;
    let promised = body::promised(&body);
    let at_its_pace = u64::try_from(promised)
        .unwrap_or_default()
        .min(body::MAX_BODY as u64);
    let at_its_pace = Duration::from_secs(at_its_pace.div_euclid(place::SLOWEST));
    turn.place
        .client_has(place::BODY.saturating_add(at_its_pace));
    let admitted = state.admit(head);
    let read = match &admitted {
        Err(refusal) if arrival.fault.is_none() && !(1..=SMALL).contains(&promised) => {
            Err(refusal.clone())
        }
        _ => state.bodies.read(body).await,
    };
    let body = match read {
        Ok(body) => body,
        Err(refusal) => {
            state.refused(None, &refusal);
            let mut response = refusal.response(arrival.number);
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            return Ok(state.dated(response));
        }
    };
    turn.stage.set(Stage::Awaited);
    turn.place.we_have(place::RESPONSE);

    let fault = arrival.fault.as_ref();
    let effect = fault.map(|fault| &fault.effect);
    if let Some(Effect::Instead(canned)) = effect {
        state.log(fault, "");
        return Ok(state.dated(response::canned(canned, state.now_ms())));
    }

    let accepted = match admitted {
        Ok(admitted) => state.accept(admitted, head, body).await,
        Err(refusal) => Err(refusal),
    };
    let response = match accepted {
        Ok(note) => {
            state.log(fault, &note);
            response::accepted()
        }
        Err(refusal) => {
            state.refused(fault, &refusal);
            refusal.response(arrival.number)
        }
    };
    let success = response.status() == StatusCode::OK;
    match effect {
        Some(Effect::Delay(pause)) => {
            turn.place.we_have(place::RESPONSE.saturating_add(*pause));
            sleep(*pause).await;
            Ok(state.dated(response))
        }
        Some(Effect::SuccessString) if success => Ok(state.dated(response::accepted_as_string())),
        Some(Effect::Raw(how)) if success || !matches!(how, Raw::Huge) => {
            Err(turn.hand_over(HandedOver::Raw(*how, state.dated(response))))
        }
        _ => Ok(state.dated(response)),
    }
}
