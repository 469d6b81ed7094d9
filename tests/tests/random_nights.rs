//! A thousand nights that nobody has written: the source changes by chance, and whatever can go wrong does, at any moment. After
//! each night the target has what the watermark promises, and after [`QUIET`] nights without trouble what the source has.
//!
//! The workflow and the five steps are in this process, with one clock that is let go on, so nothing waits for a night to pass.
//! A story that fails prints what happened and its seed. `TEST_SEED=…` tells the stories of that seed alone, some times over: in
//! which order two answers come is no chance of ours. `RANDOM_NIGHTS=…` tells more nights, or fewer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pathling_import_core::config::Step;
use pathling_import_core::steps;
use pathling_import_tests::check::assert_arrived;
use pathling_import_tests::workflow::{Called, Ended, dying, execute, nothing};
use pathling_import_tests::{Random, RandomHospital};
use sandbox::{Fault, Place};
use serde_json::Value;

/// How many nights are told in all, where nobody says otherwise.
const NIGHTS: u64 = 1000;

/// How many nights of a story have their trouble.
const TROUBLED: u64 = 8;

/// How many nights without any it may take after them until all is well. The first may find out that an import has failed, the
/// second import that run, the third bring what came since, with deletions to a Pathling that cannot delete, and the fourth is a
/// full one then.
const QUIET: u64 = 4;

/// How often the story of a given seed is told.
const OVER: u64 = 20;

/// How many stories are told at once: most of their time goes by in waits of the loopback and the disk.
const AT_ONCE: u64 = 4;

/// One more than the hours that a run keeps its turn.
const TOO_LONG: Duration = Duration::from_hours(2);

/// What can go wrong at the four servers, each for so many times. Not that the target leaves out in silence what it should merge:
/// counts, which are all that it tells, do not show that a resource is still the old one.
fn trouble(chance: &mut Random) -> (usize, Fault) {
    let place = *chance.one_of(&[
        Place::SourceMetadata,
        Place::KickOff,
        Place::Status,
        Place::File,
        Place::StatusDelete,
        Place::TargetMetadata,
        Place::ImportKickOff,
        Place::ImportStatus,
        Place::Count,
        Place::Delete,
    ]);
    let status = *chance.one_of(&[500, 502, 504]);
    let times = 1 + few(chance, 4);
    let fault = match chance.below(14) {
        0..=4 => Fault::answers(place, status),
        5 => Fault::Html(place, 502),
        6 => Fault::KickOffAnswerLost,
        7 => Fault::SourceLosesJob,
        8 => Fault::FileCutMidway,
        9 => Fault::FileChunkedCutMidway,
        10 | 11 => chance
            .one_of(&[Fault::FileBadJson, Fault::CountWrong])
            .clone(),
        12 => Fault::TargetLosesJob,
        _ => Fault::ImportWithoutContentLocation,
    };
    (times, fault)
}

fn few(chance: &mut Random, end: u64) -> usize {
    usize::try_from(chance.below(end)).unwrap()
}

/// One execution of the workflow, with what chance has for it.
struct Execution<'a> {
    hospital: &'a RandomHospital,
    name: String,
    chance: Random,
    /// Whether it is alone: nobody else is in the middle of anything while hours pass.
    alone: bool,
    /// Whether a person has it take the place of everything, whatever the watermark says.
    anew: bool,
}

impl Execution<'_> {
    /// Goes on from a step, to the end or to where it stands still.
    async fn go(mut self, from: Step, event: Value) -> Ended {
        let (hospital, name) = (self.hospital, self.name.clone());
        let call = async |step, event| Box::pin(self.call(step, event)).await;
        let work = execute(from, event, call, |time| hospital.pass(time));
        let ended = Box::pin(work).await;
        hospital.tell(&format!("{name} {}", how(&ended)));
        ended
    }

    async fn call(&mut self, step: Step, event: Value) -> Called {
        match self.chance.below(40) {
            0..=3 => self.hospital.change(&mut self.chance),
            4 if self.hospital.restarts => {
                self.hospital.tell("the target restarts");
                self.hospital.sandbox.restart_target();
            }
            5 if self.alone => self.hospital.pass(TOO_LONG),
            6 | 7 => return Called::StoodStill,
            _ => {}
        }
        let what = format!("{} {}", self.name, step.name());
        let called = match self.chance.below(12) {
            0..=2 => self.dies(step, event).await,
            3 => {
                let first = self.answer(step, &event).await;
                self.hospital.tell(&format!("{what}: {}", words(&first)));
                self.answer(step, &event).await
            }
            4 => {
                let both = (self.answer(step, &event), self.answer(step, &event));
                let (one, other) = tokio::join!(both.0, both.1);
                self.hospital
                    .tell(&format!("{what}, another: {}", words(&other)));
                one
            }
            _ => self.answer(step, &event).await,
        };
        self.hospital.tell(&format!("{what}: {}", words(&called)));
        called
    }

    async fn answer(&self, step: Step, event: &Value) -> Called {
        let process = self.hospital.process(step, self.anew);
        Called::Answered(steps::run(step, &process, event.clone()).await)
    }

    /// A process that dies at one of its waits, or has answered before.
    async fn dies(&mut self, step: Step, event: Value) -> Called {
        let most = *self.chance.one_of(&[10, 40, 120]);
        let waits = self.chance.below(most);
        let answered = dying(waits, self.answer(step, &event)).await;
        answered.unwrap_or(Called::Died)
    }
}

fn words(called: &Called) -> String {
    match called {
        Called::Answered(Ok(output)) => told(output),
        Called::Answered(Err(error)) => format!("{}: {}", error.name(), error.what()),
        Called::Died => "died".to_owned(),
        Called::StoodStill => "stands still".to_owned(),
    }
}

/// Of an output, what tells one run from another.
fn told(output: &Value) -> String {
    let names = ["run", "since", "mode", "statusUrl"];
    let known = names.map(|name| (name, &output[name]));
    let known = known.iter().filter(|(_, value)| !value.is_null());
    let mut known: Vec<_> = known
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if let Some(result) = output.get("result") {
        let count = |list: &str| result[list].as_array().map_or(0, Vec::len);
        known.push(format!(
            "at {} with {} outputs and {} deletions",
            result["transactionTime"],
            count("output"),
            count("deleted")
        ));
    }
    known.join(", ")
}

fn how(ended: &Ended) -> String {
    match ended {
        Ended::Well => "ended well".to_owned(),
        Ended::Failed(step, _) => format!("failed at {}", step.name()),
        Ended::Before(step, _) => format!("stands still before {}", step.name()),
    }
}

/// A story of a hospital.
struct Story<'a> {
    hospital: &'a RandomHospital,
    chance: &'a mut Random,
    /// How many executions there were.
    executions: u64,
    /// Executions that stand still, each before a step.
    still: Vec<(Step, Value)>,
}

impl<'a> Story<'a> {
    fn execution(&mut self, alone: bool) -> Execution<'a> {
        self.executions += 1;
        Execution {
            hospital: self.hospital,
            name: format!("#{}", self.executions),
            chance: Random::of(self.chance.below(u64::MAX)),
            alone,
            anew: self.chance.below(8) == 0,
        }
    }

    /// A night after a day with changes, on which one execution begins, or two, and old ones may go on.
    async fn troubled_night(&mut self) {
        for _ in 0..self.chance.below(4) {
            self.hospital.change(self.chance);
        }
        for _ in 0..*self.chance.one_of(&[0, 1, 1, 2]) {
            let (times, fault) = trouble(self.chance);
            self.goes_wrong(times, fault);
        }
        if self.chance.below(4) == 0 {
            let (times, status) = (1 + few(self.chance, 3), *self.chance.one_of(&[400, 500]));
            self.goes_wrong(times, Fault::ImportFails(status));
        }
        let late = if self.chance.below(2) == 0 {
            self.still.pop()
        } else {
            None
        };
        let late_as_new = late.is_none();
        let (step, event) = late.unwrap_or((Step::FhirExport, nothing()));
        match self.chance.below(4) {
            0 => {
                let (one, other) = (self.execution(false), self.execution(false));
                let one = one.go(Step::FhirExport, nothing());
                let (one, other) = tokio::join!(Box::pin(one), Box::pin(other.go(step, event)));
                self.left(one);
                self.left(other);
            }
            1 => {
                self.alone(step, event).await;
                self.alone(Step::FhirExport, nothing()).await;
            }
            _ => {
                self.alone(Step::FhirExport, nothing()).await;
                if !late_as_new {
                    self.alone(step, event).await;
                }
            }
        }
        if self.chance.below(2) == 0 {
            self.hospital.calm();
        }
    }

    fn goes_wrong(&self, times: usize, fault: Fault) {
        self.hospital.tell(&format!("{times} times {fault}"));
        self.hospital.sandbox.faults().times(times, fault);
    }

    async fn alone(&mut self, step: Step, event: Value) {
        let ended = Box::pin(self.execution(true).go(step, event)).await;
        self.left(ended);
    }

    fn left(&mut self, ended: Ended) {
        if let Ended::Before(step, event) = ended {
            self.still.push((step, event));
        }
    }

    /// A night on which nothing goes wrong and nothing changes.
    async fn quiet_night(&mut self) {
        let hospital = self.hospital;
        let call = async |step: Step, event| {
            let process = hospital.process(step, false);
            let answered = Called::Answered(steps::run(step, &process, event).await);
            hospital.tell(&format!("{}: {}", step.name(), words(&answered)));
            answered
        };
        let work = execute(Step::FhirExport, nothing(), call, |time| {
            hospital.pass(time);
        });
        let ended = Box::pin(work).await;
        hospital.tell(&format!("the quiet night {}", how(&ended)));
    }

    fn day(&mut self) {
        let hours = 12 + self.chance.below(24);
        self.hospital.pass(Duration::from_hours(hours));
        let broken = self.hospital.broken_promise();
        assert_eq!(broken, None, "what the watermark promises");
    }

    async fn tell(&mut self) {
        for night in 1..=TROUBLED {
            self.hospital.tell(&format!("night {night}"));
            self.troubled_night().await;
            self.day();
        }
        self.hospital.calm();
        self.hospital.put(self.chance, "Patient");
        for night in 1..=QUIET {
            self.hospital.tell(&format!("quiet night {night}"));
            self.quiet_night().await;
            self.day();
        }
        assert_arrived(&self.hospital.sandbox);
        let state = self.hospital.state();
        assert!(state["due"].is_null(), "nothing is due any more: {state}");
    }
}

/// Tells the story of a seed, and what happened where it did not end well.
fn tell(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let mut chance = Random::of(seed);
    let hospital = runtime.block_on(RandomHospital::by(&mut chance));
    let mut story = Story {
        hospital: &hospital,
        chance: &mut chance,
        executions: 0,
        still: Vec::new(),
    };
    let told = AssertUnwindSafe(|| runtime.block_on(story.tell()));
    let ended = catch_unwind(told);
    let failed = ended.map_err(|_| hospital.told());
    // Its listeners end in their runtime.
    runtime.block_on(async { drop(hospital) });
    failed
}

#[test]
fn whatever_happens_the_nights_after_it_end_with_what_the_source_has() {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse().unwrap());
    let first = number("TEST_SEED");
    let nights: u64 = number("RANDOM_NIGHTS").unwrap_or(NIGHTS);
    let stories = first.map_or(nights.div_ceil(TROUBLED + QUIET), |_| OVER);
    let given = first.is_some();
    let first = first.unwrap_or_else(|| Random::seeded().below(1 << 32) << 16);
    let begun = Instant::now();
    let (next, told) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(stories) {
            scope.spawn(|| {
                loop {
                    let story = next.fetch_add(1, Ordering::Relaxed);
                    if story >= stories {
                        return;
                    }
                    let seed = first + if given { 0 } else { story };
                    if let Err(what) = tell(seed) {
                        // Nobody begins another.
                        next.store(stories, Ordering::Relaxed);
                        panic!(
                            "{what}\nafter {} stories: TEST_SEED={seed}",
                            told.load(Ordering::Relaxed)
                        );
                    }
                    told.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "{} nights in {:.1} s, from TEST_SEED={first}",
        stories * (TROUBLED + QUIET),
        begun.elapsed().as_secs_f64()
    );
}
