//! The command `pathling-import`: the five steps in order, with their waits, where there is no Step Functions.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod args;
mod audit;
mod cancel;
mod command;
mod drive;
mod ending;
#[cfg(test)]
mod fixture;
mod meter;
mod progress;
mod report;
mod status;
mod stop;
mod summary;
mod verify;
mod waits;
mod words;

fn main() -> std::process::ExitCode {
    command::run(&args::Args::read())
}
