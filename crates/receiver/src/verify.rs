//! Whether a request is signed with the keys that the receiver knows (`SDK-HMAC-SHA256`).

use edge_report::WallTime;
use edge_report::exchange::{Header, Keys, Signable, sign};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;

use super::classify::percent_decoded;

/// How far `X-Sdk-Date` may be from the receiver's clock.
const MAX_SKEW_MS: u64 = 15 * 60 * 1000;

/// Whether the request is from now. What was signed longer ago may be somebody else's copy.
pub(super) fn date(head: &Parts, now_ms: i64) -> Result<(), String> {
    let date = text(&head.headers, "x-sdk-date")?;
    let date = WallTime::from_sdk_date(date).ok_or("X-Sdk-Date is not YYYYMMDDTHHMMSSZ")?;
    if date.unix_ms().abs_diff(now_ms) > MAX_SKEW_MS {
        return Err("X-Sdk-Date is more than 15 minutes from the clock here".to_owned());
    }
    Ok(())
}

/// Whether the request is signed with these keys.
pub(super) fn signature(
    keys: &Keys<'_>,
    head: &Parts,
    body: &[u8],
    now_ms: i64,
) -> Result<(), String> {
    let authorization = text(&head.headers, "authorization")?;
    let claim = Claim::parse(authorization)?;
    date(head, now_ms)?;

    // `sign` adds the host by itself, and puts them in order.
    let signed: Result<Vec<Header>, String> = claim
        .signed_headers()
        .filter(|name| *name != "host")
        .map(|name| text(&head.headers, name).map(|value| Header { name, value }))
        .collect();
    let signed = signed?;
    let query = pairs(head.uri.query().unwrap_or_default());
    let query: Vec<(&str, &str)> = query.iter().map(|(k, v)| (&**k, &**v)).collect();
    let request = Signable::new(
        head.method.as_str(),
        text(&head.headers, "host")?,
        head.uri.path(),
    )
    .with_query(&query)
    .with_headers(&signed)
    .with_body(body);
    // Right headers have the same length, give or take spaces; wrong ones shall be told from right ones.
    let mut room = vec![0; authorization.len().saturating_add(1024)];
    let expected = sign(&request, keys, WallTime::from_unix_ms(now_ms), &mut room)
        .map_err(|why| format!("the request cannot be signed: {why}"))?;
    let expected = Claim::parse(expected.authorization())?;
    if claim.access != expected.access {
        return Err("the access key is not known".to_owned());
    }
    if claim.signed_headers != expected.signed_headers {
        let (claimed, wanted) = (claim.signed_headers, expected.signed_headers);
        return Err(format!("SignedHeaders is `{claimed}`, must be `{wanted}`"));
    }
    if !same(claim.signature, expected.signature) {
        return Err("the signature does not fit the request".to_owned());
    }
    Ok(())
}

/// What an `Authorization` header says.
pub(super) struct Claim<'a> {
    pub(super) access: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    pub(super) fn of(head: &'a Parts) -> Result<Claim<'a>, String> {
        Claim::parse(text(&head.headers, "authorization")?)
    }

    fn parse(header: &'a str) -> Result<Claim<'a>, String> {
        let parse = || {
            let fields = header.strip_prefix("SDK-HMAC-SHA256 ")?;
            let field = |name: &str| {
                let mut fields = fields.split(',').map(str::trim);
                fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
            };
            Some(Claim {
                access: field("Access")?,
                signed_headers: field("SignedHeaders")?,
                signature: field("Signature")?,
            })
        };
        parse().ok_or_else(|| {
            let form = "SDK-HMAC-SHA256 Access=..., SignedHeaders=..., Signature=...";
            format!("Authorization is not `{form}`")
        })
    }

    fn signed_headers(&self) -> impl Iterator<Item = &'a str> {
        self.signed_headers.split(';')
    }
}

/// The one value of a header.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, String> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    match (values.next().map(str::from_utf8), values.next()) {
        (Some(Ok(value)), None) => Ok(value),
        (Some(Ok(_)), Some(_)) => Err(format!("`{name}` stands there twice")),
        (Some(Err(_)), _) => Err(format!("`{name}` is not UTF-8")),
        (None, _) => Err(format!("`{name}` is missing")),
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (percent_decoded(key), percent_decoded(value)))
        .collect()
}

/// In a time that does not tell where the two differ.
fn same(a: &str, b: &str) -> bool {
    let differences = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differences == 0
}
