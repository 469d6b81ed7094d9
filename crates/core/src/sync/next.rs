//! From when on a next delta has to ask, so that nothing falls between two exports.

use std::time::SystemTime;

use jiff::Timestamp;

use super::RunRecord;
use crate::config::instant_in_utc;

/// Whether a time that a manifest tells is an instant, as it should be (Bulk Data, "Export - Complete Status"): nothing else
/// can be asked from.
#[must_use]
pub fn is_instant(time: &str) -> bool {
    instant_in_utc(time).is_some()
}

impl RunRecord {
    /// The `SINCE` of a next delta, where it is not the manifest's own time: that should be when the job began, and some
    /// servers tell when it ended. What changed between is in neither export then. The first kick-off's answer was there
    /// before, by the source's own clock (`Date`).
    #[must_use]
    pub fn next_since(&self) -> Option<String> {
        let told: Timestamp = self.manifest.as_ref()?.transaction_time.parse().ok()?;
        let dates = self.kick_offs.iter().filter_map(|kick_off| {
            let date = httpdate::parse_http_date(kick_off.date.as_deref()?).ok()?;
            date.duration_since(SystemTime::UNIX_EPOCH).ok()
        });
        let asked = i64::try_from(dates.min()?.as_secs()).ok()?;
        // `Date` has whole seconds, so less than one of them may come twice, and is merged.
        let asked = Timestamp::from_second(asked).ok()?;
        (told > asked).then(|| asked.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{KickOff, ManifestSeen};

    fn record(told: &str, dates: &[&str]) -> RunRecord {
        RunRecord {
            manifest: Some(ManifestSeen {
                transaction_time: told.to_owned(),
                ..ManifestSeen::default()
            }),
            kick_offs: dates
                .iter()
                .map(|date| KickOff {
                    date: Some((*date).to_owned()),
                    ..KickOff::default()
                })
                .collect(),
            ..RunRecord::default()
        }
    }

    #[test]
    fn a_time_that_is_later_than_the_kick_offs_answer_is_not_asked_from() {
        let (early, late) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:59:37 GMT",
        );
        let asked = Some("1994-11-06T08:49:37Z".to_owned());
        for (told, dates, next) in [
            ("1994-11-06T08:49:36Z", &[early][..], None),
            ("1994-11-06T08:49:37Z", &[early], None),
            ("1994-11-06T08:49:37.999Z", &[early], asked.clone()),
            ("1994-11-06T08:49:38Z", &[early], asked.clone()),
            ("1994-11-06T10:49:38+02:00", &[early], asked.clone()),
            // The same job for a later kick-off.
            ("1994-11-06T08:59:37Z", &[early, late], asked.clone()),
            ("1994-11-06T08:59:37Z", &["nonsense"], None),
            ("1994-11-06T08:59:37Z", &[], None),
            ("nonsense", &[early], None),
        ] {
            assert_eq!(record(told, dates).next_since(), next, "{told} {dates:?}");
        }
        assert_eq!(RunRecord::default().next_since(), None);
    }
}
