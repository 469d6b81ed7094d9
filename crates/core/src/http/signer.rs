//! A client that signs its requests for AWS (Signature Version 4) in place of a token: what that takes, what a signature hides,
//! and what is said where there is none.
//!
//! Which request is signed is not decided here: the rules are those of tokens.

use std::fmt;
use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName};

use super::Side;
use super::aws::{
    Account, HAVE_CREDENTIALS, Known, NoCredentials, Rules, SESSION, Scope, SignableBody,
};
use super::request::Request;
use crate::config::Secret;
use crate::error::{Kind, Result};

/// What requests to one server are signed with.
pub(super) struct Signer {
    side: Side,
    service: String,
    account: Arc<Account>,
}

/// A signature of one request, and what it is for.
#[derive(Clone)]
pub(super) struct Signed {
    headers: HeaderMap,
    service: String,
    region: String,
}

impl Signer {
    pub(super) fn new(side: Side, service: String, account: Arc<Account>) -> Self {
        Self {
            side,
            service,
            account,
        }
    }

    /// The signature of a request that goes out with these headers too.
    ///
    /// Errors: configuration, where there is no region; authentication, where there are no credentials; unavailable
    /// ([`Side::unavailable`]) where another try may do.
    pub(super) async fn sign(&self, request: &Request, extra: &HeaderMap) -> Result<Signed> {
        let known = self.account.known().await;
        let setting = self.side.setting("AWS_SERVICE");
        let Some(region) = known.region() else {
            return Err(Kind::Configuration
                .error(format!(
                    "{setting} is {}, but no AWS region is set to sign for",
                    self.service
                ))
                .next(format!(
                    "Set AWS_REGION to the region of the {}.",
                    self.side.name()
                )));
        };
        let scope = Scope {
            region,
            service: &self.service,
            rules: Rules::Usual,
        };
        sign(known, scope, self.side, request, extra).await
    }
}

/// The signature of a request that goes out with these headers too.
pub(super) async fn sign(
    known: &Known,
    scope: Scope<'_>,
    side: Side,
    request: &Request,
    extra: &HeaderMap,
) -> Result<Signed> {
    let found = known.keyring.credentials().await;
    let credentials = found.map_err(|none| {
        let what = |why: &str| {
            format!(
                "there are no AWS credentials to sign requests to the {} with ({why})",
                side.name()
            )
        };
        match none {
            NoCredentials::ForGood(why) => Kind::Authentication
                .error(what(&why))
                .next(HAVE_CREDENTIALS),
            NoCredentials::Passing(why) => side.unavailable().error(what(&why)),
        }
    })?;
    let headers = extra.iter().chain(&request.headers);
    let headers = headers
        .filter(|(name, _)| is_signed(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(request.body.as_deref().unwrap_or_default());
    let target = (request.method.as_str(), &request.url);
    let headers = scope
        .sign(credentials, target, headers, body)
        .map_err(|why| {
            Kind::Configuration.error(format!(
                "a request to the {} cannot be signed: {why}",
                side.name()
            ))
        })?;
    Ok(Signed {
        headers,
        service: scope.service.to_owned(),
        region: scope.region.to_owned(),
    })
}

/// What AWS wants signed beside the host. Whatever else goes along a proxy may change.
fn is_signed(name: &HeaderName) -> bool {
    *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-")
}

impl Signed {
    /// The headers that go along.
    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    /// All that must not be shown of it: who holds it may send the same request for some minutes.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let text = |name: &str| self.headers.get(name)?.to_str().ok();
        let signature =
            text(AUTHORIZATION.as_str()).and_then(|text| text.rsplit_once("Signature="));
        let signature = signature.map(|(_, signature)| signature);
        let all = [signature, text(SESSION)];
        all.into_iter().flatten().map(Secret::from).collect()
    }

    /// What a refusal of a signed request means, and what to do about it.
    pub(super) fn refused(&self, side: Side, are_wrong: bool) -> (String, String) {
        let Self {
            service, region, ..
        } = self;
        let signed = format!("signed with AWS credentials for {service} in {region}");
        if are_wrong {
            let settings = [&side.setting("AWS_SERVICE"), "AWS_REGION"].join(", ");
            let next = format!(
                "Check the AWS credentials that this program finds (variables, profile or role), {settings} and this machine's clock."
            );
            (format!("it was {signed}, which were not taken"), next)
        } else {
            let next = format!(
                "Allow it in the policies of the role or user whose credentials these are, and check {}.",
                side.setting("AWS_SERVICE")
            );
            (format!("it was {signed}, which are not allowed this"), next)
        }
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} in {})", self.service, self.region)
    }
}
