//! The transfer alone: an export that is complete, and the real `transfer-to-s3` on its manifest.

use std::sync::Arc;

use pathling_import_core::config::Step;
use sandbox::{Builder, Sandbox};
use serde_json::Value;

use crate::check::{assert_import_never_asked, assert_no_secrets, assert_no_token_leaks};
use crate::{Env, Failed, Story};

/// A sandbox and a transfer from it.
pub struct Transferring {
    /// Where it happens.
    pub sandbox: Arc<Sandbox>,
    story: Story,
    event: Value,
}

impl Transferring {
    /// The export of this sandbox, complete, to be transferred with these settings.
    pub async fn of(builder: Builder, env: &[(&str, &str)]) -> Self {
        let sandbox = builder.start().await.expect("the sandbox starts");
        let mut story = Story::of(&sandbox);
        for (name, value) in env {
            story = story.with(name, *value);
        }
        let event = story.until(Step::TransferToS3).await;
        let event = event.expect("the export is complete");
        Self {
            sandbox: Arc::new(sandbox),
            story,
            event,
        }
    }

    /// The event of `transfer-to-s3`.
    #[must_use]
    pub fn event(&self) -> &Value {
        &self.event
    }

    /// The event, to be told otherwise.
    pub fn event_mut(&mut self) -> &mut Value {
        &mut self.event
    }

    /// The settings of another process that does the same.
    #[must_use]
    pub fn env(&self) -> Env {
        self.story.environment(Step::TransferToS3)
    }

    /// Calls the function until it has an answer that is not `JobInProgressError`.
    pub async fn finish(&mut self) -> Result<Value, Failed> {
        let event = self.event.clone();
        let finished = self.story.finish(Step::TransferToS3, &event).await;
        assert_no_token_leaks(&self.sandbox);
        assert_no_secrets(&self.sandbox, &self.logs());
        finished
    }

    /// The same, and it must succeed. Gives the output.
    pub async fn succeed(&mut self) -> Value {
        match self.finish().await {
            Ok(output) => output,
            Err(failed) => panic!(
                "{}: {}\n{}",
                failed.error_type,
                failed.error_message,
                self.logs()
            ),
        }
    }

    /// The same, and it must fail with the error of this name, in these words. Gives the message.
    pub async fn fail(&mut self, name: &str, words: &[&str]) -> String {
        let failed = match self.finish().await {
            Ok(output) => panic!("it did not fail, but gave {output}"),
            Err(failed) => failed,
        };
        let message = failed.error_message;
        assert_eq!(failed.error_type, name, "{message}\n{}", self.logs());
        for word in words {
            assert!(message.contains(word), "no {word:?} in {message}");
        }
        assert_import_never_asked(&self.sandbox);
        message
    }

    /// Calls it once, with as much time as given.
    pub async fn call(&mut self, timeout_ms: u64) -> Result<Value, crate::LambdaError> {
        let event = self.event.clone();
        let function = self.story.function(Step::TransferToS3).await;
        function.invoke_with_timeout(event, timeout_ms).await
    }

    /// Where the function's Runtime API is: host and port.
    pub async fn runtime(&mut self) -> String {
        self.story.function(Step::TransferToS3).await.runtime()
    }

    /// Kills the function where it stands; the next call starts another.
    pub async fn restart(&mut self) {
        self.story.restart().await;
    }

    /// The most memory that the function has had so far, in bytes.
    pub async fn memory(&mut self) -> u64 {
        self.story.function(Step::TransferToS3).await.memory()
    }

    /// Everything that the functions have written so far.
    #[must_use]
    pub fn logs(&self) -> String {
        self.story.logs()
    }
}
