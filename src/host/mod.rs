//! What touches sockets, files and clocks. Needs `std`.

#[cfg(feature = "_http")]
mod builder;
#[cfg(feature = "_http")]
mod client;
#[cfg(feature = "_http")]
mod connection;
#[cfg(feature = "_http")]
mod deliver;
mod fair;
mod files;
mod folder;
mod lock;
#[cfg(unix)]
mod owner;
#[cfg(feature = "_http")]
mod progress;
#[cfg(feature = "_http")]
mod reporter;
#[cfg(feature = "_http")]
mod resolver;
#[cfg(feature = "_http")]
mod send_error;
#[cfg(feature = "_http")]
mod socket;
mod spool;
mod spool_error;
#[cfg(feature = "_http")]
mod tls;
#[cfg(feature = "client")]
mod tls_rustls;
#[cfg(feature = "native-tls")]
mod tls_system;
#[cfg(feature = "_http")]
mod waker;

#[cfg(feature = "_http")]
pub use builder::ClientBuilder;
#[cfg(feature = "_http")]
pub use client::Client;
#[cfg(feature = "_http")]
pub use deliver::{Access, DeliveryEvent, Pause};
pub use fair::{FairGuard, FairMutex};
#[cfg(feature = "_http")]
pub use reporter::Reporter;
#[cfg(feature = "_http")]
pub use send_error::{BuildError, NotSentKind, SendError};
pub use spool::{Spool, SpoolOptions};
pub use spool_error::{SpoolError, SpoolIoError};
#[cfg(feature = "_http")]
pub use tls::TlsSettings;
#[cfg(feature = "_http")]
pub use waker::Waker;
