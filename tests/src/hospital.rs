//! A hospital that is synchronised night after night by the command, and what has to hold after each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use sandbox::{Dataset, PathlingVersion, Sandbox};
use serde_json::{Value, json};

use crate::check::{assert_arrived, assert_no_token_leaks, assert_nothing_half_staged};
use crate::{CommandRun, Finished, Nights as _, Records as _, pathling_import};

/// What passes after a change: the watermark has whole seconds, and what changed in its own comes once more.
const A_SECOND: Duration = Duration::from_secs(1);

/// A hospital that is synchronised night after night, and what is known of it so far.
pub struct Hospital {
    /// Its servers.
    pub sandbox: Sandbox,
    /// Whether its Pathling is the one that cannot delete.
    pub seven: bool,
    /// Every import that was accepted so far.
    nonces: BTreeSet<String>,
    /// How far the watermark was last.
    pub reached: String,
}

impl Hospital {
    /// A hospital with some resources, three files and more of them.
    pub async fn with(version: PathlingVersion) -> Self {
        let data = Dataset::of(&[("Condition", 12), ("Observation", 4), ("Patient", 12)]);
        let builder = Sandbox::builder().pathling(version).data(data);
        Self {
            sandbox: builder.resources_per_file(5).start().await.unwrap(),
            seven: version == PathlingVersion::Seven,
            nonces: BTreeSet::new(),
            reached: String::new(),
        }
    }

    /// A resource is new at the source, or another one.
    pub fn put(&self, resource_type: &str, id: &str, word: &str) {
        let resource = json!({"resourceType": resource_type, "id": id, "language": word});
        assert!(self.sandbox.source_put(&resource));
        self.sandbox.clock().advance(A_SECOND);
    }

    /// A resource is deleted at the source.
    pub fn delete(&self, resource_type: &str, id: &str) {
        assert!(self.sandbox.source_delete(resource_type, id), "{id}");
        self.sandbox.clock().advance(A_SECOND);
    }

    /// The command as it is started every night.
    pub fn nightly(&self) -> CommandRun {
        pathling_import(&self.sandbox).env("SINCE", "auto")
    }

    /// A day passes, of which nothing is recorded yet.
    pub fn day(&self) {
        self.sandbox.clock().advance(Duration::from_hours(24));
        self.sandbox.clear_requests();
    }

    /// One night that ends well, after a day of which everything is recorded by now.
    pub async fn night(&mut self) -> Finished {
        self.night_of(self.nightly()).await
    }

    /// The same with another start of the command.
    pub async fn night_of(&mut self, run: CommandRun) -> Finished {
        let finished = run.run().await.expect_code(0);
        self.look();
        finished
    }

    /// What holds after each night: nothing was fetched or imported twice, and nothing is half-way.
    pub fn look(&mut self) {
        let files = self.sandbox.file_requests();
        let paths: BTreeSet<_> = files.iter().map(|file| &file.path).collect();
        assert_eq!(paths.len(), files.len(), "a file was fetched twice");
        for nonce in self.sandbox.nonces() {
            assert!(self.nonces.insert(nonce.clone()), "{nonce} was used before");
        }
        assert_nothing_half_staged(&self.sandbox);
        assert_no_token_leaks(&self.sandbox);
    }

    /// What changed since the watermark was asked for, once, and merged in one import of these types; all is there, nothing is
    /// due, and the watermark is further.
    pub fn was_a_delta_of(&mut self, files: &[&str]) {
        assert_eq!(self.sandbox.export_kick_offs().len(), 1);
        assert_eq!(self.sandbox.asked_since(), Some(self.reached.clone()));
        self.fetched(files);
        assert_eq!(self.sandbox.nonces().len(), 1);
        assert_eq!(self.sandbox.asked_mode(), "merge");
        self.is_in_step();
    }

    /// Everything was asked for, once, and took the place of what was there.
    pub fn was_full(&mut self) {
        assert_eq!(self.sandbox.export_kick_offs().len(), 1);
        assert_eq!(self.sandbox.asked_since(), None);
        assert_eq!(self.sandbox.nonces().len(), 1);
        assert_eq!(self.sandbox.asked_mode(), "overwrite");
        self.is_in_step();
    }

    /// These files of resources were fetched, and no others.
    pub fn fetched(&self, files: &[&str]) {
        let paths = self.sandbox.file_requests().into_iter();
        let names = paths.map(|file| file.path.rsplit('/').next().unwrap().to_owned());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("deleted")).collect();
        names.sort();
        assert_eq!(names, files, "files that were fetched");
    }

    /// All is there, nothing is due, and the watermark is further.
    pub fn is_in_step(&mut self) {
        assert_arrived(&self.sandbox);
        self.moved_on();
        assert_eq!(self.sandbox.state()["due"], Value::Null);
    }

    /// The watermark is further than it was, and nobody has a turn or a run that has not ended.
    pub fn moved_on(&mut self) {
        let now = self.sandbox.watermark().expect("there is a watermark");
        assert!(now > self.reached, "{now} {}", self.reached);
        self.reached = now;
        self.rests();
    }

    /// The watermark is where it was.
    pub fn stayed(&self) {
        assert_eq!(self.sandbox.watermark().unwrap_or_default(), self.reached);
    }

    fn rests(&self) {
        let state = self.sandbox.state();
        assert_eq!(state["inProgress"], Value::Null);
        assert_eq!(state["lease"], Value::Null);
    }

    /// A night after a deletion, at a Pathling that cannot delete: it says that a full run is due, and the next one is.
    pub async fn next_is_full(&mut self, due: &Finished) {
        let line = "Due     the next run is a full one: Pathling 7 cannot delete";
        assert!(due.stdout.contains(line), "{}", due.stdout);
        assert!(self.sandbox.state()["due"]["why"].is_string());
        self.moved_on();
        self.day();
        let full = self.night().await;
        assert!(!full.stdout.contains("Due  "), "{}", full.stdout);
    }
}
