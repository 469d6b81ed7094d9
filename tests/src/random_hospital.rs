//! A hospital whose source changes by chance, with a Pathling that is kept in step with it in this process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pathling_import_core::clock::Clock;
use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::Context;
use sandbox::{Dataset, Fault, Habit, PathlingVersion, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Env, Random};

/// The types of its resources. At first it has some of the last ones.
const TYPES: [&str; 3] = ["Condition", "Observation", "Patient"];

/// How many resources of a type there can be.
const IDS: u64 = 5;

/// What passes before each change: several come in one second, and in that of a kick-off.
const MOMENT: Duration = Duration::from_millis(150);

/// What was done to a resource last, and when, by the source's clock.
struct Change {
    at: Timestamp,
    /// The resource; none where it is deleted.
    line: Option<String>,
}

/// The hospital.
pub struct RandomHospital {
    /// Its servers, all with one clock.
    pub sandbox: Sandbox,
    /// Whether its Pathling may be restarted, which does away with jobs that failed, too.
    pub restarts: bool,
    /// Whether its source tells as an export's time when that was complete.
    tells_end: bool,
    env: Env,
    staging: TempDir,
    changes: Mutex<Changes>,
    told: Mutex<String>,
}

#[derive(Default)]
struct Changes {
    /// How many there were: no two resources are alike.
    count: u64,
    newest: BTreeMap<(String, String), Change>,
}

impl RandomHospital {
    /// A hospital with a few patients, and settings by chance. Its staging is a folder, in memory where there is such a thing.
    pub async fn by(chance: &mut Random) -> Self {
        let version = *chance.one_of(&[PathlingVersion::Seven, PathlingVersion::Two]);
        let mut builder = Sandbox::builder().pathling(version).auth(false);
        builder = builder.data(Dataset::empty()).resources_per_file(2);
        builder = builder.polls(few(chance, 2)).import_polls(few(chance, 2));
        let sandbox = builder.start().await.expect("the sandbox starts");
        let memory = Path::new("/dev/shm");
        let staging = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let staging = staging.expect("a folder can be made");
        let folder = staging.path().to_str().expect("its name is a text");
        let mut env = Env::of(&sandbox).with("STAGING_URL", folder);
        env.set("SINCE", "auto");
        env.set("EMPTY_MISSING_TYPES", "true");
        env.set("RESUME", *chance.one_of(&["true", "false"]));
        env.set("RESUME_WITHIN", *chance.one_of(&["86400", "259200"]));
        env.set("DELETE_EXPORT_JOB", *chance.one_of(&["true", "false"]));
        env.set("SINCE_OVERLAP", *chance.one_of(&["0", "0", "3600"]));
        env.set("DELETIONS_LIMIT", *chance.one_of(&["200", "200", "2"]));
        let hospital = Self {
            sandbox,
            restarts: chance.below(4) == 0,
            tells_end: chance.below(3) == 0,
            env,
            staging,
            changes: Mutex::default(),
            told: Mutex::default(),
        };
        hospital.tell(&format!("a hospital with Pathling {version:?}"));
        hospital.calm();
        for _ in 0..4 {
            hospital.put(chance, "Patient");
        }
        hospital
    }

    /// A process that does this step, or that of a full run which replaces everything (`anew`).
    pub fn process(&self, step: Step, anew: bool) -> Context {
        let mut env = self.env.clone();
        if anew {
            env.set("SINCE", "");
            env.set("IMPORT_MODE", "overwrite");
        }
        let env = env.of_step(step);
        let env: BTreeMap<String, String> = env
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let settings = Settings::load(step, &env, None).expect("these are settings");
        let clock = self.sandbox.clock();
        Context::new(settings).by(Clock::told_by(move || clock.now()))
    }

    /// All trouble is over, but what the source makes a habit of.
    pub fn calm(&self) {
        let faults = self.sandbox.faults();
        faults.clear();
        if self.tells_end {
            faults.on(Fault::Habit(Habit::TransactionTimeAtEnd));
        }
    }

    /// Lets time pass at once.
    pub fn pass(&self, time: Duration) {
        self.sandbox.clock().advance(time);
    }

    /// One more thing that happened.
    pub fn tell(&self, what: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.sandbox.clock().now();
        writeln!(told, "{now:.3} {what}").expect("a text takes all");
    }

    /// Everything that happened.
    pub fn told(&self) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Something changes at the source.
    pub fn change(&self, chance: &mut Random) {
        let kind = *chance.one_of(&TYPES);
        match chance.below(10) {
            0..=4 => self.put(chance, kind),
            5..=7 => {
                if let Some(id) = self.any(chance, kind) {
                    self.delete(kind, &id);
                    if chance.below(3) == 0 {
                        self.put_as(kind, &id);
                    }
                }
            }
            8 => {
                while let Some(id) = self.any(chance, kind) {
                    self.delete(kind, &id);
                }
            }
            _ => {
                self.put(chance, kind);
                self.put(chance, "Patient");
            }
        }
    }

    /// A resource of a type is new or another one.
    pub fn put(&self, chance: &mut Random, kind: &str) {
        self.put_as(kind, &format!("{}", chance.below(IDS)));
    }

    fn put_as(&self, kind: &str, id: &str) {
        self.pass(MOMENT);
        let mut changes = self.changes();
        changes.count += 1;
        let word = format!("x-{}", changes.count);
        let resource = json!({"resourceType": kind, "id": id, "language": word});
        assert!(self.sandbox.source_put(&resource));
        self.tell(&format!("put {kind}/{id} {word}"));
        let change = Change {
            at: self.sandbox.clock().now(),
            line: Some(word),
        };
        changes
            .newest
            .insert((kind.to_owned(), id.to_owned()), change);
    }

    fn delete(&self, kind: &str, id: &str) {
        self.pass(MOMENT);
        let mut changes = self.changes();
        assert!(self.sandbox.source_delete(kind, id));
        self.tell(&format!("delete {kind}/{id}"));
        let at = self.sandbox.clock().now();
        let change = Change { at, line: None };
        changes
            .newest
            .insert((kind.to_owned(), id.to_owned()), change);
    }

    fn any(&self, chance: &mut Random, kind: &str) -> Option<String> {
        let changes = self.changes();
        let there = changes.newest.iter();
        let there = there.filter(|((of, _), change)| of == kind && change.line.is_some());
        let ids: Vec<_> = there.map(|((_, id), _)| id.clone()).collect();
        (!ids.is_empty()).then(|| chance.one_of(&ids).clone())
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of the synchronisation, once there is one.
    pub fn state(&self) -> Value {
        let states = std::fs::read_dir(self.staging.path().join("sync"));
        let mut states = states.into_iter().flatten().flatten().map(|it| it.path());
        let state = states.find(|it| it.extension().is_some_and(|it| it == "json"));
        state.map_or(Value::Null, |path| {
            let text = std::fs::read(path).expect("a state can be read");
            serde_json::from_slice(&text).expect("a state is JSON")
        })
    }

    /// Where the target is behind what the state promises of it: where nothing is due, it has all that the source had up to the
    /// watermark, and nothing that was deleted until then. Whatever changed later may be there or not.
    pub fn broken_promise(&self) -> Option<String> {
        let state = self.state();
        let reached = state["watermark"]["at"].as_str()?;
        let reached: Timestamp = reached.parse().expect("a watermark is an instant");
        if !state["due"].is_null() {
            return None;
        }
        let changes = self.changes();
        let mut promised = changes.newest.iter().filter(|(_, it)| it.at <= reached);
        promised.find_map(|((kind, id), change)| {
            let rows = self.sandbox.rows(kind).into_iter();
            let rows = rows.filter(|row| row.id.as_deref() == Some(id));
            let found: Vec<Value> = rows
                .map(|row| serde_json::from_slice(&row.line).expect("a row is JSON"))
                .map(|row: Value| row["language"].clone())
                .collect();
            let wanted: Vec<Value> = change.line.iter().map(|word| json!(word)).collect();
            (found != wanted).then(|| {
                format!("{kind}/{id} should be {wanted:?} since {} and is {found:?}, with the watermark at {reached}", change.at)
            })
        })
    }
}

fn few(chance: &mut Random, end: u64) -> usize {
    usize::try_from(chance.below(end)).unwrap_or_default()
}
