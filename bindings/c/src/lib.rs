//! The C face of edge-report. Not there yet: see the changelog.
#![no_std]
