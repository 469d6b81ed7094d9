//! Who the two clients are, and what each proves itself with.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use jiff::Timestamp;

use crate::call::{Call, Reply, empty, with};
use crate::keys::{Key, KeyForm, KeyKind};
use crate::record::{Log, Service};
use crate::s3::{ACCESS_KEY, REGION, SECRET_KEY};
use crate::sigv4::Signer;
use crate::token::{SOURCE_CLIENT, TARGET_CLIENT, bearer};
use crate::world::World;

/// How a client proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the token endpoint, with a secret.
    Secret,
    /// To the token endpoint, with a signed assertion.
    Jwt(KeyKind),
    /// To the server itself, with a token that never changes.
    Bearer,
    /// To the server itself, with HTTP Basic.
    Basic,
    /// To the server itself, by signing each request with the account of the sandbox's S3.
    Aws,
}

impl Way {
    /// Whether tokens are had at the token endpoint.
    pub(crate) fn is_oauth(self) -> bool {
        matches!(self, Self::Secret | Self::Jwt(_))
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    owner: Service,
    way: Way,
    id: &'static str,
    /// The secret, the static token or the password, as it is now.
    secret: Mutex<String>,
    key: Option<Key>,
}

/// The two.
#[derive(Debug)]
pub(crate) struct Clients {
    source: Client,
    target: Client,
}

/// Where a client's secret is kept, and the text there.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) arn: String,
    pub(crate) text: String,
}

/// The user of HTTP Basic.
pub(crate) const USERNAME: &str = "sandbox user";
const SOURCE_ARN: &str =
    "arn:aws:secretsmanager:eu-central-1:123456789012:secret:sandbox/source-AbCdEf";
const TARGET_ARN: &str = "arn:aws:ssm:eu-central-1:123456789012:parameter/sandbox/target";

impl Clients {
    pub(crate) fn new(source: Way, target: Way, log: &Log) -> Self {
        let clients = Self {
            source: Client::new(Service::Source, source, SOURCE_CLIENT),
            target: Client::new(Service::Target, target, TARGET_CLIENT),
        };
        for client in [&clients.source, &clients.target] {
            client.make_known(log);
        }
        clients
    }

    pub(crate) fn of(&self, service: Service) -> &Client {
        if service == Service::Target {
            &self.target
        } else {
            &self.source
        }
    }

    /// Whose id and secret these are.
    pub(crate) fn with_secret(&self, id: &str, secret: &str) -> Option<Service> {
        [&self.source, &self.target]
            .into_iter()
            .find(|client| {
                client.way == Way::Secret && client.id == id && client.secret() == secret
            })
            .map(|client| client.owner)
    }

    /// The key of the client of this id.
    pub(crate) fn key_of(&self, id: &str) -> Option<(Service, &Key)> {
        [&self.source, &self.target]
            .into_iter()
            .find(|client| client.id == id)
            .and_then(|client| Some((client.owner, client.key.as_ref()?)))
    }

    /// Gives both clients new secrets, and refuses the old ones from now on. Keys stay.
    pub(crate) fn rotate(&self, log: &Log) {
        for client in [&self.source, &self.target] {
            let new = format!("{}-rotated-{}", client.id, uuid::Uuid::new_v4());
            *client.secret.lock().unwrap_or_else(PoisonError::into_inner) = new;
            client.make_known(log);
        }
    }

    /// What AWS keeps.
    pub(crate) fn kept(&self) -> [Kept; 2] {
        let [source, target] =
            [&self.source, &self.target].map(|client| client.proof(KeyForm::Jwk));
        let object = serde_json::json!({"user": "sandbox", "secret": source});
        [
            Kept {
                arn: SOURCE_ARN.to_owned(),
                text: object.to_string(),
            },
            Kept {
                arn: TARGET_ARN.to_owned(),
                text: target,
            },
        ]
    }

    /// Every text that nobody may see.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut all = Vec::new();
        for client in [&self.source, &self.target] {
            all.push(client.secret());
            all.extend(client.key.iter().flat_map(Key::secrets));
        }
        all
    }
}

impl Client {
    fn new(owner: Service, way: Way, (id, secret): (&'static str, &str)) -> Self {
        let key = match way {
            Way::Jwt(kind) => Some(Key::new(kind, &format!("{id}-key"))),
            _ => None,
        };
        Self {
            owner,
            way,
            id,
            secret: Mutex::new(secret.to_owned()),
            key,
        }
    }

    fn make_known(&self, log: &Log) {
        let secret = self.secret();
        if self.way.is_oauth() {
            log.know_secret(&secret, self.owner);
        } else {
            log.know_token(&secret, self.owner);
        }
        for secret in self.key.iter().flat_map(Key::secrets) {
            log.know_secret(&secret, self.owner);
        }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    fn secret(&self) -> String {
        self.secret
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the client proves itself with, as a setting holds it.
    pub(crate) fn proof(&self, form: KeyForm) -> String {
        match &self.key {
            Some(key) => key.written(form),
            None => self.secret(),
        }
    }

    /// The service that requests are signed for.
    fn aws_service(&self) -> &'static str {
        if self.owner == Service::Target {
            "execute-api"
        } else {
            "healthlake"
        }
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.kid.as_str())
    }

    /// The settings that lead to this client, but its scopes. `kept`: the address in place of the secret.
    pub(crate) fn env(&self, kept: bool) -> Vec<(String, String)> {
        let side = if self.owner == Service::Target {
            "TARGET"
        } else {
            "SOURCE"
        };
        let address = if self.owner == Service::Target {
            TARGET_ARN.to_owned()
        } else {
            format!("{SOURCE_ARN}#secret")
        };
        let proof = if kept {
            address
        } else {
            self.proof(KeyForm::Jwk)
        };
        let (user, name) = match self.way {
            Way::Secret => (Some(("CLIENT_ID", self.id)), "CLIENT_SECRET"),
            Way::Jwt(_) => (Some(("CLIENT_ID", self.id)), "PRIVATE_KEY"),
            Way::Bearer => (None, "BEARER_TOKEN"),
            Way::Basic => (Some(("USERNAME", USERNAME)), "PASSWORD"),
            Way::Aws => {
                let service = self.aws_service().to_owned();
                return vec![(format!("{side}_AWS_SERVICE"), service)];
            }
        };
        let user = user.map(|(name, value)| (name, value.to_owned()));
        let all = user.into_iter().chain([(name, proof)]);
        all.map(|(name, value)| (format!("{side}_{name}"), value))
            .collect()
    }
}

impl World {
    /// The scopes that a call has at this service; the refusal when it proves nothing.
    pub(crate) fn scopes(&self, call: &Call, service: Service) -> Result<Vec<String>, Reply> {
        let client = self.clients.of(service);
        let (proven, scheme) = match client.way {
            Way::Secret | Way::Jwt(_) => return self.tokens.scopes(call, service),
            Way::Aws => {
                let signer = Signer {
                    access_key: ACCESS_KEY,
                    secret_key: SECRET_KEY,
                    region: REGION,
                    service: client.aws_service(),
                };
                let verified = signer.verify(call, Timestamp::now());
                verified.map_err(|refusal| refusal.reply())?;
                (true, "")
            }
            Way::Bearer => (bearer(call) == Some(client.secret()), "Bearer"),
            Way::Basic => {
                let pair = STANDARD.encode(format!("{USERNAME}:{}", client.secret()));
                let sent = call.header(header::AUTHORIZATION);
                (
                    sent == Some(format!("Basic {pair}")),
                    "Basic realm=\"sandbox\"",
                )
            }
        };
        if proven {
            Ok(["system/*.read", "pathling"].map(str::to_owned).to_vec())
        } else {
            Err(with(empty(401), "www-authenticate", scheme))
        }
    }
}
