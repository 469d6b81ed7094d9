//! Finding equal hashes, in little more memory than they take: those that begin alike at a time.

use std::sync::PoisonError;

use super::{Ids, Kept, Line};

/// How many hashes are compared at a time: so many, or a sixteenth of all.
const AT_A_TIME: usize = 1 << 16;

/// How many lines are named of those whose ids have the same hash.
const NAMED: usize = 10;

/// A hash, and where it is: which object, and which of its lines.
type Placed = (u64, u32, u32);

/// Lines whose ids have the same hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Equal {
    /// The first ten of them, in their order.
    pub lines: Vec<Line>,
    /// How many there are.
    pub count: u64,
}

impl Ids {
    /// The lines whose ids have the same hash, no more than `most` such groups, and how many groups there are beside them. It
    /// takes a processor about a second for ten million ids.
    #[must_use]
    pub fn equal(&self, most: usize) -> (Vec<Equal>, u64) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = kept.iter().map(|kept| kept.hashes.all.len()).sum();
        let bits = (total / AT_A_TIME)
            .checked_ilog2()
            .map_or(0, |log| (log + 1).min(4));
        let (mut groups, mut beside) = (Vec::new(), 0);
        for beginning in 0..1_u64 << bits {
            let mut some = beginning_with(&kept, beginning, bits);
            // By their places too.
            some.sort_unstable();
            for group in some.chunk_by(|a, b| a.0 == b.0) {
                if group.len() < 2 {
                    continue;
                }
                if groups.len() == most {
                    beside += 1;
                    continue;
                }
                let named = group.iter().take(NAMED);
                let mut lines: Vec<_> = named.filter_map(|it| line(&kept, it)).collect();
                lines.sort_unstable();
                groups.push(Equal {
                    lines,
                    count: group.len() as u64,
                });
            }
        }
        (groups, beside)
    }
}

fn beginning_with(kept: &[Kept], beginning: u64, bits: u32) -> Vec<Placed> {
    let mut some = Vec::new();
    for (object, kept) in (0..).zip(kept) {
        for (line, hash) in (0..).zip(&kept.hashes.all) {
            if bits == 0 || hash >> (u64::BITS - bits) == beginning {
                some.push((*hash, object, line));
            }
        }
    }
    some
}

fn line(kept: &[Kept], (_, object, line): &Placed) -> Option<Line> {
    let kept = kept.get(*object as usize)?;
    Some(Line {
        key: kept.key.clone(),
        number: kept.before + u64::from(*line) + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Validate;
    use crate::transfer::check::Checker;

    fn add(ids: &Ids, key: &str, names: impl IntoIterator<Item = String>) {
        let mut checker = Checker::new("Patient", Validate::Lines).looking(ids.of("Patient", 0));
        for name in names {
            let line = format!("{{\"resourceType\":\"Patient\",\"id\":\"{name}\"}}\n");
            checker.chunk(line.into(), |_| {}).unwrap();
        }
        ids.keep(key, checker.hashes().unwrap());
    }

    fn line(key: &str, number: u64) -> Line {
        Line {
            key: key.to_owned(),
            number,
        }
    }

    #[test]
    fn the_same_id_in_two_files_or_in_one_is_found_among_a_million() {
        let ids = Ids::beside(32 << 20);
        for file in 0..10 {
            let names = (0..100_000).map(|number| match (file, number) {
                (7, 99_999) => "2-17".to_owned(),
                (5, 8 | 9) => "same".to_owned(),
                _ => format!("{file}-{number}"),
            });
            add(&ids, &format!("{file}"), names);
        }
        let (mut groups, beside) = ids.equal(10);
        groups.sort();
        let equal = |lines: [Line; 2]| Equal {
            lines: lines.into(),
            count: 2,
        };
        let wanted = [
            equal([line("2", 18), line("7", 100_000)]),
            equal([line("5", 9), line("5", 10)]),
        ];
        assert_eq!((groups.as_slice(), beside), (wanted.as_slice(), 0));
        assert_eq!((ids.equal(1).0.len(), ids.equal(1).1), (1, 1));
        assert!(ids.looked_at_all());
    }

    #[test]
    fn what_there_is_no_room_for_is_said_and_what_was_given_up_makes_room_again() {
        let ids = Ids::beside(2 * 8 * 1000);
        let names = |from: usize, to: usize| (from..to).map(|number| number.to_string());
        let mut given_up = ids.of("Patient", 0);
        (0..600).for_each(|hash| given_up.push(hash));
        drop(given_up);
        add(&ids, "a", names(0, 500));
        assert!(ids.looked_at_all());
        add(&ids, "b", names(400, 2000));
        assert!(!ids.looked_at_all(), "there is room for a thousand");
        add(&ids, "c", names(499, 501));
        assert_eq!(ids.equal(9).0[0].lines, [line("a", 500), line("c", 1)]);
        assert!(ids.room.taken.load(std::sync::atomic::Ordering::Relaxed) <= 8 * 1000);
    }

    #[test]
    fn of_an_id_that_is_everywhere_some_lines_are_named_and_all_are_counted() {
        let ids = Ids::beside(32 << 20);
        add(&ids, "a", std::iter::repeat_n("same".to_owned(), 50_000));
        let (groups, beside) = ids.equal(9);
        assert_eq!((groups.len(), beside), (1, 0));
        assert_eq!((groups[0].lines.len(), groups[0].count), (10, 50_000));
    }

    #[test]
    fn ids_of_two_types_are_two_ids() {
        let ids = Ids::beside(32 << 20);
        let same = |resource_type: &str| {
            let hashes = ids.of(resource_type, 0);
            let mut checker = Checker::new(resource_type, Validate::Json).looking(hashes);
            let line = format!("{{\"resourceType\":\"{resource_type}\",\"id\":\"1\"}}\n");
            checker.chunk(line.into(), |_| {}).unwrap();
            ids.keep(resource_type, checker.hashes().unwrap());
        };
        same("Patient");
        same("Condition");
        assert_eq!(ids.equal(9), (Vec::new(), 0));
    }
}
