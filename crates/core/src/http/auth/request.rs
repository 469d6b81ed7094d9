//! The request for a token: OAuth 2 client credentials (RFC 6749, section 4.4), and the three ways in which a client says
//! there who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::{Url, form_urlencoded};

use super::super::request::Request;
use super::super::transport::sensitive;
use crate::config::{OauthClient, Secret};
use crate::error::{Kind, Result};

/// RFC 7523, section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client proves itself to a token endpoint.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// `client_secret_basic`.
    Basic(Secret),
    /// `client_secret_post`.
    Form(Secret),
    /// `private_key_jwt`: a signed assertion.
    Assertion(Secret),
}

impl Proof {
    /// All that must not be shown of it.
    pub(super) fn secrets(&self, client: &OauthClient) -> Vec<Secret> {
        match self {
            Self::Basic(secret) => vec![basic(client, secret), secret.clone()],
            Self::Form(secret) | Self::Assertion(secret) => vec![secret.clone()],
        }
    }
}

pub(super) fn token_request(url: &Url, client: &OauthClient, proof: &Proof) -> Result<Request> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !client.scopes.trim().is_empty() {
        form.append_pair("scope", client.scopes.trim());
    }
    match proof {
        Proof::Basic(_) => {}
        Proof::Form(secret) => {
            form.append_pair("client_id", &client.id)
                .append_pair("client_secret", secret.reveal());
        }
        Proof::Assertion(assertion) => {
            form.append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", assertion.reveal());
        }
    }
    let form = form.finish();
    let mut request = Request::post(url.clone(), form, "application/x-www-form-urlencoded")
        .accept("application/json");
    if let Proof::Basic(secret) = proof {
        let header = sensitive(&format!("Basic {}", basic(client, secret).reveal()));
        let header = header.ok_or_else(|| {
            Kind::Authentication.error("the credentials do not fit into a header")
        })?;
        request
            .headers
            .insert(reqwest::header::AUTHORIZATION, header);
    }
    Ok(request)
}

/// RFC 6749, section 2.3.1: both are form-encoded before they are joined.
fn basic(client: &OauthClient, secret: &Secret) -> Secret {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!("{}:{}", encoded(&client.id), encoded(secret.reveal()));
    Secret::new(STANDARD.encode(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scopes: &str, proof: fn(Secret) -> Proof) -> Request {
        let client = OauthClient {
            id: "my app".to_owned(),
            scopes: scopes.to_owned(),
        };
        let url = Url::parse("https://h/t").unwrap();
        token_request(&url, &client, &proof(Secret::new("p:ä&/"))).unwrap()
    }

    fn body(request: &Request) -> String {
        String::from_utf8(request.body.clone().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn basic_credentials_are_form_encoded_before_base64() {
        let request = request("system/*.read", Proof::Basic);
        let header = request.headers[reqwest::header::AUTHORIZATION]
            .to_str()
            .unwrap();
        let sent = STANDARD
            .decode(header.strip_prefix("Basic ").unwrap())
            .unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), "my+app:p%3A%C3%A4%26%2F");
        assert_eq!(
            body(&request),
            "grant_type=client_credentials&scope=system%2F*.read"
        );
    }

    #[test]
    fn form_credentials_go_into_the_body_and_into_no_header() {
        let request = request("system/*.read", Proof::Form);
        assert!(!request.headers.contains_key(reqwest::header::AUTHORIZATION));
        assert!(body(&request).ends_with("&client_id=my+app&client_secret=p%3A%C3%A4%26%2F"));
    }

    #[test]
    fn an_assertion_goes_alone_for_it_says_who_the_client_is() {
        let request = request(" ", Proof::Assertion);
        assert!(!request.headers.contains_key(reqwest::header::AUTHORIZATION));
        assert_eq!(
            body(&request),
            "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
             client-assertion-type%3Ajwt-bearer&client_assertion=p%3A%C3%A4%26%2F"
        );
    }

    #[test]
    fn no_scopes_ask_for_no_scope() {
        let request = request(" ", Proof::Basic);
        assert_eq!(body(&request), "grant_type=client_credentials");
    }
}
