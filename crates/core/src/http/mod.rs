//! One HTTP client for source and target: who asks (tokens, and what they are had with), tokens only where they are trusted,
//! redirects by hand, timeouts, and failures in words that a person can act on.
//!
//! A step builds a [`Request`], [`Client::send`]s it and looks at the [`Response`]'s status: every status is an answer,
//! and only a transport failure is an error. What a step does not want it gives to [`failure`], which knows the table of
//! errors. This module does not repeat requests (but for one renewal of the token after a 401): the workflow and the
//! transfer do, the latter with [`Backoff`]. It knows neither manifests nor files nor settings by name beyond those that
//! its own messages name.

mod address;
mod answered;
mod auth;
pub(crate) mod aws;
mod body;
mod buckets;
mod certificate;
mod client;
mod connections;
mod echo;
mod expires;
mod extra;
mod failure;
mod flight;
mod guard;
mod outcome;
mod plain;
mod request;
mod request_id;
mod response;
mod retry;
mod roots;
mod secrets;
mod shown;
mod signer;
mod transport;
mod words;

/// Reads any bytes as each document that tells where tokens come from, or is one.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_authentication(bytes: &[u8]) {
    auth::fuzzing(bytes);
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use address::{below, status_url_for_polling};
pub use body::Body;
pub use client::{Client, ClientOptions};
pub(crate) use connections::{Connections, leave_connections, lone_client};
pub use echo::harmless;
pub use failure::{Said, failure, failure_as, said};
pub(crate) use flight::Flight;
pub use outcome::{Issue, OperationOutcome};
pub use plain::Plain;
pub use request::{Request, TokenUse};
pub use request_id::RequestId;
pub use reqwest::{Method, StatusCode};
pub(crate) use response::retry_after;
pub use response::{Quoter, Response};
pub use retry::Backoff;
pub(crate) use roots::{NO_ROOTS, unreadable as unreadable_roots};
pub(crate) use secrets::kept as kept_secret;
pub use shown::{shown, shown_str};

use crate::error::Kind;

/// Which of the two servers a client speaks to: it decides the names of errors and of the settings in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The FHIR server that exports.
    Source,
    /// The Pathling server that imports.
    Target,
}

impl Side {
    /// The kind of an error when the server cannot be reached or answers like a broken gateway.
    #[must_use]
    pub fn unavailable(self) -> Kind {
        match self {
            Self::Source => Kind::SourceUnavailable,
            Self::Target => Kind::TargetUnavailable,
        }
    }

    /// The kind of an error when the server itself says that it does not do what was asked.
    #[must_use]
    pub fn failed(self) -> Kind {
        match self {
            Self::Source => Kind::ExportFailed,
            Self::Target => Kind::ImportFailed,
        }
    }

    /// What the settings of this side begin with: `SOURCE_` or `TARGET_`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Source => "SOURCE_",
            Self::Target => "TARGET_",
        }
    }

    /// The full name of a setting of this side, e.g. `SOURCE_CLIENT_ID`.
    #[must_use]
    pub fn setting(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// The side in a sentence: `source` or `target`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}
