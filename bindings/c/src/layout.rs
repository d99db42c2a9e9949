//! The sizes of the structs that cross the border, which never change within a version: with 64-bit pointers, and with 32-bit ones
//! where 64-bit integers are aligned to 8 bytes. tests/c holds the header to this same table.

macro_rules! sizes {
    ($($path:path, $on_64:literal, $on_32:literal;)*) => {
        $(const _: () = assert!(size_of::<$path>() == if cfg!(target_pointer_width = "64") { $on_64 } else { $on_32 });)*
    };
}

// i686 aligns them to 4 bytes.
#[cfg(not(target_arch = "x86"))]
sizes! {
    crate::types::edge_report_str, 16, 8;
    crate::error::edge_report_error, 256, 248;
    crate::report::edge_report_exception, 88, 48;
    crate::report::edge_report_job, 88, 56;
    crate::report::edge_report_report, 48, 24;
    crate::report::edge_report_finding, 96, 88;
    crate::report::edge_report_summary, 16, 8;
    crate::writer::edge_report_writer, 96, 96;
    crate::exchange::edge_report_credentials, 64, 32;
    crate::exchange::edge_report_header, 32, 16;
    crate::exchange::edge_report_http_request, 232, 116;
    crate::exchange::edge_report_signable, 96, 48;
    crate::exchange::edge_report_signature, 32, 16;
    crate::exchange::edge_report_reply, 96, 64;
    crate::storage::edge_report_storage, 104, 56;
    crate::delivery::edge_report_courier_config, 104, 96;
    crate::delivery::edge_report_step, 48, 40;
    crate::delivery::edge_report_reason, 164, 164;
    crate::delivery::edge_report_verdict, 176, 176;
    crate::delivery::edge_report_courier_state, 312, 312;
    crate::delivery::edge_report_letter, 192, 184;
}

#[cfg(feature = "_http")]
sizes! {
    crate::host::edge_report_spool_limits, 32, 32;
    crate::client::edge_report_client_config, 184, 112;
    crate::client::edge_report_tls, 56, 28;
    crate::client::edge_report_lock, 24, 12;
}
