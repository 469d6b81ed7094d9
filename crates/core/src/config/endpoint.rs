//! The two servers: where each is, how to prove who asks, and where its token may go.

use std::time::Duration;

use url::Url;

use super::certificate::{self, ClientCertificate};
use super::credentials::{self, Credentials};
use super::lists::Trusted;
use super::read::Reader;
use super::{Headers, Origin, SourceManifest, is_loopback};

/// A server, what it takes to speak to it, and where its token may go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The base URL, without a slash at its end; where only a manifest is given, that one's address stands for it.
    pub url: Url,
    /// The origin of the manifest, which the operator named and which gets no token for that.
    pub manifest: Option<Origin>,
    /// The client's credentials; none where authentication is switched off.
    pub credentials: Option<Credentials>,
    /// The client's certificate for TLS, whatever else proves who asks.
    pub certificate: Option<ClientCertificate>,
    /// Where tokens come from, where it is not to be asked of the server.
    pub token_endpoint: Option<Url>,
    /// Origins beside its own that may get the token.
    pub trusted_origins: Vec<Origin>,
    /// Buckets of S3 in which its files may be, to be read with this process's AWS credentials.
    pub buckets: Vec<String>,
    /// Headers that go with every request to its own origin and to trusted ones.
    pub headers: Headers,
    /// Whether credentials may go over plain HTTP to other hosts.
    pub allow_plaintext: bool,
    /// Whether it may lead to private addresses although its own is a public one.
    pub allow_private_hosts: bool,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the server may stay silent.
    pub idle_timeout: Duration,
}

/// The names of one side's settings.
pub(super) struct Names {
    endpoint: &'static str,
    credentials: credentials::Names,
    certificate: certificate::Names,
    trusted: &'static str,
    /// Whether buckets may stand among the trusted origins.
    buckets: bool,
    headers: Option<&'static str>,
}

pub(super) const SOURCE: Names = Names {
    endpoint: "SOURCE_ENDPOINT",
    credentials: credentials::SOURCE,
    certificate: certificate::SOURCE,
    trusted: "SOURCE_TRUSTED_ORIGINS",
    buckets: true,
    headers: Some("SOURCE_HEADERS"),
};

pub(super) const TARGET: Names = Names {
    endpoint: "TARGET_ENDPOINT",
    credentials: credentials::TARGET,
    certificate: certificate::TARGET,
    trusted: "TARGET_TRUSTED_ORIGINS",
    buckets: false,
    headers: None,
};

/// Reads one side, and notes every problem that it has, whatever else is wrong with it. Beside a `manifest`, which may be
/// anyone's to read, neither the base URL nor credentials are needed.
pub(super) fn endpoint(
    reader: &mut Reader,
    names: &Names,
    manifest: Option<&SourceManifest>,
) -> Option<Endpoint> {
    let url = reader.url(names.endpoint);
    let wants_none = manifest.is_some() && !credentials::any_given(reader, &names.credentials);
    let credentials = if wants_none {
        None
    } else {
        credentials::credentials(reader, &names.credentials)
    };
    let certificate = certificate::certificate(reader, &names.certificate);
    let token_endpoint = reader.url(names.credentials.token_endpoint);
    let Trusted {
        origins: trusted_origins,
        buckets,
    } = reader.trusted(names.trusted, names.buckets);
    let headers = names
        .headers
        .and_then(|name| reader.parsed(name, |row, text| Headers::parse(row.name, text)))
        .unwrap_or_default();
    let allow_plaintext = reader.flag("ALLOW_PLAINTEXT");
    let allow_private_hosts = reader.flag("ALLOW_PRIVATE_HOSTS");
    let connect_timeout = reader.seconds("CONNECT_TIMEOUT");
    let idle_timeout = reader.seconds("IDLE_TIMEOUT");
    let has_secrets = credentials.is_some() || !headers.is_empty();
    let url = match (url, manifest) {
        (None, Some(manifest)) if !reader.is_given(names.endpoint) => {
            if has_secrets || certificate.is_some() {
                reader.contradiction(format!(
                    "{} is missing beside SOURCE_MANIFEST: credentials, certificates and headers go to its origin and to trusted ones; set it, or leave them out for a manifest that anyone may read",
                    names.endpoint
                ));
            }
            manifest.in_place_of_endpoint()
        }
        (url, _) => url,
    };
    let mut url = url?;
    let without_slash = url.path().trim_end_matches('/').to_owned();
    url.set_path(&without_slash);
    let addresses = [
        (names.endpoint, Some(&url)),
        (names.credentials.token_endpoint, token_endpoint.as_ref()),
    ];
    for (name, address) in addresses {
        let plain = address.is_some_and(|url| url.scheme() == "http" && !is_loopback(url));
        if has_secrets && plain && !allow_plaintext {
            let written = reader.written(name);
            reader.contradiction(format!(
                "{written} is plain http, over which no credentials are sent; use https, or set ALLOW_PLAINTEXT=true on a closed network"
            ));
        }
    }
    let https = |origin: &Origin| origin.to_string().starts_with("https:");
    let asked_over_tls = url.scheme() == "https"
        || token_endpoint
            .as_ref()
            .is_some_and(|url| url.scheme() == "https")
        || trusted_origins.iter().any(https);
    if certificate.is_some() && !asked_over_tls {
        let written = reader.written(names.endpoint);
        reader.contradiction(format!(
            "{written} is plain http, over which no client certificate is asked for or sent; use https, or leave the certificate out"
        ));
    }
    let manifest = manifest.map(SourceManifest::url);
    Some(Endpoint {
        url,
        manifest: manifest.filter(|url| url.has_host()).map(Origin::from),
        credentials,
        certificate,
        token_endpoint,
        trusted_origins,
        buckets,
        headers,
        allow_plaintext,
        allow_private_hosts,
        connect_timeout,
        idle_timeout,
    })
}
