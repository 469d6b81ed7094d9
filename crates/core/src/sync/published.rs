//! What a run's record knows of a manifest that takes the place of an export: nothing was asked for, nothing has to be
//! deleted, and the same manifest may come back night after night.

use serde::{Deserialize, Serialize};

use super::{Attempt, RunRecord};

/// The outcome of an attempt to import that the target carried out.
pub const SUCCEEDED: &str = "succeeded";

/// That a run was begun with a manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FromManifest {
    /// Whether it is to be imported although it was before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
    /// When all of it was imported before, once that is known: then there was nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_before: Option<String>,
}

impl RunRecord {
    /// Whether a manifest took the place of this run's export.
    #[must_use]
    pub fn is_from_manifest(&self) -> bool {
        self.newest_kick_off()
            .is_some_and(|begun| begun.manifest.is_some())
    }

    /// The import by which an earlier start brought the same manifest to the target, unless it is to be done anew. What was
    /// imported is for the caller to compare.
    #[must_use]
    pub fn imported_before(&self) -> Option<&Attempt> {
        let newest = self.newest_kick_off()?;
        newest.manifest.as_ref().filter(|manifest| !manifest.anew)?;
        let attempt = self.attempts.last()?;
        let mut earlier = self.kick_offs.iter().rev();
        let of_attempt = earlier.find(|begun| begun.at <= attempt.at)?;
        let is_earlier = of_attempt.at != newest.at;
        (is_earlier && attempt.outcome.as_deref() == Some(SUCCEEDED)).then_some(attempt)
    }

    /// When the same export was imported under an earlier kick-off than the newest, to which the source has answered with it
    /// again. A manifest that takes the place of an export may come back, and is no export.
    #[must_use]
    pub fn imported_under_an_earlier_kick_off(&self) -> Option<&str> {
        let newest = self.newest_kick_off()?;
        let attempt = self.attempts.last()?;
        let succeeded = attempt.outcome.as_deref() == Some(SUCCEEDED);
        let earlier = succeeded && attempt.at < newest.at && newest.manifest.is_none();
        earlier.then(|| attempt.ended.as_deref().unwrap_or(&attempt.at))
    }

    /// Takes in that there was nothing to do. Of earlier starts that had nothing to do, none is kept: a manifest may stay the
    /// same for years.
    pub fn note_imported_before(&mut self, at: &str) {
        let Some(newest) = self.kick_offs.pop() else {
            return;
        };
        let idle = |manifest: &FromManifest| manifest.imported_before.is_some();
        self.kick_offs
            .retain(|begun| !begun.manifest.as_ref().is_some_and(idle));
        self.kick_offs.push(newest);
        let newest = self.kick_offs.last_mut();
        if let Some(manifest) = newest.and_then(|newest| newest.manifest.as_mut()) {
            manifest.imported_before = Some(at.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::KickOff;

    fn begun(at: &str) -> KickOff {
        KickOff {
            at: at.to_owned(),
            manifest: Some(FromManifest::default()),
            ..KickOff::default()
        }
    }

    fn record(begun: Vec<KickOff>, imported: &str) -> RunRecord {
        RunRecord {
            kick_offs: begun,
            attempts: vec![Attempt {
                at: imported.to_owned(),
                outcome: Some(SUCCEEDED.to_owned()),
                ..Attempt::default()
            }],
            ..RunRecord::default()
        }
    }

    #[test]
    fn only_an_import_of_an_earlier_start_counts() {
        let twice = record(vec![begun("1"), begun("3")], "2");
        assert!(twice.imported_before().is_some());
        let own = record(vec![begun("1")], "2");
        assert!(own.imported_before().is_none(), "its own import goes on");
        let mut failed = twice.clone();
        failed.attempts[0].outcome = Some("failed".to_owned());
        assert!(failed.imported_before().is_none());
        let mut anew = twice.clone();
        anew.kick_offs[1].manifest = Some(FromManifest {
            anew: true,
            ..FromManifest::default()
        });
        assert!(anew.imported_before().is_none());
        let mut export = twice;
        export.kick_offs[1].manifest = None;
        assert!(export.imported_before().is_none());
    }

    #[test]
    fn nights_without_anything_to_do_leave_one_entry() {
        let mut record = record(vec![begun("1")], "2");
        for at in ["3", "4", "5"] {
            record.kick_offs.push(begun(at));
            assert!(record.imported_before().is_some(), "{at}");
            record.note_imported_before("2");
        }
        let times: Vec<_> = record
            .kick_offs
            .iter()
            .map(|begun| begun.at.as_str())
            .collect();
        assert_eq!(times, ["1", "5"]);
    }
}
