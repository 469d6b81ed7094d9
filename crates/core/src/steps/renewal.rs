//! Links that expired, had anew from the source; and where a person has given the run up meanwhile, no more than that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use url::Url;

use super::published::ManifestAt;
use super::run::refuse_cancelled;
use crate::error::Kind;
use crate::http::Client;
use crate::staging::Staging;
use crate::sync::RunRecord;
use crate::transfer::{Links, Plan, Renew, Unrenewed};

/// When the run's record is looked at again where the source no longer has the export: whoever cancels a run ends its export
/// first, and writes it down then.
const LOOKS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1500),
];

/// How links that expired are had anew: by asking for the manifest once more, where it is known where. A run that was
/// cancelled has none.
pub(super) fn renewal(
    source: &Client,
    endpoint: &Url,
    staging: &Staging,
    manifest_at: Option<Arc<ManifestAt>>,
    plan: &Arc<Plan>,
) -> Option<Renew> {
    let manifest_at = manifest_at?;
    let (source, endpoint, plan) = (source.clone(), endpoint.clone(), Arc::clone(plan));
    let staging = staging.clone();
    Some(Arc::new(move || {
        let (source, endpoint, staging) = (source.clone(), endpoint.clone(), staging.clone());
        let (manifest_at, plan) = (Arc::clone(&manifest_at), Arc::clone(&plan));
        async move {
            look(&staging, plan.run()).await?;
            let fresh = manifest_at.again(&source, &endpoint).await;
            let links = fresh.map(|fresh| Links::of(&plan, fresh));
            let gone = matches!(&links, Err(error) if error.kind() == Kind::ExportFailed);
            for wait in LOOKS.into_iter().take(if gone { LOOKS.len() } else { 1 }) {
                tokio::time::sleep(wait).await;
                look(&staging, plan.run()).await?;
            }
            Ok(links?)
        }
        .boxed()
    }))
}

/// Sees that nobody has given the run up. A record that cannot be read says nothing about that.
async fn look(staging: &Staging, run: &str) -> Result<(), Unrenewed> {
    match RunRecord::load(staging, run).await {
        Ok(record) => refuse_cancelled(&record).map_err(Unrenewed::Over),
        Err(error) => {
            tracing::debug!(run, error = error.what(), "the run's record cannot be read");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Headers, Place};
    use crate::http::{ClientOptions, Side};
    use crate::manifest::Manifest;
    use crate::staging::Options;
    use crate::sync::{CANCELLED, end_run};

    fn manifest(time: &str, url: &str) -> Value {
        json!({"transactionTime": time, "output": [{"type": "Patient", "url": url}]})
    }

    /// What is lent where the status URL answers so.
    async fn lent(status: u16, answer: Value) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let links = links(status, answer, folder.path()).await;
        links
            .ok()?
            .get(0)
            .map(|url| url.query().unwrap_or_default().to_owned())
    }

    async fn links(
        status: u16,
        answer: Value,
        folder: &std::path::Path,
    ) -> Result<Links, Unrenewed> {
        let place = Place::Folder(folder.to_owned());
        let staging = Staging::open(&place, Options::default()).await.unwrap();
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
            buckets: Vec::new(),
            headers: Headers::default(),
            allow_plaintext: false,
            allow_private_hosts: false,
            connect_timeout: timeout,
            idle_timeout: timeout,
        });
        let status_url = endpoint.join("status").unwrap();
        let stored = Manifest::read(&manifest("t", "files/1?sig=old"), Some(&status_url)).unwrap();
        let plan = Arc::new(Plan::new("a1", Arc::new(stored)).unwrap());
        let manifest_at = Some(Arc::new(ManifestAt::at(status_url)));
        let client = client.unwrap();
        let renew = renewal(&client, &endpoint, &staging, manifest_at, &plan).unwrap();
        let links = renew().await;
        serving.abort();
        links
    }

    #[tokio::test]
    async fn a_run_that_was_cancelled_has_no_links_whatever_the_status_url_answers() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().to_owned());
        let staging = Staging::open(&place, Options::default()).await.unwrap();
        end_run(&staging, "a1", None, CANCELLED, None)
            .await
            .unwrap();
        for status in [200, 404] {
            let answer = manifest("t", "files/1?sig=new");
            let links = links(status, answer, folder.path()).await;
            let Err(Unrenewed::Over(error)) = links else {
                panic!("{status}: {links:?}");
            };
            assert!(error.what().contains("was cancelled"), "{error}");
        }
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
