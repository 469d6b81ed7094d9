//! What a run's folder holds already, from one listing of it: the copier need not ask for each file, and what does not
//! belong there is seen before Pathling's pattern would find it.

use std::fmt;

use crate::error::{Kind, Result};
use crate::staging::layout::{self, Role};
use crate::staging::{Hint, Listed};

use super::plan::Plan;

/// How many names of files that do not belong there a message holds.
const NAMED: usize = 3;

/// What was there when it was listed, in little memory.
pub struct Listing {
    /// By index: the size of the object under the file's own name, or [`ABSENT`].
    sizes: Vec<u64>,
    /// By index: whether there is state of its own.
    parts: Vec<bool>,
    /// By index: whether the file looks complete.
    complete: Vec<bool>,
    /// Names that neither the manifest nor the layout gives, a few of them.
    strays: Vec<String>,
    stray_count: usize,
}

/// No object has this size.
const ABSENT: u64 = u64::MAX;

impl Listing {
    /// Sorts the objects below the run's folder by the files of `plan`, which must be the whole plan of its manifest.
    #[must_use]
    pub fn of(plan: &Plan, listed: Vec<Listed>) -> Self {
        let mut found = Self {
            sizes: vec![ABSENT; plan.indices()],
            parts: vec![false; plan.indices()],
            complete: Vec::new(),
            strays: Vec::new(),
            stray_count: 0,
        };
        let mut files = vec![false; plan.indices()];
        for slot in plan.order() {
            if let Some(is_file) = files.get_mut(slot as usize) {
                *is_file = true;
            }
        }
        for Listed { key, size } in listed {
            match layout::role_of(plan.run(), &key) {
                Role::Elsewhere => {}
                Role::Part(index) => {
                    if let Some(part) = found.parts.get_mut(index) {
                        *part = true;
                    }
                }
                Role::File(index)
                    if files.get(index) == Some(&true) && plan.is_key(index, &key) =>
                {
                    found.sizes[index] = size;
                }
                Role::File(index) if plan.is_piece(index, &key) => {}
                Role::Empty if size == 0 => {}
                Role::File(_) | Role::Empty | Role::Stray => {
                    found.stray_count += 1;
                    found.strays.push(key);
                    // The first by name, so that two calls say the same.
                    found.strays.sort_unstable();
                    found.strays.truncate(NAMED);
                }
            }
        }
        let is_complete = |index: usize| {
            let alone = found.has_part(index) && plan.is_done_without_object(index);
            alone || found.size(index).is_some()
        };
        found.complete = (0..plan.indices()).map(is_complete).collect();
        found
    }

    /// The bytes of the file of this index, if it looks complete. What is there in truth, its record says.
    #[must_use]
    pub fn complete(&self, index: usize) -> Option<u64> {
        let complete = self.complete.get(index).copied().unwrap_or_default();
        complete.then(|| self.size(index).unwrap_or_default())
    }

    /// What is known of the file of this index, so that it need not be asked for.
    #[must_use]
    pub fn hint(&self, index: usize) -> Hint {
        Hint::Listed {
            object: self.size(index),
            record: self.has_part(index),
        }
    }

    /// The size of the object under the name of the file of this index, where there is one.
    fn size(&self, index: usize) -> Option<u64> {
        let size = self.sizes.get(index).copied();
        size.filter(|size| *size != ABSENT)
    }

    /// Whether the file of this index has state below `_parts/`.
    fn has_part(&self, index: usize) -> bool {
        self.parts.get(index).copied().unwrap_or_default()
    }

    /// Gives [`Kind::StagingDenied`] where there are files that the import would take for the run's own. `url` makes a URL
    /// of a key.
    pub fn refuse_strays(&self, url: impl Fn(&str) -> String) -> Result<()> {
        if self.strays.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = self.strays.iter().map(|key| url(key)).collect();
        let more = match self.stray_count - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Kind::StagingDenied
            .error(format!(
                "the run's folder holds files that its manifest does not name, and the import would read them: {}{more}",
                named.join(", ")
            ))
            .next("Remove them, and start again: the run goes on."))
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("strays", &self.strays)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::manifest::Manifest;

    fn plan() -> Plan {
        let file = |n: usize| json!({"type": "Patient", "url": format!("http://h/{n}")});
        let manifest =
            json!({"transactionTime": "t", "output": [file(0), file(1), file(1), file(3)]});
        Plan::new("a1", Arc::new(Manifest::read(&manifest, None).unwrap())).unwrap()
    }

    fn listed(keys: &[&str]) -> Vec<Listed> {
        let keys = keys.iter().zip(7..);
        keys.map(|(key, size)| Listed {
            key: (*key).to_owned(),
            size: if key.ends_with("/empty.ndjson") {
                0
            } else {
                size
            },
        })
        .collect()
    }

    #[test]
    fn what_is_there_is_known_by_the_files_index() {
        let plan = plan();
        let (first, last) = (plan.file(0).unwrap(), plan.file(3).unwrap());
        let keys = [
            &first.key,
            &last.part_key,
            "runs/a1/_run.json",
            "runs/a1/Patient/empty.ndjson",
            "runs/a1/_log.ndjson",
        ];
        let listing = Listing::of(&plan, listed(&keys));
        assert_eq!(
            [0, 1, 2, 3, 9].map(|index| listing.size(index)),
            [Some(7), None, None, None, None]
        );
        assert_eq!(
            [0, 1, 2, 3, 9].map(|index| listing.has_part(index)),
            [false, false, false, true, false]
        );
        listing.refuse_strays(str::to_owned).unwrap();
    }

    #[test]
    fn a_file_looks_complete_by_its_object_or_where_it_has_none_by_its_record() {
        let outputs = json!([
            {"type": "Patient", "url": "http://h/0"},
            {"type": "Patient", "url": "http://h/1"},
            {"url": "http://h/2"},
            {"type": "Patient", "url": "http://h/3", "count": 0},
            {"type": "Patient", "url": "http://h/4", "count": 1},
            {"url": "http://h/5"},
        ]);
        let manifest = json!({"transactionTime": "t", "output": outputs});
        let manifest = Arc::new(Manifest::read(&manifest, None).unwrap());
        let plan = Plan::new("a1", manifest).unwrap();
        let part = |slot: u32| plan.file(slot).unwrap().part_key;
        let keys = [
            plan.file(0).unwrap().key,
            part(1),
            part(2),
            part(3),
            part(4),
        ];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let listing = Listing::of(&plan, listed(&keys));
        let complete: Vec<_> = (0..6).map(|index| listing.complete(index)).collect();
        assert_eq!(complete, [Some(7), None, Some(0), Some(0), None, None]);
    }

    #[test]
    fn files_that_the_manifest_does_not_name_are_refused_by_name() {
        let plan = plan();
        let key = plan.file(1).unwrap().key;
        let again = layout::file_key("a1", "Patient", 2, "http://h/1");
        let moved = key.replace("Patient", "Condition");
        for stray in [
            &again,
            &moved,
            "runs/a1/Patient/00001-0123456789ab.ndjson",
            "runs/a1/Patient/old.ndjson",
        ] {
            let listing = Listing::of(&plan, listed(&[&key, stray]));
            let error = listing
                .refuse_strays(|key| format!("s3://b/{key}"))
                .unwrap_err();
            assert_eq!(error.kind(), Kind::StagingDenied);
            assert!(
                error
                    .what()
                    .ends_with(&format!("read them: s3://b/{stray}")),
                "{error}"
            );
        }
        let mut full = listed(&[&key, "runs/a1/Patient/empty.ndjson"]);
        full[1].size = 1;
        let listing = Listing::of(&plan, full);
        listing.refuse_strays(str::to_owned).unwrap_err();
        let many = ["e", "b", "d", "c", "a"].map(|name| format!("runs/a1/Patient/{name}.ndjson"));
        let listing = Listing::of(&plan, listed(&many.each_ref().map(String::as_str)));
        let error = listing.refuse_strays(str::to_owned).unwrap_err();
        assert!(
            error.what().ends_with(
                "Patient/a.ndjson, runs/a1/Patient/b.ndjson, runs/a1/Patient/c.ndjson and 2 more"
            ),
            "{error}"
        );
    }
}
