//! Where tokens come from: as the settings say, else as the server's SMART configuration does, else as its
//! `CapabilityStatement` does, which is how servers told it before there was the other.
//!
//! Source: SMART App Launch 2, "Conformance", `.well-known/smart-configuration`; SMART App Launch 1, the extension
//! `oauth-uris`; client authentication as in RFC 8414, section 2, and RFC 6749, section 2.3.1.

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::super::address::{below, carries_secrets};
use super::super::failure::failure;
use super::super::request::Request;
use super::super::response::Response;
use super::super::shown::{quoted, shown, shown_str};
use super::super::transport::Transport;
use super::super::{Side, StatusCode};
use crate::error::{Error, Kind, Result};

/// How much of a configuration is read: real ones have a few kilobytes.
const LONGEST: usize = 1 << 20;

/// How much of a `CapabilityStatement` is read: real ones have up to a few megabytes.
const LONGEST_STATEMENT: usize = 16 << 20;

const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";

/// How a client secret travels to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretBy {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Form,
}

/// What is known of the place where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Discovered {
    pub(in crate::http) token_endpoint: Url,
    /// The same as it was written, for assertions: servers compare it as a text.
    pub(super) audience: String,
    /// How clients may prove themselves; empty where that is not said.
    methods: Vec<String>,
    /// What assertions may be signed with; empty where that is not said.
    pub(super) algorithms: Vec<String>,
    /// Who said so: the beginning of a sentence.
    said_by: String,
    /// Whether whoever said so could have named methods.
    pub(super) whole: bool,
}

/// Finds the token endpoint. Nothing is asked with a token.
///
/// Errors: unavailable as for any request; authentication where nobody names a token endpoint, or it cannot be used.
pub(super) async fn discover(
    transport: &Transport,
    endpoint: &Url,
    given: Option<&Url>,
    allow_plaintext: bool,
) -> Result<Discovered> {
    let found = match given {
        Some(url) => Discovered::bare(
            url.clone(),
            url.to_string(),
            transport.side.setting("TOKEN_ENDPOINT"),
        ),
        None => ask(transport, endpoint, allow_plaintext).await?,
    };
    tracing::debug!(token_endpoint = %shown(&found.token_endpoint), methods = ?found.methods, said_by = found.said_by, "discovered");
    Ok(found)
}

async fn ask(transport: &Transport, endpoint: &Url, allow_plaintext: bool) -> Result<Discovered> {
    let side = transport.side;
    let url = below(endpoint, ".well-known/smart-configuration");
    let response = transport
        .follow_without_token(Request::get(url).accept("application/json"))
        .await?;
    let described = response.described();
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return ask_statement(transport, endpoint, allow_plaintext, &described).await;
    }
    if status != StatusCode::OK {
        return Err(refusal(response, side, "SMART discovery").await);
    }
    let value = response.json(LONGEST).await.map_err(|error| {
        if error.kind() == side.unavailable() {
            error
        } else {
            refused(side, error.what().to_owned())
        }
    })?;
    let Some(text) = value.get("token_endpoint").and_then(Value::as_str) else {
        let described = format!("{described}, but it names no token_endpoint");
        return ask_statement(transport, endpoint, allow_plaintext, &described).await;
    };
    let token_endpoint = token_endpoint(text, allow_plaintext)
        .map_err(|why| refused(side, format!("{described}, but its {why}")))?;
    Ok(Discovered::read(&value, token_endpoint, text, described))
}

/// Asks the `CapabilityStatement`, where the configuration did not tell (`before` says how).
async fn ask_statement(
    transport: &Transport,
    endpoint: &Url,
    allow_plaintext: bool,
    before: &str,
) -> Result<Discovered> {
    let side = transport.side;
    let url = below(endpoint, "metadata");
    let response = transport
        .follow_without_token(Request::get(url).accept("application/fhir+json"))
        .await?;
    let described = response.described();
    if response.status() != StatusCode::OK {
        let error = refusal(response, side, "SMART discovery").await;
        return Err(error.within(&format!("SMART discovery: {before}")));
    }
    let bytes = response.bytes_limited(LONGEST_STATEMENT).await;
    let bytes = bytes.map_err(|error| {
        if error.kind() == side.unavailable() {
            error
        } else {
            refused(side, error.what().to_owned())
        }
    })?;
    let bare = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let statement: Statement = serde_json::from_slice(bare).unwrap_or_default();
    let Some(text) = statement.token_endpoint() else {
        let what = format!(
            "SMART discovery: {before}; and {described}, but names no token endpoint (oauth-uris) either"
        );
        return Err(refused(side, what));
    };
    let token_endpoint = token_endpoint(text, allow_plaintext)
        .map_err(|why| refused(side, format!("{described}, but its {why}")))?;
    Ok(Discovered::bare(token_endpoint, text.to_owned(), described))
}

/// An unwanted answer as an error of discovery.
async fn refusal(response: Response, side: Side, what_for: &str) -> Error {
    let ill = response.status().is_server_error();
    let error = failure(response, what_for).await;
    if ill || error.kind() == side.unavailable() {
        let wait = error.wait();
        side.unavailable().error(error.what()).retry_after(wait)
    } else {
        refused(side, error.what().to_owned())
    }
}

fn refused(side: Side, what: String) -> Error {
    Kind::Authentication.error(what).next(format!(
        "Check that {} is the server's FHIR address and that the server offers SMART Backend Services, or name where it gives tokens in {}; \
         if it asks for no token at all, set {}=false.",
        side.setting("ENDPOINT"),
        side.setting("TOKEN_ENDPOINT"),
        side.setting("AUTHENTICATION_ENABLED"),
    ))
}

/// Reads the address of a token endpoint, or says what is wrong with it.
fn token_endpoint(text: &str, allow_plaintext: bool) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            format!(
                "token_endpoint {:?} is not an absolute https URL",
                shown_str(text)
            )
        })?;
    if !carries_secrets(&url, allow_plaintext) {
        return Err(format!(
            "token_endpoint {} is not https, and credentials go over TLS only (unless ALLOW_PLAINTEXT=true)",
            shown(&url)
        ));
    }
    Ok(url)
}

impl Discovered {
    /// Of whoever tells a token endpoint and nothing else.
    fn bare(token_endpoint: Url, audience: String, said_by: String) -> Self {
        Self {
            token_endpoint,
            audience,
            methods: Vec::new(),
            algorithms: Vec::new(),
            said_by,
            whole: false,
        }
    }

    fn read(value: &Value, token_endpoint: Url, audience: &str, said_by: String) -> Self {
        let list = |name: &str| {
            let all = value.get(name).and_then(Value::as_array);
            let all = all.into_iter().flatten().filter_map(Value::as_str);
            all.map(str::to_owned).collect()
        };
        Self {
            methods: list("token_endpoint_auth_methods_supported"),
            algorithms: list("token_endpoint_auth_signing_alg_values_supported"),
            whole: true,
            ..Self::bare(token_endpoint, audience.to_owned(), said_by)
        }
    }

    fn takes(&self, method: &str) -> bool {
        self.methods.iter().any(|one| one == method)
    }

    /// How a secret goes there: Basic where the server takes it or says nothing (RFC 8414: the default), else the form.
    pub(super) fn secret_by(&self, side: Side) -> Result<SecretBy> {
        if self.methods.is_empty() || self.takes("client_secret_basic") {
            Ok(SecretBy::Basic)
        } else if self.takes("client_secret_post") {
            Ok(SecretBy::Form)
        } else {
            let name = side.setting("CLIENT_SECRET");
            let advice = if self.takes("private_key_jwt") {
                format!(
                    "Register a key with the server, and set {} instead of {name}.",
                    side.setting("PRIVATE_KEY")
                )
            } else {
                "Ask whoever runs the server for one of the ways that docs/authentication.md describes.".to_owned()
            };
            Err(self.mismatch(&format!("takes no client secret ({name} is one)"), advice))
        }
    }

    /// Whether a signed assertion may go there: where the server takes one or does not say.
    pub(super) fn takes_assertions(&self, side: Side) -> Result<()> {
        if self.methods.is_empty() || self.takes("private_key_jwt") {
            return Ok(());
        }
        let name = side.setting("PRIVATE_KEY");
        let advice = format!("Set {} instead of {name}.", side.setting("CLIENT_SECRET"));
        Err(self.mismatch(
            &format!("takes no signed assertion (for which {name} is)"),
            advice,
        ))
    }

    fn mismatch(&self, what: &str, advice: String) -> Error {
        let only = quoted(&self.methods.join(", "), 200, &[]);
        let what = format!(
            "{}, but its token endpoint {what}, only {only}",
            self.said_by
        );
        Kind::Authentication.error(what).next(advice)
    }

    /// A key and a server that know no algorithm in common.
    pub(super) fn no_algorithm(&self, why: &str, side: Side) -> Error {
        Kind::Authentication
            .error(format!("{}, but {why}", self.said_by))
            .next(format!(
                "Register a key of another kind with the server, and set it as {}.",
                side.setting("PRIVATE_KEY")
            ))
    }
}

/// The little of a `CapabilityStatement` that is wanted. All else is skipped as it is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Statement {
    rest: Vec<Rest>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rest {
    security: Extended,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Extended {
    extension: Vec<Extension>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Extension {
    url: String,
    #[serde(rename = "valueUri")]
    value: String,
    #[serde(rename = "extension")]
    parts: Vec<Extension>,
}

impl Statement {
    fn token_endpoint(&self) -> Option<&str> {
        let all = self.rest.iter().flat_map(|rest| &rest.security.extension);
        let uris = all.filter(|one| one.url == OAUTH_URIS);
        let mut parts = uris.flat_map(|uris| &uris.parts);
        let token = parts.find(|one| one.url == "token" && !one.value.is_empty())?;
        Some(&token.value)
    }
}

/// Reads any bytes as either document.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzing(bytes: &[u8]) {
    if let Ok(statement) = serde_json::from_slice::<Statement>(bytes) {
        let _ = statement
            .token_endpoint()
            .map(|text| token_endpoint(text, true));
    }
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(text) = value.get("token_endpoint").and_then(Value::as_str)
        && let Ok(url) = token_endpoint(text, true)
    {
        let found = Discovered::read(&value, url, text, String::new());
        let _ = (
            found.secret_by(Side::Source),
            found.takes_assertions(Side::Source),
        );
    }
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
