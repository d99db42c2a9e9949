//! What people and their programs see: the page, health, metrics, and the JSON API under `/api`. It only reads.
//!
//! On a loopback address whoever can connect may look; elsewhere it takes the read token. `/healthz` tells nothing, and takes none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use edge_report::JobStatus;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::classify::percent_decoded;
use super::content::{Content, Events};
use super::metrics;
use super::response::{self, Refusal};
use super::state::State;
use super::store::read::{Answer, Filter, Place, Query};

/// Rows of a page: as many as are asked for, up to the most.
const ROWS: u32 = 100;
const MOST_ROWS: u32 = 1000;

/// What all responses together may take that are on their way to who looks: five of the longest reports, and some.
pub(crate) const MEMORY: usize = 64 * 1024 * 1024;

/// What somebody should look at.
const TROUBLE: [JobStatus<'static>; 4] = [
    JobStatus::RUNNING_EXCEPTION,
    JobStatus::SUBMIT_FAIL,
    JobStatus::CANCEL_FAIL,
    JobStatus::ARREARAGE_STOPPED,
];

/// Who may look.
pub(crate) struct Guard {
    /// The hash of the read token, so that comparing it tells nothing.
    token: Option<[u8; 32]>,
    open: bool,
}

impl Guard {
    pub(crate) fn new(token: Option<&str>, on_loopback: bool) -> Guard {
        Guard {
            token: token.map(|token| Sha256::digest(token).into()),
            open: on_loopback && token.is_none(),
        }
    }

    fn lets_in(&self, head: &Parts) -> Result<(), Refusal> {
        let given = head.headers.get(hyper::header::AUTHORIZATION);
        let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let given: Option<[u8; 32]> = given.map(|token| Sha256::digest(token).into());
        if (self.open && by_address(head)) || (given.is_some() && given == self.token) {
            return Ok(());
        }
        let why = match self.token {
            Some(_) => "looking takes Authorization: Bearer TOKEN",
            None if self.open => {
                "looking by a name other than localhost takes a read token, which this receiver does not have"
            }
            None => "looking takes a read token, which this receiver does not have",
        };
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "APIGW.0301", why))
    }
}

/// Whether the receiver was asked by an address, or as `localhost`. By another name it is a proxy, or a page from elsewhere in a browser here: whose name that is can let
/// it lead to a loopback address.
fn by_address(head: &Parts) -> bool {
    let host = match (head.uri.authority(), head.headers.get(hyper::header::HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or("?"),
        // No browser.
        (None, None) => return true,
    };
    let ip_and_port: Result<SocketAddr, _> = host.parse();
    let ip: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ip_and_port.is_ok() || ip.is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// The response to who only looks; None: the request is none of that kind.
pub(crate) async fn respond(state: &Arc<State>, head: &Parts) -> Option<Response<Content>> {
    // Of a response to HEAD hyper sends the head alone.
    if head.method != Method::GET && head.method != Method::HEAD {
        return None;
    }
    let path = head.uri.path();
    #[cfg(feature = "program")]
    if let Some(file) = super::page::file(path) {
        return Some(file.map(Content::from));
    }
    if path == "/healthz" {
        return Some(metrics::health(state.counts()).map(Content::from));
    }
    let api = path.strip_prefix("/api/");
    if path != "/metrics" && api.is_none() {
        return None;
    }
    let looked = match (state.guard.lets_in(head), api) {
        (Err(refusal), _) => Err(refusal),
        (Ok(()), None) => Ok(metrics::page(state)),
        (Ok(()), Some("events")) => return Some(events(state)),
        (Ok(()), Some(api)) => read(state, api, head.uri.query().unwrap_or_default()).await,
    };
    let looked = looked.and_then(|looked| {
        let (head, text) = looked.into_parts();
        let text = state.views.lend(text);
        let text = text.ok_or_else(|| Refusal::busy("too much is on its way to who looks"))?;
        Ok(Response::from_parts(head, Content::Text(text)))
    });
    Some(looked.unwrap_or_else(|refusal| refusal.response(0).map(Content::from)))
}

fn events(state: &Arc<State>) -> Response<Content> {
    let events = Events::new(Arc::clone(state));
    let head = response::of_type("text/event-stream", StatusCode::OK, String::new());
    head.map(|_| Content::Events(events))
}

async fn read(state: &State, path: &str, query: &str) -> Result<Response<String>, Refusal> {
    let query = parse(path, query)?;
    let limit = query.limit();
    let Some(reader) = &state.reader else {
        return Err(not_found("the store `memory` keeps nothing to look at"));
    };
    let answer = reader.ask(query).await.map_err(Refusal::busy)?;
    Ok(match answer {
        Answer::Body(None) => return Err(not_found("there is no such report")),
        Answer::Body(Some(body)) => response::of_type(response::JSON, StatusCode::OK, body),
        Answer::Projects(projects) => {
            let next = projects
                .get(last(limit))
                .map(|project| project.project.clone());
            let rows = projects.iter().map(|project| {
                json!({
                    "project": project.project, "jobs": project.jobs, "in_trouble": project.in_trouble,
                    "received_ms": project.received_ms,
                })
            });
            rows_of("projects", rows.collect(), next)
        }
        Answer::Jobs(jobs) => {
            let next = jobs
                .get(last(limit))
                .map(|job| format!("{}:{}", job.job_id, job.project));
            let rows = jobs.iter().map(|job| {
                json!({
                    "project": job.project, "job_id": job.job_id, "status": job.status,
                    "create_time": job.create_time, "final": job.is_final, "since_ms": job.since_ms, "exception": job.exception,
                    "received_ms": job.place.received_ms, "report": job.place.to_string(),
                })
            });
            rows_of("jobs", rows.collect(), next)
        }
        Answer::History(states) => {
            let next = states
                .get(last(limit))
                .map(|state| format!("{}:{}", state.place, state.position));
            let rows = states.iter().map(|state| {
                json!({
                    "status": state.status, "create_time": state.create_time,
                    "received_ms": state.place.received_ms, "report": state.place.to_string(),
                })
            });
            rows_of("history", rows.collect(), next)
        }
        Answer::Reports(reports) => {
            let next = reports
                .get(last(limit))
                .map(|report| report.place.to_string());
            let rows = reports.iter().map(|report| {
                json!({
                    "message_id": report.message_id, "received_ms": report.place.received_ms,
                    "report": report.place.to_string(), "bytes": report.bytes,
                })
            });
            rows_of("reports", rows.collect(), next)
        }
    })
}

fn last(limit: u32) -> usize {
    usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(1)
}

/// With `next`, there may be more.
fn rows_of(name: &str, rows: Vec<Value>, next: Option<String>) -> Response<String> {
    let page = json!({name: rows, "next": next});
    response::of_type(response::JSON, StatusCode::OK, page.to_string())
}

fn parse(path: &str, query: &str) -> Result<Query, Refusal> {
    let query: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), percent_decoded(&value.replace('+', " "))))
        .collect();
    let mut words = path.split('/').map(percent_decoded);
    let texts = query.iter().map(|(_, value)| value.as_str());
    if words.clone().any(|word| word.contains('\0'))
        || texts.into_iter().any(|it| it.contains('\0'))
    {
        return Err(wrong("no text has a NUL in it"));
    }
    let get = |name: &str| {
        query
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone())
    };
    let limit = match get("limit").map(|limit| limit.parse::<u32>()) {
        None => ROWS,
        Some(Ok(limit @ 1..=MOST_ROWS)) => limit,
        Some(_) => return Err(wrong("limit is 1 to 1000")),
    };
    let place = |text: String| {
        text.parse::<Place>()
            .map_err(|()| wrong("there is no such place"))
    };
    let before = || get("before").map(place).transpose();
    let mut next = || words.next();
    let trouble = || {
        TROUBLE
            .iter()
            .map(|status| status.name().to_owned())
            .collect()
    };
    match (next().as_deref(), next(), next(), next()) {
        (Some("projects"), None, None, None) => Ok(Query::Projects {
            statuses: trouble(),
            after: get("after"),
            limit,
        }),
        (Some("jobs"), None, None, None) => {
            let after = get("after").map(|after| {
                let (job_id, project) = after.split_once(':')?;
                Some((project.to_owned(), job_id.parse().ok()?))
            });
            let after = after.map(|after| after.ok_or_else(|| wrong("there is no such place")));
            Ok(Query::Jobs(Filter {
                project: get("project"),
                statuses: get("trouble").is_some_and(|it| it != "0").then(trouble),
                text: get("q").filter(|text| !text.is_empty()),
                after: after.transpose()?,
                limit,
            }))
        }
        (Some("jobs"), Some(project), Some(job_id), None) => {
            let job_id = job_id.parse().map_err(|_| wrong("a job_id is a number"))?;
            let before = get("before").map(|before| {
                // Without a position, before all of the report.
                let (report, position) = before.rsplit_once(':').unwrap_or((&before, "0"));
                let position = position.parse();
                let position = position.map_err(|_| wrong("there is no such place"))?;
                Ok((place(report.to_owned())?, position))
            });
            Ok(Query::History {
                project,
                job_id,
                before: before.transpose()?,
                limit,
            })
        }
        (Some("reports"), Some(project), None, None) => Ok(Query::Reports {
            project,
            before: before()?,
            limit,
        }),
        (Some("reports"), Some(project), Some(report), None) => {
            let place = place(report)?;
            Ok(Query::Body { project, place })
        }
        _ => Err(not_found(
            "there is /api/projects, /api/jobs, /api/jobs/PROJECT/JOB_ID, /api/reports/PROJECT and /api/reports/PROJECT/REPORT",
        )),
    }
}

fn wrong(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "DLI.0001", why)
}

fn not_found(why: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "APIGW.0101", why)
}
