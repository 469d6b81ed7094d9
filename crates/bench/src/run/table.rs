//! The table: medians of what was measured, one row a work.

use std::fmt::Write as _;

use serde::Serialize;

use super::works::Work;
use crate::serve::Count;
use crate::usage::Took;
use crate::{Outcome, usage};

/// All that was measured of one work.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip)]
    work: Work,
    title: String,
    files: u64,
    bytes: u64,
    /// What the mover took, each time.
    pub(super) mover: Vec<Took>,
    /// What source and S3 were asked meanwhile.
    pub(super) source: Vec<Count>,
    pub(super) s3: Vec<Count>,
    /// What it is compared with.
    pub(super) limit: Option<Limit>,
    /// What else there is to say.
    pub(super) beside: String,
}

/// What the program with no logic took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limit {
    pub(super) concurrency: usize,
    /// From source to S3.
    pub(super) whole: Vec<Took>,
    /// For how many seconds of each of these S3 put parts together, while nothing moved.
    pub(super) completing: Vec<f64>,
    /// From memory to S3.
    pub(super) memory: Vec<Took>,
    /// Decompression alone.
    pub(super) gunzip: Vec<Took>,
}

impl Row {
    pub(super) fn new(work: Work, title: &str, files: u64, bytes: u64) -> Self {
        Self {
            work,
            title: title.to_owned(),
            files,
            bytes,
            mover: Vec::new(),
            source: Vec::new(),
            s3: Vec::new(),
            limit: None,
            beside: String::new(),
        }
    }

    fn wall(&self) -> f64 {
        median(&self.mover, |took| took.wall)
    }

    fn cells(&self, all: &[Self]) -> [String; 13] {
        let wall = self.wall();
        let all_walls = || self.mover.iter().map(|took| took.wall);
        let (least, most) = (
            all_walls().fold(f64::INFINITY, f64::min),
            all_walls().fold(0.0, f64::max),
        );
        let cpu = median(&self.mover, |took| took.cpu);
        let rss = median(&self.mover, |took| took.rss as f64) / f64::from(1 << 20);
        let limit = self.limit.as_ref();
        let whole = limit.map(|limit| median(&limit.whole, |took| took.wall));
        let memory = limit.map(|limit| median(&limit.memory, |took| took.wall));
        let ratio = |to: Option<f64>| to.map_or(String::new(), |to| format!("{:.2}", wall / to));
        let asked = |counts: &[Count]| {
            let requests = median(counts, |count| count.requests() as f64);
            if counts.is_empty() {
                String::new()
            } else {
                format!("{requests:.0}")
            }
        };
        let (from, to) = (asked(&self.source), asked(&self.s3));
        let used = |counts: &[Count]| seconds(median(counts, |count| count.cpu));
        [
            self.title.clone(),
            format!(
                "{} ({} to {})",
                seconds(wall),
                seconds(least),
                seconds(most)
            ),
            whole.map_or(String::new(), |whole| {
                let at = limit.map_or(0, |limit| limit.concurrency);
                format!("{} at {at}", seconds(whole))
            }),
            ratio(whole),
            memory.map_or(String::new(), seconds),
            ratio(memory),
            if self.work == Work::Start {
                String::new()
            } else {
                seconds(cpu)
            },
            // Of small files, it is their number that counts.
            if self.bytes / self.files.max(1) < 1 << 20 {
                String::new()
            } else {
                seconds(cpu / (self.bytes as f64 / f64::from(1 << 30)))
            },
            format!("{rss:.0} MiB"),
            from,
            to,
            if self.source.is_empty() {
                String::new()
            } else {
                format!("{} / {}", used(&self.source), used(&self.s3))
            },
            self.beside(all),
        ]
    }

    /// What a work has beside what all have.
    fn beside(&self, all: &[Self]) -> String {
        let other = |work| all.iter().find(|row| row.work == work);
        let each = |row: &Self| row.wall() / row.files as f64 * 1_000_000.0;
        match (self.work, &self.limit) {
            (Work::A, Some(limit)) => format!(
                "{} of the limit is S3 putting parts together",
                seconds(median(&limit.completing, |seconds| *seconds))
            ),
            (Work::D, _) => match other(Work::C) {
                Some(c) => format!("{:.0} µs a file, c: {:.0} µs", each(self), each(c)),
                None => format!("{:.0} µs a file", each(self)),
            },
            (Work::E, Some(limit)) => {
                let alone = median(&limit.gunzip, |took| took.wall);
                let whole = median(&limit.whole, |took| took.wall);
                let plain = self.source.iter().any(|count| count.gzip == 0);
                format!(
                    "gunzip alone {}, {:.2} × that and the limit{}",
                    seconds(alone),
                    self.wall() / (alone + whole),
                    if plain {
                        "; the mover did not ask for gzip"
                    } else {
                        ""
                    }
                )
            }
            (Work::F, _) => other(Work::B).map_or(String::new(), |b| {
                format!("{:.2} × b", self.wall() / b.wall())
            }),
            _ => self.beside.clone(),
        }
    }
}

/// The whole table, as Markdown.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| work | wall | limit, at the best concurrency | × limit | PUT from memory | × memory | CPU | CPU a GiB | peak RSS \
         | requests to source | to S3 | CPU of source / S3 | beside |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "| {} |", row.cells(rows).join(" | "));
    }
    text.truncate(text.trim_end().len());
    text
}

/// What the figures were measured on.
pub(super) fn machine() -> Outcome<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let names = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .map(|name| name.trim_start_matches([' ', '\t', ':']));
    let name = names.clone().next().unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{} × {name}, {} GiB of memory free, Linux {}\n",
        std::thread::available_parallelism().map_or(1, usize::from),
        usage::available()? >> 30,
        kernel.trim()
    ))
}

/// The middle of the values; of an even number of them, the middle of the middle two.
pub(super) fn median<T>(measured: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = measured.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(value) if values.len() % 2 == 1 => *value,
        Some(value) => f64::midpoint(values[middle - 1], *value),
    }
}

/// Seconds, or milliseconds where they are few.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.2} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let of = |values: &[f64]| median(values, |value| *value);
        assert!((of(&[3.0, 1.0, 9.0]) - 3.0).abs() < f64::EPSILON);
        assert!((of(&[4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
        assert!(of(&[]).abs() < f64::EPSILON);
    }
}
