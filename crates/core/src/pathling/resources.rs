//! Resources that the target holds: one is read or deleted, those of a type are counted.

use serde_json::Value;
use url::Url;

use super::{ANSWER_LIMIT, FHIR_JSON};
use crate::error::{Kind, Result};
use crate::http::{self, Client, Request, TokenUse, shown};

/// What the target made of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The resource is not there any more, or never was.
    Gone,
    /// The target does not delete, for this reason.
    Unsupported(String),
}

/// Deletes one resource at the target.
///
/// Pathling Server 2 answers 500 where two deletions of one type meet: that is [`Kind::TargetUnavailable`] here, and may be
/// tried again.
pub async fn delete(
    client: &Client,
    endpoint: &Url,
    resource_type: &str,
    id: &str,
) -> Result<Deletion> {
    let url = http::below(endpoint, &format!("{resource_type}/{id}"));
    let request = Request::delete(url).accept(FHIR_JSON).of_resource();
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    let (status, described) = (response.status(), response.described());
    match status.as_u16() {
        200 | 202 | 204 | 410 => Ok(Deletion::Gone),
        404 => {
            let said = http::said(response).await;
            if said.is_outcome {
                return Ok(Deletion::Gone);
            }
            // Pathling explains itself; whatever answered here is not the server that has the resource.
            Err(Kind::ImportFailed
                .error(format!("{described}, without an OperationOutcome"))
                .next("Check that TARGET_ENDPOINT is the base URL of Pathling's FHIR API."))
        }
        400 | 405 | 501 => Ok(Deletion::Unsupported(described)),
        401 | 403 => {
            Err(Kind::Authentication.error(described).next(
                "Give the client the scopes pathling:delete and pathling:write, or set DELETIONS to refresh or ignore.",
            ))
        }
        _ if status.is_server_error() || status.as_u16() == 429 => Err(Kind::TargetUnavailable
            .error(described)
            .retry_after(response.retry_after())),
        _ => Err(Kind::ImportFailed.error(described)),
    }
}

/// What the target says to whoever asks how many resources of a type it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Of(u64),
    /// It does not let this client count, in words. A client that gets no token at all is an error instead.
    Refused(String),
}

/// How many resources of a type the target holds.
pub async fn count(client: &Client, endpoint: &Url, resource_type: &str) -> Result<Count> {
    let mut url = http::below(endpoint, resource_type);
    url.query_pairs_mut().append_pair("_summary", "count");
    let request = Request::get(url.clone()).accept(FHIR_JSON);
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    let status = response.status().as_u16();
    if status != 200 {
        let what = format!("the count of {resource_type} at the target");
        let error = http::failure(response, &what).await;
        return match status {
            401 | 403 => Ok(Count::Refused(error.what().to_owned())),
            _ => Err(error),
        };
    }
    let bundle = response.json(ANSWER_LIMIT).await?;
    let total = bundle.get("total").and_then(Value::as_u64);
    total.map(Count::Of).ok_or_else(|| {
        Kind::ImportFailed.error(format!("GET {} answered without a total", shown(&url)))
    })
}

/// Reads one resource; `None` where the target does not hold it. Pathling 7 does not give single ones.
pub async fn read(
    client: &Client,
    endpoint: &Url,
    resource_type: &str,
    id: &str,
) -> Result<Option<Value>> {
    let url = http::below(endpoint, &format!("{resource_type}/{id}"));
    let request = Request::get(url).accept(FHIR_JSON).of_resource();
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    let (status, described) = (response.status(), response.described());
    match status.as_u16() {
        200 => response.json(ANSWER_LIMIT).await.map(Some),
        404 | 410 => Ok(None),
        401 | 403 => Err(Kind::Authentication
            .error(described)
            .next("Give the client the scope pathling:read (or user/*.read).")),
        _ if status.is_server_error() || status.as_u16() == 429 => Err(Kind::TargetUnavailable
            .error(described)
            .retry_after(response.retry_after())),
        _ => Err(Kind::ImportFailed.error(described)),
    }
}
