//! Which of the staged resources of a type are read back: all of them, or some that chance picks.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use futures_util::StreamExt as _;
use serde_json::Value;

use super::super::run::files_of;
use super::Sample;
use crate::error::{Kind, Result};
use crate::lines::{LONGEST, Line, Lines};
use crate::staging::{Chunks, Staging, layout};

/// From how many files of a type some are picked: each is read whole, so that any of its lines may be one of them.
const FILES: usize = 10;

/// How many lines are held at once, about.
const HELD: usize = 64;

/// One line that is to be read back.
pub(super) struct Picked {
    pub(super) key: String,
    /// Its number, from 1.
    pub(super) line: u64,
    /// The resource and its id; `None` for a line that is none, or too long to be read.
    pub(super) resource: Option<(String, Value)>,
}

/// The lines of one type's files, some at a time.
pub(super) struct Picking<'a> {
    staging: &'a Staging,
    files: VecDeque<String>,
    /// How many lines of each file, where not all.
    of_each: Option<usize>,
    open: Option<Open>,
    chance: Chance,
}

struct Open {
    key: String,
    chunks: Chunks,
    lines: Lines,
    number: u64,
}

/// Numbers that nobody foresees.
struct Chance {
    state: RandomState,
    count: u64,
}

impl Chance {
    /// One below `most`, which is not zero.
    fn below(&mut self, most: u64) -> u64 {
        self.count += 1;
        self.state.hash_one(self.count) % most
    }
}

impl<'a> Picking<'a> {
    pub(super) async fn of(
        staging: &'a Staging,
        run: &str,
        resource_type: &str,
        sample: Sample,
    ) -> Result<Self> {
        let folder = layout::type_folder(run, resource_type);
        let files = files_of(staging, run, resource_type).await?;
        let mut files = files.ok_or_else(|| {
            Kind::StagingDenied
                .error(format!("{} cannot be listed", staging.url(&folder)))
                .next("Allow s3:ListBucket below STAGING_URL.")
        })?;
        if files.is_empty() {
            return Err(Kind::Input
                .error(format!("{} holds no files any more", staging.url(&folder)))
                .next("Verify a run before its files expire."));
        }
        let mut chance = Chance {
            state: RandomState::new(),
            count: 0,
        };
        let of_each = match sample {
            Sample::All => None,
            Sample::Of(most) => {
                while files.len() > FILES.min(most.max(1)) {
                    let at = usize::try_from(chance.below(files.len() as u64)).unwrap_or_default();
                    files.swap_remove(at);
                }
                Some(most.div_ceil(files.len()))
            }
        };
        Ok(Self {
            staging,
            files: files.into(),
            of_each,
            open: None,
            chance,
        })
    }

    /// The next lines; none where there are no more.
    pub(super) async fn next(&mut self) -> Result<Vec<Picked>> {
        loop {
            if self.open.is_none() {
                let Some(key) = self.files.pop_front() else {
                    return Ok(Vec::new());
                };
                let chunks = self.staging.read_stream(&key).await?;
                let chunks = chunks.ok_or_else(|| {
                    Kind::StagingDenied
                        .error(format!("{} cannot be read", self.staging.url(&key)))
                        .next("See that it has not expired, and allow s3:GetObject below STAGING_URL.")
                })?;
                self.open = Some(Open {
                    key,
                    chunks,
                    lines: Lines::new(LONGEST),
                    number: 0,
                });
            }
            let Some(open) = self.open.take() else {
                continue;
            };
            let picked = match self.of_each {
                None => self.some(open).await?,
                Some(most) => some_of_all(open, most, &mut self.chance).await?,
            };
            if !picked.is_empty() {
                return Ok(picked);
            }
        }
    }

    /// Lines as they stand, not many more than are held at once.
    async fn some(&mut self, mut open: Open) -> Result<Vec<Picked>> {
        let mut picked = Vec::new();
        while picked.len() < HELD {
            let Some(chunk) = open.chunks.next().await else {
                let (key, mut number) = (open.key, open.number);
                open.lines.finish(|line| {
                    number += 1;
                    picked.push(pick(&key, number, line));
                });
                return Ok(picked);
            };
            let (key, number) = (&open.key, &mut open.number);
            open.lines.take(&chunk?, |line| {
                *number += 1;
                picked.push(pick(key, *number, line));
            });
        }
        self.open = Some(open);
        Ok(picked)
    }
}

/// So many of all lines of a file, each as likely as any other.
async fn some_of_all(mut open: Open, most: usize, chance: &mut Chance) -> Result<Vec<Picked>> {
    let mut picked: Vec<Picked> = Vec::new();
    let (key, mut number) = (open.key, 0);
    let mut with = |line: Line<'_>| {
        number += 1;
        if picked.len() < most {
            picked.push(pick(&key, number, line));
            return;
        }
        let place = usize::try_from(chance.below(number)).unwrap_or(usize::MAX);
        if let Some(other) = picked.get_mut(place) {
            *other = pick(&key, number, line);
        }
    };
    while let Some(chunk) = open.chunks.next().await {
        open.lines.take(&chunk?, &mut with);
    }
    open.lines.finish(&mut with);
    Ok(picked)
}

fn pick(key: &str, line: u64, text: Line<'_>) -> Picked {
    Picked {
        key: key.to_owned(),
        line,
        resource: match text {
            Line::Whole(text) => super::resource(text),
            Line::TooLong => None,
        },
    }
}
