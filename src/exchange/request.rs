//! The request that carries a report.

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::request_error::RequestError;
use super::sign::{Signature, sign};
use super::signable::{Header, Signable};
use crate::json::{Counter, Sink, SliceSink};
use crate::time::WallTime;

/// The most headers a [`Request`] has.
const MAX_HEADERS: usize = 6;

/// One `POST …/edgesrv/job-report`, ready for any HTTP stack.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    path: &'r str,
    headers: heapless::Vec<Header<'r>, MAX_HEADERS>,
    body: &'r [u8],
}

impl<'r> Request<'r> {
    /// Makes the request; its path and signature are written to `scratch`. 512 bytes do for usual keys and URLs; if not, the
    /// error says how many do, and it is the same number for every body and time.
    ///
    /// ```
    /// use edge_report::WallTime;
    /// use edge_report::exchange::{Credentials, Endpoint, Request};
    ///
    /// let endpoint = Endpoint::new("https://gateway.example", "0a1b2c")?;
    /// let credentials = Credentials::keys("AK", "SK");
    /// let now = WallTime::from_unix_ms(1_591_104_868_201);
    /// let mut scratch = [0; 512];
    /// let request = Request::new(&endpoint, &credentials, b"{}", now, &mut scratch)?;
    /// assert_eq!(request.path(), "/v1/0a1b2c/edgesrv/job-report");
    /// assert_eq!(request.headers()[0].name, "Host");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        endpoint: &Endpoint<'r>,
        credentials: &'r Credentials<'_>,
        body: &'r [u8],
        now: WallTime,
        scratch: &'r mut [u8],
    ) -> Result<Self, RequestError> {
        credentials.check()?;
        let mut counter = Counter::default();
        let _ = endpoint.write_path(&mut counter);
        let path_len = counter.len();
        // Without room for the path, what the signature needs is counted anyway.
        let (path, rest) = match scratch.split_at_mut_checked(path_len) {
            Some((room, rest)) => (path_in(endpoint, room), rest),
            None => ("", Default::default()),
        };
        let signature = match credentials {
            Credentials::None | Credentials::Token(_) => None,
            Credentials::Keys(keys) => {
                let headers = [
                    Header {
                        name: "Content-Type",
                        value: "application/json",
                    },
                    Header {
                        name: "X-Project-Id",
                        value: endpoint.project_id(),
                    },
                ];
                let signable = Signable::new(METHOD, endpoint.authority(), path)
                    .with_headers(&headers)
                    .with_body(body);
                let signature = sign(&signable, keys, now, rest).map_err(|error| match error {
                    RequestError::TooSmall { needed } => RequestError::TooSmall {
                        needed: path_len.saturating_add(needed),
                    },
                    error => error,
                })?;
                Some(signature)
            }
        };
        if path.is_empty() {
            return Err(RequestError::TooSmall { needed: path_len });
        }
        Ok(Self::with(endpoint, credentials, signature, path, body))
    }

    /// `POST`
    pub const fn method(&self) -> &'static str {
        METHOD
    }

    /// The path, percent-encoded.
    pub const fn path(&self) -> &'r str {
        self.path
    }

    /// All headers but `Content-Length` and what the HTTP stack adds.
    pub fn headers(&self) -> &[Header<'r>] {
        &self.headers
    }

    /// The body, to be sent as it is.
    pub const fn body(&self) -> &'r [u8] {
        self.body
    }

    #[inline(never)] // its stack is not there while the signature is made
    fn with(
        endpoint: &Endpoint<'r>,
        credentials: &'r Credentials<'_>,
        signature: Option<Signature<'r>>,
        path: &'r str,
        body: &'r [u8],
    ) -> Self {
        let mut headers = heapless::Vec::new();
        let mut add = |name, value| {
            // Six at most.
            let _ = headers.push(Header { name, value });
        };
        add("Host", endpoint.authority());
        add("Content-Type", "application/json");
        add("X-Project-Id", endpoint.project_id());
        match (credentials, signature) {
            (Credentials::Token(token), _) => add("X-Auth-Token", token.expose()),
            (Credentials::Keys(keys), Some(signature)) => {
                add("X-Sdk-Date", signature.x_sdk_date());
                if let Some(token) = keys.security_token() {
                    add("X-Security-Token", token);
                }
                add("Authorization", signature.authorization());
            }
            _ => {}
        }
        Request {
            path,
            headers,
            body,
        }
    }
}

const METHOD: &str = "POST";

fn path_in<'r>(endpoint: &Endpoint<'_>, room: &'r mut [u8]) -> &'r str {
    let mut sink = SliceSink::new(room);
    let _ = endpoint.write_path(&mut sink);
    core::str::from_utf8(sink.into_written()).unwrap_or_default()
}
