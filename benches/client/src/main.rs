//! Sends the sample report again and again over one connection; and the server for it and for libcurl.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use edge_report::{Client, Credentials, Exceptions, Job, JobException, JobStatus, Report};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "edge-report-bench-client COMMAND
  serve                  answers every request; prints its address, as HOST:PORT
  SENDER ADDRESS CALLS   sends so often; SENDER: socket, token, signed. Prints with tabs between: send, the sender,
                         CPU and median time of a call in microseconds, kilobytes of memory, allocations of a call";

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n\
    {\"is_success\":\"true\",\"message\":\"report success\"}";
/// What the client sends, to within some bytes. Its timeouts are not set.
const HEAD: &str = "POST /v1/0a1b2c/edgesrv/job-report HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
    X-Project-Id: 0a1b2c\r\nX-Auth-Token: EXAMPLETOKEN\r\nUser-Agent: socket\r\nAccept: */*\r\nContent-Length: ";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve"] => serve(),
        ["socket", address, calls] => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let body = sample(|report| report.encode_to_vec())?;
            let mut request = format!("{HEAD}{}\r\n\r\n", body.len()).into_bytes();
            request.extend_from_slice(&body);
            let mut answer = [0; 1024];
            measure("TcpStream", calls.parse()?, || {
                (&stream).write_all(&request)?;
                read_answer(&stream, &mut answer)
            })
        }
        ["token", address, calls] => send(
            "edge-report",
            Credentials::token("EXAMPLETOKEN"),
            address,
            calls.parse()?,
        ),
        ["signed", address, calls] => {
            let keys = Credentials::keys("EXAMPLEAK", "EXAMPLESK");
            send("edge-report, signed", keys, address, calls.parse()?)
        }
        _ => Err(HELP.into()),
    }
}

fn send(name: &str, credentials: Credentials<'_>, address: &str, calls: usize) -> Result<()> {
    let mut client = Client::builder(&format!("http://{address}"), "0a1b2c")
        .credentials(credentials)
        .build()?;
    sample(|report| {
        measure(name, calls, || {
            let reply = client.send(report)?;
            match reply.outcome {
                edge_report::Outcome::Accepted => Ok(()),
                _ => Err(reply.to_string().into()),
            }
        })
    })
}

/// The documented sample: 338 bytes.
fn sample<T>(use_it: impl FnOnce(&Report<'_>) -> T) -> T {
    let detail = JobException::new(
        "Agent.51000",
        "JOB_SUBMIT_EXCEPTION",
        "agent_submit_job_exception_error",
    )
    .at(1_591_104_868_201);
    let jobs = [Job::new(JobStatus::SUBMIT_FAIL, 1_591_104_868_201)
        .with_job_id(99270)
        .with_exceptions(Exceptions::Detail(detail))];
    use_it(&Report::new("uuid", &jobs).with_topic("hw/events/messages/dli/message/confirm"))
}

fn measure(name: &str, calls: usize, mut call: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..20 {
        call()?;
    }
    let mut times = Vec::with_capacity(calls);
    let before = cpu();
    for _ in 0..calls {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed());
    }
    let cpu = (cpu() - before).as_secs_f64() * 1e6 / calls as f64;
    times.sort();
    let median = times[calls / 2].as_secs_f64() * 1e6;
    let mut result = Ok(());
    let allocations = allocation_counter::measure(|| result = call()).count_total;
    result?;
    println!(
        "send\t{name}\t{cpu:.2}\t{median:.2}\t{}\t{allocations}",
        memory()?
    );
    Ok(())
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The most that was resident, in KB.
fn memory() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line
        .ok_or("no VmHWM")?
        .trim_end_matches("kB")
        .trim()
        .parse()?)
}

/// The limit reads as little as it can: the answer is known.
fn read_answer(mut stream: &TcpStream, answer: &mut [u8]) -> Result<()> {
    let mut len = 0;
    while len < ANSWER.len() {
        match stream.read(&mut answer[len..])? {
            0 => return Err("the server has closed".into()),
            count => len += count,
        }
    }
    match black_box(&answer[..len]) == ANSWER {
        true => Ok(()),
        false => Err("another answer".into()),
    }
}

fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || answer(stream).ok());
    }
    Ok(())
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(&stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        input.read_exact(&mut body)?;
        (&stream).write_all(ANSWER)?;
    }
}
