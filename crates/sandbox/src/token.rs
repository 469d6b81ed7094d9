//! The token endpoint: OAuth 2.0 client credentials (RFC 6749, section 4.4) for the source's client and the target's.
//!
//! It has an origin of its own, because it has one in most hospitals, and because a client that mixes up origins
//! shows it here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, header};
use serde_json::{Value, json};

use crate::call::{Call, Reply, empty, form, outcome, plain_json, with};
use crate::clients::Way;
use crate::faults::{ExpiresIn, Fault, Place};
use crate::record::Service;
use crate::server;
use crate::world::World;

/// The source's client.
pub(crate) const SOURCE_CLIENT: (&str, &str) = ("source-client", "source-secret-9d41:%/+x");
/// The target's client.
pub(crate) const TARGET_CLIENT: (&str, &str) = ("target-client", "target-secret-77ab:%/+y");

/// How a client may prove itself at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAuthMethod {
    /// HTTP Basic: `client_secret_basic`.
    Basic,
    /// In the form: `client_secret_post`.
    Post,
}

impl TokenAuthMethod {
    fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// What a token allows, and how long.
#[derive(Debug, Clone)]
struct Grant {
    owner: Service,
    scopes: Vec<String>,
    until: Instant,
}

/// The tokens that were given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, Grant>>);

impl Tokens {
    fn issue(&self, owner: Service, scopes: Vec<String>, lifetime: Duration) -> String {
        let token = format!("{}-token-{}", owner_name(owner), uuid::Uuid::new_v4());
        let grant = Grant {
            owner,
            scopes,
            until: Instant::now() + lifetime,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone(), grant);
        token
    }

    /// Ends the life of the token that the call carries, and of no other.
    pub(crate) fn revoke(&self, call: &Call) {
        if let Some(token) = bearer(call) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&token);
        }
    }

    /// The scopes that the call's token grants at this service; the refusal when it grants none.
    pub(crate) fn scopes(&self, call: &Call, service: Service) -> Result<Vec<String>, Reply> {
        let refusal = || with(empty(401), "www-authenticate", "Bearer");
        let token = bearer(call).ok_or_else(refusal)?;
        let grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = grants.get(&token).ok_or_else(refusal)?;
        if grant.owner != service || grant.until <= Instant::now() {
            return Err(refusal());
        }
        Ok(grant.scopes.clone())
    }
}

fn owner_name(owner: Service) -> &'static str {
    if owner == Service::Target {
        "target"
    } else {
        "source"
    }
}

/// The call's bearer token.
pub(crate) fn bearer(call: &Call) -> Option<String> {
    let value = call.header(header::AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

/// The answer at an endpoint's `.well-known/smart-configuration`, where there is one.
pub(crate) fn smart_configuration(world: &World, service: Service) -> Option<Value> {
    let settings = &world.settings;
    let way = world.clients.of(service).way();
    let on = match service {
        Service::Target => settings.target_auth,
        _ => settings.source_auth,
    };
    if !on || !way.is_oauth() || world.faults.fires(&Fault::OauthUrisOnly) {
        return None;
    }
    let secret = settings
        .token_auth_methods
        .iter()
        .map(|method| method.name());
    let methods: Vec<_> = match way {
        Way::Jwt(_) => vec!["private_key_jwt"],
        _ => secret.collect(),
    };
    Some(json!({
        "token_endpoint": format!("{}/token", world.origins.token),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": settings.signing_algorithms,
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.read", "user/*.write"],
        "capabilities": match way {
            Way::Jwt(_) => ["client-confidential-asymmetric", "permission-v1"],
            _ => ["client-confidential-symmetric", "permission-v1"],
        },
    }))
}

/// The extension in a `CapabilityStatement` that names the token endpoint.
pub(crate) fn oauth_uris(world: &World) -> Value {
    json!([{
        "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
        "extension": [{"url": "token", "valueUri": format!("{}/token", world.origins.token)}],
    }])
}

/// The token endpoint as a service.
pub(crate) struct TokenService(pub(crate) Arc<World>);

impl server::Service for TokenService {
    async fn answer(&self, request: Request<Body>) -> Reply {
        let world = &self.0;
        world
            .record(Service::Token, request, |call| async move {
                if call.path != "/token" {
                    return outcome(404, "not-found", "There is nothing here");
                }
                if let Some(told) = world.gate(Place::Token, &call).await {
                    return told;
                }
                token(world, &call)
            })
            .await
    }
}

/// A token request's answer.
fn token(world: &World, call: &Call) -> Reply {
    if call.method != Method::POST {
        return with(empty(405), "allow", "POST");
    }
    let is_form = call
        .header(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return refusal(400, "invalid_request", "The body is no form");
    }
    let fields = form(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| {
        let mut values = fields.iter().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.as_str())
    };
    if world.faults.fires(&Fault::SecretRotates) {
        world.clients.rotate(&world.log);
    }
    let owner = match proven(world, call, &field) {
        Ok(owner) => owner,
        Err(refusal) => return refusal,
    };
    if field("grant_type") != Some("client_credentials") {
        return refusal(400, "unsupported_grant_type", "Only client_credentials");
    }
    let scopes: Vec<String> = field("scope")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    if scopes.is_empty() {
        return refusal(400, "invalid_scope", "A scope must be asked for");
    }
    let scope = scopes.join(" ");
    let lifetime = world.settings.token_lifetime;
    let token = world.tokens.issue(owner, scopes, lifetime);
    world.log.know_token(&token, owner);
    let mut answer = json!({
        "access_token": token,
        "token_type": "Bearer",
        "scope": scope,
    });
    let said = world.faults.take(|fault| match fault {
        Fault::ExpiresIn(how) => Some(*how),
        _ => None,
    });
    match said {
        None => answer["expires_in"] = json!(lifetime.as_secs()),
        Some(ExpiresIn::Text) => answer["expires_in"] = json!(lifetime.as_secs().to_string()),
        Some(ExpiresIn::Absent) => {}
    }
    with(plain_json(200, &answer), "cache-control", "no-store")
}

/// Whose request it is, by secret or by assertion; the refusal, else.
fn proven<'a>(
    world: &World,
    call: &Call,
    field: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Service, Reply> {
    let client = |description: &str| refusal(401, "invalid_client", description);
    let methods = &world.settings.token_auth_methods;
    let secret = field("client_secret");
    let assertion = field("client_assertion");
    let ways = [basic(call).is_some(), secret.is_some(), assertion.is_some()];
    if ways.into_iter().filter(|there| *there).count() > 1 {
        let twice = "The client proved itself twice";
        return Err(refusal(400, "invalid_request", twice));
    }
    if let Some(assertion) = assertion {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if field("client_assertion_type") != Some(kind) {
            return Err(client("The assertion is of an unknown type"));
        }
        return crate::assertion::verify(world, assertion).map_err(|why| client(&why));
    }
    let (id, secret) = match (basic(call), secret) {
        (Some(pair), None) if methods.contains(&TokenAuthMethod::Basic) => pair,
        (None, Some(secret)) if methods.contains(&TokenAuthMethod::Post) => (
            field("client_id").unwrap_or_default().to_owned(),
            secret.to_owned(),
        ),
        _ => {
            return Err(client(
                "The client did not prove itself in a way that is supported",
            ));
        }
    };
    let owner = world.clients.with_secret(&id, &secret);
    owner.ok_or_else(|| client("Unknown client or wrong secret"))
}

/// An error as RFC 6749, section 5.2, has it.
fn refusal(status: u16, error: &str, description: &str) -> Reply {
    let body = json!({"error": error, "error_description": description});
    let reply = plain_json(status, &body);
    if status == 401 {
        return with(reply, "www-authenticate", "Basic realm=\"sandbox\"");
    }
    reply
}

/// The client's id and secret from HTTP Basic; both are form-encoded in it (RFC 6749, section 2.3.1).
fn basic(call: &Call) -> Option<(String, String)> {
    let value = call.header(header::AUTHORIZATION)?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |text: &str| {
        url::form_urlencoded::parse(text.as_bytes())
            .next()
            .map(|(key, _)| key.into_owned())
    };
    Some((decode(id)?, decode(secret).unwrap_or_default()))
}
