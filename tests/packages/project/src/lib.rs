//! An agent for a machine without an operating system: it lends the courier its memory, its clock and its own way to send.
#![no_std]
#![forbid(unsafe_code)]

use edge_report::courier::{Courier, Event, RamOutbox, Step};
use edge_report::exchange::{Credentials, Endpoint, ReplyHeaders, Request, read_reply};
use edge_report::{MonoTime, WallTime};

/// Reports wait in 4 KB; one has 512 bytes at most.
pub type Node = Courier<RamOutbox<[u8; 4096]>, [u8; 512]>;

/// A modem, a TCP stack, whatever carries a request.
pub trait Transport {
    /// Sends the request, and gives status and body of the response. `None`: none came.
    fn exchange<'b>(
        &mut self,
        request: &Request<'_>,
        room: &'b mut [u8],
    ) -> Option<(u16, &'b [u8])>;
}

/// Sends what is to be sent now, if anything is. True: there was something.
pub fn turn(
    node: &mut Node,
    endpoint: &Endpoint<'_>,
    credentials: &Credentials<'_>,
    transport: &mut impl Transport,
    now: MonoTime,
    wall: WallTime,
    entropy: u64,
) -> bool {
    let Ok(Step::Send(outgoing)) = node.next(now) else {
        return false;
    };
    let ticket = outgoing.ticket;
    let (mut scratch, mut room) = ([0; 512], [0; 1024]);
    let event = match Request::new(endpoint, credentials, outgoing.body, wall, &mut scratch) {
        Err(error) => Event::failed(error.code()),
        Ok(request) => match transport.exchange(&request, &mut room) {
            None => Event::MAY_HAVE_ARRIVED,
            Some((status, body)) => {
                Event::from_reply(&read_reply(status, ReplyHeaders::default(), body), wall)
            }
        },
    };
    node.settle(ticket, event, now, entropy).is_ok()
}
