//! How the command ends on bad input: a table's row, and the proof of it.

use std::sync::Arc;

use sandbox::{Builder, Dataset, Fault, Sandbox};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::check::{
    assert_arrived, assert_folder_whole, assert_import_never_asked, assert_no_secrets,
    assert_no_token_leaks, assert_nothing_half_staged, assert_nothing_imported,
};
use crate::{CommandRun, pathling_import};

/// How many are tried side by side.
const TOGETHER: usize = 6;

/// What goes wrong, and how the command says so.
#[derive(Clone, Debug)]
pub struct Refusal {
    what: String,
    error: &'static str,
    says: Vec<String>,
    faults: Vec<Fault>,
    env: Vec<(String, Option<String>)>,
    asked: bool,
    mends: bool,
    builder: Builder,
}

impl Refusal {
    /// The command ends with the error of this name. `what` tells the case from the others.
    #[must_use]
    pub fn of(what: impl Into<String>, error: &'static str) -> Self {
        let data = Dataset::of(&[("Condition", 4), ("Patient", 5)]);
        Self {
            what: what.into(),
            error,
            says: Vec::new(),
            faults: Vec::new(),
            env: Vec::new(),
            asked: false,
            mends: true,
            builder: Sandbox::builder().data(data).resources_per_file(3),
        }
    }

    /// A case of one fault, named after it.
    #[must_use]
    pub fn fault(fault: Fault, error: &'static str) -> Self {
        Self::of(fault.name(), error).and(fault)
    }

    /// With this fault too, which is on until the command has ended.
    #[must_use]
    pub fn and(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// What the command says holds these words. `{source}`, `{target}`, `{token}`, `{files}`, `{s3}` and `{staging}` stand
    /// for where those are.
    #[must_use]
    pub fn says(mut self, words: &[&str]) -> Self {
        self.says.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Without this variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.push((name.to_owned(), None));
        self
    }

    /// The target is asked to import, and imports nothing.
    #[must_use]
    pub fn asked(mut self) -> Self {
        self.asked = true;
        self
    }

    /// The next start does not help, even without the faults: what is wrong is not one of them.
    #[must_use]
    pub fn stays(mut self) -> Self {
        self.mends = false;
        self
    }

    /// With another sandbox.
    #[must_use]
    pub fn sandbox(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Tries it, without waits and repetitions, by S3 and by a folder: how the command ends, what it says, no secret in
    /// that, nothing imported, nothing half-staged; and that the next start brings everything once the faults are gone.
    pub async fn prove(self) {
        let over_s3 = self.clone().prove_over(None);
        if self.env.iter().any(|(name, _)| name == "STAGING_URL") {
            return over_s3.await;
        }
        let folder = TempDir::new().expect("a folder can be made");
        tokio::join!(over_s3, self.prove_over(Some(&folder)));
    }

    async fn prove_over(self, folder: Option<&TempDir>) {
        let what = &self.what;
        let sandbox = self.builder.clone().start().await;
        let sandbox = sandbox.expect("the sandbox starts");
        for fault in &self.faults {
            sandbox.faults().on(fault.clone());
        }
        let finished = self.command(&sandbox, folder).run().await;
        let staging = folder.map_or_else(
            || sandbox.staging_url(),
            |folder| format!("file://{}", folder.path().display()),
        );
        let words: Vec<String> = self
            .says
            .iter()
            .map(|word| {
                word.replace("{source}", &sandbox.source_endpoint())
                    .replace("{target}", &sandbox.target_endpoint())
                    .replace("{token}", &sandbox.token_endpoint())
                    .replace("{files}", &sandbox.files_origin())
                    .replace("{s3}", &sandbox.s3_endpoint())
                    .replace("{staging}", &staging)
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        #[allow(clippy::print_stdout, reason = "shown where the case fails")]
        {
            println!("{what}:\n{}", finished.stderr);
        }
        let said = finished.expect_error(self.error, &words);
        assert!(!said.contains("panicked"), "{said}");
        assert_no_secrets(&sandbox, &finished.all());
        assert_no_token_leaks(&sandbox);
        assert_nothing_imported(&sandbox);
        if !self.asked {
            assert_import_never_asked(&sandbox);
        }
        match folder {
            Some(folder) => assert_folder_whole(folder.path()),
            None => assert_nothing_half_staged(&sandbox),
        }
        if self.mends {
            sandbox.faults().clear();
            let finished = self.command(&sandbox, folder).run().await;
            assert_eq!(finished.code, Some(0), "{what}: {}", finished.stderr);
            assert_arrived(&sandbox);
            assert_no_token_leaks(&sandbox);
        }
    }

    fn command(&self, sandbox: &Sandbox, folder: Option<&TempDir>) -> CommandRun {
        let mut run = pathling_import(sandbox);
        for part in ["EXPORT", "TRANSFER", "IMPORT"] {
            run = run.env(&format!("{part}_RETRY_TIMES"), "0");
        }
        if let Some(folder) = folder {
            run = run.env("STAGING_URL", folder.path().display().to_string());
        }
        for (name, value) in &self.env {
            run = match value {
                Some(value) => run.env(name, value),
                None => run.without(name),
            };
        }
        run
    }
}

/// Proves them all, some side by side: most of what they do is waiting.
pub async fn refused(cases: impl IntoIterator<Item = Refusal>) {
    let places = Arc::new(Semaphore::new(TOGETHER));
    let mut running = JoinSet::new();
    let mut all = 0;
    for case in cases {
        let places = Arc::clone(&places);
        all += 1;
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
    assert_eq!(failed, 0, "cases of {all} that failed");
}
