//! Flink's answers read, and a cluster watched: shared vectors, stories, a simulated cluster, properties.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

mod cluster;
mod host;
mod properties;
mod simulation;
mod stories;
mod vectors;
