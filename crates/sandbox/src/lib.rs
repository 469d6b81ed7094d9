//! A whole pathling-import world in one process: a Bulk Data FHIR source, a token endpoint, an S3 and a Pathling.
//!
//! It is for the demo, the tests and the benchmarks. Every server listens on loopback, on a port of its own (so that
//! each is an origin of its own), is as strict as the strictest of the real ones, records every request, and goes
//! wrong in the ways that real ones do when it is told to:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use sandbox::{Dataset, Fault, PathlingVersion, Place, Sandbox};
//!
//! let sandbox = Sandbox::builder()
//!     .pathling(PathlingVersion::Two)
//!     .data(Dataset::synthetic(50))
//!     .polls(2)
//!     .start()
//!     .await?;
//! sandbox.faults().once(Fault::answers(Place::File, 503));
//! for (name, value) in sandbox.env() { /* give it to the process under test */ }
//! # Ok(())
//! # }
//! ```
//!
//! # Vendors
//!
//! [`Builder::profile`] makes the source one of a vendor's ([`PROFILES`]): a documented set of switches, most of them
//! [`Habit`]s, with the settings that the program wants for it.
//!
//! # Credentials
//!
//! Every request is looked at as it arrives, recorded or not: a token, secret, signed assertion or cookie that it should not
//! carry makes the sandbox panic when it is dropped. [`Sandbox::token_leaks`] tells of it before, and a test that leaks on
//! purpose says so with [`Sandbox::expect_leaks`].
//!
//! # Files
//!
//! A file is served whole or by range (RFC 9110), with a strong `ETag`, and with [`Builder::gzip`] encoded for who accepts it;
//! ranges are then of the encoded bytes. Files of any size and number cost no memory: [`Builder::synthetic_file`],
//! [`Builder::synthetic_files`], [`Builder::outputs`]. [`Sandbox::source_files`] gives the bytes that should have arrived,
//! [`Sandbox::downloads`] what was asked for and sent. Links are signed and expire by [`Builder::signed_links`] and
//! [`Sandbox::expire_links`]. Everything that may be wrong with an answer is a [`Fault`]; one that is about a file's
//! answer is counted for each answer that shows it, so `once` means one answer.
//!
//! # S3
//!
//! It checks what AWS checks: signatures (signed and unsigned payloads), checksums of objects and parts, full-object checksums
//! and sizes on completion, the least size of parts and their highest number, conditions. Parts may come side by side, in any
//! order, under any ascending numbers. Listings have 1000 entries a page at most.
//!
//! # Long runs
//!
//! As a program of its own (`sandbox --only source --big Observation=1GiB`, `sandbox --only s3 --s3-folder PATH`) it keeps no
//! record, so that its memory stays flat. [`Builder::source_rate`], [`Builder::latency`] and [`Fault::S3Rate`] slow it down;
//! [`Sandbox::peak`] tells how many requests a service had in hand at most.
//!
//! What it is not: a validator of FHIR, a place to keep data (all of it is gone with the [`Sandbox`]), or a server
//! for anyone but the machine it runs on.

mod assertion;
mod builder;
mod builder_files;
mod call;
mod certificates;
mod clients;
mod clock;
mod control;
mod credentials;
mod dataset;
mod ending;
mod fault_names;
mod fault_switches;
mod fault_words;
mod faults;
mod habits;
mod keeper;
mod keys;
mod leaks;
mod named_faults;
mod pathling;
mod profiles;
mod rate;
mod record;
mod s3;
mod sandbox;
mod server;
mod settings;
mod sigv4;
mod source;
mod start;
mod synthetic;
mod token;
mod traffic;
mod types;
mod wire;
mod world;

pub use builder::{Builder, Ports};
pub use certificates::{ClientIdentity, Demand};
pub use clients::Way;
pub use clock::Clock;
pub use dataset::{Dataset, Resource};
pub use faults::{
    Answer, DeletedJob, ErrorContent, ExpiresIn, Fault, Faults, ParseFaultError, Place, Switch,
    TokenClaim,
};
pub use habits::Habit;
pub use keys::{KeyForm, KeyKind};
pub use pathling::{PathlingVersion, Row};
pub use profiles::{PROFILES, Profile};
pub use record::{Credential, CredentialKind, Recorded, Service};
pub use s3::{ACCESS_KEY, BUCKET, EXPORT_BUCKET, REGION, S3Policy, SECRET_KEY};
pub use sandbox::Sandbox;
pub use settings::Only;
pub use source::SourceFile;
pub use token::TokenAuthMethod;
pub use types::{is_importable, is_r4};
