//! Transport failures in words: what happened between this machine and the server, not how the libraries nest it.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::limits;

/// That the server stayed silent: `no answer within 60 s (IDLE_TIMEOUT)`.
pub(super) fn no_answer(idle: Duration) -> String {
    format!("no answer within {} (IDLE_TIMEOUT)", span(idle))
}

/// What went wrong before an answer came, e.g. `no connection within 10 s (CONNECT_TIMEOUT)`.
pub(super) fn of_request(error: &reqwest::Error, connect: Duration) -> String {
    if error.is_timeout() && error.is_connect() {
        return format!("no connection within {} (CONNECT_TIMEOUT)", span(connect));
    }
    let cause = deepest(error);
    if error.is_dns() {
        return format!("the host's name cannot be resolved ({cause})");
    }
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => {
            "the connection was refused: nothing listens there".to_owned()
        }
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => format!("the connection was closed before an answer came ({cause})"),
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            format!("there is no way to the host ({cause})")
        }
        _ if cause.contains("connection closed") => {
            format!("the connection was closed before an answer came ({cause})")
        }
        // The system's own errors are told above, a proxy names itself: what is left before the request is TLS.
        _ if error.is_connect() && of_https(error) && !cause.contains("tunnel") => {
            format!("TLS failed ({cause})")
        }
        _ if error.is_connect() => format!("no connection ({cause})"),
        _ => format!("the exchange failed ({cause})"),
    }
}

/// Whether the system lets this process open no more files, of which a connection is one.
pub(super) fn files_ran_out(error: &reqwest::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(limits::reached)
}

/// The innermost cause's own words: those of the operating system, the TLS library or the protocol.
pub(super) fn deepest(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn of_https(error: &reqwest::Error) -> bool {
    error.url().is_some_and(|url| url.scheme() == "https")
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .last()
        .map(io::Error::kind)
}

/// An error and all that led to it. One that travels inside an error of the system is not named as its source there.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| within(*cause))
}

fn within<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().map(|inner| inner as _),
        None => error.source(),
    }
}

/// A duration as people write it: `60 s`, or `250 ms` where it is not whole seconds.
pub(super) fn span(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}
