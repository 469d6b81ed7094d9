//! Every setting: what there is ([`table`]), reading it, and the typed [`Settings`] that the steps use.
//!
//! Settings come from the environment, or from a JSON file whose keys are the same names in lower camel case; what the
//! file lacks is read from the environment. An empty value is an unset one.

mod certificate;
mod credentials;
mod endpoint;
mod export;
mod headers;
mod job;
mod key;
mod lists;
mod manifest;
mod metrics;
mod origin;
mod parse;
mod place;
mod read;
mod read_proof;
mod reference;
mod retries;
mod secret;
mod sentry;
mod sync;
pub mod table;
mod transfer;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use url::Url;

pub use self::sentry::Sentry;
pub use certificate::{ClientCertificate, Identity, KeptCertificate, Part};
pub use credentials::{Credentials, KeySource, OauthClient, PrivateKey};
pub use endpoint::Endpoint;
pub use export::{ExportSettings, Handling, Level, Method};
pub use headers::{Header, Headers};
pub use job::{ExportErrors, JobSettings};
pub use key::{Algorithm, SigningKey};
pub use manifest::SourceManifest;
pub(crate) use origin::has_userinfo;
pub use origin::{Origin, is_loopback};
pub(crate) use parse::instant_in_utc;
pub use parse::period;
pub use place::Place;
pub use reference::{Keeper, Reference, SecretSource};
pub use retries::{Retries, Retry};
pub use secret::Secret;
pub use sync::{Deletions, SyncSettings};
pub use table::Step;
pub use transfer::{Checksum, TransferSettings, Validate};

use self::metrics::metrics_namespace;
use self::sentry::sentry;
use crate::error::Result;
use endpoint::{SOURCE, TARGET, endpoint};
use read::Reader;

/// What one entry point was told to do. A part that it does not read is absent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The FHIR server that is exported.
    pub source: Option<Endpoint>,
    /// The manifest that takes the place of an export.
    pub manifest: Option<SourceManifest>,
    /// The Pathling that is imported into.
    pub target: Option<Endpoint>,
    /// The target's address alone, for the name of the synchronisation.
    pub target_address: Option<Url>,
    /// The types to export, or to take of a manifest; empty means all.
    pub types: Vec<String>,
    /// The instant after which changes are asked for, in UTC.
    pub since: Option<String>,
    /// What else is asked of the export.
    pub export: ExportSettings,
    /// Where files and state rest.
    pub staging: Option<Place>,
    /// The same place as the target sees it.
    pub target_staging: Option<Place>,
    /// How a full export is imported.
    pub import_mode: ImportMode,
    /// Whether a delta may be imported with `overwrite`.
    pub allow_partial_overwrite: bool,
    /// Which Pathling the target is, where it was said.
    pub dialect: Option<Dialect>,
    /// Whether a type that the target cannot hold stops the run.
    pub fail_on_unsupported_types: bool,
    /// The command's waits for the export, for the transfer and for the import.
    pub retries: Retries,
    /// How the transfer works.
    pub transfer: TransferSettings,
    /// How an export's job is dealt with.
    pub job: JobSettings,
    /// What becomes of files of several types.
    pub mixed_files: MixedFiles,
    /// How the target is kept in step with the source.
    pub sync: SyncSettings,
    /// Whether batches for the distributed workflow are written.
    pub batches: bool,
    /// The longest that a server's Retry-After is obeyed.
    pub retry_after_max: Duration,
    /// Where failures are reported to.
    pub sentry: Option<Sentry>,
    /// The namespace of CloudWatch that the functions write metrics for.
    pub metrics_namespace: Option<String>,
}

/// How a full export is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// Update by id; delete nothing.
    Merge,
    /// Replace each type that is imported.
    Overwrite,
}

impl ImportMode {
    /// The word in Parameters and in the run's record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Overwrite => "overwrite",
        }
    }

    /// The mode of this word, if it is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "merge" => Some(Self::Merge),
            "overwrite" => Some(Self::Overwrite),
            _ => None,
        }
    }
}

/// What becomes of files for which the manifest names no type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixedFiles {
    /// They end the run.
    Refuse,
    /// Their lines go to objects of their own types.
    Split,
}

/// Which of the two Pathlings the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Pathling 7: `source`, `mode`, `format`.
    Seven,
    /// Pathling Server 2: `input`, `saveMode`, `inputFormat`.
    Two,
}

impl Settings {
    /// Reads what `step` needs from `environment`, and before it from the JSON `file` where there is one.
    ///
    /// Gives one [`crate::Kind::Configuration`] error that lists all that is wrong.
    pub fn load(
        step: Step,
        environment: &BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Result<Self> {
        let mut reader = Reader::new(step, environment, file)?;
        let manifest = SourceManifest::read(&mut reader, step);
        let source = endpoint(&mut reader, &SOURCE, manifest.as_ref());
        let target = endpoint(&mut reader, &TARGET, None);
        let since = reader.since("SINCE");
        let auto = since.as_deref() == Some(sync::AUTO);
        let since = since.filter(|_| !auto);
        let auto = auto && manifest.is_none();
        let settings = Self {
            export: ExportSettings::read(&mut reader, since.as_deref()),
            target_address: target.as_ref().map(|target| target.url.clone()),
            source,
            manifest,
            target: target.filter(|_| step != Step::FhirExport),
            types: reader.types("TYPES"),
            since,
            staging: reader.place("STAGING_URL"),
            target_staging: reader.place("TARGET_STAGING_URL"),
            import_mode: ImportMode::parse(&reader.choice("IMPORT_MODE"))
                .unwrap_or(ImportMode::Merge),
            allow_partial_overwrite: reader.flag("ALLOW_PARTIAL_OVERWRITE"),
            dialect: match reader.choice("TARGET_DIALECT").as_str() {
                "7" => Some(Dialect::Seven),
                "2" => Some(Dialect::Two),
                _ => None,
            },
            fail_on_unsupported_types: reader.choice("UNSUPPORTED_TYPES") == "fail",
            retries: Retries::read(&mut reader),
            transfer: TransferSettings::read(&mut reader),
            job: JobSettings::read(&mut reader),
            mixed_files: match reader.choice("MIXED_FILES").as_str() {
                "split" => MixedFiles::Split,
                _ => MixedFiles::Refuse,
            },
            batches: reader.flag("TRANSFER_BATCHES"),
            sync: SyncSettings::read(&mut reader, step, auto),
            retry_after_max: reader.seconds("RETRY_AFTER_MAX"),
            sentry: sentry(&mut reader),
            metrics_namespace: metrics_namespace(&mut reader),
        };
        let organized = settings.export.organize_output_by.is_some();
        if step == Step::Command && organized && settings.mixed_files == MixedFiles::Refuse {
            let written = reader.written("ORGANIZE_OUTPUT_BY");
            reader.contradiction(format!(
                "{written} makes files of several types, which are refused; set MIXED_FILES=split too"
            ));
        }
        // Known before anything is asked of anybody, so it is said then, and not after the export.
        let partial =
            settings.import_mode == ImportMode::Overwrite && !settings.allow_partial_overwrite;
        if step == Step::Command && partial && settings.since.is_some() {
            reader.contradiction(PARTIAL_OVERWRITE.to_owned());
        }
        reader.finish().map_or(Ok(settings), Err)
    }

    /// What `SINCE` says, as it tells one start from another: an instant, or `auto`.
    #[must_use]
    pub fn since_setting(&self) -> Option<String> {
        let auto = self.sync.auto.then(|| sync::AUTO.to_owned());
        auto.or_else(|| self.since.clone())
    }

    /// The settings about Sentry alone, as far as they can be read: a failure to read the rest is reported too.
    #[must_use]
    pub fn sentry_only(
        environment: &BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Option<Sentry> {
        sentry(&mut Reader::new(Step::Command, environment, file).ok()?)
    }

    /// The namespace of metrics alone, where it can be read: a failure to read the rest is counted too.
    #[must_use]
    pub fn metrics_namespace_only(environment: &BTreeMap<String, String>) -> Option<String> {
        metrics_namespace(&mut Reader::new(Step::Command, environment, None).ok()?)
    }
}

/// Why a delta is not imported with `overwrite`.
pub const PARTIAL_OVERWRITE: &str = "IMPORT_MODE=overwrite would leave in the target nothing but what changed since the given instant; \
    leave it out, or set ALLOW_PARTIAL_OVERWRITE=true if that is meant";

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
