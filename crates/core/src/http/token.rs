//! Access tokens by OAuth 2 client credentials (RFC 6749, section 4.4): asked for once, kept until shortly before they
//! expire, renewed once when a server refuses one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::client::ClientSecret;
use super::flight::Flight;
use super::request::Request;
use super::response::Response;
use super::shown::quoted;
use super::smart::{SecretBy, SmartConfiguration, discover};
use super::transport::{Authorization, Transport, sensitive};
use super::{Side, StatusCode};
use crate::config::Secret;
use crate::error::{Error, Kind, Result};

/// How much of a token response is read.
const LONGEST: usize = 1 << 18;

/// How long a token is taken to live where the server does not say: SMART recommends at most five minutes.
const UNSAID: Duration = Duration::from_mins(5);

/// The most that is believed: it bounds only when a token is asked for again.
const MOST: Duration = Duration::from_hours(24);

/// A token, and which one of all that this client has had.
#[derive(Clone, Debug)]
pub(super) struct Token {
    value: Secret,
    header: HeaderValue,
    number: u64,
    renew_at: Instant,
}

impl Token {
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(super) fn value(&self) -> &Secret {
        &self.value
    }
}

/// Where one client's tokens come from. Discovery and token are each fetched by one task while others wait.
pub(super) struct Tokens {
    credentials: ClientSecret,
    endpoint: Url,
    allow_plaintext: bool,
    discovered: Flight<Arc<SmartConfiguration>>,
    token: Flight<Token>,
    numbers: AtomicU64,
}

impl Tokens {
    pub(super) fn new(credentials: ClientSecret, endpoint: Url, allow_plaintext: bool) -> Self {
        Self {
            credentials,
            endpoint,
            allow_plaintext,
            discovered: Flight::new(),
            token: Flight::new(),
            numbers: AtomicU64::new(0),
        }
    }

    /// The server's SMART configuration, asked for once.
    pub(super) async fn configuration(
        &self,
        transport: &Transport,
    ) -> Result<Arc<SmartConfiguration>> {
        let fetch = async {
            Ok(Arc::new(
                discover(transport, &self.endpoint, self.allow_plaintext).await?,
            ))
        };
        self.discovered.get(|_| true, fetch).await
    }

    /// A token that does not expire in the next moments.
    pub(super) async fn current(&self, transport: &Transport) -> Result<Token> {
        self.token
            .get(|token| Instant::now() < token.renew_at, self.ask(transport))
            .await
    }

    /// Another token than `refused`: the one that somebody else got meanwhile, or a new one.
    pub(super) async fn instead_of(&self, refused: &Token, transport: &Transport) -> Result<Token> {
        self.token
            .get(|token| token.number != refused.number, self.ask(transport))
            .await
    }

    async fn ask(&self, transport: &Transport) -> Result<Token> {
        let configuration = self.configuration(transport).await?;
        let request = token_request(&self.credentials, &configuration)?;
        let response = transport
            .exchange(&request, Authorization::NotWanted)
            .await?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let asked = Instant::now();
        let value = answer(response, &self.credentials, transport.side).await?;
        let token = value
            .token(number, asked)
            .map_err(|why| advised(transport.side, why))?;
        tracing::debug!(number, "token");
        Ok(token)
    }
}

fn token_request(
    credentials: &ClientSecret,
    configuration: &SmartConfiguration,
) -> Result<Request> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !credentials.scopes.trim().is_empty() {
        form.append_pair("scope", credentials.scopes.trim());
    }
    if configuration.secret_by == SecretBy::Form {
        form.append_pair("client_id", &credentials.id)
            .append_pair("client_secret", credentials.secret.reveal());
    }
    let url = configuration.token_endpoint.clone();
    let mut request = Request::post(url, form.finish(), "application/x-www-form-urlencoded")
        .accept("application/json");
    if configuration.secret_by == SecretBy::Basic {
        let header =
            sensitive(&format!("Basic {}", basic(credentials).reveal())).ok_or_else(|| {
                Kind::Authentication.error("the credentials do not fit into a header")
            })?;
        request
            .headers
            .insert(reqwest::header::AUTHORIZATION, header);
    }
    Ok(request)
}

/// RFC 6749, section 2.3.1: both are form-encoded before they are joined.
fn basic(credentials: &ClientSecret) -> Secret {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!(
        "{}:{}",
        encoded(&credentials.id),
        encoded(credentials.secret.reveal())
    );
    Secret::new(STANDARD.encode(joined))
}

/// A token endpoint's answer of status 200, in JSON.
struct Answer {
    described: String,
    value: Value,
}

async fn answer(response: Response, credentials: &ClientSecret, side: Side) -> Result<Answer> {
    let described = response.described();
    let status = response.status();
    let unavailable = side.unavailable();
    if status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error()
    {
        let wait = response.retry_after();
        return Err(unavailable
            .error(format!("{described} to the request for a token"))
            .retry_after(wait));
    }
    let sent = response.about().extra.clone();
    let json = response.json(LONGEST).await;
    if let Err(error) = &json
        && error.kind() == unavailable
    {
        return Err(error.clone());
    }
    match json {
        Ok(value) if status == StatusCode::OK => Ok(Answer { described, value }),
        Err(error) if status == StatusCode::OK => Err(advised(side, error.what().to_owned())),
        Ok(value) => {
            let basic = basic(credentials);
            let mut secrets = vec![&basic, &credentials.secret];
            secrets.extend(&sent);
            let said = |name: &str, limit| {
                value
                    .get(name)
                    .and_then(Value::as_str)
                    .map(|text| quoted(text, limit, &secrets))
            };
            let code = said("error", 100).unwrap_or_else(|| "it says no OAuth error".to_owned());
            let description = said("error_description", 300)
                .map(|text| format!(" ({text})"))
                .unwrap_or_default();
            Err(advised(
                side,
                format!("{described} to the request for a token: {code}{description}"),
            ))
        }
        Err(_) => Err(advised(
            side,
            format!("{described} to the request for a token, without saying why"),
        )),
    }
}

fn advised(side: Side, what: String) -> Error {
    Kind::Authentication.error(what).next(format!(
        "Check {}, {} and {}, and what the server allows this client.",
        side.setting("CLIENT_ID"),
        side.setting("CLIENT_SECRET"),
        side.setting("SCOPES"),
    ))
}

impl Answer {
    /// The token of an answer that came to a request of the moment `asked`, or what is wrong with it.
    ///
    /// It is renewed a tenth of its life before its end, at most a minute, so that it does not expire on its way.
    fn token(&self, number: u64, asked: Instant) -> Result<Token, String> {
        let text = |name: &str| {
            self.value
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let value = text("access_token")
            .ok_or_else(|| format!("{} without an access_token", self.described))?;
        // RFC 6749, section 5.1: compared without regard to case. Some servers leave it out.
        if let Some(other) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer"))
        {
            let other = quoted(other, 40, &[]);
            return Err(format!(
                "{} with a token of type {other}: only bearer is known here",
                self.described
            ));
        }
        let header = sensitive(&format!("Bearer {value}")).ok_or_else(|| {
            format!(
                "{} with an access_token that does not fit into a header",
                self.described
            )
        })?;
        let life = lifetime(self.value.get("expires_in"));
        Ok(Token {
            value: Secret::new(value),
            header,
            number,
            renew_at: asked + life.saturating_sub((life / 10).min(Duration::from_mins(1))),
        })
    }
}

/// `expires_in` in seconds, as a number or, as some servers have it, a string.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds <= 0.0 => Duration::ZERO,
        Some(seconds) => Duration::try_from_secs_f64(seconds).map_or(UNSAID, |life| life.min(MOST)),
        None => UNSAID,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credentials() -> ClientSecret {
        ClientSecret {
            id: "my app".to_owned(),
            secret: Secret::new("p:ä&/"),
            scopes: "system/*.read".to_owned(),
        }
    }

    fn configuration(secret_by: SecretBy) -> SmartConfiguration {
        SmartConfiguration {
            token_endpoint: Url::parse("https://h/t").unwrap(),
            secret_by,
        }
    }

    fn body(request: &Request) -> String {
        String::from_utf8(request.body.clone().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn basic_credentials_are_form_encoded_before_base64() {
        let request = token_request(&credentials(), &configuration(SecretBy::Basic)).unwrap();
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
        let request = token_request(&credentials(), &configuration(SecretBy::Form)).unwrap();
        assert!(!request.headers.contains_key(reqwest::header::AUTHORIZATION));
        assert!(body(&request).ends_with("&client_id=my+app&client_secret=p%3A%C3%A4%26%2F"));
    }

    #[test]
    fn no_scopes_ask_for_no_scope() {
        let credentials = ClientSecret {
            scopes: " ".to_owned(),
            ..credentials()
        };
        let request = token_request(&credentials, &configuration(SecretBy::Basic)).unwrap();
        assert_eq!(body(&request), "grant_type=client_credentials");
    }

    #[test]
    fn a_lifetime_is_a_number_or_a_string_or_five_minutes() {
        let seconds = |value: Value| lifetime(Some(&value)).as_secs();
        assert_eq!(seconds(json!(900)), 900);
        assert_eq!(seconds(json!("1200")), 1200);
        assert_eq!(seconds(json!(59.9)), 59);
        assert_eq!(seconds(json!(-5)), 0);
        assert_eq!(seconds(json!(1e300)), 300);
        assert_eq!(seconds(json!(1_000_000_000)), 86_400);
        for odd in [json!(null), json!("soon"), json!({}), json!("NaN")] {
            assert_eq!(seconds(odd), 300);
        }
        assert_eq!(lifetime(None).as_secs(), 300);
    }

    #[test]
    fn a_token_is_renewed_a_tenth_of_its_life_but_at_most_a_minute_early() {
        let asked = Instant::now();
        let renewed = |expires_in: u64| {
            let value =
                json!({"access_token": "t", "token_type": "BEARER", "expires_in": expires_in});
            let answer = Answer {
                described: String::new(),
                value,
            };
            (answer.token(0, asked).unwrap().renew_at - asked).as_secs()
        };
        assert_eq!(renewed(100), 90);
        assert_eq!(renewed(3600), 3540);
    }

    #[test]
    fn an_answer_that_holds_no_bearer_token_is_refused() {
        for (value, says) in [
            (json!({}), "without an access_token"),
            (json!([]), "without an access_token"),
            (json!({"access_token": ""}), "without an access_token"),
            (json!({"access_token": "a\nb"}), "does not fit"),
            (
                json!({"access_token": "a", "token_type": "DPoP"}),
                "type DPoP",
            ),
        ] {
            let answer = Answer {
                described: "POST x answered 200 OK".to_owned(),
                value,
            };
            let why = answer.token(0, Instant::now()).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
