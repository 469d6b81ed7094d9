//! The two servers: where each is, how to prove who asks, and where its token may go.

use std::time::Duration;

use url::Url;

use super::read::Reader;
use super::{Origin, Secret, is_loopback};

/// A server, what it takes to speak to it, and where its token may go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The base URL, without a slash at its end.
    pub url: Url,
    /// The client's credentials; none where authentication is switched off.
    pub credentials: Option<Credentials>,
    /// Origins beside its own that may get the token.
    pub trusted_origins: Vec<Origin>,
    /// Whether credentials may go over plain HTTP to other hosts.
    pub allow_plaintext: bool,
    /// Whether it may lead to private addresses although its own is a public one.
    pub allow_private_hosts: bool,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the server may stay silent.
    pub idle_timeout: Duration,
}

/// A client of OAuth 2, the client credentials grant.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: Secret,
    /// The scopes to ask for, separated by spaces.
    pub scopes: String,
}

/// The names of one side's settings.
pub(super) struct Names {
    endpoint: &'static str,
    enabled: &'static str,
    id: &'static str,
    secret: &'static str,
    scopes: &'static str,
    trusted: &'static str,
}

pub(super) const SOURCE: Names = Names {
    endpoint: "SOURCE_ENDPOINT",
    enabled: "SOURCE_AUTHENTICATION_ENABLED",
    id: "SOURCE_CLIENT_ID",
    secret: "SOURCE_CLIENT_SECRET",
    scopes: "SOURCE_SCOPES",
    trusted: "SOURCE_TRUSTED_ORIGINS",
};

pub(super) const TARGET: Names = Names {
    endpoint: "TARGET_ENDPOINT",
    enabled: "TARGET_AUTHENTICATION_ENABLED",
    id: "TARGET_CLIENT_ID",
    secret: "TARGET_CLIENT_SECRET",
    scopes: "TARGET_SCOPES",
    trusted: "TARGET_TRUSTED_ORIGINS",
};

/// Reads one side, and notes every problem that it has, whatever else is wrong with it.
pub(super) fn endpoint(reader: &mut Reader, names: &Names) -> Option<Endpoint> {
    let url = reader.url(names.endpoint);
    let enabled = reader.flag(names.enabled);
    let (id, secret, scopes) = (
        reader.string(names.id),
        reader.secret(names.secret),
        reader.string(names.scopes),
    );
    let trusted_origins = reader.origins(names.trusted);
    let allow_plaintext = reader.flag("ALLOW_PLAINTEXT");
    let allow_private_hosts = reader.flag("ALLOW_PRIVATE_HOSTS");
    let connect_timeout = reader.seconds("CONNECT_TIMEOUT");
    let idle_timeout = reader.seconds("IDLE_TIMEOUT");
    let mut url = url?;
    let without_slash = url.path().trim_end_matches('/').to_owned();
    url.set_path(&without_slash);
    let credentials = match (enabled, id, secret, scopes) {
        (true, Some(id), Some(secret), Some(scopes)) => Some(Credentials { id, secret, scopes }),
        _ => None,
    };
    if credentials.is_some() && url.scheme() == "http" && !allow_plaintext && !is_loopback(&url) {
        let written = reader.written(names.endpoint);
        reader.contradiction(format!(
            "{written} is plain http, over which no credentials are sent; use https, or set ALLOW_PLAINTEXT=true on a closed network"
        ));
    }
    Some(Endpoint {
        url,
        credentials,
        trusted_origins,
        allow_plaintext,
        allow_private_hosts,
        connect_timeout,
        idle_timeout,
    })
}
