//! The program: settings in, a receiver at work until a signal ends it.

mod settings;
mod signals;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use edge_report::WallTime;

use crate::{Fault, Options, Receiver};
use settings::{SETTINGS, Settings};
use signals::{Signal, Signals};

const HEAD: &str = "\
Receives job reports: POST [/prefix]/v1/{project_id}/edgesrv/job-report

Usage: edge-report-receiver [check-config] [OPTION]...
";

const FOOT: &str = "
check-config says whether the options are right, and opens neither store nor port.
Each option is also a variable in the environment, such as
EDGE_REPORT_RECEIVER_TLS_CERT, and a name in the file of --config.
The command line comes first, then the environment, then the file.
";

/// What the program does, and how it ends: 0, 1 when something failed, 2 when it is set wrongly.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    let only_check = arguments
        .first()
        .is_some_and(|first| first == "check-config");
    if only_check {
        arguments.remove(0);
    }
    let settings = match Settings::read(arguments.into_iter()) {
        Ok(settings) => settings,
        Err(why) => return set_wrongly(&why),
    };
    if settings.get("help").is_some() {
        return ExitCode::from(u8::from(help().is_err()));
    }
    if settings.get("version").is_some() {
        let version = writeln!(
            io::stdout(),
            "edge-report-receiver {}",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::from(u8::from(version.is_err()));
    }
    let options = match options(&settings) {
        Ok(options) => options,
        Err(why) => return set_wrongly(&why),
    };
    let grace =
        number(&settings, "grace", 0).map(|seconds| Duration::from_secs(seconds.unwrap_or(30)));
    let ended = match grace {
        Err(why) => return set_wrongly(&why),
        Ok(_) if only_check => options.check(),
        Ok(grace) => run(options, grace),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.kind() == io::ErrorKind::InvalidInput => set_wrongly(&why),
        Err(why) => {
            complain(&why);
            ExitCode::from(1)
        }
    }
}

fn set_wrongly(why: &dyn Display) -> ExitCode {
    complain(&format!("{why}; see --help"));
    ExitCode::from(2)
}

fn help() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(HEAD.as_bytes())?;
    for setting in &SETTINGS {
        let flag = format!("--{} {}", setting.name, setting.value);
        for (number, line) in setting.help.lines().enumerate() {
            let flag = if number == 0 { flag.as_str() } else { "" };
            writeln!(out, "  {flag:<21}{line}")?;
        }
    }
    write!(out, "{FOOT}\n{}", Fault::GRAMMAR)
}

fn options(settings: &Settings) -> Result<Options, String> {
    let mut options = Options::new()
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 8087)))
        .keep(false);
    if let Some(listen) = settings.get("listen") {
        let address = listen.parse().map_err(|_| {
            format!("--listen `{listen}` is not ADDRESS:PORT, such as 127.0.0.1:8087; a name is no address")
        })?;
        options = options.listen(address);
    }
    if let Some(seed) = number(settings, "seed", 0)? {
        options = options.seed(seed);
    }
    if let Some(file) = settings.get("record") {
        options = options.record(file);
    }
    for spec in settings.all("fault") {
        let fault: Result<Fault, _> = spec.parse();
        options = options.fault(fault.map_err(|why| why.to_string())?);
    }
    options = match (settings.get("ak"), settings.get("sk")) {
        (None, None) => options,
        (Some(ak), Some(sk)) => options.keys(ak, sk),
        _ => return Err("--ak and --sk go together".to_owned()),
    };
    if let Some(days) = number(settings, "retention", 1)? {
        options = options.retention(Duration::from_secs(days.saturating_mul(24 * 60 * 60)));
    }
    options.read_token = settings.get("read-token").map(str::to_owned);
    options.keys_file = settings.get("keys").map(Into::into);
    if let Some(most) = number(settings, "max-connections", 1)? {
        options.max_connections = usize::try_from(most).unwrap_or(usize::MAX);
    }
    // With less the largest report would be put off for ever.
    if let Some(megabytes) = number(settings, "memory", 40)? {
        let bytes = megabytes.saturating_mul(1024 * 1024);
        options.memory = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    options.tell = log;
    options.log = if settings.get("quiet").is_some() {
        |_| {}
    } else {
        log
    };
    let for_tests = options.record.is_some() || !options.faults.is_empty();
    options.store = match settings.get("store") {
        Some(store) => Some(store.to_owned()),
        None if for_tests || cfg!(not(feature = "sqlite")) => None,
        None => Some("sqlite:edge-report.db".to_owned()),
    };
    confirming(settings, secure(settings, options)?)
}

#[cfg(feature = "confirm")]
fn confirming(settings: &Settings, mut options: Options) -> Result<Options, String> {
    let ca = settings.get("confirm-ca").map(Into::into);
    options.confirm = match settings.get("confirm") {
        None if ca.is_some() => return Err("--confirm-ca needs --confirm".to_owned()),
        None => None,
        Some(url) => {
            let address = crate::confirm::Address::read(url, ca);
            Some(address.map_err(|why| format!("--confirm: {why}"))?)
        }
    };
    Ok(options)
}

#[cfg(not(feature = "confirm"))]
fn confirming(settings: &Settings, options: Options) -> Result<Options, String> {
    not_built(settings, &["confirm", "confirm-ca"], "confirm").map(|()| options)
}

#[cfg(feature = "tls")]
fn secure(settings: &Settings, mut options: Options) -> Result<Options, String> {
    let client_ca = settings.get("client-ca").map(Into::into);
    options.tls = match (settings.get("tls-cert"), settings.get("tls-key")) {
        (Some(certificate), Some(key)) => Some(crate::tls::Files {
            certificate: certificate.into(),
            key: key.into(),
            client_ca,
        }),
        (None, None) if client_ca.is_none() => None,
        (None, None) => return Err("--client-ca needs --tls-cert and --tls-key".to_owned()),
        _ => return Err("--tls-cert and --tls-key go together".to_owned()),
    };
    Ok(options)
}

#[cfg(not(feature = "tls"))]
fn secure(settings: &Settings, options: Options) -> Result<Options, String> {
    not_built(settings, &["tls-cert", "tls-key", "client-ca"], "tls").map(|()| options)
}

/// Settings of a feature that is not there. The feature `confirm` has all others that have settings.
#[cfg(not(feature = "confirm"))]
fn not_built(settings: &Settings, names: &[&str], feature: &str) -> Result<(), String> {
    match names.iter().find(|name| settings.get(name).is_some()) {
        Some(name) => Err(format!(
            "--{name}: this was built without the feature `{feature}`"
        )),
        None => Ok(()),
    }
}

fn number(settings: &Settings, name: &str, least: u64) -> Result<Option<u64>, String> {
    let Some(value) = settings.get(name) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(format!(
            "--{name} `{value}` is not a whole number from {least}"
        )),
    }
}

fn run(options: Options, grace: Duration) -> io::Result<()> {
    // Before anybody can know that it is there, since a signal would end it.
    let mut signals = Signals::catch()?;
    let open = options.keys.is_none() && options.keys_file.is_none();
    if open && !options.listen.ip().is_loopback() {
        log("failed guard why=\"there are no keys: whoever can connect may report\"");
    }
    let receiver = Receiver::start(options)?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", receiver.url())?;
    out.flush()?;
    while let Signal::Reload = signals.wait() {
        match receiver.reload() {
            Ok(()) => log("reloaded"),
            Err(why) => log(&format!("failed reload why=\"{why}\"")),
        }
    }
    receiver.end(grace);
    Ok(())
}

/// A line of `key=value` on stderr: when, how bad it is, and what the receiver says of it.
fn log(event: &str) {
    let time = WallTime::now().to_sdk_date();
    let time = time.as_ref().map_or("", |time| time.as_str());
    let bad = ["refused", "fault", "failed"]
        .iter()
        .any(|bad| event.starts_with(bad));
    let level = if bad { "warn" } else { "info" };
    complain(&format!("time={time} level={level} event={event}"));
}

/// On stderr, if there is one.
fn complain(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
