//! One HTTP exchange, without I/O: where to, who asks, the signed request, what the answer means.

mod credentials;
mod endpoint;
mod http_date;
mod reply;
mod request;
mod sign;

pub use credentials::{Credentials, Keys, Secret};
pub use endpoint::{Endpoint, EndpointError};
pub use reply::{Outcome, Reply, ReplyHeaders, RetryAfter, read_reply};
pub use request::{Request, RequestError};
pub use sign::{Header, Signable, Signature, canonical_request, sign};
