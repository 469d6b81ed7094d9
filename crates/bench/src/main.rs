//! `pathling-import-bench`: measures the transfer against what the wire allows.
//!
//! One program with many parts, for source, S3 and mover are processes of their own: CPU and memory are then the mover's
//! alone. [`run`] starts them in turn and prints the table; the other subcommands are what it starts.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![allow(
    clippy::cast_precision_loss,
    reason = "bytes and requests become figures of a table"
)]

mod checks;
mod client;
mod corpus;
mod gunzip;
mod limit;
mod mover;
mod plan;
mod run;
mod serve;
mod source;
mod spec;
mod store;
mod usage;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::runtime::{Builder, Runtime};

/// What went wrong, for the person who runs the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

/// Measures the transfer to S3 against a program with no logic, on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measure everything and print one table
    Run(run::Options),
    /// Serve files over HTTP until stdin ends
    Source(source::Options),
    /// Serve s3s-fs over HTTP until stdin ends
    S3(store::Options),
    /// Move the files of a description from source to S3 with no logic at all
    Limit(limit::Options),
    /// Move the files of a manifest with the step transfer-to-s3
    Mover {
        /// The step's event
        event: PathBuf,
    },
    /// Plan the files of a manifest, and move none
    Plan {
        /// The manifest
        manifest: PathBuf,
    },
    /// Measure what finding ids that come twice costs beside the checks
    Checks(checks::Options),
    /// Fetch one gzip stream and drop what it holds
    Gunzip {
        /// The source's host and port
        authority: String,
        /// The stream's path
        path: String,
    },
}

fn main() -> ExitCode {
    let part = Arguments::parse().part;
    // What is measured ends with whoever measures it, a profiler in between included. The servers see to that themselves.
    if !matches!(
        part,
        Part::Run(_) | Part::Checks(_) | Part::Source(_) | Part::S3(_)
    ) {
        let _ = set_pdeathsig(Signal::SIGKILL);
    }
    let outcome = match part {
        Part::Run(options) => run::run(&options),
        Part::Checks(options) => checks::run(&options),
        Part::Source(options) => wait(Runtime::new(), source::serve(options)),
        Part::S3(options) => wait(Runtime::new(), store::serve(options)),
        // One thread is enough: with more, they only wake each other up, while the servers want the cores.
        Part::Limit(options) => wait(
            Builder::new_current_thread().enable_all().build(),
            limit::run(options),
        ),
        Part::Mover { event } => wait(pathling_import_core::runtime(), mover::run(event)),
        Part::Plan { manifest } => wait(Runtime::new(), plan::run(manifest)),
        Part::Gunzip { authority, path } => wait(Runtime::new(), gunzip::run(authority, path)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn wait(
    runtime: io::Result<Runtime>,
    work: impl Future<Output = Outcome<()>> + 'static,
) -> Outcome<()> {
    runtime?.block_on(work)
}

/// A line for the person who waits.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line that is the answer.
fn answer(line: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
