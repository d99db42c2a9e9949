//! The responses: what they say, and how a refusal is put.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::fault::Canned;

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// An agent spreads its attempts from there by itself.
const RETRY_AFTER_S: &str = "2";

/// 9999-12-31T23:59:59Z: no HTTP date lies beyond it.
const LAST_DATE_MS: i64 = 253_402_300_799_000;

/// Why a request was not accepted.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// `DLI.` is the service's word, `APIGW.` that of the gateway before it.
    pub(super) code: &'static str,
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, why: impl Into<String>) -> Refusal {
        let why = why.into();
        Refusal { status, code, why }
    }

    /// Not now, but soon.
    pub(super) fn busy(why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "DLI.0999", why)
    }

    /// `request_number` becomes the request id that a gateway adds.
    pub(super) fn response(&self, request_number: u64) -> Response<String> {
        let id = format!("{request_number:032x}");
        let id = self.code.starts_with("APIGW.").then_some(id.as_str());
        let mut response = with_status(self.status, error_body(self.code, &self.why, id));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let post = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, post);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = HeaderValue::from_static(RETRY_AFTER_S);
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        response
    }
}

/// As the log has it, on one line.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "refused status={} why=\"{}\"",
            self.status.as_u16(),
            shown(&self.why)
        )
    }
}

/// The start of `text`, fit for a line of a log.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

/// The response to an accepted report.
pub(super) fn accepted() -> Response<String> {
    let body = json!({"is_success": true, "message": ""});
    with_status(StatusCode::OK, body.to_string())
}

/// The same, as the vendor's sample has it.
pub(super) fn accepted_as_string() -> Response<String> {
    let body = json!({"is_success": "true", "message": ""});
    with_status(StatusCode::OK, body.to_string())
}

pub(super) fn canned(canned: &Canned, now_ms: i64) -> Response<String> {
    let mut response = Response::new(canned.body.clone());
    *response.status_mut() = canned.status;
    response
        .headers_mut()
        .extend(canned.headers.iter().cloned());
    if let Some(seconds) = canned.retry_after_date {
        let at = now_ms.saturating_add(seconds.saturating_mul(1000));
        response.headers_mut().insert(header::RETRY_AFTER, date(at));
    }
    response
}

pub(super) fn error_body(code: &str, why: &str, request_id: Option<&str>) -> String {
    let mut body = json!({"error_code": code, "error_msg": why});
    if let (Some(id), Some(body)) = (request_id, body.as_object_mut()) {
        body.insert("request_id".to_owned(), id.into());
    }
    body.to_string()
}

/// The time as an HTTP date.
pub(super) fn date(ms: i64) -> HeaderValue {
    let since_1970 = u64::try_from(ms.clamp(0, LAST_DATE_MS)).unwrap_or_default();
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(since_1970));
    let text = httpdate::fmt_http_date(at.unwrap_or(UNIX_EPOCH));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

fn with_status(status: StatusCode, body: String) -> Response<String> {
    of_type(JSON, status, body)
}

pub(super) fn of_type(
    content_type: &'static str,
    status: StatusCode,
    body: String,
) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
