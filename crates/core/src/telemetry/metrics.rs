//! The metrics of one call of a function: docs/telemetry.md lists them. Each has one dimension at most, and few values of it:
//! CloudWatch charges for every pair that comes up.

use serde_json::Number;

use super::emf::{self, Head, Metric};
use super::meter::Counts;
use crate::error::{Error, Kind};
use crate::pathling;

/// The type under which all are counted that FHIR R4 does not know: a source may make names up.
const OTHER_TYPE: &str = "Other";

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    /// The step's name.
    pub(crate) step: &'a str,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Whether it was the first of its process.
    pub(crate) cold_start: bool,
    /// What it ended with.
    pub(crate) error: Option<&'a Error>,
    /// What it came to.
    pub(crate) counts: &'a Counts,
}

/// The lines to write, for a namespace, where the log's level is `level`.
pub(crate) fn lines(
    ended: &Ended<'_>,
    namespace: &str,
    level: &str,
    run: Option<&str>,
) -> Vec<String> {
    let head = Head {
        namespace,
        level,
        at: jiff::Timestamp::now(),
        run,
    };
    emf::lines(&head, &ended.metrics())
}

impl Ended<'_> {
    fn metrics(&self) -> Vec<Metric<'_>> {
        let step = Some(("Step", self.step));
        let mut metrics = vec![seconds("Seconds", step, self.seconds)];
        if self.cold_start {
            metrics.push(count("ColdStarts", None, 1));
        }
        match self.error {
            Some(error) if error.kind() == Kind::JobInProgress => {
                metrics.push(count("Waits", step, 1));
            }
            Some(error) => metrics.push(count("Errors", Some(("Error", error.name())), 1)),
            None => {}
        }
        if let Some(moved) = &self.counts.moved {
            metrics.push(count("Files", None, moved.files));
            metrics.push(Metric {
                unit: "Bytes",
                ..count("Bytes", None, moved.bytes)
            });
            metrics.push(count("Retries", None, moved.retries));
        }
        let mut others = 0;
        for (name, number) in &self.counts.resources {
            if pathling::is_r4(name) {
                metrics.push(count("Resources", Some(("Type", name)), *number));
            } else {
                others += number;
            }
        }
        if others > 0 {
            metrics.push(count("Resources", Some(("Type", OTHER_TYPE)), others));
        }
        if self.counts.imported {
            metrics.push(count("RunsImported", None, 1));
        }
        if self.counts.held {
            metrics.push(count("RunsHeld", None, 1));
        }
        if self.counts.unverified {
            metrics.push(count("RunsUnverified", None, 1));
        }
        if let Some(freshness) = self.counts.freshness {
            metrics.push(seconds("FreshnessSeconds", None, freshness.as_secs_f64()));
        }
        metrics
    }
}

fn count<'a>(
    name: &'static str,
    dimension: Option<(&'static str, &'a str)>,
    value: u64,
) -> Metric<'a> {
    Metric {
        name,
        unit: "Count",
        dimension,
        value: value.into(),
    }
}

fn seconds<'a>(
    name: &'static str,
    dimension: Option<(&'static str, &'a str)>,
    value: f64,
) -> Metric<'a> {
    // To the millisecond; a whole number where there is no such one, which cannot be.
    let value = Number::from_f64((value * 1000.0).round() / 1000.0);
    Metric {
        name,
        unit: "Seconds",
        dimension,
        value: value.unwrap_or_else(|| 0.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(error: Option<&Error>, counts: &Counts) -> Vec<String> {
        let ended = Ended {
            step: "transfer-to-s3",
            seconds: 0.5,
            cold_start: false,
            error,
            counts,
        };
        let shown = |metric: &Metric<'_>| {
            let of = metric.dimension.map(|(_, value)| format!(" of {value}"));
            format!("{}{}", metric.name, of.unwrap_or_default())
        };
        ended.metrics().iter().map(shown).collect()
    }

    #[test]
    fn an_error_counts_by_its_name_and_a_job_that_goes_on_is_none() {
        let counts = Counts::default();
        let error = Kind::Integrity.error("x");
        assert_eq!(
            named(Some(&error), &counts),
            ["Seconds of transfer-to-s3", "Errors of IntegrityError"]
        );
        let error = Kind::JobInProgress.error("x");
        assert_eq!(
            named(Some(&error), &counts),
            ["Seconds of transfer-to-s3", "Waits of transfer-to-s3"]
        );
    }

    #[test]
    fn types_that_a_source_made_up_are_one_type() {
        let names = ["Abracadabra", "Patient", "Task", "Zzz"];
        let counts = Counts {
            resources: names.map(|name| (name.to_owned(), 2)).into(),
            ..Counts::default()
        };
        assert_eq!(
            named(None, &counts)[1..],
            [
                "Resources of Patient",
                "Resources of Task",
                "Resources of Other"
            ]
        );
    }
}
