//! The limit of open files (`ulimit -n`): how it shows, and what to do about it. Trying again changes nothing while as much
//! goes on side by side as before.

use std::io;

/// `EMFILE` and `ENFILE`: on Linux, macOS and the BSDs alike.
const REACHED: [i32; 2] = [24, 23];

/// What to do about it. 64 requests at most go to the store and to each origin of files at once, 128 files are at work, and a
/// few dozen are needed beside.
pub(crate) const ADVICE: &str = "Raise the limit of open files (ulimit -n, LimitNOFILE= of systemd) and start again. 300 are enough where all files come from one host, unless TRANSFER_CONCURRENCY is larger than 64, and 64 more for each further host; TRANSFER_CONCURRENCY=4 makes do with fewer.";

/// Whether that is why the system refused something.
pub(crate) fn reached(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| REACHED.contains(&code))
}

/// The same of a library's message that ends with the system's.
pub(crate) fn reached_in(text: &str) -> bool {
    REACHED
        .iter()
        .any(|code| text.contains(&format!("(os error {code})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_known_from_the_system_and_from_a_message() {
        for code in REACHED {
            let error = io::Error::from_raw_os_error(code);
            assert!(reached(&error) && reached_in(&format!("no connection: {error}")));
        }
        let other = io::Error::from_raw_os_error(2);
        assert!(!reached(&other) && !reached_in(&other.to_string()));
    }
}
