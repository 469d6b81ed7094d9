//! The client: which request gets a token, which redirect is followed, and what happens after a 401.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use url::Url;

use super::address::carries_secrets;
use super::auth::{Token, Tokens};
use super::aws::Account;
use super::buckets::Buckets;
use super::certificate::Certified;
use super::extra::Extra;
use super::guard::Guard;
use super::request::{Request, TokenUse};
use super::request_id::RequestId;
use super::response::Response;
use super::shown::shown;
use super::signer::Signer;
use super::transport::{Authorization, Transport};
use super::{Side, StatusCode};
use crate::config::{ClientCertificate, Credentials, Headers, Origin, has_userinfo};
use crate::error::{Kind, Result};

/// All that a [`Client`] is made of.
#[derive(Clone)]
pub struct ClientOptions {
    /// Which server it speaks to.
    pub side: Side,
    /// The server's FHIR base address, `SOURCE_ENDPOINT` or `TARGET_ENDPOINT`.
    pub endpoint: Url,
    /// How it gets tokens, or what it signs for; `None` where authentication is switched off.
    pub credentials: Option<Credentials>,
    /// The client's certificate for TLS.
    pub certificate: Option<ClientCertificate>,
    /// Where tokens come from, where the server is not to be asked for that.
    pub token_endpoint: Option<Url>,
    /// Origins that tokens may go to besides the endpoint's and its token endpoint's.
    pub trusted_origins: Vec<Origin>,
    /// Buckets of S3 that may be read with this process's AWS credentials.
    pub buckets: Vec<String>,
    /// Headers for every request to the endpoint's origin and to those.
    pub headers: Headers,
    /// Whether credentials may leave this machine without TLS.
    pub allow_plaintext: bool,
    /// Whether the server may lead to private addresses although its own is a public one.
    pub allow_private_hosts: bool,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long an answer, or the next piece of its body, may take.
    pub idle_timeout: Duration,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("side", &self.side)
            .field("endpoint", &shown(&self.endpoint))
            .field("credentials", &self.credentials)
            .field("certificate", &self.certificate)
            .field("token_endpoint", &self.token_endpoint.as_ref().map(shown))
            .field("trusted_origins", &self.trusted_origins)
            .field("buckets", &self.buckets)
            .field("headers", &self.headers)
            .field("allow_plaintext", &self.allow_plaintext)
            .field("allow_private_hosts", &self.allow_private_hosts)
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .finish()
    }
}

/// A client for one server. Clones share connections, discovery and token.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Url,
    /// The endpoint's and those that the operator named; the token endpoint's is known after discovery.
    trusted: Vec<Origin>,
    allow_plaintext: bool,
    proof: Proof,
    transport: Transport,
    buckets: Buckets,
}

/// What a client proves itself with.
enum Proof {
    Nothing,
    Tokens(Box<Tokens>),
    Signatures(Signer),
}

impl Client {
    /// A client, of which nothing has spoken to the server yet.
    ///
    /// Errors: configuration, where the endpoint is no http or https URL, holds a user name or password, or would have
    /// the credentials sent in plain text without the operator's word.
    pub fn new(options: ClientOptions) -> Result<Self> {
        Self::identified(options, RequestId::default(), &[])
    }

    /// The same, whose requests carry this name where they go to the server or to those who are trusted like it. The operator
    /// named the origins of `also` too: they get nothing for that, and may be at private addresses.
    ///
    /// Errors: as [`Client::new`].
    pub fn identified(options: ClientOptions, id: RequestId, also: &[Origin]) -> Result<Self> {
        let ClientOptions {
            side,
            endpoint,
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
        } = options;
        let wrong = |what: String| {
            Kind::Configuration.error(format!(
                "{} {}: {what}",
                side.setting("ENDPOINT"),
                shown(&endpoint)
            ))
        };
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(wrong("is not an http or https URL".to_owned()));
        }
        if has_userinfo(&endpoint) {
            return Err(wrong("must not hold a user name or password".to_owned()));
        }
        let has_secrets = credentials.is_some() || !headers.is_empty();
        if has_secrets && !carries_secrets(&endpoint, allow_plaintext) {
            return Err(wrong("credentials go over TLS only".to_owned()).next(format!(
                "Use https, or set ALLOW_PLAINTEXT=true if the way there is safe otherwise, or {}=false.",
                side.setting("AUTHENTICATION_ENABLED")
            )));
        }
        // A token endpoint that the operator named is no server's idea.
        let mut named = trusted_origins.clone();
        named.extend(token_endpoint.as_ref().map(Origin::from));
        let reachable = [&named[..], also].concat();
        let guard = Guard::new(&endpoint, &reachable, allow_private_hosts);
        // Not to a token endpoint that only the server names: the certificate says who asks before that is known.
        named.push(Origin::from(&endpoint));
        let certified = certificate.map(|certificate| {
            Certified::new(certificate, named, side, connect_timeout, guard.clone())
        });
        let mut trusted = trusted_origins;
        trusted.push(Origin::from(&endpoint));
        let extra = Extra::new(headers, side, trusted.clone(), allow_plaintext, id);
        let account = Arc::new(Account::default());
        let buckets = Buckets {
            side,
            named: buckets,
            allow_plaintext,
            connect: connect_timeout,
            idle: idle_timeout,
            account: Arc::clone(&account),
            known: Mutex::new(HashMap::new()),
        };
        let proof = match credentials {
            None => Proof::Nothing,
            Some(Credentials::Aws { service }) => {
                Proof::Signatures(Signer::new(side, service, account))
            }
            Some(credentials) => Proof::Tokens(Box::new(Tokens::new(
                credentials,
                endpoint.clone(),
                token_endpoint,
                allow_plaintext,
            ))),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                endpoint,
                trusted,
                allow_plaintext,
                proof,
                buckets,
                transport: Transport::new(
                    side,
                    connect_timeout,
                    idle_timeout,
                    guard,
                    extra,
                    certified,
                ),
            }),
        })
    }

    /// Which server this client speaks to.
    #[must_use]
    pub fn side(&self) -> Side {
        self.inner.transport.side
    }

    /// The server's FHIR base address.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        &self.inner.endpoint
    }

    /// Sends a request and answers whatever the server does, of any status.
    ///
    /// A token goes along where the request allows it, there are credentials, the URL's origin is trusted, and the way
    /// is TLS, loopback or allowed by the operator. Up to five redirects of GET and HEAD are followed, and the rule for
    /// tokens is applied to each hop; from https only https is followed. A 401 to a token renews it once, and the
    /// request is repeated once; a second 401 is the answer. A token or a password that was given is sent by the same
    /// rules, and not renewed, unless it is kept elsewhere and has been changed there.
    ///
    /// A client that signs for AWS signs where another would send a token. A file at an `s3://` URL is asked for at S3,
    /// where the operator named its bucket, and its answer is S3's.
    ///
    /// A client certificate is shown to whoever asks for it at the endpoint's origin, at trusted ones and at the token
    /// endpoint that the operator named, and to nobody else.
    ///
    /// Errors: unavailable ([`Side::unavailable`]) where no answer came, naming method, URL and what happened, and for
    /// redirects that are not followed; authentication where no token is to be had, or where the lack of a good
    /// client certificate ended the connection.
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        if request.url.scheme() == "s3" {
            // Boxed: it is large, and few sources have such files.
            return Box::pin(self.inner.buckets.send(request)).await;
        }
        let transport = &self.inner.transport;
        let mut hops = 0;
        let mut renewed = false;
        let mut instead: Option<Token> = None;
        loop {
            let authorization = match instead.take() {
                Some(token) => Authorization::Token(token),
                None => self.authorize(&request).await.map_err(|error| match hops {
                    0 => error.unsent(),
                    _ => error,
                })?,
            };
            let response = transport.exchange(&request, authorization).await?;
            if response.status() == StatusCode::UNAUTHORIZED
                && !renewed
                && let Authorization::Token(refused) = &response.about().authorization
                && let Proof::Tokens(tokens) = &self.inner.proof
            {
                let refused = refused.clone();
                renewed = true;
                instead = tokens.instead_of(&refused, transport).await?;
                if instead.is_some() {
                    continue;
                }
            }
            let Some(url) = transport.next_hop(&response, hops)? else {
                return Ok(response);
            };
            request.moved_to(url);
            hops += 1;
        }
    }

    /// Decides about the token, or the signature, of one hop.
    async fn authorize(&self, request: &Request) -> Result<Authorization> {
        let Inner {
            trusted,
            allow_plaintext,
            proof,
            transport,
            ..
        } = &*self.inner;
        if matches!(proof, Proof::Nothing) {
            return Ok(Authorization::NoCredentials);
        }
        if request.token == TokenUse::Never {
            return Ok(Authorization::NotWanted);
        }
        let origin = Origin::from(&request.url);
        let is_trusted = trusted.contains(&origin)
            || match proof {
                Proof::Tokens(tokens) => tokens.come_from(&origin, transport).await?,
                Proof::Nothing | Proof::Signatures(_) => false,
            };
        if !is_trusted {
            return Ok(Authorization::Untrusted(origin));
        }
        if !carries_secrets(&request.url, *allow_plaintext) {
            return Ok(Authorization::Plaintext);
        }
        Ok(match proof {
            Proof::Nothing => Authorization::NoCredentials,
            Proof::Tokens(tokens) => Authorization::Token(tokens.current(transport).await?),
            Proof::Signatures(signer) => {
                transport.extra.ready_for(&request.url).await?;
                let extra = transport.extra.headers_for(&request.url);
                Authorization::Signed(signer.sign(request, &extra).await?)
            }
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("side", &self.side())
            .field("endpoint", &shown(&self.inner.endpoint))
            .finish_non_exhaustive()
    }
}
