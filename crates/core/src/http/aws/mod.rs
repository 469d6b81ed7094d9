//! What all requests to AWS have in common: settings and credentials as every AWS program has them, endpoints of one's
//! own, and this program's HTTP clients for whatever the SDK sends.

mod account;
mod bucket;
mod call;
mod connector;
mod keyring;
mod refusal;
mod sign;

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_types::service_config::ServiceConfigKey;

pub(super) use account::{Account, Known};
pub(crate) use bucket::{Bucket, NoBucket};
pub(super) use call::{Answer, Call, Failed};
pub(crate) use connector::http_client;
pub(crate) use keyring::{HAVE_CREDENTIALS, Keyring, NoCredentials, passes};
pub(super) use refusal::said_by_service;
pub(crate) use refusal::{OTHER_REGION, WRONG_CREDENTIALS, element};
pub(crate) use sign::{Rules, SESSION, Scope, SignableBody};

/// How long a connection may take to be made.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take to begin, the sending of one part included.
pub(crate) const ANSWER: Duration = Duration::from_mins(1);

/// What the process's environment describes. A region that is known needs not be looked for.
///
/// The SDK's defaults for retries are standard, with three attempts; `AWS_MAX_ATTEMPTS` changes that.
pub(crate) async fn settings(region: Option<&str>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .read_timeout(ANSWER)
                .build(),
        );
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    loader.load().await
}

/// The endpoint that a variable or a profile names for a service instead of AWS's own.
pub(crate) fn endpoint(settings: &SdkConfig, service_id: &'static str) -> Option<String> {
    let for_service = settings.service_config().and_then(|config| {
        let key = ServiceConfigKey::builder()
            .service_id(service_id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        config.load_config(key.ok()?)
    });
    for_service.or_else(|| settings.endpoint_url().map(str::to_owned))
}
