//! A token, and how one comes out of a token endpoint's answer.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::super::response::Response;
use super::super::shown::quoted;
use super::super::transport::sensitive;
use super::super::{Side, StatusCode};
use crate::config::Secret;
use crate::error::Result;

/// How much of a token response is read.
const LONGEST: usize = 1 << 18;

/// How long a token is taken to live where the server does not say: SMART recommends at most five minutes.
const UNSAID: Duration = Duration::from_mins(5);

/// The most that is believed: it bounds only when a token is asked for again.
const MOST: Duration = Duration::from_hours(24);

/// What a request proves itself with, and which one of all that this client has had.
#[derive(Clone, Debug)]
pub(in crate::http) struct Token {
    /// The token, or the password.
    value: Secret,
    header: HeaderValue,
    number: u64,
    kind: TokenKind,
    /// `None` for what does not expire as far as anybody here knows.
    renew_at: Option<Instant>,
}

/// Where a token is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum TokenKind {
    /// A token endpoint gave it.
    Granted,
    /// `BEARER_TOKEN`.
    Bearer,
    /// `USERNAME` and `PASSWORD`.
    Basic,
}

impl Token {
    /// A token that was had elsewhere.
    pub(super) fn bearer(value: Secret, number: u64) -> Option<Self> {
        let header = sensitive(&format!("Bearer {}", value.reveal()))?;
        Some(Self {
            value,
            header,
            number,
            kind: TokenKind::Bearer,
            renew_at: None,
        })
    }

    /// A user's name and password (RFC 7617), in UTF-8.
    pub(super) fn basic(username: &str, password: Secret, number: u64) -> Option<Self> {
        let pair = STANDARD.encode(format!("{username}:{}", password.reveal()));
        let header = sensitive(&format!("Basic {pair}"))?;
        Some(Self {
            value: password,
            header,
            number,
            kind: TokenKind::Basic,
            renew_at: None,
        })
    }

    pub(in crate::http) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// All that must not be shown of it.
    pub(in crate::http) fn secrets(&self) -> Vec<Secret> {
        let sent = self.header.to_str().unwrap_or_default();
        let sent = sent.split_once(' ').map_or(sent, |(_, rest)| rest);
        vec![self.value.clone(), Secret::from(sent)]
    }

    pub(in crate::http) fn kind(&self) -> TokenKind {
        self.kind
    }

    pub(super) fn value(&self) -> &Secret {
        &self.value
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it does not expire in the next moments.
    pub(super) fn lives(&self) -> bool {
        self.renew_at.is_none_or(|at| Instant::now() < at)
    }
}

/// What came of a request for a token.
pub(super) enum Asked {
    /// The endpoint's answer of status 200.
    Good(Answer),
    /// The endpoint refuses. `client`: it does not believe who asks (`invalid_client`, or 401).
    Refused { what: String, client: bool },
}

/// A token endpoint's answer of status 200, in JSON.
pub(super) struct Answer {
    described: String,
    value: Value,
}

/// Reads an answer. `secrets` are taken out of the server's words.
pub(super) async fn answer(response: Response, secrets: &[&Secret], side: Side) -> Result<Asked> {
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
    let mut secrets = secrets.to_vec();
    secrets.extend(&sent);
    let json = response.json(LONGEST).await;
    if let Err(error) = &json
        && error.kind() == unavailable
    {
        return Err(error.clone());
    }
    let unauthorized = status == StatusCode::UNAUTHORIZED;
    Ok(match json {
        Ok(value) if status == StatusCode::OK => Asked::Good(Answer { described, value }),
        Err(error) if status == StatusCode::OK => Asked::Refused {
            what: error.what().to_owned(),
            client: false,
        },
        Ok(value) => {
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
            Asked::Refused {
                client: unauthorized || code == "invalid_client",
                what: format!("{described} to the request for a token: {code}{description}"),
            }
        }
        Err(_) => Asked::Refused {
            what: format!("{described} to the request for a token, without saying why"),
            client: unauthorized,
        },
    })
}

impl Answer {
    /// The token of an answer that came to a request of the moment `asked`, or what is wrong with it.
    ///
    /// It is renewed a tenth of its life before its end, at most a minute, so that it does not expire on its way.
    pub(super) fn token(&self, number: u64, asked: Instant) -> Result<Token, String> {
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
            kind: TokenKind::Granted,
            renew_at: Some(asked + life.saturating_sub((life / 10).min(Duration::from_mins(1)))),
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

/// Reads any bytes as the answer of a token endpoint.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzing(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        let answer = Answer {
            described: String::new(),
            value,
        };
        let _ = answer.token(1, Instant::now()).map(|token| token.lives());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
            (answer.token(0, asked).unwrap().renew_at.unwrap() - asked).as_secs()
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
