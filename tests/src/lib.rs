//! The harness of the tests that cross crates: real binaries, driven against a [`sandbox::Sandbox`].
//!
//! - [`Function`] is one of the five Lambda binaries as a process of its own, served by a Lambda Runtime API.
//! - [`Story`] drives the five in the workflow's order.
//! - [`Transferring`] is the third of them alone, on an export that is complete.
//! - [`pathling_import`] runs the command.
//! - [`check`] and [`staged`] assert what has to hold afterwards, whatever the story was, and [`traffic`] tells what went
//!   over the wire.
//!
//! Like a test itself, the harness panics where anything is not as it should be, and says what was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::missing_panics_doc)]
// Its functions assert and tell the output where one fails; nobody has to use what they return.
#![allow(clippy::must_use_candidate, clippy::print_stdout)]

/// Where nobody listens: tcpmux, which no test may have. A port that was free a moment ago may be another test's by now.
pub const NOBODY: &str = "127.0.0.1:1";

mod audit;
mod binary;
mod case;
pub mod check;
mod command;
mod env;
mod function;
mod hospital;
mod memory;
pub mod moment;
mod nights;
mod output;
mod proxy;
mod random;
mod random_hospital;
mod raw_source;
mod records;
mod refusal;
mod relay;
mod said;
mod schema;
mod sentry;
mod side_by_side;
pub mod staged;
mod story;
mod telemetry;
mod tls;
mod told_source;
pub mod traffic;
mod transferring;
mod vendor;
mod wants_nothing;
pub mod workflow;

pub use audit::AuditLog;
pub use binary::binary;
pub use case::{Case, prove};
pub use command::{CommandRun, Finished, Running, pathling_import};
pub use env::Env;
pub use function::{Function, LambdaError};
pub use hospital::Hospital;
pub use nights::Nights;
pub use output::Output;
pub use proxy::Proxy;
pub use random::Random;
pub use random_hospital::RandomHospital;
pub use raw_source::RawSource;
pub use records::Records;
pub use refusal::{Refusal, refused};
pub use relay::{Lost, Relay};
pub use schema::Schema;
pub use sentry::{FakeSentry, SENTRY_KEY};
pub use side_by_side::side_by_side;
pub use story::{Failed, Story, Told};
pub use telemetry::{Metric, NAMESPACE, Telemetry};
pub use tls::{Authority, TlsServer};
pub use told_source::ToldSource;
pub use transferring::Transferring;
pub use vendor::{arrives, vendor, vendor_with, wants};
