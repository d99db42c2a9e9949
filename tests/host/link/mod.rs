//! A link in user space: what goes through it comes as slowly, as late, and in as few pieces as it is told. No kernel modules.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// One way or both.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// For each way.
    pub(crate) delay: Duration,
    /// After so many bytes on the way there, nothing passes for so long.
    pub(crate) stall: Option<(u64, Duration)>,
    /// After so many bytes on the way there, both ends are gone.
    pub(crate) cut: Option<u64>,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            rate: u64::MAX,
            delay: Duration::ZERO,
            stall: None,
            cut: None,
        }
    }
}

/// What went through.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) there: AtomicU64,
    pub(crate) back: AtomicU64,
}

/// A link to a server. Gives its own address.
pub(crate) fn link(to: SocketAddr, link: Link) -> (SocketAddr, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(to).unwrap();
            shared.connections.fetch_add(1, Ordering::Relaxed);
            for (from, to, is_there) in [
                (
                    client.try_clone().unwrap(),
                    server.try_clone().unwrap(),
                    true,
                ),
                (server, client, false),
            ] {
                to.set_nodelay(true).unwrap();
                let counts = shared.clone();
                thread::spawn(move || pass(from, to, link, is_there, &counts));
            }
        }
    });
    (address, counts)
}

fn pass(mut from: TcpStream, to: TcpStream, link: Link, is_there: bool, counts: &Counts) {
    // What is on its way: as much as the delay holds.
    let (put, take) = sync_channel::<(Instant, Vec<u8>)>(64);
    let mut out = to.try_clone().unwrap();
    let arrival = thread::spawn(move || {
        for (at, bytes) in take {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if out.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = out.shutdown(Shutdown::Write);
    });
    // Twenty pieces a second, or what there is.
    let mut piece = vec![
        0;
        usize::try_from(link.rate / 20)
            .unwrap_or(usize::MAX)
            .clamp(1, 1 << 14)
    ];
    let mut free = Instant::now();
    let mut passed = 0;
    let (mut stall, counter) = if is_there {
        (link.stall, &counts.there)
    } else {
        (None, &counts.back)
    };
    while let Ok(n @ 1..) = from.read(&mut piece) {
        passed += n as u64;
        counter.fetch_add(n as u64, Ordering::Relaxed);
        if is_there && link.cut.is_some_and(|cut| passed >= cut) {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
        if stall.is_some_and(|(after, _)| passed >= after) {
            thread::sleep(stall.take().unwrap().1);
        }
        // Sleeping too long is made up for.
        free = free.max(Instant::now() - Duration::from_millis(200));
        free += Duration::from_secs_f64(n as f64 / link.rate as f64);
        thread::sleep(free.saturating_duration_since(Instant::now()));
        let piece = piece[..n].to_vec();
        if put.send((Instant::now() + link.delay, piece)).is_err() {
            break;
        }
    }
    drop(put);
    let _ = arrival.join();
    let _ = to.shutdown(Shutdown::Write);
}
