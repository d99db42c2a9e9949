//! Servers that write the bytes they are told.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;

/// A server that does to each connection what it is told. Gives its URL.
pub(crate) fn raw_server(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        // In a process without a descriptor to spare accepting may fail for a while.
        listener.incoming().flatten().for_each(serve)
    });
    url
}

/// Reads until `end` came, or the other side has closed.
pub(crate) fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while !all.ends_with(end) {
        match stream.read(&mut part).unwrap_or(0) {
            0 => break,
            n => all.extend_from_slice(&part[..n]),
        }
    }
    all
}
