//! The agent against the receiver, which loses its first answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use edge_report::courier::{Courier, Policy, RamOutbox};
use edge_report::exchange::{Credentials, Endpoint, Request};
use edge_report::{Job, JobStatus, MonoTime, Report, WallTime};
use edge_report_receiver::{Options, Receiver};
use project::{Node, Transport, turn};

/// HTTP by hand, a connection for each request.
struct Tcp(String);

impl Transport for Tcp {
    fn exchange<'b>(
        &mut self,
        request: &Request<'_>,
        room: &'b mut [u8],
    ) -> Option<(u16, &'b [u8])> {
        let mut stream = TcpStream::connect(&self.0).ok()?;
        write!(
            stream,
            "{} {} HTTP/1.1\r\n",
            request.method(),
            request.path()
        )
        .ok()?;
        for header in request.headers() {
            write!(stream, "{}: {}\r\n", header.name, header.value).ok()?;
        }
        let len = request.body().len();
        write!(stream, "Connection: close\r\nContent-Length: {len}\r\n\r\n").ok()?;
        stream.write_all(request.body()).ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).ok()?;
        let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let (head, body) = response.split_at(end);
        let status = str::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()?;
        let room = room.get_mut(..body.len() - 4)?;
        room.copy_from_slice(&body[4..]);
        Some((status, room))
    }
}

#[test]
fn delivers_after_a_lost_answer() -> Result<(), Box<dyn std::error::Error>> {
    let lost = "reset-after@first 1".parse()?;
    let receiver = Receiver::start(Options::new().keys("AK", "SK").fault(lost))?;
    let url = receiver.url();
    let endpoint = Endpoint::new(&url, "0a1b2c")?;
    let credentials = Credentials::keys("AK", "SK");
    let mut tcp = Tcp(endpoint.authority().to_owned());

    let mut now = MonoTime::default();
    let outbox = RamOutbox::new([0; 4096], 4096);
    let mut node: Node = Courier::new(outbox, [0; 512], Policy::default(), now, 7);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(99270)];
    node.submit(&Report::new("node-7-000001", &jobs), now, None)?;
    // Ten minutes of its own time.
    for _ in 0..600 {
        now = now.plus_ms(1000);
        let wall = WallTime::now();
        turn(&mut node, &endpoint, &credentials, &mut tcp, now, wall, 7);
    }

    assert_eq!(node.status().waiting, 0);
    let accepted = receiver.wait_for(1, Duration::ZERO);
    assert_eq!(accepted[0].message_id, "node-7-000001");
    assert_eq!(receiver.repeats(), 1);
    Ok(())
}
