//! How a client proves who it is: the five ways, and which of them the settings mean.

use url::Url;

use super::key::SigningKey;
use super::read::Reader;
use super::reference::{Reference, SecretSource};

/// What a client proves itself with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// OAuth 2 client credentials with a secret that both sides know.
    ClientSecret {
        /// The client.
        client: OauthClient,
        /// Its secret.
        secret: SecretSource,
    },
    /// OAuth 2 client credentials with a signed assertion: SMART Backend Services.
    PrivateKey {
        /// The client.
        client: OauthClient,
        /// What it signs with.
        key: PrivateKey,
    },
    /// A token that was had elsewhere.
    BearerToken(SecretSource),
    /// HTTP Basic to the server itself.
    Basic {
        /// The user's name.
        username: String,
        /// Its password.
        password: SecretSource,
    },
    /// Each request is signed with this process's AWS credentials (Signature Version 4).
    Aws {
        /// The service to sign for, e.g. `healthlake`.
        service: String,
    },
}

/// A client of OAuth 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    /// The client's id.
    pub id: String,
    /// The scopes to ask for, separated by spaces; empty asks for none.
    pub scopes: String,
}

/// A private key, and what its assertions say of it.
#[derive(Clone, Debug)]
pub struct PrivateKey {
    /// The key.
    pub key: KeySource,
    /// The address of the public keys (`jku`), where the assertion is to name it.
    pub jwks_url: Option<Url>,
}

/// A key, or where it is kept.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The key itself.
    Given(SigningKey),
    /// It is kept elsewhere, and is the one of this id where there are several.
    Kept(Reference, Option<String>),
}

impl Credentials {
    /// The OAuth 2 client, where it is one.
    #[must_use]
    pub fn client(&self) -> Option<&OauthClient> {
        match self {
            Self::ClientSecret { client, .. } | Self::PrivateKey { client, .. } => Some(client),
            Self::BearerToken(_) | Self::Basic { .. } | Self::Aws { .. } => None,
        }
    }
}

/// The names of one side's settings about credentials.
pub(super) struct Names {
    pub(super) enabled: &'static str,
    id: &'static str,
    secret: &'static str,
    scopes: &'static str,
    key: &'static str,
    key_file: &'static str,
    key_id: &'static str,
    jwks_url: &'static str,
    pub(super) token_endpoint: &'static str,
    bearer: &'static str,
    username: &'static str,
    password: &'static str,
    aws_service: &'static str,
}

macro_rules! names {
    ($side:literal) => {
        Names {
            enabled: concat!($side, "_AUTHENTICATION_ENABLED"),
            id: concat!($side, "_CLIENT_ID"),
            secret: concat!($side, "_CLIENT_SECRET"),
            scopes: concat!($side, "_SCOPES"),
            key: concat!($side, "_PRIVATE_KEY"),
            key_file: concat!($side, "_PRIVATE_KEY_FILE"),
            key_id: concat!($side, "_PRIVATE_KEY_ID"),
            jwks_url: concat!($side, "_JWKS_URL"),
            token_endpoint: concat!($side, "_TOKEN_ENDPOINT"),
            bearer: concat!($side, "_BEARER_TOKEN"),
            username: concat!($side, "_USERNAME"),
            password: concat!($side, "_PASSWORD"),
            aws_service: concat!($side, "_AWS_SERVICE"),
        }
    };
}

pub(super) const SOURCE: Names = names!("SOURCE");
pub(super) const TARGET: Names = names!("TARGET");

/// Whether there is anything to prove oneself with, whole or not.
pub(super) fn any_given(reader: &Reader, names: &Names) -> bool {
    let ways = [
        names.id,
        names.secret,
        names.key,
        names.key_file,
        names.bearer,
        names.username,
        names.password,
        names.aws_service,
    ];
    ways.into_iter().any(|name| reader.is_given(name))
}

/// Reads one side's credentials, and notes every problem with them. Where authentication is switched off there are none,
/// whatever else is set.
pub(super) fn credentials(reader: &mut Reader, names: &Names) -> Option<Credentials> {
    let enabled = reader.flag(names.enabled);
    let (id, scopes) = (reader.string(names.id), reader.string(names.scopes));
    let secret = reader.secret_or_reference(names.secret);
    let key_id = reader.string(names.key_id);
    let jwks_url = reader.url(names.jwks_url);
    let key = reader.key(names.key, key_id.as_deref());
    let key_file = reader.key_file(names.key_file, key_id.as_deref());
    let bearer = reader.secret_or_reference(names.bearer);
    let username = reader.username(names.username);
    let password = reader.secret_or_reference(names.password);
    let aws_service = reader.aws_service(names.aws_service);
    if !enabled {
        return None;
    }
    let ways = [
        (names.secret, secret.is_some()),
        (names.key, key.is_some()),
        (names.key_file, key_file.is_some()),
        (names.bearer, bearer.is_some()),
        (names.username, username.is_some()),
        (names.aws_service, aws_service.is_some()),
    ];
    let given: Vec<&str> = ways.iter().filter(|way| way.1).map(|way| way.0).collect();
    if given.len() > 1 {
        let all: Vec<String> = given.iter().map(|name| reader.written(name)).collect();
        reader.contradiction(format!(
            "{} contradict each other: each is a way to prove who asks, and one is enough",
            all.join(" and ")
        ));
        return None;
    }
    together(reader, names, &given);
    if let Some(service) = aws_service {
        return Some(Credentials::Aws { service });
    }
    if let Some(token) = bearer {
        return Some(Credentials::BearerToken(token));
    }
    if let (Some(username), Some(password)) = (username, password) {
        return Some(Credentials::Basic { username, password });
    }
    let client = OauthClient {
        id: id?,
        scopes: scopes?,
    };
    if let Some(key) = key.or(key_file) {
        let key = PrivateKey { key, jwks_url };
        return Some(Credentials::PrivateKey { client, key });
    }
    let secret = secret?;
    Some(Credentials::ClientSecret { client, secret })
}

/// Notes what is set and would do nothing beside the way that was chosen, and what lacks its other half.
fn together(reader: &mut Reader, names: &Names, given: &[&str]) {
    let keyed = reader.is_given(names.key) || reader.is_given(names.key_file);
    let oauth = [names.secret, names.key, names.key_file];
    let mut alone = |name: &'static str, wants: &str| {
        if reader.is_given(name) {
            let written = reader.written(name);
            reader.contradiction(format!("{written} does nothing {wants}"));
        }
    };
    if !keyed {
        let wants = format!("without {} or {}", names.key, names.key_file);
        alone(names.key_id, &wants);
        alone(names.jwks_url, &wants);
    }
    if let Some(way) = given.first().filter(|way| !oauth.contains(way)) {
        let wants = format!("beside {way}, for which no token is asked");
        for name in [names.id, names.scopes, names.token_endpoint] {
            alone(name, &wants);
        }
    }
    for (one, other) in [
        (names.username, names.password),
        (names.password, names.username),
    ] {
        if reader.is_given(one) && !reader.is_given(other) {
            let written = reader.written(one);
            reader.contradiction(format!("{written} wants {other} beside it"));
        }
    }
}
