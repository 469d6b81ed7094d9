//! All interleavings of runs that are under way at once, with crashes and turns that run out: whatever happens, the nights
//! after it end with what the source has.
//!
//! The source gets one more resource at each moment, which no later change brings again. A run exports, waits for its turn, asks the target to import, and
//! ends; its decisions are those of [`SyncState`] itself. The target imports in the order in which it was asked. Every order of
//! these steps is gone through, with each process dying at any of them and the lease running out at any moment.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    Attempt, Gate, IMPORTED, KickOff, ManifestSeen, Outcome, RunRecord, SyncState, Transferred,
};
use crate::clock::moment;
use crate::config::{Deletions, ImportMode, SyncSettings};

const LEASE: Duration = Duration::from_hours(1);

const SETTINGS: SyncSettings = SyncSettings {
    auto: true,
    overlap: Duration::ZERO,
    full_every: None,
    deletions: Deletions::Apply,
    deletions_limit: 200,
    verify: true,
    lease: LEASE,
    resume: false,
    resume_within: Duration::ZERO,
    empty_missing_types: false,
};

/// Resources, by the moment at which each came.
type Content = BTreeSet<u64>;

/// How the writes of the state are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// As they are: on the newest state, or not at all.
    Conditional,
    /// Whoever writes puts what it read and changed in the place of whatever is there.
    Blind,
}

#[derive(Clone, Debug, PartialEq)]
enum At {
    Begin,
    Waits(RunRecord),
    /// With blind writes: what it has read, changed, and not written yet.
    Writes(RunRecord, Box<SyncState>, bool),
    Asks(RunRecord),
    Imports(RunRecord),
    Over,
}

#[derive(Clone)]
struct World {
    time: u64,
    clock: Timestamp,
    /// How often it was looked at: no two moments are the same.
    looks: i64,
    state: SyncState,
    target: Content,
    /// Imports that the target was asked for and has not done: the run, whether it replaces, and what it brings.
    queue: Vec<(String, bool, Content)>,
    done: Vec<String>,
    processes: Vec<At>,
    crashes: usize,
    expiries: usize,
}

fn instant(time: u64) -> String {
    Timestamp::from_second(1_700_000_000 + i64::try_from(time).unwrap_or_default())
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// What the source has at a moment, and what of it changed after another.
fn source(time: u64, since: u64) -> Content {
    (since + 1..=time).collect()
}

impl World {
    fn new(processes: usize) -> Self {
        Self {
            time: 1,
            clock: Timestamp::UNIX_EPOCH,
            looks: 0,
            state: SyncState::default(),
            target: Content::new(),
            queue: Vec::new(),
            done: Vec::new(),
            processes: vec![At::Begin; processes],
            crashes: 1,
            expiries: 1,
        }
    }

    fn now(&mut self) -> Timestamp {
        self.looks += 1;
        let looks = SignedDuration::from_micros(self.looks);
        self.clock.checked_add(looks).unwrap_or(Timestamp::MAX)
    }

    /// A process takes its next step; `None` where it cannot.
    fn step(&self, index: usize, writes: Writes) -> Option<Self> {
        let mut next = self.clone();
        let now = next.now();
        let at = match &self.processes[index] {
            At::Begin => At::Waits(next.export(index, now)),
            At::Waits(record) => {
                let mut state = next.state.clone();
                let asked = next.asked();
                let gate = state.enter(record, now, LEASE, asked.as_deref());
                let opened = match gate {
                    Gate::Open(_) => true,
                    Gate::Superseded(_) | Gate::Over => false,
                    Gate::Held { .. } => return None,
                };
                match writes {
                    Writes::Blind => At::Writes(record.clone(), Box::new(state), opened),
                    Writes::Conditional => {
                        next.state = state;
                        if opened {
                            At::Asks(record.clone())
                        } else {
                            At::Over
                        }
                    }
                }
            }
            At::Writes(record, state, opened) => {
                next.state = (**state).clone();
                if *opened {
                    At::Asks(record.clone())
                } else {
                    At::Over
                }
            }
            // Once more just before: what came between may have taken long.
            At::Asks(record) if next.state.lease_left(&record.run, now).is_none() => {
                At::Waits(record.clone())
            }
            At::Asks(record) => {
                next.ask(record);
                At::Imports(record.clone())
            }
            At::Imports(record) => {
                if !next.done.contains(&record.run) {
                    return None;
                }
                let outcome = Outcome::at(moment(now), IMPORTED, None);
                next.state.end(record, &outcome, now);
                At::Over
            }
            At::Over => return None,
        };
        next.processes[index] = at;
        Some(next)
    }

    /// The run whose turn it is, where it has asked the target.
    fn asked(&self) -> Option<String> {
        let run = &self.state.lease.as_ref()?.run;
        let is_queued = self.queue.iter().any(|(queued, ..)| queued == run);
        (is_queued || self.done.contains(run)).then(|| run.clone())
    }

    fn export(&mut self, index: usize, now: Timestamp) -> RunRecord {
        self.time += 1;
        let plan = self.state.next(&SETTINGS, now);
        let mode = plan.mode.unwrap_or(ImportMode::Merge);
        RunRecord {
            run: format!("{index}"),
            kick_offs: vec![KickOff {
                at: moment(now),
                since: plan.since,
                ..KickOff::default()
            }],
            manifest: Some(ManifestSeen {
                transaction_time: instant(self.time),
                outputs: usize::try_from(self.time).unwrap_or_default(),
                ..ManifestSeen::default()
            }),
            attempts: vec![Attempt::default()],
            transfer: Some(Transferred {
                mode: mode.as_str().to_owned(),
                ..Transferred::default()
            }),
            ..RunRecord::default()
        }
    }

    /// Asks the target to import what a run has exported.
    fn ask(&mut self, record: &RunRecord) {
        let time = record.manifest.as_ref().map_or(0, |seen| seen.outputs) as u64;
        let since = record.kick_offs[0].since.as_deref();
        let since = (0..=time).find(|it| since == Some(instant(*it).as_str()));
        let replaces = record
            .transfer
            .as_ref()
            .is_some_and(|it| it.mode == "overwrite");
        let brings = source(time, since.unwrap_or_default());
        self.queue.push((record.run.clone(), replaces, brings));
    }

    /// The target does what it was asked for first.
    fn import(&self) -> Option<Self> {
        let mut next = self.clone();
        if next.queue.is_empty() {
            return None;
        }
        let (run, replaces, brings) = next.queue.remove(0);
        if replaces {
            next.target.clear();
        }
        next.target.extend(brings);
        next.done.push(run);
        Some(next)
    }

    fn crash(&self, index: usize) -> Option<Self> {
        let over = matches!(self.processes[index], At::Over | At::Begin);
        let mut next = self.clone();
        next.crashes = next.crashes.checked_sub(1).filter(|_| !over)?;
        next.processes[index] = At::Over;
        Some(next)
    }

    fn expire(&self) -> Option<Self> {
        let mut next = self.clone();
        next.expiries = next
            .expiries
            .checked_sub(1)
            .filter(|_| self.state.lease.is_some())?;
        next.clock = next.later();
        Some(next)
    }

    fn later(&self) -> Timestamp {
        self.clock.checked_add(LEASE * 2).unwrap_or(Timestamp::MAX)
    }

    /// Everything that can happen now.
    fn successors(&self, writes: Writes) -> Vec<Self> {
        let all = 0..self.processes.len();
        let steps = all.clone().filter_map(|index| self.step(index, writes));
        let crashes = all.filter_map(|index| self.crash(index));
        let others = self.import().into_iter().chain(self.expire());
        steps.chain(crashes).chain(others).collect()
    }

    /// What is in the target after quiet nights: the target does what it was asked for, and runs come one by one.
    fn after_quiet_nights(&self, nights: usize) -> Content {
        let mut world = self.clone();
        while let Some(next) = world.import() {
            world = next;
        }
        for night in 0..nights {
            world.clock = world.later();
            world.processes = vec![At::Begin; 10 + night + 1];
            let index = world.processes.len() - 1;
            while let Some(next) = world
                .step(index, Writes::Conditional)
                .or_else(|| world.import())
            {
                world = next;
            }
        }
        world.target
    }

    /// Whose turn it is, and whether it is over.
    fn turn<'a>(&self, state: &'a SyncState) -> Option<(&'a str, bool)> {
        let lease = state.lease.as_ref()?;
        Some((&lease.run, lease.until <= moment(self.clock)))
    }

    /// What decides of what can come of it.
    fn fingerprint(&self) -> String {
        let due = self.state.due.as_ref();
        let processes: Vec<_> = self
            .processes
            .iter()
            .map(|at| {
                let (name, record, written) = match at {
                    At::Begin => ("begin", None, None),
                    At::Waits(record) => ("waits", Some(record), None),
                    At::Writes(record, state, opened) => {
                        let state = (self.turn(state), state.watermark.as_ref().map(|it| &it.at));
                        (
                            "writes",
                            Some(record),
                            Some((format!("{state:?}"), *opened)),
                        )
                    }
                    At::Asks(record) => ("asks", Some(record), None),
                    At::Imports(record) => ("imports", Some(record), None),
                    At::Over => ("over", None, None),
                };
                let record = record.map(|it| {
                    let begun = &it.kick_offs[0];
                    let clears = due.is_some_and(|due| due.since < begun.at);
                    (it.as_of(), begun.since.clone(), clears)
                });
                (name, record, written)
            })
            .collect();
        let watermark = self.state.watermark.as_ref().map(|it| (&it.at, &it.run));
        format!(
            "{:?}",
            (
                (watermark, self.turn(&self.state), due.is_some()),
                (self.time, self.clock, &self.target, &self.queue, &self.done),
                (processes, self.crashes, self.expiries),
            )
        )
    }
}

/// Goes through all that can happen. Gives how many states there are, and the first that does not end well.
fn explore(processes: usize, writes: Writes) -> (usize, Option<World>) {
    let mut seen = HashSet::new();
    let mut open = vec![World::new(processes)];
    while let Some(world) = open.pop() {
        if !seen.insert(world.fingerprint()) {
            continue;
        }
        // However far it is: what is half-way may stay so for good. One night may be a delta that makes a full one due.
        let nights = 3;
        let wanted = source(world.time + nights, 0);
        let nights = usize::try_from(nights).unwrap_or_default();
        if world.after_quiet_nights(nights) != wanted {
            return (seen.len(), Some(world));
        }
        open.extend(world.successors(writes));
    }
    (seen.len(), None)
}

#[test]
fn whatever_meets_or_dies_the_nights_after_it_end_with_what_the_source_has() {
    let (states, wrong) = explore(3, Writes::Conditional);
    assert!(
        wrong.is_none(),
        "{}",
        wrong.map(|it| it.fingerprint()).unwrap_or_default()
    );
    assert_eq!(
        states, 7456,
        "states; docs/decisions/0022-in-step.md names them"
    );
}

#[test]
fn a_state_that_is_written_blindly_is_found_out() {
    let (_, wrong) = explore(3, Writes::Blind);
    assert!(wrong.is_some());
}
