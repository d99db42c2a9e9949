//! What touches sockets, files and clocks. Needs `std`.

#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod connection;
#[cfg(feature = "http")]
mod resolver;
#[cfg(feature = "http")]
mod tls;

#[cfg(feature = "http")]
pub use client::{BuildError, Client, ClientBuilder, SendError};
