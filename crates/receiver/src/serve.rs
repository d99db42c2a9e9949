//! One connection: hyper reads the requests and writes the answers, up to one that a fault spoils.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::answer::{self, Refusal};
use super::fault::{Effect, Raw};
use super::io::Wire;
use super::judge::MAX_BODY;
use super::raw::{self, After};
use super::state::{Arrival, State};

/// Serves a connection to its end.
pub(super) async fn connection(mut stream: TcpStream, state: Arc<State>) {
    // An answer must not wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    loop {
        let turn = Turn::new(&state);
        let wire = Wire {
            stream: &mut stream,
            before_read: || turn.begin(),
        };
        let handler = service_fn(|request| respond(request, &turn));
        // An error here is a client that went away, or the hand-over itself.
        let _ = http1::Builder::new()
            // Who only ends its own side still gets its answer.
            .half_close(true)
            .serve_connection(wire, handler)
            .await;
        match turn.handed_over.take() {
            None => return raw::linger(stream).await,
            Some(HandedOver::Reset) => return raw::reset_on_close(&stream),
            Some(HandedOver::Raw(how, answer)) => {
                let after = raw::deliver(&mut stream, how, &answer).await;
                if !after.is_ok_and(|after| after == After::Serve) {
                    return;
                }
            }
        }
    }
}

/// What the socket, the handler and the connection tell each other about the request under way.
struct Turn<'s> {
    state: &'s State,
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
    fn new(state: &'s State) -> Turn<'s> {
        Turn {
            state,
            stage: Cell::default(),
            handed_over: Cell::default(),
        }
    }

    /// There are bytes to read. Fails if a fault forbids to read them.
    fn begin(&self) -> io::Result<()> {
        match self.stage.take() {
            Stage::Awaited => {
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

async fn respond(request: Request<Incoming>, turn: &Turn<'_>) -> io::Result<Response<String>> {
    let state = turn.state;
    let arrival = turn.arrival()?;
    let (head, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => {
            state.log(None, &refusal.to_string());
            let mut answer = refusal.answer(arrival.number);
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
            return Ok(state.dated(answer));
        }
    };
    turn.stage.set(Stage::Awaited);

    let fault = arrival.fault.as_ref();
    let effect = fault.map(|fault| &fault.effect);
    if let Some(Effect::Instead(canned)) = effect {
        state.log(fault, "");
        return Ok(state.dated(answer::canned(canned, state.now_ms())));
    }

    let (answer, note) = match state.judge(&head, body).await {
        Ok(note) => (answer::accepted(), note),
        Err(refusal) => (refusal.answer(arrival.number), refusal.to_string()),
    };
    state.log(fault, &note);
    let success = answer.status() == StatusCode::OK;
    match effect {
        Some(Effect::Delay(pause)) => {
            sleep(*pause).await;
            Ok(state.dated(answer))
        }
        Some(Effect::SuccessString) if success => Ok(state.dated(answer::accepted_as_string())),
        Some(Effect::Raw(how)) if success || !matches!(how, Raw::Huge) => {
            Err(turn.hand_over(HandedOver::Raw(*how, state.dated(answer))))
        }
        _ => Ok(state.dated(answer)),
    }
}

/// The whole body, if it is not too large.
async fn read(mut body: Incoming) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        let why = format!("the body is larger than {MAX_BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "APIGW.0201", why)
    };
    let promised = body.size_hint().lower();
    if usize::try_from(promised).map_or(true, |promised| promised > MAX_BODY) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|why| {
            let why = format!("the body cannot be read: {why}");
            Refusal::new(StatusCode::BAD_REQUEST, "APIGW.0201", why)
        })?;
        // What is not data is trailers, which nobody needs.
        let data = frame.into_data().unwrap_or_default();
        if bytes.len().saturating_add(data.len()) > MAX_BODY {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
