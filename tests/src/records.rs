//! What the sandbox recorded, in the words that tests ask in.

use sandbox::{EXPORT_BUCKET, Recorded, Sandbox, Service};

/// Questions to the record of requests.
pub trait Records {
    /// The requests for files of exports, at either origin or in S3.
    fn file_requests(&self) -> Vec<Recorded>;
    /// The kick-offs of exports.
    fn export_kick_offs(&self) -> Vec<Recorded>;
    /// The polls of exports' status URLs.
    fn polls(&self) -> Vec<Recorded>;
    /// The wishes that the source delete an export's job.
    fn deletions(&self) -> Vec<Recorded>;
    /// The kick-offs of imports.
    fn import_kick_offs(&self) -> Vec<Recorded>;
    /// The `_nonce` of each kick-off of an import that was accepted.
    fn nonces(&self) -> Vec<String>;
    /// The token requests.
    fn token_requests(&self) -> Vec<Recorded>;
    /// What was asked of the keeper of secrets.
    fn secret_requests(&self) -> Vec<Recorded>;
    /// Everything that was asked of the target.
    fn target_requests(&self) -> Vec<Recorded>;
}

fn requests(sandbox: &Sandbox, wanted: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
    let mut requests = sandbox.requests();
    requests.retain(wanted);
    requests
}

fn is_status_url(request: &Recorded) -> bool {
    request.service == Service::Source
        && request.path.starts_with("/fhir/jobs/")
        && !request.path.contains("/files/")
}

impl Records for Sandbox {
    fn file_requests(&self) -> Vec<Recorded> {
        requests(self, |request| {
            request.method == "GET"
                && (request.service == Service::Files
                    || request.service == Service::S3
                        && request.path.starts_with(&format!("/{EXPORT_BUCKET}/"))
                    || request.service == Service::Source
                        && (request.path.contains("/files/") || request.path.contains("/Binary/")))
        })
    }

    fn export_kick_offs(&self) -> Vec<Recorded> {
        requests(self, |request| {
            request.service == Service::Source && request.path.ends_with("$export")
        })
    }

    fn polls(&self) -> Vec<Recorded> {
        requests(self, |request| {
            is_status_url(request) && request.method == "GET"
        })
    }

    fn deletions(&self) -> Vec<Recorded> {
        requests(self, |request| {
            is_status_url(request) && request.method == "DELETE"
        })
    }

    fn import_kick_offs(&self) -> Vec<Recorded> {
        requests(self, |request| {
            request.service == Service::Target
                && request.method == "POST"
                && request.path.ends_with("$import")
        })
    }

    fn nonces(&self) -> Vec<String> {
        self.import_kick_offs()
            .iter()
            .filter(|request| request.status == Some(202))
            .map(|request| {
                let nonce = request.parameter("_nonce");
                nonce.expect("every kick-off of an import has a _nonce")
            })
            .collect()
    }

    fn token_requests(&self) -> Vec<Recorded> {
        requests(self, |request| request.service == Service::Token)
    }

    fn secret_requests(&self) -> Vec<Recorded> {
        requests(self, |request| request.service == Service::Secrets)
    }

    fn target_requests(&self) -> Vec<Recorded> {
        requests(self, |request| request.service == Service::Target)
    }
}
