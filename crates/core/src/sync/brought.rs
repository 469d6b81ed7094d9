//! The types of which the target may have resources: a full run that has none of one of them can have it emptied.
//!
//! What was asked of the target counts from then on, for nobody knows what a run that died or failed has left there.

use super::{RunRecord, SyncState, Transferred};

impl SyncState {
    /// The types of which the target may have resources.
    pub(crate) fn types_in_target(&self) -> impl Iterator<Item = &String> {
        let full = self.full.iter().flat_map(|full| &full.types);
        full.chain(&self.brought)
    }

    /// Takes in of which types a run is about to bring resources.
    pub(super) fn note_brought(&mut self, record: &RunRecord) {
        let Some(transfer) = &record.transfer else {
            return;
        };
        for resource_type in transfer.types() {
            if !self.types_in_target().any(|known| known == resource_type) {
                self.brought.push(resource_type.clone());
            }
        }
    }

    /// Whether a full run that arrived knew of all types that others brought before it. Of what it knew, its own note tells from
    /// now on.
    pub(super) fn knew_all(&mut self, transfer: &Transferred) -> bool {
        let known = |name: &String| {
            transfer
                .types()
                .chain(&transfer.missing)
                .any(|it| it == name)
        };
        self.brought.retain(|name| !known(name));
        self.brought.is_empty()
    }
}

impl Transferred {
    /// The types of which it brought resources that a target can hold.
    pub(super) fn types(&self) -> impl Iterator<Item = &String> {
        let brought = self.resources.iter().filter(|(_, count)| **count > 0);
        let names = brought.map(|(name, _)| name);
        names.filter(|name| !self.unsupported.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::config::ImportMode;
    use crate::sync::{IMPORTED, KickOff, ManifestSeen, Outcome};

    /// A run that brought these types, has its turn, and replaces where it was a full one.
    fn run(name: &str, since: Option<&str>, types: &[&str], missing: &[&str]) -> RunRecord {
        let mode = if since.is_none() {
            ImportMode::Overwrite
        } else {
            ImportMode::Merge
        };
        RunRecord {
            run: name.to_owned(),
            kick_offs: vec![KickOff {
                since: since.map(str::to_owned),
                ..KickOff::default()
            }],
            manifest: Some(ManifestSeen {
                transaction_time: "2026-01-01T00:00:00Z".to_owned(),
                ..ManifestSeen::default()
            }),
            attempts: vec![crate::sync::Attempt::default()],
            transfer: Some(Transferred {
                mode: mode.as_str().to_owned(),
                resources: types.iter().map(|&name| (name.to_owned(), 1)).collect(),
                missing: missing.iter().map(|&name| name.to_owned()).collect(),
                emptied: true,
                ..Transferred::default()
            }),
            ..RunRecord::default()
        }
    }

    fn import(state: &mut SyncState, record: &RunRecord, outcome: &str) {
        let now = Timestamp::now();
        state.enter(record, now, Duration::from_secs(1), None);
        let outcome = Outcome {
            name: outcome.to_owned(),
            ..Outcome::default()
        };
        state.conclude(record, &outcome, now);
    }

    fn types(state: &SyncState) -> Vec<&str> {
        state.types_in_target().map(String::as_str).collect()
    }

    #[test]
    fn what_any_run_brought_is_known_until_a_full_one_has_emptied_it() {
        let mut state = SyncState::default();
        import(
            &mut state,
            &run("failed", None, &["Condition"], &[]),
            "ImportFailedError",
        );
        assert_eq!(types(&state), ["Condition"]);
        import(
            &mut state,
            &run("full", None, &["Patient"], &["Condition"]),
            IMPORTED,
        );
        assert_eq!(types(&state), ["Patient"]);
        import(
            &mut state,
            &run("delta", Some("2025"), &["Condition", "Patient"], &[]),
            IMPORTED,
        );
        assert_eq!(types(&state), ["Patient", "Condition"]);
        state.due = None;
        import(
            &mut state,
            &run("next", None, &["Patient"], &["Condition"]),
            IMPORTED,
        );
        assert_eq!(types(&state), ["Patient"]);
        assert_eq!(state.due, None);
    }

    #[test]
    fn an_older_full_run_that_is_found_out_late_to_have_ended_forgets_nothing() {
        let mut state = SyncState::default();
        let (mut older, mut newer) = (
            run("older", None, &["Patient"], &[]),
            run("newer", None, &["Condition", "Patient"], &[]),
        );
        older.kick_offs[0].at = "2026-01-01".to_owned();
        newer.kick_offs[0].at = "2026-01-02".to_owned();
        import(&mut state, &newer, IMPORTED);
        import(&mut state, &older, IMPORTED);
        assert_eq!(types(&state), ["Condition", "Patient"]);
        assert_eq!(state.full.map(|full| full.run).as_deref(), Some("newer"));
    }

    #[test]
    fn a_full_run_that_did_not_know_of_a_type_makes_another_due() {
        let mut state = SyncState::default();
        import(
            &mut state,
            &run("delta", Some("2025"), &["Condition"], &[]),
            IMPORTED,
        );
        import(&mut state, &run("full", None, &["Patient"], &[]), IMPORTED);
        assert!(state.due.is_some());
        assert_eq!(types(&state), ["Patient", "Condition"]);
    }
}
