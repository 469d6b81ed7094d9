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
//! assert_eq!(sandbox.token_leaks(), Vec::<String>::new());
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: a validator of FHIR, a place to keep data (all of it is gone with the [`Sandbox`]), or a server
//! for anyone but the machine it runs on.

mod builder;
mod builder_files;
mod call;
mod control;
mod dataset;
mod fault_names;
mod fault_switches;
mod faults;
mod leaks;
mod pathling;
mod rate;
mod record;
mod s3;
mod sandbox;
mod server;
mod settings;
mod source;
mod start;
mod synthetic;
mod token;
mod traffic;
mod types;
mod wire;
mod world;

pub use builder::{Builder, Ports};
pub use dataset::{Dataset, Resource};
pub use faults::{Answer, Fault, Faults, ParseFaultError, Place, Switch, TokenClaim};
pub use pathling::{PathlingVersion, Row};
pub use record::{Credential, CredentialKind, Recorded, Service};
pub use s3::{ACCESS_KEY, BUCKET, REGION, S3Policy, SECRET_KEY};
pub use sandbox::Sandbox;
pub use settings::Only;
pub use source::SourceFile;
pub use token::TokenAuthMethod;
pub use types::{is_importable, is_r4};
