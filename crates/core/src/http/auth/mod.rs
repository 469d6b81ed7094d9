//! What one client proves itself with: tokens that it asks for, keeps until shortly before they expire and renews once
//! when a server refuses one; or a token or password that it was given.
//!
//! [`discovery`] knows where tokens come from, [`request`] how they are asked for, [`assertion`] what a private key signs,
//! [`token`] what an answer means. Which request gets a token is not decided here.

mod assertion;
mod discovery;
mod request;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use url::Url;

use super::Side;
use super::flight::Flight;
use super::secrets;
use super::transport::{Authorization, Transport};
use crate::config::{
    Credentials, KeySource, OauthClient, Origin, PrivateKey, Secret, SecretSource, SigningKey,
};
use crate::error::{Error, Kind, Result};
use discovery::{Discovered, SecretBy, discover};
use request::{Proof, token_request};
use token::{Asked, answer};

pub(super) use token::{Token, TokenKind};

/// Reads any bytes as each document that tells where tokens come from, or is one.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzing(bytes: &[u8]) {
    discovery::fuzzing(bytes);
    token::fuzzing(bytes);
}

/// Where one client's tokens come from. Discovery and token are each fetched by one task while others wait.
pub(super) struct Tokens {
    credentials: Credentials,
    endpoint: Url,
    token_endpoint: Option<Url>,
    allow_plaintext: bool,
    discovered: Flight<Arc<Discovered>>,
    token: Flight<Token>,
    numbers: AtomicU64,
    /// The token endpoint was found to take secrets in the form alone.
    by_form: AtomicBool,
}

impl Tokens {
    pub(super) fn new(
        credentials: Credentials,
        endpoint: Url,
        token_endpoint: Option<Url>,
        allow_plaintext: bool,
    ) -> Self {
        Self {
            credentials,
            endpoint,
            token_endpoint,
            allow_plaintext,
            discovered: Flight::new(),
            token: Flight::new(),
            numbers: AtomicU64::new(0),
            by_form: AtomicBool::new(false),
        }
    }

    /// Whether tokens come from this origin, so that it may have them.
    pub(super) async fn come_from(&self, origin: &Origin, transport: &Transport) -> Result<bool> {
        if self.credentials.client().is_none() {
            return Ok(false);
        }
        let discovered = self.discovered(transport).await?;
        Ok(Origin::from(&discovered.token_endpoint) == *origin)
    }

    /// A token that does not expire in the next moments.
    pub(super) async fn current(&self, transport: &Transport) -> Result<Token> {
        // Boxed: it is large, and most requests have no need of it.
        let fetch = Box::pin(self.fetch(transport));
        self.token.get(Token::lives, fetch).await
    }

    /// Another token than `refused`: the one that somebody else got meanwhile, or a new one. `None` where there is no
    /// other: a token or a password that was given is what it is, unless it is kept elsewhere and has been changed there.
    pub(super) async fn instead_of(
        &self,
        refused: &Token,
        transport: &Transport,
    ) -> Result<Option<Token>> {
        let side = transport.side;
        let other = |token: &Token| token.number() != refused.number();
        let source = match &self.credentials {
            Credentials::BearerToken(source) => source,
            Credentials::Basic { password, .. } => password,
            _ => {
                let fetch = Box::pin(self.fetch(transport));
                let token = self.token.get(other, fetch).await?;
                return Ok(Some(token));
            }
        };
        let Some(secret) = secrets::instead_of(refused.value(), source, side).await? else {
            return Ok(None);
        };
        let fetch = async { self.given(secret, side) };
        Ok(Some(self.token.get(other, fetch).await?))
    }

    /// What is known of the token endpoint, asked for once.
    async fn discovered(&self, transport: &Transport) -> Result<Arc<Discovered>> {
        let fetch = async {
            let given = self.token_endpoint.as_ref();
            let found = discover(transport, &self.endpoint, given, self.allow_plaintext).await?;
            Ok(Arc::new(found))
        };
        self.discovered.get(|_| true, fetch).await
    }

    async fn fetch(&self, transport: &Transport) -> Result<Token> {
        let side = transport.side;
        match &self.credentials {
            Credentials::ClientSecret { client, secret } => {
                self.ask(transport, client, secret, None).await
            }
            Credentials::PrivateKey { client, key } => match &key.key {
                KeySource::Given(signing) => {
                    let known = self.discovered(transport).await?;
                    let proof = self.signed(client, key, signing, &known, side)?;
                    self.granted(transport, client, &known, &proof).await
                }
                KeySource::Kept(at, _) => {
                    let source = SecretSource::Kept(at.clone());
                    self.ask(transport, client, &source, Some(key)).await
                }
            },
            Credentials::BearerToken(source)
            | Credentials::Basic {
                password: source, ..
            } => self.given(secrets::secret(source, side).await?, side),
            // Whoever signs has no use for tokens, and asks for none.
            Credentials::Aws { .. } => Err(Kind::Configuration.error(format!(
                "{} signs requests, and there is no token",
                side.setting("AWS_SERVICE")
            ))),
        }
    }

    /// A token or a password that was had elsewhere.
    fn given(&self, secret: Secret, side: Side) -> Result<Token> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (token, name) = match &self.credentials {
            Credentials::Basic { username, .. } => {
                (Token::basic(username, secret, number), "PASSWORD")
            }
            _ => (Token::bearer(secret, number), "BEARER_TOKEN"),
        };
        token.ok_or_else(|| {
            let name = side.setting(name);
            Kind::Configuration
                .error(format!("{name} does not fit into a header"))
                .next(format!("Correct {name}, or what is kept where it says."))
        })
    }

    /// Asks for a token with a secret, or with the key that the secret is; and once more where it is refused and another
    /// one is kept in its place by now.
    async fn ask(
        &self,
        transport: &Transport,
        client: &OauthClient,
        source: &SecretSource,
        key: Option<&PrivateKey>,
    ) -> Result<Token> {
        let side = transport.side;
        let known = self.discovered(transport).await?;
        let mut secret = secrets::secret(source, side).await?;
        let mut again = true;
        loop {
            let proofs = match key {
                Some(key) => {
                    let signing = signing_key(&secret, key, side)?;
                    vec![self.signed(client, key, &signing, &known, side)?]
                }
                None => self.with_secret(&secret, &known, side)?,
            };
            let mut refusal = None;
            for proof in &proofs {
                match self.once(transport, client, &known, proof).await? {
                    Ok(token) => {
                        if proofs.len() > 1 && matches!(proof, Proof::Form(_)) {
                            self.by_form.store(true, Ordering::Relaxed);
                        }
                        return Ok(token);
                    }
                    // The first refusal is the one to tell; only one of the client leads to another try.
                    Err((what, of_client)) => {
                        let first = refusal.get_or_insert((what, of_client));
                        if !of_client || !first.1 {
                            break;
                        }
                    }
                }
            }
            let (what, of_client) = refusal.unwrap_or_default();
            if again && of_client {
                again = false;
                if let Some(other) = secrets::instead_of(&secret, source, side).await? {
                    secret = other;
                    continue;
                }
            }
            return Err(self.advised(side, what));
        }
    }

    /// The ways in which a secret may go: one, or where it is not known which, both in turn.
    fn with_secret(&self, secret: &Secret, known: &Discovered, side: Side) -> Result<Vec<Proof>> {
        let (basic, form) = (Proof::Basic(secret.clone()), Proof::Form(secret.clone()));
        if self.by_form.load(Ordering::Relaxed) {
            return Ok(vec![form]);
        }
        Ok(match known.secret_by(side)? {
            SecretBy::Form => vec![form],
            SecretBy::Basic if known.whole => vec![basic],
            SecretBy::Basic => vec![basic, form],
        })
    }

    fn signed(
        &self,
        client: &OauthClient,
        key: &PrivateKey,
        signing: &SigningKey,
        known: &Discovered,
        side: Side,
    ) -> Result<Proof> {
        known.takes_assertions(side)?;
        let algorithm = assertion::algorithm(signing, &known.algorithms)
            .map_err(|why| known.no_algorithm(&why, side))?;
        let jwks_url = key.jwks_url.as_ref();
        let signed =
            assertion::assertion(&client.id, &known.audience, jwks_url, signing, algorithm);
        let signed = signed.ok_or_else(|| self.advised(side, "the key did not sign".to_owned()))?;
        Ok(Proof::Assertion(signed))
    }

    async fn granted(
        &self,
        transport: &Transport,
        client: &OauthClient,
        known: &Discovered,
        proof: &Proof,
    ) -> Result<Token> {
        let asked = self.once(transport, client, known, proof).await?;
        asked.map_err(|(what, _)| self.advised(transport.side, what))
    }

    /// One request for a token. The inner error is what the endpoint said, and whether it is about the client.
    async fn once(
        &self,
        transport: &Transport,
        client: &OauthClient,
        known: &Discovered,
        proof: &Proof,
    ) -> Result<Result<Token, (String, bool)>> {
        let request = transport
            .identified(token_request(&known.token_endpoint, client, proof)?)
            .await?;
        let response = transport
            .exchange(&request, Authorization::NotWanted)
            .await?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let asked = Instant::now();
        let secrets = proof.secrets(client);
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let good = match answer(response, &secrets, transport.side).await? {
            Asked::Good(good) => good,
            Asked::Refused { what, client } => return Ok(Err((what, client))),
        };
        let token = good.token(number, asked);
        tracing::debug!(number, "token");
        Ok(token.map_err(|what| (what, false)))
    }

    fn advised(&self, side: Side, what: String) -> Error {
        let proof = match &self.credentials {
            Credentials::PrivateKey { .. } => {
                let all = [side.setting("PRIVATE_KEY"), side.setting("PRIVATE_KEY_ID")];
                format!(
                    "{} (its public half must be registered with the server, under that id), this machine's clock",
                    all.join(", ")
                )
            }
            _ => side.setting("CLIENT_SECRET"),
        };
        Kind::Authentication.error(what).next(format!(
            "Check {}, {proof} and {}, and what the server allows this client.",
            side.setting("CLIENT_ID"),
            side.setting("SCOPES"),
        ))
    }
}

/// The key that lies where the settings say.
fn signing_key(text: &Secret, key: &PrivateKey, side: Side) -> Result<SigningKey> {
    let KeySource::Kept(at, kid) = &key.key else {
        return Err(Kind::Configuration.error(side.setting("PRIVATE_KEY")));
    };
    SigningKey::read(text.reveal(), kid.as_deref()).map_err(|why| {
        Kind::Configuration
            .error(format!(
                "{} names {at}, and what is kept there {why}",
                at.setting
            ))
            .next("Correct what is kept there, or the setting.")
    })
}
