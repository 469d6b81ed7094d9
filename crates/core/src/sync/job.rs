//! What a run's record knows of the export's job at the source: whether it was seen there, and whether it was deleted.

use serde::{Deserialize, Serialize};

use super::{KickOff, RunRecord};
use crate::error::Result;
use crate::staging::Staging;

/// The outcome of a run that a person has given up.
pub const CANCELLED: &str = "cancelled";

/// That the source was asked to delete an export's job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobDeleted {
    /// When, by this machine's clock.
    pub at: String,
    /// The job's status URL.
    pub status_url: String,
    /// The time of the kick-off that began the job, which names it; absent where none was recorded.
    pub kick_off: Option<String>,
    /// The status that the source answered with; absent where no answer has come.
    pub answer: Option<u16>,
}

/// That files of an export were staged before its manifest was complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedEarly {
    /// How many notes there are of what was planned: `_early/<nnnnn>.jsonl`.
    pub notes: usize,
    /// Whether what the complete manifest names otherwise is removed.
    pub settled: bool,
}

impl JobDeleted {
    /// The deletion, to be asked for at this moment, of the job of `status_url`.
    #[must_use]
    pub fn of(status_url: &str, record: &RunRecord, at: String) -> Self {
        let kick_off = record.kick_off_of(status_url);
        Self {
            at,
            status_url: status_url.to_owned(),
            kick_off: kick_off.map(|kick_off| kick_off.at.clone()),
            answer: None,
        }
    }

    /// Whether it is of the same job.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        self.status_url == other.status_url && self.kick_off == other.kick_off
    }
}

impl RunRecord {
    /// The record of the run that a kick-off recorded under `run` belongs to: where the newest one turned out to be another
    /// run's, that one's record.
    pub async fn load_newest(staging: &Staging, run: &str) -> Result<Self> {
        let record = Self::load(staging, run).await?;
        let newest = record.newest_kick_off().map(|kick_off| &kick_off.at);
        match record.moved.last() {
            Some((at, to)) if newest.is_none_or(|newest| newest < at) => {
                Self::load(staging, &to.clone()).await
            }
            _ => Ok(record),
        }
    }

    /// The newest kick-off, if it is the one that led to this status URL.
    #[must_use]
    pub fn kick_off_of(&self, status_url: &str) -> Option<&KickOff> {
        self.newest_kick_off()
            .filter(|kick_off| kick_off.status_url == status_url)
    }

    /// Writes down that the source knows the job of this status URL, the first time. Best effort: it only chooses words.
    pub async fn saw_job(&self, staging: &Staging, status_url: &str) {
        let Some(kick_off) = self.kick_off_of(status_url).filter(|it| it.seen.is_none()) else {
            return;
        };
        let seen = staging.clock().moment();
        let written = Self::update(staging, &self.run, |record| {
            let mut known = record.kick_offs.iter_mut();
            let known = known.find(|known| known.at == kick_off.at && known.seen.is_none());
            known.map(|known| known.seen = Some(seen.clone())).is_some()
        });
        if let Err(error) = written.await {
            tracing::debug!(
                run = self.run,
                error = error.what(),
                "that the export was seen could not be written down"
            );
        }
    }

    /// The deletion of the job that the newest kick-off began. A kick-off after it may have begun another at the same URL.
    #[must_use]
    pub fn deletion(&self) -> Option<&JobDeleted> {
        let newest = self.newest_kick_off()?;
        let deleted = self.job_deleted.as_ref()?;
        (deleted.kick_off.as_ref() == Some(&newest.at)).then_some(deleted)
    }

    /// When a person gave the run up, unless a newer kick-off has begun it anew.
    #[must_use]
    pub fn cancelled(&self) -> Option<&str> {
        let ended = self.ended()?;
        (ended.name == CANCELLED).then_some(ended.at.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kick_offs: &[&str]) -> RunRecord {
        let kick_off = |at: &&str| KickOff {
            at: (*at).to_owned(),
            status_url: "https://h/status/1".to_owned(),
            ..KickOff::default()
        };
        RunRecord {
            kick_offs: kick_offs.iter().map(kick_off).collect(),
            ..RunRecord::default()
        }
    }

    #[test]
    fn a_deletion_is_of_the_newest_kick_offs_job_and_of_no_later_one() {
        let mut once = record(&["t1"]);
        assert_eq!(once.deletion(), None);
        let deleted = JobDeleted::of("https://h/status/1", &once, String::new());
        once.job_deleted = Some(deleted.clone());
        assert_eq!(once.deletion(), Some(&deleted));
        let mut twice = record(&["t1", "t2"]);
        twice.job_deleted = Some(deleted.clone());
        assert_eq!(twice.deletion(), None);
        assert!(!deleted.is_of(&JobDeleted::of("https://h/status/1", &twice, String::new())));
    }

    #[test]
    fn a_deletion_that_no_kick_off_names_says_nothing_of_the_next_job_there() {
        let mut unknown = record(&[]);
        unknown.job_deleted = Some(JobDeleted::of(
            "https://h/status/1",
            &unknown,
            String::new(),
        ));
        assert_eq!(unknown.deletion(), None);
        let elsewhere = JobDeleted::of("https://h/status/2", &record(&["t1"]), String::new());
        assert_eq!(elsewhere.kick_off, None);
    }
}
