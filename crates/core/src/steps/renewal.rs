//! Links that expired, had anew from the source.

use std::sync::Arc;

use futures_util::FutureExt;
use url::Url;

use super::published::ManifestAt;
use crate::http::Client;
use crate::transfer::{Links, Plan, Renew};

/// How links that expired are had anew: by asking for the manifest once more, where it is known where.
pub(super) fn renewal(
    source: &Client,
    endpoint: &Url,
    manifest_at: Option<Arc<ManifestAt>>,
    plan: &Arc<Plan>,
) -> Option<Renew> {
    let manifest_at = manifest_at?;
    let (source, endpoint, plan) = (source.clone(), endpoint.clone(), Arc::clone(plan));
    Some(Arc::new(move || {
        let (source, endpoint) = (source.clone(), endpoint.clone());
        let (manifest_at, plan) = (Arc::clone(&manifest_at), Arc::clone(&plan));
        async move {
            let fresh = manifest_at.again(&source, &endpoint).await?;
            Ok(Links::of(&plan, fresh))
        }
        .boxed()
    }))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use serde_json::{Value, json};

    use super::*;
    use crate::http::{ClientOptions, Side};
    use crate::manifest::Manifest;

    fn manifest(time: &str, url: &str) -> Value {
        json!({"transactionTime": time, "output": [{"type": "Patient", "url": url}]})
    }

    /// What is lent where the status URL answers so.
    async fn lent(status: u16, answer: Value) -> Option<String> {
        let answer =
            move || async move { (StatusCode::from_u16(status).unwrap(), axum::Json(answer)) };
        let router = Router::new().route("/status", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let timeout = std::time::Duration::from_secs(10);
        let client = Client::new(ClientOptions {
            side: Side::Source,
            endpoint: endpoint.clone(),
            credentials: None,
            certificate: None,
            token_endpoint: None,
            trusted_origins: Vec::new(),
            headers: Vec::new(),
            allow_plaintext: false,
            allow_private_hosts: false,
            connect_timeout: timeout,
            idle_timeout: timeout,
        });
        let status_url = endpoint.join("status").unwrap();
        let stored = Manifest::read(&manifest("t", "files/1?sig=old"), Some(&status_url)).unwrap();
        let plan = Arc::new(Plan::new("a1", Arc::new(stored)).unwrap());
        let manifest_at = Some(Arc::new(ManifestAt::at(status_url)));
        let renew = renewal(&client.unwrap(), &endpoint, manifest_at, &plan).unwrap();
        let links = renew().await;
        serving.abort();
        links
            .ok()?
            .get(0)
            .map(|url| url.query().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn the_manifest_of_the_same_export_lends_its_links_and_any_other_answer_none() {
        let fresh = || manifest("t", "files/1?sig=new");
        assert_eq!(lent(200, fresh()).await.as_deref(), Some("sig=new"));
        assert_eq!(lent(200, manifest("later", "files/1?sig=new")).await, None);
        assert_eq!(lent(200, manifest("t", "files/2?sig=new")).await, None);
        assert_eq!(
            lent(200, json!({"resourceType": "OperationOutcome"})).await,
            None
        );
        for status in [202, 404, 500] {
            assert_eq!(lent(status, fresh()).await, None, "{status}");
        }
    }
}
