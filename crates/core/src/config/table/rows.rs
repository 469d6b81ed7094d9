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
        help,
    }
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
    required("SOURCE_CLIENT_ID", Form::Text, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The OAuth2 client's id at the source."),
    required("SOURCE_CLIENT_SECRET", Form::Secret, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The OAuth2 client's secret at the source."),
    required("SOURCE_SCOPES", Form::Text, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The scopes to ask for, separated by spaces, e.g. `system/*.read`."),
    optional("SOURCE_AUTHENTICATION_ENABLED", Form::Flag, Need::Default("true"), SOURCE,
        "Whether the source wants a token."),
    required("STAGING_URL", Form::Place, Need::Required, ALL, &[TransferToS3, Command],
        "Where files and state rest: `s3://bucket/prefix`, `file:///folder` or a path. The steps other than `transfer-to-s3` keep the run's record there, and can do without."),
    required("TARGET_ENDPOINT", Form::Url, Need::Required, &[FhirExport, PathlingImport, CheckImportStatus], TARGET,
        "The base URL of Pathling's FHIR API, e.g. `https://pathling.example.org/fhir`. `fhir-export` reads the address only, to tell one synchronisation from another."),
    required("TARGET_CLIENT_ID", Form::Text, Need::RequiredUnlessOff("TARGET_AUTHENTICATION_ENABLED"), TARGET, TARGET,
        "The OAuth2 client's id at the target."),
    required("TARGET_CLIENT_SECRET", Form::Secret, Need::RequiredUnlessOff("TARGET_AUTHENTICATION_ENABLED"), TARGET, TARGET,
        "The OAuth2 client's secret at the target."),
    optional("TARGET_SCOPES", Form::Text, Need::Default("user/*.write"), TARGET,
        "The scopes to ask for, separated by spaces. Pathling Server 2 wants `pathling:import pathling:write`."),
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
    optional("SEPARATE_EXPORT_STATUS", Form::Flag, Need::Default("false"), &[FhirExport],
        "Whether the kick-off prefers `separate-export-status` (Bulk Data STU4): answers to status requests then say apart how the request and how the export went. For sources that support it; others may refuse the kick-off."),
    optional("DELETE_EXPORT_JOB", Form::Flag, Need::Default("true"), &[TransferToS3],
        "Whether the source is asked to delete the export's job and files once everything is staged and checked. A source that cannot, or refuses, does no harm."),
    optional("EXPORT_ERRORS", Form::Choice(&["warn", "hold", "fail"]), Need::Default("hold"), &[TransferToS3],
        "What follows where the source reports errors of the export, of severity error or fatal: `warn` only says so, `hold` imports the run and does not count it as complete, and `fail` ends it before anything is imported."),
    optional("TRANSFER_BATCHES", Form::Flag, Need::Default("false"), &[CheckExportStatus],
        "Whether `check-export-status` writes batches of the manifest's files for the workers of the distributed workflow."),
    optional("RETRY_AFTER_MAX", WAIT, Need::Default("21600"), &[TransferToS3, Command],
        "The longest that a server's Retry-After is obeyed, in seconds."),
];
