//! The credentials that requests to AWS are signed with: asked for when they are first needed, kept until shortly before they
//! expire, and asked for by one task while the others wait.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

use super::ANSWER;
use crate::http::{Flight, words};

/// What a person is to do where there are none.
pub(crate) const HAVE_CREDENTIALS: &str = "Give this program AWS credentials (variables, profile or role): AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment, a profile that AWS_PROFILE names, or a role of the machine that it runs on.";

/// Credentials are asked for anew this long before they expire, as the SDK does it.
const BEFORE_EXPIRY: Duration = Duration::from_secs(10);

/// Credentials that say nothing of an expiry are asked for anew after this time, as the SDK does it.
const WITHOUT_EXPIRY: Duration = Duration::from_mins(15);

/// Why there are no credentials.
#[derive(Clone, Debug)]
pub(crate) enum NoCredentials {
    /// There will be none.
    ForGood(String),
    /// Whoever gives them did not answer, or not well: another try may do.
    Passing(String),
}

/// Credentials, and until when they are used.
#[derive(Clone, Debug)]
struct Held {
    credentials: Credentials,
    until: SystemTime,
}

/// The credentials of one provider.
#[derive(Debug)]
pub(crate) struct Keyring {
    provider: Option<SharedCredentialsProvider>,
    held: Flight<Held, NoCredentials>,
}

impl Keyring {
    pub(crate) fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            provider,
            held: Flight::new(),
        }
    }

    /// The credentials as they are now.
    pub(crate) async fn credentials(&self) -> Result<Credentials, NoCredentials> {
        let usable = |held: &Held| SystemTime::now() < held.until;
        let held = self.held.get(usable, self.fetch()).await?;
        Ok(held.credentials)
    }

    async fn fetch(&self) -> Result<Held, NoCredentials> {
        let Some(provider) = &self.provider else {
            return Err(NoCredentials::ForGood(
                "there is no provider of them".to_owned(),
            ));
        };
        let found = tokio::time::timeout(ANSWER, provider.provide_credentials()).await;
        let found = found.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(ANSWER)));
        let credentials = found.map_err(|error| {
            let why = error
                .source()
                .map_or_else(|| error.to_string(), words::deepest);
            if passes(&error) {
                NoCredentials::Passing(why)
            } else {
                NoCredentials::ForGood(why)
            }
        })?;
        let until = match credentials.expiry() {
            Some(expiry) => expiry.checked_sub(BEFORE_EXPIRY).unwrap_or(expiry),
            None => SystemTime::now() + WITHOUT_EXPIRY,
        };
        Ok(Held { credentials, until })
    }
}

/// Whether credentials may be had a little later: whoever gives them did not answer, or not well.
pub(crate) fn passes(error: &CredentialsError) -> bool {
    matches!(
        error,
        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)
    )
}
