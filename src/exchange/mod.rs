//! One HTTP exchange, without I/O: where to, who asks, the signed request, what the response means.
//!
//! ```text
//!  Endpoint (where to) ────┐
//!  Credentials (who asks) ─┼─► Request ──► your transport ──► read_reply ──► Reply with its Outcome
//!  body (a report's bytes) ┘
//! ```
//!
//! Nothing is kept from one exchange to the next. A request is written into a scratch buffer, and signed by the time that the caller says
//! (`SDK-HMAC-SHA256`; [`sign()`] signs any other request, too). What is signed are the very bytes that must be sent.
//!
//! # What a response means
//!
//! Between the caller and the service stand proxies, firewalls and portals, and all of them respond. So the question is first *whose* words a response has, and only then what
//! they say:
//!
//! | [`Outcome`] | who speaks | what it means for the report |
//! |---|---|---|
//! | `Accepted` | the service: 2xx and `is_success` | done |
//! | `Refused` | the service: an `error_code` of its own ([`ServiceCodes`]), or `is_success: false` | never again |
//! | `TryAgain` | the service or its gateway, in trouble | later |
//! | `Credentials`, `Misconfigured` | whoever guards the way | not before a setting is changed |
//! | `NotUnderstood` | something else | later |
//!
//! A status alone proves nothing: a 404 may be a proxy's that has lost its server.
//!
//! ```
//! use edge_report::WallTime;
//! use edge_report::exchange::{Credentials, Endpoint, Outcome, ReplyHeaders, Request, read_reply};
//!
//! let endpoint = Endpoint::new("https://gateway.example", "0a1b2c")?;
//! let credentials = Credentials::keys("AK", "SK");
//! let now = WallTime::from_unix_ms(1_591_104_868_201);
//! let mut scratch = [0; 512];
//! let request = Request::new(&endpoint, &credentials, b"{}", now, &mut scratch)?;
//! assert_eq!(request.path(), "/v1/0a1b2c/edgesrv/job-report");
//! assert!(request.headers().iter().any(|header| header.name == "Authorization"));
//!
//! let told = |status, body| read_reply(status, ReplyHeaders::default(), body).outcome;
//! assert_eq!(told(200, br#"{"is_success":"true"}"#), Outcome::Accepted);
//! assert_eq!(told(400, br#"{"error_code":"DLI.0001","error_msg":"no"}"#), Outcome::Refused);
//! assert_eq!(told(404, b"<html>not here</html>"), Outcome::NotUnderstood);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod canonical_request;
mod credentials;
mod endpoint;
mod http_date;
mod reply;
mod request;
mod request_error;
mod service_codes;
mod sign;
mod signable;

pub use credentials::{Credentials, Keys, Secret};
pub use endpoint::{Endpoint, EndpointError};
#[cfg(feature = "_http")]
pub(crate) use reply::write_visible;
pub use reply::{MAX_REPLY_BYTES, Outcome, Reply, ReplyHeaders, read_reply, read_reply_with};
pub use request::Request;
pub use request_error::RequestError;
pub use service_codes::ServiceCodes;
pub use sign::{Signature, canonical_request, sign};
pub use signable::{Header, Signable};
