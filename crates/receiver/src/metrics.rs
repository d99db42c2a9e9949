//! What those see who watch over it: `/healthz` for who spreads the load, `/metrics` for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Response, StatusCode};

use super::commit::Counts;
use super::response;
use super::state::State;

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether reports can be stored.
pub(crate) fn health(counts: &Counts) -> Response<String> {
    if counts.failing.load(Ordering::Relaxed) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return response::of_type(TEXT, status, "the store fails\n".to_owned());
    }
    response::of_type(TEXT, StatusCode::OK, "ok\n".to_owned())
}

pub(crate) fn page(state: &State) -> Response<String> {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = state.counts();
    let [clients, ours] = &state.refused;
    let rows = [
        (
            "connections_total",
            "Connections taken in.",
            get(&state.connections),
        ),
        (
            "requests_total",
            "Requests that began to arrive.",
            get(&state.requests),
        ),
        (
            "reports_accepted_total",
            "Reports stored.",
            get(&state.accepted),
        ),
        (
            "reports_repeated_total",
            "Reports that were stored already.",
            get(&state.repeats),
        ),
        (
            "requests_refused_total",
            "Requests answered by 4xx.",
            get(clients),
        ),
        (
            "requests_put_off_total",
            "Requests answered by 5xx.",
            get(ours),
        ),
        (
            "store_commits_total",
            "Transactions, each of one report or more.",
            get(&counts.commits),
        ),
        (
            "store_commit_microseconds_total",
            "What they took.",
            get(&counts.commit_us),
        ),
        (
            "store_failures_total",
            "Transactions that failed.",
            get(&counts.failures),
        ),
    ];
    #[cfg(feature = "confirm")]
    let rows: Vec<(&str, &str, u64)> = match &state.confirmer {
        None => rows.to_vec(),
        Some(confirmer) => {
            let counts = &confirmer.counts;
            let more = [
                (
                    "confirmations_total",
                    "Messages that the broker has acknowledged.",
                    get(&counts.published),
                ),
                (
                    "confirmations_skipped_total",
                    "Reports whose topic cannot be published to.",
                    get(&counts.skipped),
                ),
                (
                    "confirmation_failures_total",
                    "Times that the broker, or the store of its messages, failed.",
                    get(&counts.failures),
                ),
            ];
            [&rows[..], &more].concat()
        }
    };
    let mut page = String::new();
    for (name, help, value) in rows {
        // Into a string it cannot fail.
        let _ = writeln!(
            page,
            "# HELP edge_report_receiver_{name} {help}\n# TYPE edge_report_receiver_{name} counter\nedge_report_receiver_{name} {value}"
        );
    }
    let up = u8::from(!counts.failing.load(Ordering::Relaxed));
    let _ = writeln!(
        page,
        "# HELP edge_report_receiver_store_up Whether the last transaction worked.\n# TYPE edge_report_receiver_store_up gauge\nedge_report_receiver_store_up {up}"
    );
    response::of_type(PROMETHEUS, StatusCode::OK, page)
}
