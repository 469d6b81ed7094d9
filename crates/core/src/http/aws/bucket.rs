//! Where a bucket is and how requests to it are signed, as the AWS SDK's own rules have it: asked once for a bucket, not
//! once for a request.

use aws_config::SdkConfig;
use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use url::Url;

use super::endpoint;
use crate::config::is_loopback;

/// The address of a bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// What the objects' names are appended to; it ends with a slash.
    base: String,
    /// The region to sign for.
    pub(crate) region: String,
    /// The service to sign for.
    pub(crate) service: String,
    /// Whether what is sent is signed too: over TLS, and to this very machine, nobody can change it on its way.
    pub(crate) sign_bodies: bool,
}

/// Why a bucket has no address.
#[derive(Debug)]
pub(crate) enum NoBucket {
    /// It is a directory bucket or a multi-region access point, which want another signature than `SigV4`.
    OtherSignature,
    /// The settings contradict each other.
    Unusable(String),
}

impl Bucket {
    /// The address of the bucket of this name.
    pub(crate) async fn find(settings: &SdkConfig, name: &str) -> Result<Self, NoBucket> {
        let endpoint = endpoint(settings, "S3");
        let unusable = |error: &dyn std::fmt::Display| NoBucket::Unusable(error.to_string());
        let region = settings.region().map(ToString::to_string);
        let params = Params::builder()
            .bucket(name)
            .set_region(region.clone())
            .set_use_fips(settings.use_fips())
            .set_use_dual_stack(settings.use_dual_stack())
            // Buckets as host names need a name server that knows them, which stores of one's own seldom have.
            .force_path_style(endpoint.is_some())
            .set_endpoint(endpoint)
            .build()
            .map_err(|error| unusable(&error))?;
        let found = DefaultResolver::new().resolve_endpoint(&params).await;
        let found = found.map_err(|error| unusable(&error))?;
        let schemes = found.auth_schemes();
        let scheme = schemes.iter().find(|scheme| scheme.name() == "sigv4");
        if scheme.is_none() && !schemes.is_empty() {
            return Err(NoBucket::OtherSignature);
        }
        let said = |name: &str| {
            let value = scheme?.get(name)?.as_string()?;
            Some(value.to_owned())
        };
        let url = Url::parse(found.url()).map_err(|error| unusable(&error))?;
        Ok(Self {
            base: format!("{}/", url.as_str().trim_end_matches('/')),
            region: said("signingRegion").or(region).unwrap_or_default(),
            service: said("signingName").unwrap_or_else(|| "s3".to_owned()),
            sign_bodies: url.scheme() != "https" && !is_loopback(&url),
        })
    }

    /// The URL of an object. Parameters of the query are names and values.
    pub(crate) fn url(&self, name: &str, query: &[(&str, &str)]) -> Result<Url, url::ParseError> {
        let mut text = self.base.clone();
        encode(&mut text, name, b"/");
        for (number, (parameter, value)) in query.iter().enumerate() {
            text.push(if number == 0 { '?' } else { '&' });
            text.push_str(parameter);
            text.push('=');
            encode(&mut text, value, b"");
        }
        Url::parse(&text)
    }
}

/// Appends a text with all encoded that `SigV4` encodes: everything but unreserved characters (RFC 3986, section 2.3) and
/// those in `kept`.
fn encode(to: &mut String, text: &str, kept: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if plain || kept.contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            to.push(char::from(HEX[usize::from(byte >> 4)]));
            to.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use aws_config::{BehaviorVersion, Region};

    async fn found(bucket: &str, endpoint: Option<&str>) -> Result<Bucket, NoBucket> {
        let mut settings = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"));
        settings.set_endpoint_url(endpoint.map(str::to_owned));
        Bucket::find(&settings.build(), bucket).await
    }

    #[tokio::test]
    async fn a_bucket_has_the_address_that_the_sdk_gives_it() {
        let bucket = found("my-bucket", None).await.unwrap();
        assert_eq!(
            bucket.url("a/b.ndjson", &[]).unwrap().as_str(),
            "https://my-bucket.s3.eu-west-1.amazonaws.com/a/b.ndjson"
        );
        assert_eq!((&*bucket.region, &*bucket.service), ("eu-west-1", "s3"));
        assert!(!bucket.sign_bodies);

        let own = found("my-bucket", Some("http://127.0.0.1:9000")).await;
        let own = own.unwrap();
        let part = own.url("a", &[("partNumber", "7"), ("uploadId", "x/=&")]);
        assert_eq!(
            part.unwrap().as_str(),
            "http://127.0.0.1:9000/my-bucket/a?partNumber=7&uploadId=x%2F%3D%26"
        );
    }

    #[tokio::test]
    async fn what_goes_over_a_network_in_the_open_is_signed() {
        for (endpoint, signed) in [
            ("http://127.0.0.1:9000", false),
            ("http://localhost:9000", false),
            ("https://minio.example.org", false),
            ("http://minio.example.org", true),
            ("http://10.0.0.1:9000", true),
        ] {
            let bucket = found("my-bucket", Some(endpoint)).await.unwrap();
            assert_eq!(bucket.sign_bodies, signed, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_bucket_that_wants_another_signature_has_no_address() {
        for bucket in [
            "my-bucket--use1-az4--x-s3",
            "arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap",
        ] {
            let refused = found(bucket, None).await.unwrap_err();
            assert!(matches!(refused, NoBucket::OtherSignature), "{refused:?}");
        }
    }

    #[test]
    fn a_name_is_encoded_as_it_is_signed() {
        let mut text = String::new();
        encode(&mut text, "a/b c(ü)~'=.ndjson", b"/");
        assert_eq!(text, "a/b%20c%28%C3%BC%29~%27%3D.ndjson");
    }
}
