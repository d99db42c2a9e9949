//! Receivers to report to, and requests as they go over the wire.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

#[cfg(feature = "tls")]
pub mod ca;
#[cfg(target_os = "linux")]
pub mod disk;
#[cfg(feature = "confirm")]
pub mod mosquitto;
#[cfg(all(unix, feature = "postgres"))]
pub mod postgres;
pub mod program;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use edge_report::exchange::{Header, Keys, Signable, sign};
use edge_report::{Job, JobStatus, ReportBuf, WallTime};
use edge_report_receiver::Receiver;

/// What a machine under load may take for anything here.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn address(receiver: &Receiver) -> String {
    receiver.url().split_once("//").unwrap().1.to_owned()
}

/// A report of one job.
pub fn report(message_id: &str, job_id: i64, status: JobStatus<'_>, create_time: i64) -> Vec<u8> {
    let job = Job::new(status, create_time).with_job_id(job_id);
    let report = ReportBuf::new(message_id)
        .with_topic("confirm")
        .with_job(job);
    report.encode_to_vec().unwrap()
}

/// A request that is not signed.
pub fn request(host: &str, project: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /v1/{project}/edgesrv/job-report HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [request.as_bytes(), body].concat()
}

/// One signed for this time.
pub fn signed(
    host: &str,
    project: &str,
    (ak, sk): (&str, &str),
    now_ms: i64,
    body: &[u8],
) -> Vec<u8> {
    let path = format!("/v1/{project}/edgesrv/job-report");
    let headers = [Header {
        name: "content-type",
        value: "application/json",
    }];
    let signable = Signable::new("POST", host, &path)
        .with_headers(&headers)
        .with_body(body);
    let mut room = vec![0; 4096];
    let time = WallTime::from_unix_ms(now_ms);
    let signature = sign(&signable, &Keys::new(ak, sk), time, &mut room).unwrap();
    let headers = [
        ("X-Sdk-Date", signature.x_sdk_date()),
        ("Authorization", signature.authorization()),
    ];
    request(host, project, &headers, body)
}

/// Status and body of the response to a request on a connection of its own.
pub fn exchange(host: &str, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    response(&mut stream)
}

/// The next response on a connection: its status, head and body.
pub fn response(stream: &mut impl Read) -> (u16, String) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        // Unlike `read` it goes on when a signal came in between, as to a machine that was halted.
        match stream.read_exact(&mut byte) {
            Ok(()) => bytes.push(byte[0]),
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => {
                return (0, String::from_utf8_lossy(&bytes).into_owned());
            }
            Err(why) => panic!("{why}"),
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.to_ascii_lowercase();
    let length = length
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head + &String::from_utf8(body).unwrap())
}

/// Reports it to this project, not signed.
pub fn post(host: &str, project: &str, body: &[u8]) -> u16 {
    exchange(host, &request(host, project, &[], body)).0
}
