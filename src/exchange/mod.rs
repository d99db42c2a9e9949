//! One HTTP exchange, without I/O: where to, who asks, the signed request, what the response means.

mod credentials;
mod endpoint;
mod http_date;
mod reply;
mod request;
mod request_error;
mod service_codes;
mod sign;

pub use credentials::{Credentials, Keys, Secret};
pub use endpoint::{Endpoint, EndpointError};
pub use reply::{MAX_REPLY_BYTES, Outcome, Reply, ReplyHeaders, read_reply, read_reply_with};
pub use request::Request;
pub use request_error::RequestError;
pub use service_codes::ServiceCodes;
pub use sign::{Header, Signable, Signature, canonical_request, sign};
