//! Origins (RFC 6454): who a URL speaks to, which decides where a token may go.

use std::fmt;

use url::{Host, Url};

/// Scheme, host and port of a URL; equal when a token for one may go to the other.
///
/// It shows as `https://host`, with the port only where it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Reads `https://host[:port]` (or `http://`), or says in a few words what is wrong with it.
    ///
    /// A path, query or user name is refused rather than dropped: trust goes to whole origins, and whoever writes a path
    /// expects less.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "https://host or https://host:port is expected";
        let url = Url::parse(text.trim())
            .map_err(|error| format!("is no origin ({error}): {expected}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("has the scheme {}: {expected}", url.scheme()));
        }
        if has_userinfo(&url) {
            return Err(format!("must not hold a user name or password: {expected}"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("holds more than an origin: {expected}"));
        }
        Ok(Self::from(&url))
    }
}

impl Origin {
    /// The host, as the URL has it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl From<&Url> for Origin {
    fn from(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("https", Some(443)) | ("http", Some(80)) | (_, None) => Ok(()),
            (_, Some(port)) => write!(f, ":{port}"),
        }
    }
}

/// Whether a URL's host is this machine: `localhost` and names below it (RFC 6761, section 6.3), 127.0.0.0/8 and `::1`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        None => false,
    }
}

/// Whether a URL holds a user name or a password, which no URL of this program's may.
#[must_use]
pub(crate) fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_origin_is_equal_with_and_without_its_default_port() {
        assert_eq!(
            Origin::parse("https://h:443").unwrap(),
            Origin::from(&url("https://H/a?b#c"))
        );
        assert_ne!(
            Origin::parse("https://h").unwrap(),
            Origin::from(&url("http://h/"))
        );
        assert_ne!(
            Origin::parse("https://h").unwrap(),
            Origin::from(&url("https://h:8443/"))
        );
        assert_ne!(
            Origin::parse("https://h").unwrap(),
            Origin::from(&url("https://h.evil.example/"))
        );
        assert_eq!(
            Origin::parse("https://h:8443").unwrap().to_string(),
            "https://h:8443"
        );
        assert_eq!(
            Origin::parse("https://[::1]/").unwrap().to_string(),
            "https://[::1]"
        );
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in [
            "",
            "h",
            "h:443",
            "ftp://h",
            "https://h/path",
            "https://h/?a",
            "https://u@h",
            "https://",
            "*",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for text in [
            "http://localhost:1/",
            "http://a.localhost",
            "http://127.8.0.1",
            "http://[::1]:80",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(&url(text)), "{text}");
        }
        for text in [
            "http://localhost.example",
            "http://128.0.0.1",
            "http://127.0.0.1.example",
            "http://[::2]",
            "data:x",
        ] {
            assert!(!is_loopback(&url(text)), "{text}");
        }
    }
}
