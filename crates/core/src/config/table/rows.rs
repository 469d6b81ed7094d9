//! The rows of the table: every setting there is.

use super::Step::{
    CheckExportStatus, CheckImportStatus, Command, FhirExport, PathlingImport, TransferToS3,
};
use super::{Form, Need, Setting, Step};

const SOURCE: &[Step] = &[FhirExport, CheckExportStatus, TransferToS3];
const TARGET: &[Step] = &[PathlingImport, CheckImportStatus];
pub(super) const ALL: &[Step] = &Step::FIVE;
const COMMAND: &[Step] = &[Command];

const fn optional(
    name: &'static str,
    form: Form,
    need: Need,
    read_by: &'static [Step],
    help: &'static str,
) -> Setting {
    Setting {
        name,
        form,
        need,
        read_by,
        required_by: &[],
        instead: &[],
        help,
    }
}

const fn required(
    name: &'static str,
    form: Form,
    need: Need,
    read_by: &'static [Step],
    required_by: &'static [Step],
    help: &'static str,
) -> Setting {
    Setting {
        name,
        form,
        need,
        read_by,
        required_by,
        instead: &[],
        help,
    }
}

/// A setting that is needless where one of these is there.
const fn unless(instead: &'static [&'static str], mut setting: Setting) -> Setting {
    setting.instead = instead;
    setting
}

const TIMES: Form = Form::Whole(0, 1_000_000);
const WAIT: Form = Form::Seconds(0.0, 604_800.0);
const BACK_OFF: Form = Form::Factor(1.0, 10.0);

/// Every setting there is.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    required("SOURCE_ENDPOINT", Form::Url, Need::Required, SOURCE, SOURCE,
        "The base URL of the FHIR server that is exported, e.g. `https://fhir.example.org/fhir`."),
    optional("TYPES", Form::Types, Need::Absent("all"), &[FhirExport],
        "The resource types to export, separated by commas."),
    optional("SINCE", Form::Instant, Need::Absent("none: a full export"), &[FhirExport, TransferToS3],
        "A FHIR instant: only resources that changed after it are exported, and the import is a merge. `transfer-to-s3` reads it for the import mode when nothing better tells it."),
    unless(&["SOURCE_BEARER_TOKEN", "SOURCE_USERNAME"],
        required("SOURCE_CLIENT_ID", Form::Text, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The OAuth2 client's id at the source.")),
    unless(&["SOURCE_PRIVATE_KEY", "SOURCE_PRIVATE_KEY_FILE", "SOURCE_BEARER_TOKEN", "SOURCE_USERNAME"],
        required("SOURCE_CLIENT_SECRET", Form::Secret, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The OAuth2 client's secret at the source. Like a key, a token or a password, it may be an ARN of AWS Secrets Manager (behind which `#member` names one member of a JSON object) or of an SSM parameter.")),
    unless(&["SOURCE_BEARER_TOKEN", "SOURCE_USERNAME"],
        required("SOURCE_SCOPES", Form::Text, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The scopes to ask for, separated by spaces, e.g. `system/*.read`.")),
    optional("SOURCE_PRIVATE_KEY", Form::Secret, Need::Absent("none"), SOURCE,
        "The OAuth2 client's private key instead of a secret (`private_key_jwt`, SMART Backend Services): a JWK, a JWKS or PEM, RSA or P-384; or an ARN."),
    optional("SOURCE_PRIVATE_KEY_FILE", Form::Text, Need::Absent("none"), SOURCE,
        "A file that holds this key."),
    optional("SOURCE_PRIVATE_KEY_ID", Form::Text, Need::Absent("the JWK's own `kid`"), SOURCE,
        "The key's id (`kid`) at the source: chooses from a JWKS, and is told to the server."),
    optional("SOURCE_JWKS_URL", Form::Url, Need::Absent("none: the server knows it"), SOURCE,
        "Where the public keys are published, for a server that wants to be told so (`jku`)."),
    optional("SOURCE_TOKEN_ENDPOINT", Form::Url, Need::Absent("asked of the source"), SOURCE,
        "Where tokens come from, for a server that does not say so or says it wrong."),
    optional("SOURCE_BEARER_TOKEN", Form::Secret, Need::Absent("none"), SOURCE,
        "A token that was had elsewhere, instead of a client's secret or key. It is not renewed."),
    optional("SOURCE_USERNAME", Form::Text, Need::Absent("none"), SOURCE,
        "A user's name for HTTP Basic to the source itself, instead of a token."),
    optional("SOURCE_PASSWORD", Form::Secret, Need::Absent("none"), SOURCE,
        "The password of this user."),
    optional("SOURCE_AUTHENTICATION_ENABLED", Form::Flag, Need::Default("true"), SOURCE,
        "Whether the source wants a token."),
    required("STAGING_URL", Form::Place, Need::Required, ALL, &[TransferToS3, Command],
        "Where files and state rest: `s3://bucket/prefix`, `file:///folder` or a path. The steps other than `transfer-to-s3` keep the run's record there, and can do without."),
    required("TARGET_ENDPOINT", Form::Url, Need::Required, &[FhirExport, PathlingImport, CheckImportStatus], TARGET,
        "The base URL of Pathling's FHIR API, e.g. `https://pathling.example.org/fhir`. `fhir-export` reads the address only, to tell one synchronisation from another."),
    unless(&["TARGET_BEARER_TOKEN", "TARGET_USERNAME"],
        required("TARGET_CLIENT_ID", Form::Text, Need::RequiredUnlessOff("TARGET_AUTHENTICATION_ENABLED"), TARGET, TARGET,
        "The OAuth2 client's id at the target.")),
    unless(&["TARGET_PRIVATE_KEY", "TARGET_PRIVATE_KEY_FILE", "TARGET_BEARER_TOKEN", "TARGET_USERNAME"],
        required("TARGET_CLIENT_SECRET", Form::Secret, Need::RequiredUnlessOff("TARGET_AUTHENTICATION_ENABLED"), TARGET, TARGET,
        "The OAuth2 client's secret at the target. Like a key, a token or a password, it may be an ARN of AWS Secrets Manager (behind which `#member` names one member of a JSON object) or of an SSM parameter.")),
    optional("TARGET_SCOPES", Form::Text, Need::Default("user/*.write"), TARGET,
        "The scopes to ask for, separated by spaces. Pathling Server 2 wants `pathling:import pathling:write`."),
    optional("TARGET_PRIVATE_KEY", Form::Secret, Need::Absent("none"), TARGET,
        "The OAuth2 client's private key instead of a secret (`private_key_jwt`, SMART Backend Services): a JWK, a JWKS or PEM, RSA or P-384; or an ARN."),
    optional("TARGET_PRIVATE_KEY_FILE", Form::Text, Need::Absent("none"), TARGET,
        "A file that holds this key."),
    optional("TARGET_PRIVATE_KEY_ID", Form::Text, Need::Absent("the JWK's own `kid`"), TARGET,
        "The key's id (`kid`) at the target: chooses from a JWKS, and is told to the server."),
    optional("TARGET_JWKS_URL", Form::Url, Need::Absent("none: the server knows it"), TARGET,
        "Where the public keys are published, for a server that wants to be told so (`jku`)."),
    optional("TARGET_TOKEN_ENDPOINT", Form::Url, Need::Absent("asked of the target"), TARGET,
        "Where tokens come from, for a server that does not say so or says it wrong."),
    optional("TARGET_BEARER_TOKEN", Form::Secret, Need::Absent("none"), TARGET,
        "A token that was had elsewhere, instead of a client's secret or key. It is not renewed."),
    optional("TARGET_USERNAME", Form::Text, Need::Absent("none"), TARGET,
        "A user's name for HTTP Basic to the target itself, instead of a token."),
    optional("TARGET_PASSWORD", Form::Secret, Need::Absent("none"), TARGET,
        "The password of this user."),
    optional("TARGET_AUTHENTICATION_ENABLED", Form::Flag, Need::Default("true"), TARGET,
        "Whether the target wants a token."),
    optional("IMPORT_MODE", Form::Choice(&["merge", "overwrite"]), Need::Default("merge"), &[TransferToS3],
        "How a full export is imported: `merge` updates by id and deletes nothing, `overwrite` replaces each type that has resources. A delta is always merged."),
    optional("ALLOW_PARTIAL_OVERWRITE", Form::Flag, Need::Default("false"), &[TransferToS3],
        "Lets `IMPORT_MODE=overwrite` hold for a delta too, which leaves in the target nothing but the delta."),
    optional("TARGET_DIALECT", Form::Choice(&["auto", "7", "2"]), Need::Default("auto"), &[TransferToS3, PathlingImport, CheckImportStatus],
        "Which Pathling the target is: `7` (Pathling 7), `2` (Pathling Server 2), or `auto`, which asks its `metadata`."),
    optional("TARGET_STAGING_URL", Form::Place, Need::Absent("`STAGING_URL`"), &[TransferToS3],
        "The same place as `STAGING_URL`, as the target sees it (another mount point, or `s3a://`)."),
    optional("UNSUPPORTED_TYPES", Form::Choice(&["skip", "fail"]), Need::Default("skip"), &[TransferToS3, PathlingImport],
        "What to do with a type that the target cannot hold: leave it out and say so, or stop."),
    optional("SOURCE_TRUSTED_ORIGINS", Form::Origins, Need::Absent("none"), SOURCE,
        "Further origins, e.g. `https://files.example.org`, that may get the source's token. Its own and its token endpoint's always may."),
    optional("TARGET_TRUSTED_ORIGINS", Form::Origins, Need::Absent("none"), TARGET,
        "Further origins that may get the target's token."),
    optional("ALLOW_PLAINTEXT", Form::Flag, Need::Default("false"), ALL,
        "Lets credentials go over plain HTTP to hosts other than this one. For closed networks only."),
    optional("ALLOW_PRIVATE_HOSTS", Form::Flag, Need::Default("false"), ALL,
        "Lets a server at a public address lead to files and status URLs at private addresses or on this machine, e.g. to S3 by a VPC endpoint. Its own host and trusted origins always may be there; link-local addresses and the Lambda Runtime API are never gone to."),
    optional("CONNECT_TIMEOUT", Form::Seconds(0.05, 600.0), Need::Default("10"), ALL,
        "How many seconds a connection to source or target may take to come about."),
    optional("IDLE_TIMEOUT", Form::Seconds(0.05, 3600.0), Need::Default("60"), ALL,
        "How many seconds source or target may stay silent in the middle of an answer, or before it."),
    optional("SENTRY_DSN", Form::Secret, Need::Absent("none: nothing is reported"), ALL,
        "Where failures are reported to, as Sentry gives it."),
    optional("SENTRY_ENVIRONMENT", Form::Text, Need::Absent("none"), ALL,
        "The environment's name in what is reported, e.g. `production`."),
    optional("SENTRY_RELEASE", Form::Text, Need::Absent("this program's version"), ALL,
        "The release in what is reported."),
    optional("EXPORT_RETRY_TIMES", TIMES, Need::Default("24"), COMMAND,
        "How many times the command waits for the export before it gives up; 0 means not at all. The defaults make six hours."),
    optional("EXPORT_RETRY_WAIT", WAIT, Need::Default("900"), COMMAND,
        "How many seconds it waits the first time, where the source does not say."),
    optional("EXPORT_RETRY_BACK_OFF", BACK_OFF, Need::Default("1.0"), COMMAND,
        "Each further wait is this many times the one before; 1.0 makes all equal."),
    optional("TRANSFER_RETRY_TIMES", TIMES, Need::Default("24"), COMMAND,
        "How many times the command goes on after `TRANSFER_DEADLINE` before it gives up; 0 means not at all. What failed for a passing reason is tried again five times at most, and no more often than this."),
    optional("TRANSFER_RETRY_WAIT", WAIT, Need::Default("900"), COMMAND,
        "How many seconds it waits the first time after `TRANSFER_DEADLINE`; after a failure it waits a minute at most, then twice as long each time."),
    optional("TRANSFER_RETRY_BACK_OFF", BACK_OFF, Need::Default("1.0"), COMMAND,
        "Each further wait is this many times the one before; 1.0 makes all equal."),
    optional("IMPORT_RETRY_TIMES", TIMES, Need::Default("24"), COMMAND,
        "How many times the command waits for the import before it gives up; 0 means not at all. The defaults make six hours."),
    optional("IMPORT_RETRY_WAIT", WAIT, Need::Default("900"), COMMAND,
        "How many seconds it waits the first time, where the target does not say."),
    optional("IMPORT_RETRY_BACK_OFF", BACK_OFF, Need::Default("1.0"), COMMAND,
        "Each further wait is this many times the one before; 1.0 makes all equal."),
    optional("TRANSFER_MEMORY", Form::Bytes(20 << 20, 64 << 30), Need::Default("32MiB"), &[TransferToS3],
        "How much memory all files in flight may take together for what is on its way from the source to staging. A part is at most a quarter of it, and a file at most 10,000 parts: 32 MiB do for files of 78 GiB."),
    optional("TRANSFER_CONCURRENCY", Form::WordOrWhole("auto", 1, 256), Need::Default("auto"), &[TransferToS3],
        "How many requests a server gets at once. `auto` begins with a few, asks for more while that makes the transfer faster, and for fewer as soon as a server says that it is too much."),
    optional("TRANSFER_DEADLINE", Form::Seconds(1.0, 604_800.0), Need::Absent("none; on Lambda, the function's own timeout"), &[TransferToS3],
        "After how many seconds a transfer stops and says how far it is. The next one goes on from there, in the middle of a file too."),
    optional("VALIDATE", Form::Choice(&["lines", "json", "none"]), Need::Default("lines"), &[TransferToS3],
        "How closely files are looked at: `lines` checks of every line that it is one JSON object's text of the declared type with an `id`, `json` parses it whole, and `none` only counts."),
    optional("MIXED_FILES", Form::Choice(&["refuse", "split"]), Need::Default("refuse"), &[CheckExportStatus, TransferToS3],
        "What to do with a file for which the manifest names no type, as sources give it where an export is organised by patient: `split` sorts its lines by their types into objects of their own."),
    optional("STAGING_CHECKSUM", Form::Choice(&["crc64nvme", "crc32", "none"]), Need::Default("crc64nvme"), &[TransferToS3],
        "The checksum of every file that S3 is told to compare. For stores that know only `crc32`, or refuse a right one."),
    optional("TRANSFER_BATCHES", Form::Flag, Need::Default("false"), &[CheckExportStatus],
        "Whether `check-export-status` writes batches of the manifest's files for the workers of the distributed workflow."),
    optional("RETRY_AFTER_MAX", WAIT, Need::Default("21600"), &[TransferToS3, Command],
        "The longest that a server's Retry-After is obeyed, in seconds."),
];
