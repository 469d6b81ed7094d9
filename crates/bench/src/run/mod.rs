//! The benchmark itself: starts source and S3, lets mover and limit work in turn, and prints one table.
//!
//! The machine is never quiet, so what is compared is measured in turn, several times, and the table shows medians. Both
//! servers are started once, and S3's folder is emptied before each measurement.

mod ask;
mod check;
mod lambda;
mod measure;
mod moves;
mod supervise;
mod table;
mod works;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::{Outcome, answer, say};
use measure::Bench;
use supervise::Supervisor;
use works::Work;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often each measurement is taken
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Only these works, by their letters, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "WORK")]
    only: Vec<Work>,
    /// A sixteenth of everything
    #[arg(long)]
    quick: bool,
    /// A Lambda's binary to start; otherwise the one that was built for Lambda, or else the release build
    #[arg(long, value_name = "PATH")]
    lambda: Option<PathBuf>,
    /// Also profile the mover once for each work, with `perf record`, into this folder
    #[arg(long, value_name = "FOLDER")]
    profile_mover: Option<PathBuf>,
    /// Where S3 keeps its objects; otherwise in memory where there is room
    #[arg(long, value_name = "FOLDER")]
    within: Option<PathBuf>,
    /// Also write every single measurement into this file
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// After how many seconds one measurement is given up
    #[arg(long, default_value_t = 300)]
    patience: u64,
}

/// Measures, prints the table, and leaves nothing behind.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let begin = Instant::now();
    let works: Vec<Work> = Work::ALL
        .into_iter()
        .filter(|work| options.only.is_empty() || options.only.contains(work))
        .collect();
    let supervisor = Supervisor::new(Duration::from_secs(options.patience))?;
    let mut rows = Vec::new();
    {
        let bench = Bench::start(&supervisor, &works, options)?;
        for work in &works {
            say(&format!(
                "{:>4} s  {}",
                begin.elapsed().as_secs(),
                work.title(options.quick)
            ));
            rows.extend(match work {
                Work::Plan => bench.plan()?,
                Work::Start => lambda::rows(&supervisor, options)?,
                _ => bench.work(*work)?,
            });
        }
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    answer(table::machine()?)?;
    answer(table::table(&rows))?;
    say(&format!("{:>4} s  done", begin.elapsed().as_secs()));
    Ok(())
}
