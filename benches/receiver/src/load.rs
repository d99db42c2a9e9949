//! Agents that report as fast as they are answered. All is signed beforehand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use edge_report::exchange::{Header, Keys, Signable, sign};
use edge_report::{Exceptions, Job, JobException, JobStatus, Report, WallTime};

pub struct Load<'h> {
    hosts: &'h [&'h str],
    requests: Vec<Vec<u8>>,
}

pub struct Run {
    pub took: Duration,
    /// CPU of the agents.
    pub generator: Duration,
    latencies: Vec<Duration>,
}

impl Run {
    pub fn bare(took: Duration, mut latencies: Vec<Duration>) -> Run {
        latencies.sort();
        Run {
            took,
            generator: Duration::ZERO,
            latencies,
        }
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }
}

/// The sample of the API's page, of job `number`.
pub fn body(run: &str, number: usize) -> Vec<u8> {
    let exception = JobException::new(
        "Agent.51000",
        "JOB_SUBMIT_EXCEPTION",
        "agent_submit_job_exception_error",
    );
    let job = Job::new(JobStatus::SUBMIT_FAIL, 1_591_104_868_201 + number as i64)
        .with_job_id(number as i64 % 10_000 + 1)
        .with_exceptions(Exceptions::Detail(exception));
    let id = format!("{run}-{number}");
    let jobs = [job];
    let report = Report::new(&id, &jobs).with_topic("hw/events/messages/dli/message/confirm");
    let mut room = vec![0; report.encoded_len()];
    report.encode(&mut room).expect("it fits").to_vec()
}

impl<'h> Load<'h> {
    pub fn new(hosts: &'h [&'h str], reports: usize, name: &str, run: &str) -> Load<'h> {
        let now = WallTime::now();
        let requests = (0..reports).map(|number| {
            let host = hosts[number % hosts.len()];
            request(
                host,
                number % 1000,
                now,
                &body(&format!("{name}-{run}"), number),
            )
        });
        Load {
            hosts,
            requests: requests.collect(),
        }
    }

    pub fn run(&self, agents: usize) -> Run {
        let (before, began) = (cpu(), Instant::now());
        let mut latencies: Vec<Duration> = thread::scope(|scope| {
            let each = |agent: usize| {
                let hosts = self.hosts.len();
                // An agent reports to one receiver, so it takes what was signed for that.
                let mine = self
                    .requests
                    .iter()
                    .skip(agent)
                    .step_by(agents - agents % hosts);
                move || report(self.hosts[agent % hosts], mine)
            };
            let agents: Vec<_> = (0..agents - agents % self.hosts.len())
                .map(|agent| scope.spawn(each(agent)))
                .collect();
            agents
                .into_iter()
                .flat_map(|agent| agent.join().expect("an agent"))
                .collect()
        });
        let (took, generator) = (began.elapsed(), cpu().saturating_sub(before));
        latencies.sort();
        Run {
            took,
            generator,
            latencies,
        }
    }
}

fn report<'r>(host: &str, requests: impl Iterator<Item = &'r Vec<u8>>) -> Vec<Duration> {
    let mut stream = connect(host);
    let mut response = [0; 1024];
    let report = |request: &Vec<u8>| {
        let began = Instant::now();
        stream.write_all(request).expect("it is sent");
        // A response is short, and comes in one piece.
        let length = stream.read(&mut response).expect("it is answered");
        let status = response.get(9..12);
        assert_eq!(
            status,
            Some(b"200".as_slice()),
            "{}",
            String::from_utf8_lossy(&response[..length])
        );
        began.elapsed()
    };
    requests.map(report).collect()
}

pub fn get(host: &str, path: &str) -> String {
    let mut stream = connect(host);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .expect("it is sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it is answered");
    page
}

fn connect(host: &str) -> TcpStream {
    let stream = TcpStream::connect(host).expect("the receiver listens");
    stream.set_nodelay(true).expect("an option of TCP");
    stream
}

fn request(host: &str, key: usize, now: WallTime, body: &[u8]) -> Vec<u8> {
    let path = format!("/v1/{:032x}/edgesrv/job-report", key / 10);
    let (ak, sk) = (format!("AK{key:018}"), format!("SK{key:038}"));
    let headers = [Header {
        name: "content-type",
        value: "application/json",
    }];
    let signable = Signable::new("POST", host, &path)
        .with_headers(&headers)
        .with_body(body);
    let mut room = [0; 1024];
    let signature = sign(&signable, &Keys::new(&ak, &sk), now, &mut room).expect("it is signed");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nX-Sdk-Date: {}\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
        signature.x_sdk_date(),
        signature.authorization(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Of this process, from /proc/self/stat: fields 14 and 15, in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("a name").split_whitespace();
    let ticks: u64 = after_name
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}
