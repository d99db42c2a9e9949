//! The listener: takes connections in while there are places, and ends with those that it has taken.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::place::Places;
use super::state::{State, count};
use super::{raw, serve};

/// For a file descriptor to come free.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(20);

/// Until `stop` says how long requests that are under way may take, or is gone: then no time at all.
pub(crate) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    mut stop: oneshot::Receiver<Duration>,
) {
    let places = Places::new(state.max_connections);
    loop {
        let accepted = poll_fn(|cx| match Pin::new(&mut stop).poll(cx) {
            Poll::Ready(within) => Poll::Ready(Err(within)),
            Poll::Pending => listener.poll_accept(cx).map(Ok),
        });
        match accepted.await {
            Ok(Ok((stream, _))) => {
                count(&state.connections);
                match places.take() {
                    Some(place) => {
                        spawn_local(serve::connection(stream, Arc::clone(&state), place));
                    }
                    // Tells the client at once that it must come again.
                    None => raw::reset_on_close(&stream),
                }
            }
            Ok(Err(_)) => {
                places.evict();
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
            Err(within) => {
                drop(listener);
                if let Ok(within) = within {
                    Rc::clone(&places).close(within).await;
                }
                return;
            }
        }
    }
}
