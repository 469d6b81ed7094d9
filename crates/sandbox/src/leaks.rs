//! The check that no credential went where it must not.

use crate::certificates::owner_of;
use crate::record::{Recorded, Service};

/// Every request in which a credential went to an origin that it is not for, one sentence each.
pub(crate) fn leaks(requests: &[Recorded], files_trusted: bool) -> Vec<String> {
    let mut leaks = Vec::new();
    for request in requests {
        // A header that the source's clients are known by is its own affair.
        let is_source = match request.service {
            Service::Source => true,
            Service::Files => files_trusted,
            _ => false,
        };
        if request.headers.contains_key("epic-client-id") && !is_source {
            leaks.push(format!(
                "the header that names the source's client went to the {}: {} {}",
                request.service, request.method, request.path
            ));
        }
        if let Some(owner) = request.certificate.as_deref().and_then(owner_of) {
            let fine = match request.service {
                Service::Token => true,
                Service::Files => files_trusted && owner == Service::Source,
                service => service == owner,
            };
            if !fine {
                leaks.push(format!(
                    "the {owner}'s client certificate went to the {}: {} {}",
                    request.service, request.method, request.path
                ));
            }
        }
        for credential in &request.credentials {
            let what = if credential.token {
                "token"
            } else {
                "client secret or signature"
            };
            let fine = match (credential.owner, request.service) {
                (Some(Service::Source), Service::Source)
                | (Some(Service::Target), Service::Target) => credential.token,
                (Some(Service::Source), Service::Files) => credential.token && files_trusted,
                (Some(Service::Source | Service::Target), Service::Token)
                | (Some(Service::S3), Service::S3 | Service::Secrets) => true,
                // A credential that the sandbox does not know is the test's own mistake on purpose (a wrong
                // secret, an expired token), but a foreign origin must not see even that.
                (None, Service::Files) => files_trusted && credential.token,
                (None, service) => service != Service::S3,
                _ => false,
            };
            if !fine {
                let owner = credential
                    .owner
                    .map_or("an unknown".to_owned(), |owner| format!("the {owner}'s"));
                leaks.push(format!(
                    "{owner} {what} went to the {}: {} {}",
                    request.service, request.method, request.path
                ));
            }
        }
    }
    leaks
}
