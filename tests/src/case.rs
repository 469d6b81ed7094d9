//! What bad input gets: a table's row, and the proof of it.

use std::sync::Arc;

use pathling_import_core::config::Step;
use pathling_import_core::error::TABLE;
use sandbox::{Builder, Dataset, Fault, Sandbox};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Story;
use crate::check::{
    assert_arrived, assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
    assert_nothing_half_staged, assert_nothing_imported,
};

/// How many cases are tried side by side.
const TOGETHER: usize = 10;

/// What goes wrong, at which step it must show, and as what.
#[derive(Clone, Debug)]
pub struct Case {
    what: String,
    step: Step,
    error: &'static str,
    says: Vec<String>,
    faults: Vec<Fault>,
    env: Vec<(String, String)>,
    at_step: Vec<(String, String)>,
    builder: Builder,
}

impl Case {
    /// A case that shows at `step` as the error of this name. `what` tells it from the others.
    #[must_use]
    pub fn of(what: impl Into<String>, step: Step, error: &'static str) -> Self {
        let data = Dataset::of(&[("Condition", 4), ("Patient", 5)]);
        Self {
            what: what.into(),
            step,
            error,
            says: Vec::new(),
            faults: Vec::new(),
            env: Vec::new(),
            at_step: Vec::new(),
            builder: Sandbox::builder().data(data).resources_per_file(3),
        }
    }

    /// A case of one fault, named after it.
    #[must_use]
    pub fn fault(fault: Fault, step: Step, error: &'static str) -> Self {
        Self::of(fault.name(), step, error).and(fault)
    }

    /// With this fault too, which is on until the end.
    #[must_use]
    pub fn and(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The message holds these words. `{source}`, `{target}`, `{token}` and `{staging}` stand for where those are.
    #[must_use]
    pub fn says(mut self, words: &[&str]) -> Self {
        self.says.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// With this setting.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// With this setting for the step itself, and not for those before it.
    #[must_use]
    pub fn at_step(mut self, name: &str, value: impl Into<String>) -> Self {
        self.at_step.push((name.to_owned(), value.into()));
        self
    }

    /// With another sandbox.
    #[must_use]
    pub fn sandbox(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Tries it: the error's name, its message, no secret in it nor in the logs, nothing imported, nothing half-staged.
    /// Where the table of errors says that another try can mend it, another try does once the fault is off.
    pub async fn prove(self) {
        let what = &self.what;
        let sandbox = self.builder.start().await.expect("the sandbox starts");
        let mut story = Story::of(&sandbox);
        for (name, value) in &self.env {
            story = story.with(name, value);
        }
        for (name, value) in &self.at_step {
            story = story.only(self.step, name, value);
        }
        // What a file holds is settled at its kick-off; what comes before the step is not to be in its way.
        for fault in &self.faults {
            sandbox.faults().on(fault.clone());
        }
        let event = match story.until(self.step).await {
            Ok(event) => event,
            Err(failed) => panic!("{what}: failed too early: {failed:?}"),
        };
        let failed = match story.finish(self.step, &event).await {
            Ok(output) => panic!("{what}: did not fail, but gave {output}"),
            Err(failed) => failed,
        };
        assert_eq!(failed.error_type, self.error, "{what}: {failed:?}");
        let message = &failed.error_message;
        for word in &self.says {
            let word = word
                .replace("{source}", &sandbox.source_endpoint())
                .replace("{target}", &sandbox.target_endpoint())
                .replace("{token}", &sandbox.token_endpoint())
                .replace("{staging}", &sandbox.staging_url());
            assert!(message.contains(&word), "{what}: no {word:?} in {message}");
        }
        // What happened, and what to do.
        assert!(message.contains(". "), "{what}: one sentence: {message}");
        let logs = story.logs();
        let logged = format!("\"error\":\"{}\"", self.error);
        assert!(logs.contains(&logged), "{what}: no {logged} in:\n{logs}");
        assert_no_secrets(&sandbox, message);
        assert_no_secrets(&sandbox, &logs);
        assert_no_token_leaks(&sandbox);
        assert_nothing_half_staged(&sandbox);
        assert_nothing_imported(&sandbox);
        let after_transfer = [Step::PathlingImport, Step::CheckImportStatus];
        if !after_transfer.contains(&self.step) {
            assert_import_never_asked(&sandbox);
        }
        let row = TABLE.iter().find(|row| row.name == self.error);
        if row.expect("the table knows it").retried && self.env.is_empty() {
            sandbox.faults().clear();
            let mut event = event;
            for step in Step::FIVE.into_iter().skip_while(|step| *step != self.step) {
                let mut ended = story.finish(step, &event).await;
                // What an import was told to drop is found out, and comes with the next attempt.
                if ended
                    .as_ref()
                    .is_err_and(|it| it.error_type == "ImportIncompleteError")
                {
                    ended = story.finish(step, &event).await;
                }
                event = match ended {
                    Ok(output) => output,
                    Err(failed) => panic!("{what}: not mended by another try: {failed:?}"),
                };
            }
            assert_arrived(&sandbox);
        }
    }
}

/// Proves them all, some side by side.
pub async fn prove(cases: impl IntoIterator<Item = Case>) {
    let places = Arc::new(Semaphore::new(TOGETHER));
    let mut running = JoinSet::new();
    for case in cases {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            case.prove().await;
        });
    }
    let mut failed = 0;
    while let Some(done) = running.join_next().await {
        // Each has said why.
        failed += usize::from(done.is_err());
    }
    assert_eq!(failed, 0, "cases that failed");
}
