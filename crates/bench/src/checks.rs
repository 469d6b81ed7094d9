//! What finding ids that come twice costs: the same lines go by the checks with and without it, in turn, in one process
//! without a network.

use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use pathling_import_core::config::Validate;
use pathling_import_core::transfer::Ids;
use pathling_import_core::transfer::check::Checker;

use crate::corpus::{Corpus, type_of};
use crate::{Outcome, answer, usage};

const MIB: usize = 1 << 20;

/// As the wire hands bytes on.
const CHUNK: usize = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many MiB go by, all of one type
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// Measures, and prints one table.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let bytes = options.size * MIB;
    let corpus = Corpus::new(bytes, MIB);
    let file = corpus.file(bytes, 0).ok_or("the file is too small")?;
    let (mut without, mut with, mut finding) = (Vec::new(), Vec::new(), Vec::new());
    let mut resources = 0;
    let mut room = 0;
    for _ in 0..options.runs {
        without.push(timed(|| check(&file, None).map(drop))?);
        let ids = Ids::beside(u64::MAX);
        with.push(timed(|| {
            resources = check(&file, Some(&ids))?;
            Ok(())
        })?);
        finding.push(timed(|| {
            let (found, beside) = ids.equal(1);
            let none = found.is_empty() && beside == 0 && ids.looked_at_all();
            none.then_some(())
                .ok_or_else(|| "every id is there once".into())
        })?);
        room = ids.room();
    }
    let gib = bytes as f64 / f64::from(1 << 30);
    answer(format!(
        "{} MiB, {resources} resources, {} runs; seconds of one core for each GiB (least to most)",
        options.size, options.runs
    ))?;
    for (name, mut seconds) in [
        ("checks alone", without),
        ("checks, and a hash of each id", with),
        ("finding equal ones at the end", finding),
    ] {
        seconds.sort_by(f64::total_cmp);
        let [least, median, most] =
            [0, seconds.len() / 2, seconds.len() - 1].map(|at| seconds[at] / gib);
        answer(format!(
            "| {name} | {median:.3} ({least:.3} to {most:.3}) |"
        ))?;
    }
    let mib = room as f64 / MIB as f64 / gib;
    answer(format!("| room for the hashes | {mib:.1} MiB |"))?;
    Ok(())
}

fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let (begin, cpu) = (Instant::now(), usage::cpu()?);
    work()?;
    // One thread alone works, so that its time is its processor's, whatever else the machine does.
    Ok((usage::cpu()? - cpu).min(begin.elapsed().as_secs_f64()))
}

/// Gives how many resources went by.
fn check(file: &[Bytes], ids: Option<&Ids>) -> Outcome<u64> {
    let resource_type = type_of(0);
    let mut checker = Checker::new(resource_type, Validate::Lines);
    if let Some(ids) = ids {
        checker = checker.looking(ids.of(resource_type, 0));
    }
    for piece in file {
        for from in (0..piece.len()).step_by(CHUNK) {
            let chunk = piece.slice(from..piece.len().min(from + CHUNK));
            checker.chunk(chunk, drop).map_err(|bad| bad.to_string())?;
        }
    }
    checker.finish(drop).map_err(|bad| bad.to_string())?;
    if let (Some(ids), Some(hashes)) = (ids, checker.hashes()) {
        ids.keep("file", hashes);
    }
    Ok(checker.resources())
}
