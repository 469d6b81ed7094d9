//! Every setting: what there is ([`table`]), reading it, and the typed [`Settings`] that the steps use.
//!
//! Settings come from the environment, or from a JSON file whose keys are the same names in lower camel case; what the
//! file lacks is read from the environment. An empty value is an unset one.

mod origin;
mod parse;
mod place;
mod read;
mod secret;
pub mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sentry::types::Dsn;
use url::Url;

pub(crate) use origin::has_userinfo;
pub use origin::{Origin, is_loopback};
pub use place::Place;
pub use secret::Secret;
pub use table::Step;

use crate::error::Result;
use read::Reader;

/// What one entry point was told to do. A part that it does not read is absent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The FHIR server that is exported.
    pub source: Option<Endpoint>,
    /// The Pathling that is imported into.
    pub target: Option<Endpoint>,
    /// The target's address alone, for the name of the synchronisation.
    pub target_address: Option<Url>,
    /// The types to export; empty means all.
    pub types: Vec<String>,
    /// The instant after which changes are asked for, in UTC.
    pub since: Option<String>,
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
    /// Whether batches for the distributed workflow are written.
    pub batches: bool,
    /// The longest that a server's Retry-After is obeyed.
    pub retry_after_max: Duration,
    /// Where failures are reported to.
    pub sentry: Option<Sentry>,
}

/// A server, what it takes to speak to it, and where its token may go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The base URL, without a slash at its end.
    pub url: Url,
    /// The client's credentials; none where authentication is switched off.
    pub credentials: Option<Credentials>,
    /// Origins beside its own that may get the token.
    pub trusted_origins: Vec<Origin>,
    /// Whether credentials may go over plain HTTP to other hosts.
    pub allow_plaintext: bool,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the server may stay silent.
    pub idle_timeout: Duration,
}

/// How the transfer works.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferSettings {
    /// The bytes of all buffers together.
    pub memory: u64,
    /// How many requests a server gets at once; `None` finds out.
    pub concurrency: Option<u32>,
    /// After how long it stops, to be taken up again.
    pub deadline: Option<Duration>,
    /// How closely files are looked at.
    pub validate: Validate,
    /// What S3 is told to compare.
    pub checksum: Checksum,
}

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validate {
    /// Each line is one JSON object's text, of the declared type and with an `id`.
    Lines,
    /// Each line is parsed whole.
    Json,
    /// Lines are counted.
    None,
}

/// The checksum that S3 is told to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-64/NVME.
    Crc64Nvme,
    /// CRC-32.
    Crc32,
    /// None.
    None,
}

/// A client of OAuth 2, the client credentials grant.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: Secret,
    /// The scopes to ask for, separated by spaces.
    pub scopes: String,
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

/// Which of the two Pathlings the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Pathling 7: `source`, `mode`, `format`.
    Seven,
    /// Pathling Server 2: `input`, `saveMode`, `inputFormat`.
    Two,
}

/// The waits of the command for one step: `wait` times `back_off` to the n, at most `times` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How many waits there are before the step gives up.
    pub times: u32,
    /// The first wait.
    pub wait: Duration,
    /// By what each further wait is longer.
    pub back_off: f64,
}

impl Retry {
    /// The wait number `n`, counted from 0; never more than a year.
    #[must_use]
    pub fn wait_number(&self, n: u32) -> Duration {
        const YEAR: f64 = 31_536_000.0;
        let factor = self.back_off.powf(f64::from(n));
        Duration::from_secs_f64((self.wait.as_secs_f64() * factor).clamp(0.0, YEAR))
    }
}

/// The command's waits by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// For the kick-off and the export's status.
    pub export: Retry,
    /// For the transfer.
    pub transfer: Retry,
    /// For the import's kick-off and status.
    pub import: Retry,
}

/// Where failures are reported to, and under which names.
#[derive(Clone, Debug)]
pub struct Sentry {
    /// The data source name.
    pub dsn: Secret,
    /// The environment's name.
    pub environment: Option<String>,
    /// The release.
    pub release: Option<String>,
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
        let source = endpoint(&mut reader, &SOURCE);
        let target = endpoint(&mut reader, &TARGET);
        let settings = Self {
            target_address: target.as_ref().map(|target| target.url.clone()),
            source,
            target: target.filter(|_| step != Step::FhirExport),
            types: reader.types("TYPES"),
            since: reader.instant("SINCE"),
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
            retries: Retries {
                export: Retry {
                    times: reader.whole("EXPORT_RETRY_TIMES"),
                    wait: reader.seconds("EXPORT_RETRY_WAIT"),
                    back_off: reader.factor("EXPORT_RETRY_BACK_OFF"),
                },
                transfer: Retry {
                    times: reader.whole("TRANSFER_RETRY_TIMES"),
                    wait: reader.seconds("TRANSFER_RETRY_WAIT"),
                    back_off: reader.factor("TRANSFER_RETRY_BACK_OFF"),
                },
                import: Retry {
                    times: reader.whole("IMPORT_RETRY_TIMES"),
                    wait: reader.seconds("IMPORT_RETRY_WAIT"),
                    back_off: reader.factor("IMPORT_RETRY_BACK_OFF"),
                },
            },
            transfer: TransferSettings {
                memory: reader.bytes("TRANSFER_MEMORY"),
                concurrency: reader.whole_unless_word("TRANSFER_CONCURRENCY"),
                deadline: reader.seconds_if_any("TRANSFER_DEADLINE"),
                validate: match reader.choice("VALIDATE").as_str() {
                    "json" => Validate::Json,
                    "none" => Validate::None,
                    _ => Validate::Lines,
                },
                checksum: match reader.choice("STAGING_CHECKSUM").as_str() {
                    "crc32" => Checksum::Crc32,
                    "none" => Checksum::None,
                    _ => Checksum::Crc64Nvme,
                },
            },
            batches: reader.flag("TRANSFER_BATCHES"),
            retry_after_max: reader.seconds("RETRY_AFTER_MAX"),
            sentry: sentry(&mut reader),
        };
        // Known before anything is asked of anybody, so it is said then, and not after the export.
        let partial =
            settings.import_mode == ImportMode::Overwrite && !settings.allow_partial_overwrite;
        if step == Step::Command && partial && settings.since.is_some() {
            reader.contradiction(PARTIAL_OVERWRITE.to_owned());
        }
        reader.finish().map_or(Ok(settings), Err)
    }

    /// The settings about Sentry alone, as far as they can be read: a failure to read the rest is reported too.
    #[must_use]
    pub fn sentry_only(
        environment: &BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Option<Sentry> {
        sentry(&mut Reader::new(Step::Command, environment, file).ok()?)
    }
}

fn sentry(reader: &mut Reader) -> Option<Sentry> {
    let environment = reader.string("SENTRY_ENVIRONMENT");
    let release = reader.string("SENTRY_RELEASE");
    let dsn = reader.secret("SENTRY_DSN")?;
    if dsn.reveal().parse::<Dsn>().is_ok() {
        return Some(Sentry {
            dsn,
            environment,
            release,
        });
    }
    let written = reader.written("SENTRY_DSN");
    reader.contradiction(format!(
        "{written} is no Sentry DSN; https://<key>@<host>/<project> is expected"
    ));
    None
}

/// Why a delta is not imported with `overwrite`.
pub const PARTIAL_OVERWRITE: &str = "IMPORT_MODE=overwrite would leave in the target nothing but what changed since the given instant; \
    leave it out, or set ALLOW_PARTIAL_OVERWRITE=true if that is meant";

/// The names of one side's settings.
struct Names {
    endpoint: &'static str,
    enabled: &'static str,
    id: &'static str,
    secret: &'static str,
    scopes: &'static str,
    trusted: &'static str,
}

const SOURCE: Names = Names {
    endpoint: "SOURCE_ENDPOINT",
    enabled: "SOURCE_AUTHENTICATION_ENABLED",
    id: "SOURCE_CLIENT_ID",
    secret: "SOURCE_CLIENT_SECRET",
    scopes: "SOURCE_SCOPES",
    trusted: "SOURCE_TRUSTED_ORIGINS",
};

const TARGET: Names = Names {
    endpoint: "TARGET_ENDPOINT",
    enabled: "TARGET_AUTHENTICATION_ENABLED",
    id: "TARGET_CLIENT_ID",
    secret: "TARGET_CLIENT_SECRET",
    scopes: "TARGET_SCOPES",
    trusted: "TARGET_TRUSTED_ORIGINS",
};

/// Reads one side, and notes every problem that it has, whatever else is wrong with it.
fn endpoint(reader: &mut Reader, names: &Names) -> Option<Endpoint> {
    let url = reader.url(names.endpoint);
    let enabled = reader.flag(names.enabled);
    let (id, secret, scopes) = (
        reader.string(names.id),
        reader.secret(names.secret),
        reader.string(names.scopes),
    );
    let trusted_origins = reader.origins(names.trusted);
    let allow_plaintext = reader.flag("ALLOW_PLAINTEXT");
    let connect_timeout = reader.seconds("CONNECT_TIMEOUT");
    let idle_timeout = reader.seconds("IDLE_TIMEOUT");
    let mut url = url?;
    let without_slash = url.path().trim_end_matches('/').to_owned();
    url.set_path(&without_slash);
    let credentials = match (enabled, id, secret, scopes) {
        (true, Some(id), Some(secret), Some(scopes)) => Some(Credentials { id, secret, scopes }),
        _ => None,
    };
    if credentials.is_some() && url.scheme() == "http" && !allow_plaintext && !is_loopback(&url) {
        let written = reader.written(names.endpoint);
        reader.contradiction(format!(
            "{written} is plain http, over which no credentials are sent; use https, or set ALLOW_PLAINTEXT=true on a closed network"
        ));
    }
    Some(Endpoint {
        url,
        credentials,
        trusted_origins,
        allow_plaintext,
        connect_timeout,
        idle_timeout,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
