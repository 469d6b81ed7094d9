//! One exchange with a server: a request goes out as it is, an answer or a transport failure comes back.
//!
//! Tokens, redirects and repetitions are decided above this.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};
use tracing::debug;
use url::Url;

use super::Side;
use super::auth::Token;
use super::certificate::{self, Certified, State};
use super::connections::Connections;
use super::extra::Extra;
use super::guard::{self, Guard, Refused};
use super::request::Request;
use super::request_id::HEADER;
use super::response::{About, Response};
use super::roots;
use super::shown::{shown, shown_str};
use super::signer::Signed;
use super::words;
use crate::config::Origin;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// How many redirects are followed.
const HOPS: usize = 5;

/// What was decided about the token or the signature of one exchange, kept so that a refusal can be explained.
#[derive(Clone, Debug)]
pub(super) enum Authorization {
    /// The token that was sent.
    Token(Token),
    /// The signature that was sent.
    Signed(Signed),
    /// The client has no credentials.
    NoCredentials,
    /// The caller asked for none.
    NotWanted,
    /// This origin is not trusted.
    Untrusted(Origin),
    /// The origin is trusted, but the way there is neither TLS nor loopback.
    Plaintext,
}

/// The connections to one server and whatever it names.
pub(super) struct Transport {
    pub(super) side: Side,
    connect: Duration,
    idle: Duration,
    guard: Guard,
    /// Those without a client certificate.
    connections: Connections,
    certified: Option<Certified>,
    pub(super) extra: Extra,
}

impl Transport {
    pub(super) fn new(
        side: Side,
        connect: Duration,
        idle: Duration,
        guard: Guard,
        extra: Extra,
        certified: Option<Certified>,
    ) -> Self {
        Self {
            side,
            connect,
            idle,
            connections: Connections::guarded(connect, guard.clone(), None),
            certified,
            guard,
            extra,
        }
    }

    /// Sends the request once. Any status is an answer; the body has not been read.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        authorization: Authorization,
    ) -> Result<Response> {
        if let Some(name) = &request.refused {
            return Err(Kind::Configuration.error(format!(
                "the header {name} cannot be sent: its name or value is not one"
            )));
        }
        let url = &request.url;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(self
                .side
                .failed()
                .error(format!("{} is not an http or https URL", shown(url))));
        }
        if let Err(refused) = self.guard.check(url).await {
            return Err(self.not_gone_to(request, &refused));
        }
        self.extra.ready_for(url).await?;
        let begun = Instant::now();
        let certified = self.certified.as_ref().filter(|one| one.goes_to(url));
        let (mut made, mut again) = (None, true);
        if let Some(certified) = certified {
            made = Some(certified.current().await?);
        }
        let (answer, state) = loop {
            let connections = made
                .as_ref()
                .map_or(&self.connections, |made| &made.connections);
            // Boxed: it is large, and would be moved with every future that it is part of.
            let sent = Box::pin(self.once(request, &authorization, connections)).await?;
            // That one server asks for a certificate says nothing of another one.
            let state = if certified.is_some() || self.extra.is_for(url) {
                connections.certificate()
            } else {
                State::NotAsked
            };
            let error = match sent {
                Ok(answer) => break (answer, state),
                Err(error) => error,
            };
            // It may have been changed where it is kept.
            if again
                && certificate::refusal(&error, state).is_some()
                && let (Some(certified), Some(refused)) = (certified, &made)
                && let Some(other) = certified.instead_of(refused).await?
            {
                (made, again) = (Some(other), false);
                continue;
            }
            return Err(self.not_sent(request, &error, state));
        };
        debug!(
            method = %request.method,
            url = %request.shown(),
            status = answer.status().as_u16(),
            token = matches!(authorization, Authorization::Token(_)),
            signed = matches!(authorization, Authorization::Signed(_)),
            milliseconds = begun.elapsed().as_millis(),
            "answer"
        );
        let about = About {
            side: self.side,
            method: request.method.clone(),
            url: url.clone(),
            is_of_resource: request.is_of_resource,
            idle: self.idle,
            authorization,
            certificate: (state, self.certified.is_some()),
            extra: self.extra.secrets_of(url),
        };
        Ok(Response::new(answer, about))
    }

    /// Sends the request over these connections. The inner error is the library's.
    async fn once(
        &self,
        request: &Request,
        authorization: &Authorization,
        connections: &Connections,
    ) -> Result<Result<reqwest::Response, reqwest::Error>> {
        let url = &request.url;
        let client = connections.client().map_err(|why| {
            Kind::Configuration
                .error(format!("the HTTP client cannot be built: {why}"))
                .next("Check the proxy variables and the system's root certificates.")
        })?;
        let mut outgoing = client
            .request(request.method.clone(), url.clone())
            .headers(self.extra.headers_for(url))
            .headers(request.headers.clone());
        if let Some(body) = &request.body {
            outgoing = outgoing.body(body.clone());
        }
        outgoing = match authorization {
            Authorization::Token(token) => outgoing.header(AUTHORIZATION, token.header()),
            Authorization::Signed(signed) => outgoing.headers(signed.headers()),
            _ => outgoing,
        };
        // Not the library's own timeout: it also runs while nobody asks for the next piece of the body.
        tokio::time::timeout(self.idle, outgoing.send())
            .await
            .map_err(|_| self.no_answer(request, &words::no_answer(self.idle)))
    }

    fn no_answer(&self, request: &Request, what: &str) -> Error {
        let (method, url) = (&request.method, request.shown());
        debug!(%method, url, what, "no answer");
        self.side
            .unavailable()
            .error(format!("{method} {url}: {what}"))
    }

    /// Why no answer came.
    fn not_sent(&self, request: &Request, error: &reqwest::Error, state: State) -> Error {
        if let Some(refused) = guard::refusal(error) {
            return self.not_gone_to(request, refused);
        }
        let (method, url) = (&request.method, request.shown());
        if let Some(why) = roots::unreadable(error) {
            return Kind::Configuration
                .error(format!("{method} {url}: {why}"))
                .next(roots::NO_ROOTS)
                .unsent();
        }
        if words::files_ran_out(error) {
            let cause = words::deepest(error);
            return Kind::Configuration
                .error(format!("{method} {url}: no connection ({cause})"))
                .next(limits::ADVICE)
                .unsent();
        }
        let origin = Origin::from(&request.url);
        let (why, next) = certificate::advice(state, self.side, &origin, self.certified.is_some());
        if let Some(alert) = certificate::refusal(error, state) {
            debug!(%method, url, ?alert, "certificate refused");
            return Kind::Authentication
                .error(format!("{method} {url}: TLS failed ({alert:?}): {why}"))
                .next(next)
                .unsent();
        }
        let mut unavailable = self.no_answer(request, &words::of_request(error, self.connect));
        if let Some(next) = roots::unknown_issuer(error) {
            unavailable = unavailable.next(next);
        } else if state == State::NoneToShow && request.url.scheme() == "https" {
            unavailable = unavailable.next(format!("It may be that {why}. {next}"));
        }
        if error.is_connect() {
            unavailable.unsent()
        } else {
            unavailable
        }
    }

    fn not_gone_to(&self, request: &Request, refused: &Refused) -> Error {
        let error =
            self.side
                .failed()
                .error(format!("{} {}: {refused}", request.method, request.shown()));
        let next = if refused.may_be_allowed {
            format!(
                "If it is meant, set ALLOW_PRIVATE_HOSTS=true, or name its origin in {}, which then gets the token too.",
                self.side.setting("TRUSTED_ORIGINS")
            )
        } else {
            "No setting allows it: ask whoever runs the server why it names such an address."
                .to_owned()
        };
        error.next(next).unsent()
    }

    /// The same request with the run's name among requests, wherever it goes: for a token, whose endpoint knows us anyway.
    pub(super) async fn identified(&self, mut request: Request) -> Result<Request> {
        self.extra.ready_for(&request.url).await?;
        if let Some(id) = self.extra.id_for(&request.url) {
            request.headers.insert(HEADER, id);
        }
        Ok(request)
    }

    /// The same for a request that never carries a token: discovery.
    pub(super) async fn follow_without_token(&self, mut request: Request) -> Result<Response> {
        let mut hops = 0;
        loop {
            let response = self.exchange(&request, Authorization::NotWanted).await?;
            let Some(url) = self.next_hop(&response, hops)? else {
                return Ok(response);
            };
            request.moved_to(url);
            hops += 1;
        }
    }

    /// Where a redirect leads; `None` if the response is none that is followed. That of GET and HEAD is (RFC 9110, section
    /// 15.4), and of anything else, body and all, one that keeps the method (307, 308) and does not leave the origin.
    ///
    /// Errors: the sixth redirect, one that leaves TLS, and one of a method that is not followed there.
    pub(super) fn next_hop(&self, response: &Response, hops: usize) -> Result<Option<Url>> {
        let keeps_method = matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        let redirects = keeps_method
            || matches!(
                response.status(),
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
            );
        let Some(location) = response.header("location").filter(|_| redirects) else {
            return Ok(None);
        };
        let only_asks = matches!(*response.method(), Method::GET | Method::HEAD);
        let refuse = |why: String| {
            self.side
                .unavailable()
                .error(format!("{}, {why}", response.described()))
                .next(format!(
                    "Have the {} name the final address itself.",
                    self.side.name()
                ))
                .for_good()
        };
        let Some(url) = redirected(response.url(), location) else {
            return Err(refuse(format!(
                "a redirect to {}, which is not followed: only http and https are, and from https only https",
                shown_str(location)
            )));
        };
        let stays = keeps_method && Origin::from(&url) == Origin::from(response.url());
        if !only_asks && !stays {
            return Err(self
                .side
                .failed()
                .error(format!(
                    "{}, a redirect to {}, which is not followed: what is sent goes on with 307 or 308 alone, and to no other origin",
                    response.described(),
                    response.about().shown(&url)
                ))
                .next(format!(
                    "If the {} is there, set {} accordingly.",
                    self.side.name(),
                    self.side.setting("ENDPOINT")
                )));
        }
        if hops >= HOPS {
            return Err(refuse(format!(
                "redirect number {} to {}: only {HOPS} are followed",
                hops + 1,
                response.about().shown(&url)
            )));
        }
        debug!(from = %response.shown_url(), to = %response.about().shown(&url), "redirect");
        Ok(Some(url))
    }
}

/// The place that a Location names, seen from where it was said; `None` for what is no place to go: another scheme than
/// HTTP's, or plain text after TLS.
fn redirected(from: &Url, location: &str) -> Option<Url> {
    let to = from.join(location).ok().filter(Url::has_host)?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Some(to),
        _ => None,
    }
}

/// A header value that logs and Debug do not show.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leaves_tls_nor_http() {
        let https = Url::parse("https://h/a/b").unwrap();
        let http = Url::parse("http://h/a/b").unwrap();
        assert_eq!(
            redirected(&https, "c?x=1").unwrap().as_str(),
            "https://h/a/c?x=1"
        );
        assert_eq!(
            redirected(&https, "//other/c").unwrap().as_str(),
            "https://other/c"
        );
        assert_eq!(
            redirected(&http, "https://h/c").unwrap().as_str(),
            "https://h/c"
        );
        assert_eq!(
            redirected(&http, "http://other/c").unwrap().as_str(),
            "http://other/c"
        );
        for location in [
            "http://h/c",
            "http://localhost/c",
            "HTTP://h",
            "ftp://h/c",
            "file:///etc/passwd",
            "data:,x",
            "https://",
        ] {
            assert!(redirected(&https, location).is_none(), "{location}");
        }
        assert!(redirected(&http, "file:///etc/passwd").is_none());
    }
}
