//! SMART discovery: where tokens come from, and how the client says who it is.
//!
//! Source: SMART App Launch 2, "Conformance", `.well-known/smart-configuration`; client authentication as in RFC 8414,
//! section 2, and RFC 6749, section 2.3.1.

use serde_json::Value;
use url::Url;

use super::address::{below, carries_secrets};
use super::failure::failure;
use super::request::Request;
use super::shown::{quoted, shown, shown_str};
use super::transport::Transport;
use super::{Side, StatusCode};
use crate::error::{Error, Kind, Result};

/// How much of a configuration is read: real ones have a few kilobytes.
const LONGEST: usize = 1 << 20;

/// How a client secret travels to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretBy {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Form,
}

/// What a SMART configuration says that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SmartConfiguration {
    pub(super) token_endpoint: Url,
    pub(super) secret_by: SecretBy,
}

/// Asks `[endpoint]/.well-known/smart-configuration`, without a token.
///
/// Errors: unavailable as for any request; authentication where there is no such document or it leads nowhere.
pub(super) async fn discover(
    transport: &Transport,
    endpoint: &Url,
    allow_plaintext: bool,
) -> Result<SmartConfiguration> {
    let side = transport.side;
    let url = below(endpoint, ".well-known/smart-configuration");
    let response = transport
        .follow_without_token(Request::get(url).accept("application/json"))
        .await?;
    let described = response.described();
    let status = response.status();
    if status != StatusCode::OK {
        let error = failure(response, "SMART discovery").await;
        let wait = error.wait();
        let ill = status.is_server_error() || error.kind() == side.unavailable();
        return Err(if ill {
            side.unavailable().error(error.what()).retry_after(wait)
        } else {
            refused(side, error.what().to_owned())
        });
    }
    let value = response.json(LONGEST).await.map_err(|error| {
        if error.kind() == side.unavailable() {
            error
        } else {
            refused(side, error.what().to_owned())
        }
    })?;
    let found = read(&value, side, allow_plaintext)
        .map_err(|why| refused(side, format!("{described}, but {why}")))?;
    tracing::debug!(token_endpoint = %shown(&found.token_endpoint), secret_by = ?found.secret_by, "discovered");
    Ok(found)
}

fn refused(side: Side, what: String) -> Error {
    Kind::Authentication.error(what).next(format!(
        "Check that {} is the server's FHIR address and that the server offers SMART Backend Services with a client secret; \
         if it asks for no token at all, set {}=false.",
        side.setting("ENDPOINT"),
        side.setting("AUTHENTICATION_ENABLED"),
    ))
}

/// Reads a configuration, or says what is wrong with it.
fn read(value: &Value, side: Side, allow_plaintext: bool) -> Result<SmartConfiguration, String> {
    let text = value
        .get("token_endpoint")
        .and_then(Value::as_str)
        .ok_or_else(|| "it names no token_endpoint".to_owned())?;
    let token_endpoint = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            format!(
                "its token_endpoint {:?} is not an absolute https URL",
                shown_str(text)
            )
        })?;
    if !carries_secrets(&token_endpoint, allow_plaintext) {
        return Err(format!(
            "its token_endpoint {} is not https, and the client secret goes over TLS only (unless ALLOW_PLAINTEXT=true)",
            shown(&token_endpoint)
        ));
    }
    Ok(SmartConfiguration {
        token_endpoint,
        secret_by: secret_by(value.get("token_endpoint_auth_methods_supported"), side)?,
    })
}

/// Basic where the server takes it or says nothing (RFC 8414: the default), else the form.
fn secret_by(methods: Option<&Value>, side: Side) -> Result<SecretBy, String> {
    let methods: Vec<&str> = methods
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if methods.is_empty() || methods.contains(&"client_secret_basic") {
        Ok(SecretBy::Basic)
    } else if methods.contains(&"client_secret_post") {
        Ok(SecretBy::Form)
    } else {
        Err(format!(
            "its token endpoint takes no client secret ({} is one), only {}",
            side.setting("CLIENT_SECRET"),
            quoted(&methods.join(", "), 200, &[])
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<SmartConfiguration, String> {
        super::read(value, Side::Source, false)
    }

    fn by(methods: &Value) -> SecretBy {
        read(&json!({"token_endpoint": "https://h/t", "token_endpoint_auth_methods_supported": methods})).unwrap().secret_by
    }

    #[test]
    fn the_secret_goes_by_basic_unless_the_server_takes_only_the_form() {
        assert_eq!(
            read(&json!({"token_endpoint": "https://h/t"}))
                .unwrap()
                .secret_by,
            SecretBy::Basic
        );
        assert_eq!(by(&json!([])), SecretBy::Basic);
        assert_eq!(
            by(&json!([
                "private_key_jwt",
                "client_secret_post",
                "client_secret_basic"
            ])),
            SecretBy::Basic
        );
        assert_eq!(
            by(&json!(["private_key_jwt", "client_secret_post"])),
            SecretBy::Form
        );
    }

    #[test]
    fn a_server_that_takes_no_secret_is_told_with_what_it_takes() {
        let methods = json!(["private_key_jwt", "tls_client_auth"]);
        let why = read(&json!({"token_endpoint": "https://h/t", "token_endpoint_auth_methods_supported": methods})).unwrap_err();
        assert!(
            why.contains("private_key_jwt, tls_client_auth")
                && why.contains("SOURCE_CLIENT_SECRET"),
            "{why}"
        );
    }

    #[test]
    fn a_token_endpoint_is_absolute_and_safe() {
        for (value, says) in [
            (json!({}), "no token_endpoint"),
            (json!([]), "no token_endpoint"),
            (json!({"token_endpoint": 1}), "no token_endpoint"),
            (
                json!({"token_endpoint": "/auth/token"}),
                "\"/auth/token\" is not an absolute",
            ),
            (
                json!({"token_endpoint": "ftp://h/token"}),
                "not an absolute",
            ),
            (
                json!({"token_endpoint": "http://h/token"}),
                "ALLOW_PLAINTEXT",
            ),
        ] {
            let why = read(&value).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        assert!(read(&json!({"token_endpoint": "http://localhost:1/token"})).is_ok());
        assert!(
            super::read(
                &json!({"token_endpoint": "http://h/token"}),
                Side::Source,
                true
            )
            .is_ok()
        );
    }
}
