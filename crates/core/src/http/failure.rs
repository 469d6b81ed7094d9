//! The table of errors, applied to an answer that a step does not want.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;

use super::auth::TokenKind;
use super::aws::{WRONG_CREDENTIALS, said_by_service};
use super::certificate::{self, State};
use super::outcome::OperationOutcome;
use super::response::{Response, is_html};
use super::transport::Authorization;
use super::{Side, StatusCode};
use crate::config::Origin;
use crate::error::{Error, Kind};

/// How much of an unwanted body is read.
const LONGEST: usize = 64 * 1024;

/// What an unwanted answer is, as an error: `what_for` (for instance `kick-off of the export`), method, URL, status and
/// what the server's `OperationOutcome` says.
///
/// 401 and 403 are authentication, and it is said whether a token was sent and if not, why; so is what is about the
/// client's certificate, or about a signature for AWS. 408, 429, 502, 503, 504, any
/// other 5xx without an `OperationOutcome`, and one with an issue of code `transient` are unavailable, with the Retry-After
/// if there is one; 429 and 503 are throttled besides ([`Error::throttled`]). All else is failed ([`Side::failed`]).
pub async fn failure(response: Response, what_for: &str) -> Error {
    failure_as(response.status(), response, what_for).await
}

/// The same of an answer that says elsewhere which status is meant.
pub async fn failure_as(status: StatusCode, response: Response, what_for: &str) -> Error {
    let side = response.about().side;
    let authorization = response.about().authorization.clone();
    let wait = response.retry_after();
    let answered = response.answered();
    let (shown, configured) = response.about().certificate;
    let origin = Origin::from(response.url());
    let said = format!("{what_for}: {}", response.described());
    let body = Unwanted::read(response).await;
    let said = format!("{said}{}", body.said);
    let about_certificate = status.is_client_error() && body.says == Says::Certificate;
    let unsigned = status.is_client_error() && body.says == Says::Signature;
    let refused = unsigned || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if about_certificate || (refused && shown == State::NoneToShow) {
        let (why, next) = certificate::advice(shown, side, &origin, configured);
        let said = format!("{said}; {why}");
        let error = if about_certificate {
            Kind::Authentication.error(said).next(next)
        } else {
            authentication(side, status, &authorization, unsigned, &said)
        };
        return error.of_answer(answered);
    }
    if refused && body.says != Says::Transient {
        return authentication(side, status, &authorization, unsigned, &said).of_answer(answered);
    }
    let gateway = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    ) || body.says == Says::Fewer;
    if gateway
        || (status.is_server_error() && !body.is_outcome())
        || (!status.is_success() && body.says == Says::Transient)
    {
        let error = side
            .unavailable()
            .error(said)
            .retry_after(wait)
            .of_answer(answered);
        let asks_for_fewer = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if asks_for_fewer || body.says == Says::Fewer {
            error.throttle()
        } else {
            error
        }
    } else {
        side.failed().error(said).of_answer(answered)
    }
}

/// What the body of an answer says. For callers to whom a status means something else than to [`failure`].
pub async fn said(response: Response) -> Said {
    let body = Unwanted::read(response).await;
    Said {
        is_outcome: body.is_outcome(),
        is_transient: body.says == Says::Transient,
        text: body.said,
    }
}

/// What the body of an answer says.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its words, as they may stand behind the status in a message: `: text`, or nothing.
    pub text: String,
    /// Whether it is an `OperationOutcome`,
    pub is_outcome: bool,
    /// and has an issue of code `transient`.
    pub is_transient: bool,
}

/// What the body of an unwanted answer says.
#[derive(Default)]
struct Unwanted {
    /// `: text`, or `, an HTML page instead of JSON`, or nothing.
    said: String,
    says: Says,
}

/// What it comes to.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Says {
    /// Nothing beyond the status.
    #[default]
    Nothing,
    /// It is an `OperationOutcome`.
    Outcome,
    /// It is one that passes.
    Transient,
    /// It is a page of a server before the server, which has something against the client's certificate.
    Certificate,
    /// A service of AWS does not believe the signature.
    Signature,
    /// A service of AWS asks for fewer requests.
    Fewer,
}

impl Unwanted {
    fn is_outcome(&self) -> bool {
        matches!(self.says, Says::Outcome | Says::Transient)
    }

    async fn read(response: Response) -> Self {
        let kind = response
            .header(CONTENT_TYPE.as_str())
            .unwrap_or_default()
            .to_owned();
        let quoter = response.quoter();
        let signed = matches!(response.about().authorization, Authorization::Signed(_));
        let code = response.header("x-amzn-errortype").map(str::to_owned);
        // A server that drips its complaint does not hold up what follows from its status.
        let most = response.about().idle.min(Duration::from_secs(30));
        let read = tokio::time::timeout(most, response.up_to(LONGEST)).await;
        let Ok(Ok((bytes, _))) = read else {
            return Self::default();
        };
        let Some(outcome) = OperationOutcome::parse(&bytes) else {
            if let Some(service) = said_by_service(code.as_deref(), &bytes).filter(|_| signed) {
                let text = quoter.quote(&service.text());
                return Self {
                    said: format!(": {text}"),
                    says: match &*service.code {
                        code if WRONG_CREDENTIALS.contains(&code) => Says::Signature,
                        code if code.contains("Throttl") => Says::Fewer,
                        _ => Says::Nothing,
                    },
                };
            }
            let said = if is_html(&kind, &bytes) {
                ", an HTML page instead of JSON"
            } else {
                ""
            };
            // As nginx says it, with 400, of a certificate that is absent or that it does not believe.
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            return Self {
                said: said.to_owned(),
                says: if text.contains("ssl certificate") {
                    Says::Certificate
                } else {
                    Says::Nothing
                },
            };
        };
        let text = quoter.quote(&outcome.whole_text());
        Self {
            said: if text.is_empty() {
                String::new()
            } else {
                format!(": {text}")
            },
            says: if outcome.is_transient() {
                Says::Transient
            } else {
                Says::Outcome
            },
        }
    }
}

fn authentication(
    side: Side,
    status: StatusCode,
    authorization: &Authorization,
    unsigned: bool,
    said: &str,
) -> Error {
    let name = side.name();
    let unauthorized = status == StatusCode::UNAUTHORIZED;
    let (why, next) = match authorization {
        Authorization::Token(token) => refused(side, unauthorized, token.kind()),
        Authorization::Signed(signed) => signed.refused(side, unsigned || unauthorized),
        Authorization::NoCredentials => (
            "no token was sent, because there are no credentials".to_owned(),
            format!(
                "Set {}, {} and {} (or one of the other ways in docs/authentication.md), and leave {} unset.",
                side.setting("CLIENT_ID"),
                side.setting("CLIENT_SECRET"),
                side.setting("SCOPES"),
                side.setting("AUTHENTICATION_ENABLED"),
            ),
        ),
        Authorization::NotWanted => (
            "no token was sent, because this request is one that carries none".to_owned(),
            format!(
                "The link may have expired. If it wants a token after all, tell whoever runs the {name}."
            ),
        ),
        Authorization::Untrusted(origin) => {
            let setting = side.setting("TRUSTED_ORIGINS");
            (
                format!("no token was sent, because {origin} is not a trusted origin ({setting})"),
                format!(
                    "If {origin} belongs to the {name} and should get its token, add it to {setting}."
                ),
            )
        }
        Authorization::Plaintext => (
            "no token was sent, because the way there is not TLS".to_owned(),
            format!(
                "Have the {name} give https URLs, or set ALLOW_PLAINTEXT=true if the way there is safe otherwise."
            ),
        ),
    };
    Kind::Authentication
        .error(format!("{said}; {why}"))
        .next(next)
}

/// Why a token or a password did not do, and what to do about it.
fn refused(side: Side, unauthorized: bool, kind: TokenKind) -> (String, String) {
    let name = side.name();
    let given = match kind {
        TokenKind::Granted => {
            let why = if unauthorized {
                "the token was refused, and so was a new one"
            } else {
                "the token was taken, but does not allow this"
            };
            let scopes = side.setting("SCOPES");
            let next = format!("Check {scopes} and what the {name} allows this client.");
            return (why.to_owned(), next);
        }
        TokenKind::Bearer => format!("the token of {}", side.setting("BEARER_TOKEN")),
        TokenKind::Basic => format!(
            "the user of {} and {}",
            side.setting("USERNAME"),
            side.setting("PASSWORD")
        ),
    };
    if unauthorized {
        let expired = match kind {
            TokenKind::Bearer => "has it expired? ",
            _ => "",
        };
        let next = format!("Check the setting: {expired}Nothing renews it but you.");
        (format!("{given} was refused"), next)
    } else {
        let next = format!("Check what the {name} allows it.");
        (format!("{given} was taken, but is not allowed this"), next)
    }
}
