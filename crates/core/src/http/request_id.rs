//! The name under which the requests of one run go out, so that they can be found together in the servers' logs.

use std::sync::{Arc, PoisonError, RwLock};

use reqwest::header::{HeaderName, HeaderValue};

/// The header that carries it: no standard, but the one that most servers and gateways look for.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is sent.
const LONGEST: usize = 64;

/// The name, for all clients that work on the same run. A process may work on one run after another, so it can change.
///
/// It is kept as the header that each request clones.
#[derive(Clone, Debug, Default)]
pub struct RequestId(Arc<RwLock<Option<HeaderValue>>>);

impl RequestId {
    /// Sends this name from now on; or none, until it is known.
    pub fn set(&self, name: Option<&str>) {
        let name = name.filter(|name| is_request_id(name));
        let header = name.and_then(|name| HeaderValue::from_str(name).ok());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// The name, where there is one.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        self.header()?.to_str().ok().map(str::to_owned)
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Whether a text may be such a name. It is read from records, and goes into headers and logs.
fn is_request_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_break_a_header_or_a_log_is_no_name() {
        let id = RequestId::default();
        assert_eq!(id.header(), None);
        let long = "a".repeat(LONGEST + 1);
        for bad in ["", "a b", "a\r\nb", "\"", "é", &long] {
            id.set(Some(bad));
            assert_eq!(id.get(), None, "{bad:?}");
        }
        let shared = id.clone();
        id.set(Some("0123-ab"));
        assert_eq!(shared.header().unwrap(), "0123-ab");
    }
}
