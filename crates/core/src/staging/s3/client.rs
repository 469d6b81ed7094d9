//! The S3 clients, the SDK's and the lean one: made once, from the AWS SDK's own settings and nothing else.
//!
//! Credentials, region and endpoint come from where every AWS program has them (variables, profiles, roles), so that
//! whoever runs this program sets them up in the way they know. What the client is asked is in [`super`].

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation};
use tokio::runtime::{Handle, Id};
use tokio::sync::Mutex;

use super::wire::Line;
use crate::config::{Checksum, Place};
use crate::error::{Kind, Result};
use crate::http::aws;
pub(super) use crate::http::aws::{ANSWER, CONNECT};

/// What all requests are sent with.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub(super) settings: SdkConfig,
    pub(super) sdk: Client,
    pub(super) line: Arc<Line>,
}

/// The clients of this process. A Lambda that stays warm keeps its connections and credentials; a client belongs to the
/// runtime that made it, so another runtime gets others.
static CONNECTED: Mutex<Option<(Id, Checksum, Clients)>> = Mutex::const_new(None);

impl Clients {
    /// The clients that the process's environment describes.
    pub(super) async fn connected(place: &Place, checksum: Checksum) -> Result<Self> {
        let here = Handle::current().id();
        let mut connected = CONNECTED.lock().await;
        match &*connected {
            Some((runtime, told, clients)) if *runtime == here && *told == checksum => {
                Ok(clients.clone())
            }
            _ => {
                let settings = aws::settings(None).await;
                let clients = Self::of(&settings, place, checksum)?;
                *connected = Some((here, checksum, clients.clone()));
                Ok(clients)
            }
        }
    }

    /// The clients that the given settings describe.
    pub(super) fn of(settings: &SdkConfig, place: &Place, checksum: Checksum) -> Result<Self> {
        if settings.region().is_none() {
            return Err(Kind::Configuration
                .error(format!(
                    "STAGING_URL is {place}, but no AWS region is set"
                ))
                .next("Set AWS_REGION to the region of the bucket; for a store that is not AWS's own, us-east-1 will do."));
        }
        // Buckets as host names need a name server that knows them, which stores of one's own seldom have.
        let mut builder = Builder::from(settings).force_path_style(endpoint(settings).is_some());
        if settings.http_client().is_none() {
            builder = builder.http_client(aws::http_client());
        }
        if checksum == Checksum::None {
            builder =
                builder.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        }
        Ok(Self {
            settings: settings.clone(),
            sdk: Client::from_conf(builder.build()),
            line: Arc::new(Line::new(settings.credentials_provider())),
        })
    }
}

/// The endpoint that a variable or a profile names instead of AWS's own.
pub(super) fn endpoint(settings: &SdkConfig) -> Option<String> {
    aws::endpoint(settings, "S3")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use super::*;
    use aws_config::{BehaviorVersion, Region};

    fn place() -> Place {
        Place::parse("s3://bucket/prefix").expect("a place")
    }

    #[test]
    fn a_missing_region_is_a_configuration_error_that_names_the_variable() {
        let settings = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .build();
        let error = Clients::of(&settings, &place(), Checksum::Crc64Nvme).expect_err("no region");
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.to_string().contains("AWS_REGION"), "{error}");
    }

    #[test]
    fn an_endpoint_of_ones_own_is_found_and_none_is_made_up() {
        let settings = || {
            SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-west-1"))
        };
        assert_eq!(endpoint(&settings().build()), None);
        let own = settings().endpoint_url("http://127.0.0.1:9000").build();
        assert_eq!(endpoint(&own).as_deref(), Some("http://127.0.0.1:9000"));
        assert!(Clients::of(&own, &place(), Checksum::None).is_ok());
    }
}
