//! Tells systemd how things stand: a datagram to the socket that `NOTIFY_SOCKET` names (`sd_notify`). Nothing where there is none.

#[cfg(target_os = "linux")]
pub(crate) fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(why) = sent {
        crate::log::warn(
            "notify-failed",
            &[("socket", &name.display()), ("why", &why)],
        );
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn notify(_: &str) {}
