//! The check of servers beside the sandbox that want no credential: who sends them one has sent it astray.

use std::sync::{Arc, Mutex, PoisonError};

/// What came to a server that wants nothing. Dropped, it fails the test where anything did.
#[derive(Debug, Default)]
pub(crate) struct WantsNothing(Arc<Mutex<Vec<String>>>);

/// Where its server tells what came.
#[derive(Clone, Debug)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl WantsNothing {
    pub(crate) fn seen(&self) -> Seen {
        Seen(Arc::clone(&self.0))
    }
}

impl Seen {
    /// A request for this path with these names of headers.
    pub(crate) fn request<'a>(&self, path: &str, headers: impl IntoIterator<Item = &'a str>) {
        for name in headers {
            let name = name.to_ascii_lowercase();
            if ["authorization", "cookie", "proxy-authorization"].contains(&name.as_str()) {
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(format!("{name} for {path}"));
            }
        }
    }
}

impl Drop for WantsNothing {
    fn drop(&mut self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::thread::panicking() {
            assert!(all.is_empty(), "a server that wants nothing got {all:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "authorization for /x")]
    fn a_credential_fails_the_test() {
        let wants = WantsNothing::default();
        wants.seen().request("/x", ["Accept", "Authorization"]);
    }
}
