//! What is sent: a text, or server-sent events while reports come in.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::state::State;

/// Between events, at the least.
const PAUSE: Duration = Duration::from_secs(1);

/// A part of a text. Whoever sends it takes no more than some of them before they are gone.
const PART: usize = 64 * 1024;

/// An event comes at least so often, in pauses: so who has gone is noticed.
const SILENT: u32 = 15;

pub(crate) enum Content {
    /// What is left to send.
    Text(Bytes),
    Events(Events),
}

/// `event: accepted` with how many reports this instance has accepted.
pub(crate) struct Events {
    state: Arc<State>,
    tick: Interval,
    told: Option<u64>,
    silent: u32,
}

impl From<String> for Content {
    fn from(text: String) -> Content {
        Content::Text(Bytes::from(text))
    }
}

impl Events {
    pub(crate) fn new(state: Arc<State>) -> Events {
        let mut tick = interval(PAUSE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Events {
            state,
            tick,
            told: None,
            silent: 0,
        }
    }

    /// None: the receiver ends.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            ready!(self.tick.poll_tick(cx));
            if self.state.ends.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            let accepted = self.state.accepted.load(Ordering::Relaxed);
            if self.told == Some(accepted) && self.silent < SILENT {
                self.silent = self.silent.saturating_add(1);
                continue;
            }
            (self.told, self.silent) = (Some(accepted), 0);
            let event = format!("event: accepted\ndata: {accepted}\n\n");
            return Poll::Ready(Some(Bytes::from(event)));
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Content::Text(text) if text.is_empty() => None,
            Content::Text(text) => Some(text.split_to(text.len().min(PART))),
            Content::Events(events) => ready!(events.poll_event(cx)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Text(text) if text.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Text(text) => {
                SizeHint::with_exact(u64::try_from(text.len()).unwrap_or(u64::MAX))
            }
            Content::Events(_) => SizeHint::default(),
        }
    }
}
