//! The check that no credential went where it must not: looked at for every request as it arrives, whether it is recorded
//! or not, and told when the sandbox ends. So no test can forget it.

use http::{HeaderMap, header};

use crate::certificates::owner_of;
use crate::clients::Way;
use crate::record::{Credential, CredentialKind, Recorded, Service};
use crate::settings::Settings;

/// What a signed assertion begins with: a JWT's header in either order, encoded.
const ASSERTIONS: [&str; 2] = ["eyJhbGciOi", "eyJ0eXAiOi"];

/// Who may have what here.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Rules {
    /// Whether the other origin of files may have the source's token.
    files_trusted: bool,
    source_auth: bool,
    target_auth: bool,
    /// Whether requests to source and target are signed for AWS.
    source_signs: bool,
    target_signs: bool,
}

impl Rules {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            files_trusted: settings.files_trusted,
            source_auth: settings.source_auth,
            target_auth: settings.target_auth,
            source_signs: settings.source_auth && settings.source_way == Way::Aws,
            target_signs: settings.target_auth && settings.target_way == Way::Aws,
        }
    }

    /// Every credential of a request that went astray, one sentence each.
    pub(crate) fn leaks(self, request: &Recorded, headers: &HeaderMap) -> Vec<String> {
        let mut leaks = Vec::new();
        // A header that the source's clients are known by is its own affair.
        let is_source = match request.service {
            Service::Source => true,
            Service::Files => self.files_trusted,
            _ => false,
        };
        if request.headers.contains_key("epic-client-id") && !is_source {
            leaks.push("the header that names the source's client went".to_owned());
        }
        if headers.contains_key(header::COOKIE) {
            // Every answer sets one, and on one machine ports do not keep them apart: who keeps cookies sends them around.
            leaks.push("a cookie went".to_owned());
        }
        if let Some(owner) = request.certificate.as_deref().and_then(owner_of) {
            let fine = match request.service {
                Service::Token => true,
                Service::Files => self.files_trusted && owner == Service::Source,
                service => service == owner,
            };
            if !fine {
                leaks.push(format!("the {owner}'s client certificate went"));
            }
        }
        for credential in &request.credentials {
            if let Some(what) = self.astray(*credential, request) {
                leaks.push(format!("{what} went"));
            }
        }
        // Where S3 is, its client's own environment says.
        let to_server = matches!(request.service, Service::Source | Service::Target);
        let secret = |credential: &Credential| credential.kind != CredentialKind::Aws || to_server;
        if request.credentials.iter().any(secret)
            && let Some(host) = foreign(headers)
        {
            leaks.push(format!(
                "a credential, over plaintext to the host {host}, went"
            ));
        }
        leaks
            .into_iter()
            .map(|what| sentence(&what, request))
            .collect()
    }

    /// What a credential is, where it is not for the service that it came to.
    fn astray(self, credential: Credential, request: &Recorded) -> Option<String> {
        let Credential { kind, token, owner } = credential;
        if kind == CredentialKind::Assertion {
            return (request.service != Service::Token).then(|| "a signed assertion".to_owned());
        }
        let is_public = request.path.ends_with("/.well-known/smart-configuration");
        let fine = match (owner, request.service) {
            _ if is_public => false,
            (Some(Service::Source), Service::Source) => token && self.source_auth,
            (Some(Service::Target), Service::Target) => token && self.target_auth,
            (Some(Service::Source), Service::Files) => token && self.files_trusted,
            (Some(Service::Source | Service::Target), Service::Token) => !token,
            (Some(Service::S3), Service::S3 | Service::Secrets) => true,
            // A signature.
            (Some(Service::S3), Service::Source) => self.source_signs,
            (Some(Service::S3), Service::Target) => self.target_signs,
            // A credential that the sandbox does not know is the test's own mistake on purpose (a wrong secret, an
            // expired token), but a foreign origin must not see even that, nor who wants none.
            (None, Service::Files) => self.files_trusted && token,
            (None, Service::Source) => self.source_auth,
            (None, Service::Target) => self.target_auth,
            (None, service) => service == Service::Token,
            _ => false,
        };
        if fine {
            return None;
        }
        let owner = owner.map_or("an unknown".to_owned(), |owner| format!("the {owner}'s"));
        let what = if token {
            "token"
        } else {
            "client secret or signature"
        };
        Some(format!("{owner} {what}"))
    }
}

/// A leak with where it happened.
pub(crate) fn sentence(what: &str, request: &Recorded) -> String {
    let Recorded {
        service,
        method,
        path,
        ..
    } = request;
    format!("{what} to the {service}: {method} {path}")
}

/// Whether the text holds a signed assertion.
pub(crate) fn has_assertion(text: &str) -> bool {
    ASSERTIONS.into_iter().any(|start| text.contains(start))
}

/// The host that a request was meant for, where it is not this machine.
fn foreign(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let here = name == "localhost"
        || name.ends_with(".localhost")
        || name == "[::1]"
        || name.starts_with("127.");
    (!here).then(|| name.to_owned())
}
