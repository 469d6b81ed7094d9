//! The credentials that a request carries, wherever in it they are.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::leaks::has_assertion;
use crate::record::{BODY_KEPT, Credential, CredentialKind, Service};

/// A secret that the sandbox knows, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) token: bool,
    pub(crate) owner: Service,
}

/// Every credential in a request: in `Authorization`, and any known secret anywhere else.
pub(crate) fn found(
    known: &HashMap<String, Known>,
    service: Service,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Vec<Credential> {
    let mut found = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        found.push(authorization(
            &String::from_utf8_lossy(value.as_bytes()),
            known,
        ));
    }
    let mut elsewhere = query.to_owned();
    for (name, value) in headers {
        if name != header::AUTHORIZATION {
            elsewhere.push('\n');
            elsewhere.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
    }
    if body.len() <= BODY_KEPT {
        elsewhere.push('\n');
        elsewhere.push_str(&String::from_utf8_lossy(body));
    }
    for (secret, known) in known {
        if elsewhere.contains(secret.as_str()) {
            found.push(Credential {
                kind: CredentialKind::Embedded,
                token: known.token,
                owner: Some(known.owner),
            });
        }
    }
    if service != Service::Token && has_assertion(&elsewhere) {
        found.push(Credential {
            kind: CredentialKind::Assertion,
            token: false,
            owner: None,
        });
    }
    found
}

/// What an `Authorization` header holds.
fn authorization(value: &str, known: &HashMap<String, Known>) -> Credential {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Credential {
            kind: CredentialKind::Bearer,
            token: true,
            owner: known.get(rest).map(|known| known.owner),
        };
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest).unwrap_or_default();
        let pair = crate::call::percent_decode(&String::from_utf8_lossy(&pair));
        let known = pair
            .split_once(':')
            .and_then(|(_, secret)| known.get(secret));
        return Credential {
            kind: CredentialKind::Basic,
            // A password to the server itself is as good as a token.
            token: known.is_some_and(|known| known.token),
            owner: known.map(|known| known.owner),
        };
    }
    let aws = scheme.starts_with("AWS4-");
    Credential {
        kind: if aws {
            CredentialKind::Aws
        } else {
            CredentialKind::Other
        },
        token: false,
        owner: aws.then_some(Service::S3),
    }
}
