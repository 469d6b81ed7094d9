//! The steps of a synchronisation from a FHIR server to Pathling, and all that they stand on.
//!
//! Arrows point one way: entry points -> [`steps`] -> ([`export`] | [`transfer`] | [`pathling`] | [`sync`]) ->
//! ([`staging`] | [`http`]) -> ([`config`] | [`manifest`] | [`error`] | [`clock`]). What happens meanwhile is told as [`progress`], of
//! which [`audit`] writes down what concerns the export. What is left of a run afterwards is a [`report`].

pub mod answered;
pub mod audit;
pub mod clock;
pub mod config;
pub mod error;
pub mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod lambda;
mod limits;
mod lines;
pub mod manifest;
pub mod pathling;
pub mod progress;
pub mod report;
mod runtime;
mod software;
pub mod staging;
pub mod steps;
pub mod sync;
pub mod telemetry;
pub mod transfer;

pub use error::{Error, Kind, Result};
pub use runtime::runtime;
