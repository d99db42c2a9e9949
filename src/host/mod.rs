//! What touches sockets, files and clocks. Needs `std`.

#[cfg(feature = "http")]
mod builder;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod connection;
#[cfg(feature = "http")]
mod deliver;
mod fair;
mod files;
mod folder;
mod lock;
#[cfg(unix)]
mod owner;
#[cfg(feature = "http")]
mod progress;
#[cfg(feature = "http")]
mod reporter;
#[cfg(feature = "http")]
mod resolver;
#[cfg(feature = "http")]
mod send_error;
#[cfg(feature = "http")]
mod socket;
mod spool;
mod spool_error;
#[cfg(feature = "http")]
mod tls;
#[cfg(feature = "client")]
mod tls_rustls;
#[cfg(feature = "native-tls")]
mod tls_system;
#[cfg(feature = "http")]
mod waker;

#[cfg(feature = "http")]
pub use builder::ClientBuilder;
#[cfg(feature = "http")]
pub use client::Client;
#[cfg(feature = "http")]
pub use deliver::{Access, DeliveryEvent, Pause};
pub use fair::{FairGuard, FairMutex};
#[cfg(feature = "http")]
pub use reporter::Reporter;
#[cfg(feature = "http")]
pub use send_error::{BuildError, NotSentKind, SendError};
pub use spool::{Spool, SpoolOptions};
pub use spool_error::{SpoolError, SpoolIoError};
#[cfg(feature = "http")]
pub use tls::TlsSettings;
#[cfg(feature = "http")]
pub use waker::Waker;
