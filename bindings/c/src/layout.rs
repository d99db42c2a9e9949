//! The sizes of the structs that cross the border: with 64-bit pointers, and with 32-bit ones where 64-bit integers are aligned to 8 bytes.
//! tests/c holds the header to this same table.
//!
//! Those that begin with their size may grow at their end within a SONAME, beyond what was their size before: see docs/c-abi.md. This
//! table then keeps their first sizes, and gets a column for those of now. The others never change.

use crate::sized::{Growing, Kind};

macro_rules! sizes {
    ($($module:ident::$name:ident, $on_64:literal, $on_32:literal;)*) => {
        $(check! { crate::$module::$name, $on_64, $on_32 })*
    };
}

macro_rules! growing {
    ($($module:ident::$name:ident, $on_64:literal, $on_32:literal;)*) => {$(
        #[cfg(not(feature = "test-next"))]
        check! { crate::$module::$name, $on_64, $on_32 }
        // SAFETY: plain data in the layout of C; its first member is its size.
        unsafe impl Growing for crate::$module::$name {
            const KIND: &'static Kind = &Kind {
                #[cfg(feature = "full")]
                name: stringify!($name),
                first: first($on_64, $on_32, size_of::<crate::$module::$name>()),
                known: size_of::<crate::$module::$name>(),
                align: align_of::<crate::$module::$name>(),
            };
        }
    )*};
}

// i686 aligns 64-bit integers to 4 bytes.
#[cfg(not(target_arch = "x86"))]
macro_rules! check {
    ($path:path, $on_64:literal, $on_32:literal) => {
        const _: () = assert!(size_of::<$path>() == first($on_64, $on_32, 0));
    };
}
#[cfg(target_arch = "x86")]
macro_rules! check {
    ($path:path, $on_64:literal, $on_32:literal) => {};
}

const fn first(on_64: usize, on_32: usize, known: usize) -> usize {
    if cfg!(target_arch = "x86") {
        known
    } else if cfg!(target_pointer_width = "64") {
        on_64
    } else {
        on_32
    }
}

sizes! {
    types::edge_report_str, 16, 8;
    writer::edge_report_writer, 96, 96;
    request::edge_report_header, 32, 16;
    delivery::edge_report_reason, 164, 164;
    flink::edge_report_flink_mapped_job, 24, 16;
}

#[cfg(feature = "full")]
growing! {
    error::edge_report_error, 360, 348;
}

// Its texts are shorter.
#[cfg(not(feature = "full"))]
growing! {
    error::edge_report_error, 152, 136;
}

growing! {
    report::edge_report_exception, 96, 56;
    report::edge_report_job, 96, 64;
    report::edge_report_report, 56, 28;
    report::edge_report_finding, 120, 100;
    report::edge_report_summary, 24, 12;
    request::edge_report_credentials, 72, 36;
    request::edge_report_http_request, 240, 120;
    request::edge_report_signable, 104, 52;
    request::edge_report_signature, 40, 20;
    reply::edge_report_reply, 104, 72;
    storage::edge_report_storage, 104, 56;
    delivery::edge_report_courier_config, 104, 96;
    delivery::edge_report_step, 56, 40;
    delivery::edge_report_verdict, 184, 184;
    delivery::edge_report_courier_state, 320, 320;
    delivery::edge_report_letter, 200, 192;
    flink::edge_report_flink_config, 112, 88;
    flink::edge_report_flink_step, 72, 48;
    flink::edge_report_flink_state, 48, 28;
}

#[cfg(feature = "_http")]
growing! {
    host::edge_report_spool_options, 32, 32;
    client_settings::edge_report_client_config, 184, 112;
    client_settings::edge_report_tls, 56, 28;
    client_deliver::edge_report_lock, 32, 16;
    event::edge_report_event, 416, 392;
    event::edge_report_observer, 24, 12;
}
