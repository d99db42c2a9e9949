//! Any URL, project id, credentials and headers: refused, or a clean request that fits the length it says.
#![no_main]

use edge_report::WallTime;
use edge_report::exchange::{
    Credentials, Endpoint, Header, Keys, Request, RequestError, Signable, canonical_request, sign,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Most first bytes of a URL are fixed, and hard to guess.
    scheme: Scheme,
    url: &'a str,
    project_id: &'a str,
    access_key: &'a str,
    secret_key: &'a str,
    token: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    query: Vec<(&'a str, &'a str)>,
    headers: Vec<(Name<'a>, &'a str)>,
    now_ms: i64,
    body: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Scheme {
    None,
    Https,
    HttpHost,
}

#[derive(Arbitrary, Debug)]
enum Name<'a> {
    Date,
    Token,
    Other(&'a str),
}

/// `needed` bytes are enough, one less is not.
fn fits(make: impl Fn(&mut [u8]) -> Result<(), RequestError>) {
    if let Err(RequestError::TooSmall { needed }) = make(&mut []) {
        let mut buffer = vec![0; needed];
        assert_eq!(make(&mut buffer), Ok(()));
        assert_eq!(
            make(&mut buffer[1..]),
            Err(RequestError::TooSmall { needed })
        );
    }
}

fuzz_target!(|input: Input<'_>| {
    let now = WallTime::from_unix_ms(input.now_ms);
    let mut keys = Keys::new(input.access_key, input.secret_key);
    if let Some(token) = input.token {
        keys = keys.with_security_token(token);
    }
    let url = match input.scheme {
        Scheme::None => input.url.to_owned(),
        Scheme::Https => format!("https://{}", input.url),
        Scheme::HttpHost => format!("http://h/{}", input.url),
    };
    match Endpoint::new(&url, input.project_id) {
        Err(error) => assert!(error.offset() <= url.len().max(input.project_id.len())),
        Ok(endpoint) => {
            let token = Credentials::token(input.token.unwrap_or_default());
            for credentials in [Credentials::None, token, Credentials::Keys(keys.clone())] {
                fits(|scratch| {
                    let request = Request::new(&endpoint, &credentials, input.body, now, scratch)?;
                    assert!(request.path().bytes().all(|b| b.is_ascii_graphic()));
                    let clean = |h: &Header<'_>| !h.value.bytes().any(|b| b.is_ascii_control());
                    assert!(request.headers().iter().all(clean));
                    let _ = format!("{request:?} {credentials:?}");
                    Ok(())
                });
            }
        }
    }

    let headers: Vec<Header<'_>> = (input.headers.iter())
        .map(|(name, value)| {
            let name = match name {
                Name::Date => "X-Sdk-Date",
                Name::Token => "x-security-token",
                Name::Other(name) => name,
            };
            Header { name, value }
        })
        .collect();
    let request = Signable::new(input.method, "h", input.path)
        .with_query(&input.query)
        .with_headers(&headers)
        .with_body(input.body);
    fits(|buffer| {
        let signature = sign(&request, &keys, now, buffer)?;
        assert!(
            signature
                .authorization()
                .starts_with("SDK-HMAC-SHA256 Access=")
        );
        assert_eq!(signature.x_sdk_date().len(), 16);
        let (_, hex) = signature
            .authorization()
            .split_at(signature.authorization().len() - 64);
        assert!(!format!("{signature:?} {keys:?}").contains(hex));
        Ok(())
    });
    let mut canonical = Vec::new();
    let _ = canonical_request(&request, &keys, now, &mut canonical);
});
