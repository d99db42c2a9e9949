//! What touches sockets, files and clocks. Needs `std`.

#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod connection;
#[cfg(feature = "http")]
mod deliver;
mod files;
mod folder;
mod lock;
#[cfg(unix)]
mod owner;
mod random;
#[cfg(feature = "http")]
mod resolver;
mod spool;
mod spool_error;
#[cfg(feature = "http")]
mod tls;

#[cfg(feature = "http")]
pub use client::{BuildError, Client, ClientBuilder, SendError};
#[cfg(feature = "http")]
pub use deliver::{Access, Pause};
pub use random::random;
pub use spool::{Limits, Spool};
pub use spool_error::{SpoolError, SpoolIoError};
