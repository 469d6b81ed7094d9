//! The bucket of a place, and what is said where it has no address.

use aws_config::SdkConfig;

use crate::config::Place;
use crate::error::{Kind, Result};
use crate::http::aws::{Bucket, NoBucket};

/// The address of the bucket of a place.
///
/// `Configuration` where the settings contradict each other, or where the bucket wants another signature than `SigV4`.
pub(super) async fn resolve(settings: &SdkConfig, place: &Place, bucket: &str) -> Result<Bucket> {
    let found = Bucket::find(settings, bucket).await;
    found.map_err(|why| match why {
        NoBucket::OtherSignature => Kind::Configuration
            .error(format!(
                "{place} is a directory bucket or a multi-region access point, which this program cannot write to"
            ))
            .next("Set STAGING_URL to a general purpose bucket."),
        NoBucket::Unusable(why) => Kind::Configuration
            .error(format!("{place} has no address: {why}"))
            .next("Correct STAGING_URL, or the AWS settings for region and endpoint."),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use aws_config::{BehaviorVersion, Region};

    #[tokio::test]
    async fn a_bucket_that_wants_another_signature_is_refused_at_once() {
        let settings = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .build();
        for bucket in [
            "my-bucket--use1-az4--x-s3",
            "arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap",
        ] {
            let place = Place::parse(&format!("s3://{bucket}")).unwrap();
            let error = resolve(&settings, &place, bucket).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Configuration, "{error}");
            assert!(error.what().contains(bucket), "{error}");
        }
    }
}
