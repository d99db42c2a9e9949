//! The service that reports go to, and the spool in which they wait, by the settings.

use std::time::Duration;

use edge_report::courier::{Backlog, Courier, Policy, WhenLettersFull};
use edge_report::exchange::Keys;
use edge_report::{
    Client, ClientBuilder, Credentials, Spool, SpoolError, SpoolOptions, TlsSettings,
};

use crate::failure::{Failure, wrong};
use crate::flink::read;
use crate::settings::Settings;

pub(crate) type Node = Courier<Spool, Vec<u8>>;

/// Reads the files that the settings name; touches no network.
pub(crate) fn client(settings: &Settings) -> Result<Client, String> {
    let (url, project) = (settings.needed("url")?, settings.needed("project-id")?);
    let mut builder = Client::builder(url, project)
        .credentials(credentials(settings)?)
        .tls(tls(settings)?);
    if settings.has("allow-plain-http") {
        builder = builder.allow_plain_http();
    }
    type Set = fn(ClientBuilder, Duration) -> ClientBuilder;
    let times: [(&str, Set); 6] = [
        ("connect-timeout", ClientBuilder::connect_timeout),
        ("tls-timeout", ClientBuilder::tls_timeout),
        ("send-timeout", ClientBuilder::send_timeout),
        ("response-timeout", ClientBuilder::response_timeout),
        ("total-timeout", ClientBuilder::total_timeout),
        ("max-idle", ClientBuilder::max_idle),
    ];
    for (name, set) in times {
        if settings.has(name) {
            builder = set(builder, ms(settings, name, 0)?);
        }
    }
    if settings.has("min-rate") {
        builder = builder.min_rate(settings.number("min-rate", 0, 0)?);
    }
    if settings.has("service-code") {
        builder = builder.service_codes(settings.all("service-code"));
    }
    builder.build().map_err(|why| why.to_string())
}

fn tls(settings: &Settings) -> Result<TlsSettings, String> {
    let mut tls = TlsSettings::new();
    if let Some(file) = settings.get("ca") {
        tls = tls.ca_certificate(&read("ca", file)?);
    }
    match (settings.get("cert"), settings.get("key")) {
        (None, None) => Ok(tls),
        (Some(cert), Some(key)) => {
            Ok(tls.client_certificate(&read("cert", cert)?, &read("key", key)?))
        }
        _ => Err("--cert and --key go together".to_owned()),
    }
}

fn credentials(settings: &Settings) -> Result<Credentials<'_>, String> {
    let get = |name| settings.get(name);
    match (get("ak"), get("sk"), get("token"), get("security-token")) {
        (None, None, None, None) => Ok(Credentials::None),
        (None, None, Some(token), None) => Ok(Credentials::token(token)),
        (Some(ak), Some(sk), None, None) => Ok(Credentials::keys(ak, sk)),
        (Some(ak), Some(sk), None, Some(token)) => Ok(Credentials::Keys(
            Keys::new(ak, sk).with_security_token(token),
        )),
        _ => Err("either --ak with --sk (and --security-token), or --token, or none".to_owned()),
    }
}

/// `spread_ms` is taken without `--start-spread`.
pub(crate) fn policy(settings: &Settings, spread_ms: u64) -> Result<Policy, String> {
    let policy = Policy::default();
    Ok(policy
        .with_min_backoff(ms(settings, "min-backoff", policy.min_backoff_ms)?)
        .with_max_backoff(ms(settings, "max-backoff", policy.max_backoff_ms)?)
        .with_hold(ms(settings, "hold", policy.hold_ms)?)
        .with_start_spread(ms(settings, "start-spread", spread_ms)?)
        .with_backlog(settings.choice(
            "backlog",
            &[("all", Backlog::KeepAll), ("latest", Backlog::LatestPerJob)],
        )?)
        .with_when_letters_full(settings.choice(
            "when-letters-full",
            &[
                ("drop", WhenLettersFull::DropOldest),
                ("hold", WhenLettersFull::Hold),
            ],
        )?))
}

pub(crate) fn limits(settings: &Settings) -> Result<SpoolOptions, String> {
    let mut limits = SpoolOptions::default();
    limits.max_bytes = settings.number("max-bytes", 16 * 1024, limits.max_bytes)?;
    limits.dead_letter_bytes = limits.dead_letter_bytes.min(limits.max_bytes);
    Ok(limits)
}

/// The spool, made where there is none, and no other process has it open.
pub(crate) fn courier(settings: &Settings, spread_ms: u64) -> Result<Node, Failure> {
    let (limits, policy) = (limits(settings)?, policy(settings, spread_ms)?);
    let spool = Spool::open(settings.needed("spool")?, limits).map_err(|why| match why {
        SpoolError::Locked { .. } => wrong(format!("{why}; end that one first")),
        why => wrong(why),
    })?;
    Ok(Courier::with_policy(spool, policy))
}

pub(crate) fn ms(settings: &Settings, name: &str, default: u64) -> Result<Duration, String> {
    Ok(Duration::from_millis(settings.number(name, 0, default)?))
}
