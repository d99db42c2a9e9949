//! Builds a report, checks it, signs it, sends it, and shows the answer.
//!
//! Bare, it starts a receiver inside itself and sends the documented sample there:
//!
//!     cargo run -p examples --example quickstart
//!
//! To a real endpoint, with a report of your own:
//!
//!     cargo run -p examples --example quickstart -- --url https://gateway.example --project-id 0a1b2c --ak AK --sk SK --file report.json
//!
//! Ends 0: accepted. 1: not accepted, with the reason. 2: invalid report or usage.

use std::io::{Read, Write};
use std::process::ExitCode;

use edge_report::exchange::Keys;
use edge_report::{
    Client, Credentials, Exceptions, Job, JobException, JobStatus, ReportBuf, SendError,
};
use edge_report_receiver::{Options, Receiver};

const USAGE: &str = "usage: quickstart [--url URL --project-id ID] [--ak AK --sk SK [--security-token T] | --token T]
                  [--file FILE | --file -] [--ca FILE] [--allow-plain-http]";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let credentials = arguments.credentials()?;

    // 1. Build and check.
    let report = match &arguments.file {
        None => sample(),
        Some(file) => read_report(file)?,
    };
    let bytes = report.encode_to_vec().map_err(|error| error.to_string())?;
    show(&format!("canonical bytes ({}):", bytes.len()));
    show(&String::from_utf8_lossy(&bytes));

    // 2. Where to: the given endpoint, or a receiver inside this program.
    let local = match arguments.url {
        Some(_) => None,
        None => Some(local_receiver()?),
    };
    let url = arguments.url.clone().or(local.as_ref().map(Receiver::url));
    let mut builder =
        Client::builder(&url.unwrap_or_default(), &arguments.project_id).credentials(credentials);
    if let Some(file) = &arguments.ca {
        builder = builder.ca_certificate(&read_file(file)?);
    }
    if arguments.allow_plain_http {
        builder = builder.allow_plain_http();
    }
    let mut client = builder.build().map_err(|error| error.to_string())?;

    // 3. Sign, send, and read the answer.
    match client.send(&report) {
        Ok(reply) if reply.is_accepted() => {
            show(&reply.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Ok(reply) => {
            eprintln!("not accepted: {reply}");
            Ok(ExitCode::FAILURE)
        }
        Err(SendError::Invalid(error)) => Err(error.to_string()),
        Err(error) => {
            eprintln!("not accepted: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The sample of the service's documentation.
fn sample() -> ReportBuf {
    let detail = JobException::new(
        "Agent.51000",
        "JOB_SUBMIT_EXCEPTION",
        "agent_submit_job_exception_error",
    );
    let job = Job::new(JobStatus::SUBMIT_FAIL, 1_591_104_868_201)
        .with_job_id(99270)
        .with_exceptions(Exceptions::Detail(detail.at(1_591_104_868_201)));
    ReportBuf::new("uuid")
        .with_topic("hw/events/messages/dli/message/confirm")
        .with_job(job)
}

/// Lists all findings; only errors stop.
fn read_report(file: &str) -> Result<ReportBuf, String> {
    let bytes = read_file(file)?;
    let summary = edge_report::check(&bytes, |finding| {
        let place = edge_report::json::position(&bytes, finding.offset.unwrap_or_default());
        let (line, column) = (place.line, place.column);
        eprintln!("{file}:{line}:{column}: {}: {finding}", finding.severity());
    });
    if !summary.is_valid() {
        return Err(format!("{file}: {} error(s)", summary.errors));
    }
    ReportBuf::from_json(&bytes).map_err(|error| format!("{file}: {error}"))
}

fn read_file(file: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let result = match file {
        "-" => std::io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        file => std::fs::read(file),
    };
    result.map_err(|error| format!("{file}: {error}"))
}

/// Like `println!`, for a standard output that may be closed already.
fn show(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A receiver that wants the signature of these example keys.
fn local_receiver() -> Result<Receiver, String> {
    let options = Options::new().keys("EXAMPLEAK", "EXAMPLESK");
    let receiver = Receiver::start(options).map_err(|error| format!("receiver: {error}"))?;
    show(&format!("receiver: {}", receiver.url()));
    Ok(receiver)
}

#[derive(Default)]
struct Arguments {
    url: Option<String>,
    project_id: String,
    ak: Option<String>,
    sk: Option<String>,
    security_token: Option<String>,
    token: Option<String>,
    file: Option<String>,
    ca: Option<String>,
    allow_plain_http: bool,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut all = Arguments::default();
        let mut project_id = None;
        while let Some(name) = given.next() {
            let slot = match name.as_str() {
                "--url" => &mut all.url,
                "--project-id" => &mut project_id,
                "--ak" => &mut all.ak,
                "--sk" => &mut all.sk,
                "--security-token" => &mut all.security_token,
                "--token" => &mut all.token,
                "--file" => &mut all.file,
                "--ca" => &mut all.ca,
                "--help" => return Err(USAGE.into()),
                "--allow-plain-http" => {
                    all.allow_plain_http = true;
                    continue;
                }
                _ => return Err(format!("unknown argument {name}\n{USAGE}")),
            };
            *slot = Some(
                given
                    .next()
                    .ok_or(format!("{name} needs a value\n{USAGE}"))?,
            );
        }
        if all.url.is_some() != project_id.is_some() {
            return Err(format!("--url and --project-id go together\n{USAGE}"));
        }
        all.project_id = project_id.unwrap_or("example-project".into());
        Ok(all)
    }

    fn credentials(&self) -> Result<Credentials<'_>, String> {
        match (&self.ak, &self.sk, &self.security_token, &self.token) {
            (Some(ak), Some(sk), None, None) => Ok(Credentials::keys(ak, sk)),
            (Some(ak), Some(sk), Some(token), None) => Ok(Credentials::Keys(
                Keys::new(ak, sk).with_security_token(token),
            )),
            (None, None, None, Some(token)) => Ok(Credentials::token(token)),
            (None, None, None, None) if self.url.is_none() => {
                Ok(Credentials::keys("EXAMPLEAK", "EXAMPLESK"))
            }
            (None, None, None, None) => Ok(Credentials::None),
            _ => Err(format!(
                "either --ak with --sk, or --token, or none\n{USAGE}"
            )),
        }
    }
}
