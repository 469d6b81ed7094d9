//! A Lambda stands still between two invocations, and its connections are lost meanwhile: the next call does not notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::{Lost, Records as _, Relay, Story};
use sandbox::{Dataset, Sandbox};
use serde_json::{Value, json};

/// A story all of whose requests go through relays.
struct Relayed {
    sandbox: Sandbox,
    story: Story,
    relays: [Relay; 3],
}

impl Relayed {
    async fn start() -> Self {
        let sandbox = Sandbox::builder()
            .auth(false)
            .data(Dataset::of(&[("Patient", 5)]))
            .resources_per_file(2)
            .polls(2)
            .import_polls(2)
            .start()
            .await
            .unwrap();
        let source = Relay::to(&sandbox.source_endpoint()).await;
        let target = Relay::to(&sandbox.target_endpoint()).await;
        let bucket = Relay::to(&sandbox.s3_endpoint()).await;
        let story = Story::of(&sandbox)
            .with(
                "SOURCE_ENDPOINT",
                source.instead(&sandbox.source_endpoint()),
            )
            .with(
                "TARGET_ENDPOINT",
                target.instead(&sandbox.target_endpoint()),
            )
            .with(
                "AWS_ENDPOINT_URL_S3",
                bucket.instead(&sandbox.s3_endpoint()),
            )
            .with("TARGET_DIALECT", "7");
        Self {
            sandbox,
            story,
            relays: [source, target, bucket],
        }
    }

    /// Stops a step's process, loses its connections, and lets it go on.
    async fn lose(&mut self, step: Step, how: Lost) {
        let function = self.story.function(step).await;
        function.freeze();
        for relay in &self.relays {
            relay.lose(how);
        }
        function.thaw();
    }

    /// The event, whose URLs lead through the relays.
    fn through(&self, event: &Value) -> Value {
        let mut text = event.to_string();
        for relay in &self.relays {
            text = relay.instead(&text);
        }
        serde_json::from_str(&text).unwrap()
    }

    fn assert_unnoticed(&self, what: &str) {
        for relay in &self.relays {
            assert_eq!(relay.refused(), 0, "{what}: requests over lost connections");
        }
        let logs = self.story.logs();
        for word in ["\"WARN\"", "\"ERROR\"", "tried again"] {
            assert!(!logs.contains(word), "{what}:\n{logs}");
        }
    }
}

#[tokio::test]
async fn every_step_goes_on_where_its_connections_were_lost_while_it_stood_still() {
    for how in [Lost::Closed, Lost::Forgotten] {
        let mut relayed = Relayed::start().await;
        let mut event = json!({});
        for step in Step::FIVE {
            let _ = relayed.story.call(step, &event).await;
            relayed.lose(step, how).await;
            let outcome = relayed.story.finish(step, &event).await;
            let output = outcome.unwrap_or_else(|failed| panic!("{how:?}: {failed:?}"));
            relayed.assert_unnoticed(&format!("{how:?} {}", step.name()));
            event = relayed.through(&output);
        }
        assert!(!relayed.sandbox.target_types().is_empty());
    }
}

#[tokio::test]
async fn a_kick_off_of_an_import_is_sent_once_over_a_connection_of_its_own() {
    for how in [Lost::Closed, Lost::Forgotten] {
        let mut relayed = Relayed::start().await;
        let staged = relayed.story.until(Step::PathlingImport).await.unwrap();
        let staged = json!({"parameters": staged["parameters"]});
        for times in 1..=3 {
            let started = relayed.story.call(Step::PathlingImport, &staged).await;
            assert!(started.unwrap()["statusUrl"].is_string());
            relayed.assert_unnoticed(&format!("{how:?} {times}"));
            assert_eq!(relayed.sandbox.import_kick_offs().len(), times);
            relayed.lose(Step::PathlingImport, how).await;
        }
    }
}
