//! Functions for tests, some of which panic: not in the header, and in no library that is shipped.

use crate::courier::{edge_report_courier, open};
use crate::delivery::{defaults, edge_report_courier_config};
use crate::error::edge_report_error;
use crate::flink::edge_report_flink_config;
use crate::guard::guard;
use crate::types::edge_report_result;

/// Panics.
#[allow(clippy::panic)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_test_panic(
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || panic!("a test of {}", "the guard"))
}

/// Panics while it has a courier.
#[allow(clippy::panic)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_test_poison(
    courier: *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, _) = unsafe { open(courier) }?;
        state.run("courier", || panic!("a test of the poison"))
    })
}

/// The defaults, to which EDGE_REPORT_COURIER_CONFIG_INIT is held.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_test_defaults() -> edge_report_courier_config {
    defaults()
}

/// The defaults, to which EDGE_REPORT_FLINK_CONFIG_INIT is held.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_test_flink_defaults() -> edge_report_flink_config {
    crate::flink::defaults()
}
