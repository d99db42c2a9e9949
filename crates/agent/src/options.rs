//! What the watch asks and reports, by the settings.

use edge_report::flink::{ExceptionsAs, MappedJob, Options, OtherIds, Plan};

use crate::settings::Settings;

/// The jobs of `--job NAME=ID`.
pub(crate) fn mapped(settings: &Settings) -> Result<Vec<MappedJob<'_>>, String> {
    let jobs = settings.all("job").iter().map(|given| {
        // A name may have any character; a number has no `=`.
        let parts = given.rsplit_once('=');
        let parts = parts.and_then(|(job, id)| Some((job, id.parse().ok().filter(|id| *id > 0)?)));
        parts
            .filter(|(job, _)| !job.is_empty())
            .map(|(job, job_id)| MappedJob { job, job_id })
            .ok_or_else(|| {
                format!("--job `{given}` is not NAME=ID, such as edge-temperature=99270")
            })
    });
    jobs.collect()
}

pub(crate) fn options<'s>(
    settings: &'s Settings,
    mapped: &'s [MappedJob<'s>],
) -> Result<Options<'s>, String> {
    let default = Options::default();
    let metrics = match settings.get("metrics") {
        Some("none") => "",
        given => given.unwrap_or(default.metrics),
    };
    Ok(default
        .with_mapped(mapped)
        .with_metrics(metrics)
        .with_node(node(settings)?.unwrap_or(default.node))
        .with_poll_ms(settings.number("poll", 100, default.poll_ms)?)
        .with_requests(settings.number("requests", 4, default.requests)?)
        .with_heartbeat_ms(settings.number("heartbeat", 0, default.heartbeat_ms)?)
        .with_cache_ms(settings.number("cache", 0, default.cache_ms)?)
        .with_steady_ms(settings.number("steady", 0, default.steady_ms)?)
        .with_exception_bytes(settings.number("exception-bytes", 0, default.exception_bytes)?)
        .with_other_ids(settings.choice(
            "other-ids",
            &[
                ("hash63", OtherIds::Hash63),
                ("hash31", OtherIds::Hash31),
                ("none", OtherIds::None),
            ],
        )?)
        .with_plan(settings.choice(
            "plan",
            &[
                ("when-new", Plan::WhenNew),
                ("always", Plan::Always),
                ("never", Plan::Never),
            ],
        )?)
        .with_exceptions(settings.choice(
            "exceptions",
            &[
                ("object", ExceptionsAs::Object),
                ("text", ExceptionsAs::Text),
            ],
        )?))
}

/// The watch would leave out what is too long: two nodes could have the same message ids, and the reports of one would count as repeats.
fn node(settings: &Settings) -> Result<Option<&str>, String> {
    let node = settings.get("node");
    match node.is_some_and(|node| node.len() > 64 || node.contains(char::is_control)) {
        true => Err("--node has more than 64 bytes, or control characters".to_owned()),
        false => Ok(node),
    }
}

/// How many jobs are watched at once.
pub(crate) fn slots(settings: &Settings) -> Result<usize, String> {
    match settings.number("max-jobs", 1, 256)? {
        slots if slots <= 1 << 16 => Ok(slots),
        _ => Err("--max-jobs is 65,536 at the most".to_owned()),
    }
}
