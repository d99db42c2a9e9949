//! Whether a request is one that the service would take.

use edge_report::{ReportBuf, Severity};
use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};

use super::response::Refusal;

/// Stands in every key of a database. The service's have 32.
const MAX_PROJECT_ID: usize = 128;

/// Errors named in one response.
const MAX_NAMED: usize = 8;

/// The project id of `[/prefix]/v1/{project_id}/edgesrv/job-report`, percent-decoded.
pub(super) fn project_id(method: &Method, path: &str) -> Result<String, Refusal> {
    let mut from_end = path.rsplit('/');
    let mut next = || from_end.next().unwrap_or_default();
    let (call, service, project, version) = (next(), next(), next(), next());
    if (version, service, call) != ("v1", "edgesrv", "job-report") || project.is_empty() {
        let why = format!("there is no {path}, only /v1/{{project_id}}/edgesrv/job-report");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "APIGW.0101", why));
    }
    if method != Method::POST {
        let why = format!("{method} does not work here, only POST");
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "APIGW.0101",
            why,
        ));
    }
    let project = percent_decoded(project);
    // What was no UTF-8 has become a replacement.
    let unfit = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    if project.len() > MAX_PROJECT_ID || project.chars().any(unfit) {
        let why = format!(
            "a project id has at most {MAX_PROJECT_ID} bytes, in UTF-8, and no control characters"
        );
        return Err(Refusal::new(StatusCode::NOT_FOUND, "APIGW.0101", why));
    }
    Ok(project)
}

pub(super) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.map_or(Ok(""), |value| value.to_str()).unwrap_or("?");
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let why = format!("Content-Type must be application/json, not `{value}`");
    Err(Refusal::new(StatusCode::BAD_REQUEST, "APIGW.0201", why))
}

/// Checks the body against the contract and reads it.
pub(super) fn report(body: &[u8]) -> Result<ReportBuf, Refusal> {
    let mut named = Vec::new();
    let summary = edge_report::check(body, |finding| {
        if finding.severity() == Severity::Error && named.len() < MAX_NAMED {
            named.push(finding.to_string());
        }
    });
    let refusal = |why| Refusal::new(StatusCode::BAD_REQUEST, "DLI.0001", why);
    match summary.errors.saturating_sub(named.len()) {
        _ if summary.errors == 0 => {
            serde_json::from_slice(body).map_err(|why| refusal(why.to_string()))
        }
        0 => Err(refusal(named.join("; "))),
        more => Err(refusal(format!("{}; and {more} more", named.join("; ")))),
    }
}

/// `%41` becomes `A`; a `%` without two hexadecimal digits stays.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let triple = match rest {
            [b'%', high, low, after @ ..] => hex(*high, *low).map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = triple.unwrap_or((byte, after));
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| u8::try_from(char::from(byte).to_digit(16)?).ok();
    Some(digit(high)? << 4 | digit(low)?)
}
