//! One HTTP exchange: the request that carries a report, signatures, and what a response means.

use alloc::string::String;
use alloc::vec::Vec;

use edge_report::exchange::{
    Endpoint, Header, Keys, ReplyHeaders, Request, RequestError, ServiceCodes, Signable,
    canonical_request as canonical, read_reply_with as read, sign as signature,
};
use edge_report::{Code, Credentials};
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

use crate::answer::Answer;
use crate::request::Strings;
use crate::wall;

/// What a response means, or `{"code"}`. `service_codes` is a list of prefixes.
#[wasm_bindgen]
pub fn read_reply(
    service_codes: Option<String>,
    status: u16,
    retry_after: Option<String>,
    date: Option<String>,
    body: &[u8],
    now_ms: f64,
) -> String {
    let prefixes = service_codes.as_deref().map(Strings::read);
    let codes = match &prefixes {
        None => ServiceCodes::default(),
        Some(prefixes) => match ServiceCodes::new(prefixes.texts()) {
            Ok(codes) => codes,
            Err(code) => return Answer::error(code).end(b'}'),
        },
    };
    let headers = ReplyHeaders::default()
        .with_retry_after(retry_after.as_deref())
        .with_date(date.as_deref());
    let reply = read(&codes, status, headers, body);
    let now = wall(now_ms);
    let mut answer = Answer::begin(b'{');
    answer.text("outcome", reply.outcome.name());
    answer.number("status", reply.status);
    answer.json_text("errorCode", reply.error_code);
    answer.json_text("errorMsg", reply.error_msg);
    answer.json_text("message", reply.message);
    answer.json_text("requestId", reply.request_id);
    if let Some(ms) = reply.retry_after_ms(now) {
        answer.number("retryAfterMs", ms);
    }
    if let Some(ms) = reply.clock_skew_ms(now) {
        answer.number("clockSkewMs", ms);
    }
    answer.shown("text", &reply);
    answer.end(b'}')
}

/// The request that carries a report: `{"method", "url", "path", "headers": [[name, value], …]}` or `{"code", "offset"}`.
/// `plain_http` allows `http://` to any host. `who` is a list: token, access key, secret key, security token, each a string or null.
#[wasm_bindgen]
pub fn request(
    base_url: &str,
    project_id: &str,
    plain_http: bool,
    who: String,
    body: &[u8],
    now_ms: f64,
) -> String {
    let endpoint = match Endpoint::new(base_url, project_id) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let mut answer = Answer::error(error.code());
            answer.number("offset", error.offset());
            return answer.end(b'}');
        }
    };
    if !endpoint.is_https() && !plain_http && !endpoint.is_loopback() {
        return Answer::error(Code::PlainHttp).end(b'}');
    }
    let who = Strings::read(&Zeroizing::new(who));
    let credentials = credentials(&who);
    let now = wall(now_ms);
    let made = sized(
        |scratch| match Request::new(&endpoint, &credentials, body, now, scratch) {
            Err(error) => Err(error),
            Ok(request) => {
                let mut url = Vec::new();
                let _ = endpoint.write_url(&mut url);
                let mut answer = Answer::begin(b'{');
                answer.text("method", request.method());
                answer.text("url", core::str::from_utf8(&url).unwrap_or_default());
                answer.text("path", request.path());
                answer.open("headers", b'[');
                for header in request.headers() {
                    pair(&mut answer, header.name, header.value);
                }
                answer.close(b']');
                Ok(answer.end(b'}'))
            }
        },
    );
    made.unwrap_or_else(|code| Answer::error(code).end(b'}'))
}

/// Signs any request: `{"headers": [[name, value], …]}`, or `{"canonical": text}` if that is asked for, or `{"code"}`.
/// `line` is a list: method, host, path, access key, secret key, security token or null; `headers` and `query` are flat lists of pairs.
#[wasm_bindgen]
pub fn sign(
    line: String,
    headers: &str,
    query: &str,
    body: &[u8],
    now_ms: f64,
    as_canonical: bool,
) -> String {
    let line = Strings::read(&Zeroizing::new(line));
    let (headers, query) = (Strings::read(headers), Strings::read(query));
    let headers: Vec<Header<'_>> = headers
        .pairs()
        .map(|(name, value)| Header { name, value })
        .collect();
    let query: Vec<(&str, &str)> = query.pairs().collect();
    let request = Signable::new(
        line.at(0).unwrap_or_default(),
        line.at(1).unwrap_or_default(),
        line.at(2).unwrap_or_default(),
    )
    .with_query(&query)
    .with_headers(&headers)
    .with_body(body);
    let keys = keys(line.at(3), line.at(4), line.at(5));
    let now = wall(now_ms);
    let mut answer = Answer::begin(b'{');
    if as_canonical {
        let mut text = Vec::new();
        if let Err(error) = canonical(&request, &keys, now, &mut text) {
            return Answer::error(error.code()).end(b'}');
        }
        answer.text("canonical", core::str::from_utf8(&text).unwrap_or_default());
        return answer.end(b'}');
    }
    let made = sized(|buffer| {
        signature(&request, &keys, now, buffer).map(|signature| {
            answer.open("headers", b'[');
            pair(&mut answer, "X-Sdk-Date", signature.x_sdk_date());
            if let Some(token) = line.at(5) {
                pair(&mut answer, "X-Security-Token", token);
            }
            pair(&mut answer, "Authorization", signature.authorization());
            answer.close(b']');
        })
    });
    match made {
        Ok(()) => answer.end(b'}'),
        Err(code) => Answer::error(code).end(b'}'),
    }
}

fn pair(answer: &mut Answer, name: &str, value: &str) {
    answer.open(None, b'[');
    answer.text(None, name);
    answer.text(None, value);
    answer.close(b']');
}

fn credentials(who: &Strings) -> Credentials<'_> {
    match (who.at(0), who.at(1), who.at(2)) {
        (Some(token), _, _) => Credentials::token(token),
        (None, None, None) => Credentials::None,
        (None, access_key, secret_key) => {
            Credentials::Keys(keys(access_key, secret_key, who.at(3)))
        }
    }
}

fn keys<'k>(
    access_key: Option<&'k str>,
    secret_key: Option<&'k str>,
    security_token: Option<&'k str>,
) -> Keys<'k> {
    let keys = Keys::new(
        access_key.unwrap_or_default(),
        secret_key.unwrap_or_default(),
    );
    match security_token {
        None => keys,
        Some(token) => keys.with_security_token(token),
    }
}

/// Runs `make` in a buffer of the size that it asks for.
fn sized<T>(mut make: impl FnMut(&mut [u8]) -> Result<T, RequestError>) -> Result<T, Code> {
    let mut buffer = Zeroizing::new(Vec::new());
    loop {
        match make(&mut buffer) {
            Ok(made) => return Ok(made),
            Err(RequestError::TooSmall { needed }) if needed > buffer.len() => {
                *buffer = alloc::vec![0; needed];
            }
            Err(error) => return Err(error.code()),
        }
    }
}
