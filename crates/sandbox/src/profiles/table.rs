//! The profiles. `docs/servers.md` says of each what the real server's users set.

use super::Profile;
use crate::clients::Way;
use crate::keys::KeyKind;
use crate::token::TokenAuthMethod;

/// A server like the sandbox's own.
const USUAL: Profile = Profile {
    name: "",
    title: "",
    about: "",
    demands: &[],
    habits: &[],
    switches: &[],
    settings: &[],
    trial: &[],
    group: None,
    long_ids: false,
    shape: |builder| builder,
};

/// The id of the group that has everybody in it.
const EVERYBODY: &str = "everybody";
const LEVEL_EVERYBODY: (&str, &str) = ("EXPORT_LEVEL", "group/everybody");

/// What AWS `HealthLake` wants of a kick-off.
const HEALTHLAKE_DOCUMENT: &str = r#"{"JobName": "pathling-import", "DataAccessRoleArn": "arn:aws:iam::123456789012:role/healthlake-export", "OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://exports/healthlake", "KmsKeyId": "arn:aws:kms:eu-central-1:123456789012:key/d330e7fc-b56c-4216-a250-f4c43ef46e83"}}}"#;

/// All profiles.
pub const PROFILES: [Profile; 16] = [
    Profile {
        name: "hapi",
        title: "HAPI FHIR",
        about: "an old job for the same kick-off, files as Binary resources",
        habits: &[
            "The same kick-off leads to the earlier job while that is known.",
            "A job that was deleted is answered with 202 for ever.",
            "The manifest has no request, requiresAccessToken or error, and no output where there is nothing.",
            "transactionTime is the job's end.",
            "Files are Binary resources: JSON for who does not ask for NDJSON.",
        ],
        demands: &["In a query a plus is encoded, and _since is in UTC with Z."],
        switches: &[
            "kick-off-reuses-job",
            "deleted-job-answers=goes-on",
            "manifest-lacks=request",
            "manifest-lacks=requiresAccessToken",
            "manifest-lacks=error",
            "empty-without-output",
            "transaction-time-at-end",
            "files-as-binary",
            "metadata-names=_outputFormat,_type,_since,_typeFilter,patient",
        ],
        shape: |builder| builder.polls(2),
        ..USUAL
    },
    Profile {
        name: "epic",
        title: "Epic",
        about: "groups only and once a day, Epic-Client-ID, private_key_jwt, long ids",
        demands: &[
            "A signed assertion (private_key_jwt) for the token.",
            "The header Epic-Client-ID with every request.",
            "The export of a group, by GET.",
            "No other export of the same client at the same time, and the same group once in 24 hours.",
        ],
        habits: &[
            "Ids are longer than 64 characters, and nothing has meta.lastUpdated.",
            "Jobs run for long.",
            "The CapabilityStatement says nothing about exports.",
        ],
        switches: &[
            "export-levels=group",
            "source-wants-header=Epic-Client-ID",
            "one-export-at-a-time",
            "group-once-a-day",
            "kick-off-refuses-post",
            "metadata-silent",
            "progress-says=Searching 40 of 120 patients",
        ],
        settings: &[
            LEVEL_EVERYBODY,
            ("SOURCE_HEADERS", "Epic-Client-ID: sandbox-epic-client"),
        ],
        group: Some(EVERYBODY),
        long_ids: true,
        shape: |builder| builder.source_way(Way::Jwt(KeyKind::Rsa)).polls(3),
        ..USUAL
    },
    Profile {
        name: "cerner",
        title: "Oracle Health (Cerner)",
        about: "files redirect to another host, Retry-After of hours, many tiny files",
        demands: &[
            "The export of a group or of all patients, by GET, with Accept.",
            "_type as a list, not repeated.",
            "Few downloads at once.",
        ],
        habits: &[
            "File URLs answer 307 to another host, which must not get the token.",
            "Polls are answered with a Retry-After of five hours.",
            "requiresAccessToken is a string.",
            "Files are tiny and many; more than a few at once are answered 429.",
        ],
        switches: &[
            "export-levels=patient,group",
            "kick-off-refuses-post",
            "kick-off-once=_type",
            "retry-after-says=18000",
            "requires-access-token=text",
            "files-redirect",
            "files-at-most=2",
        ],
        settings: &[LEVEL_EVERYBODY],
        trial: &[("RETRY_AFTER_MAX", "1")],
        group: Some(EVERYBODY),
        shape: |builder| builder.polls(1).resources_per_file(1),
        ..USUAL
    },
    Profile {
        name: "microsoft",
        title: "Microsoft Azure Health Data Services",
        about: "files elsewhere without a token, no Retry-After",
        habits: &[
            "requiresAccessToken is always false, and the files are elsewhere.",
            "202 has no Retry-After.",
            "A cancelled job is answered with a manifest of nothing.",
        ],
        switches: &[
            "requires-access-token=false",
            "files-elsewhere",
            "deleted-job-answers=bare",
        ],
        shape: |builder| builder.polls(2),
        ..USUAL
    },
    Profile {
        name: "google",
        title: "Google Cloud Healthcare API",
        about: "_outputFormat=ndjson, groups organised by patient, a given token",
        demands: &[
            "Prefer: respond-async.",
            "_outputFormat=ndjson, in no other words.",
            "organizeOutputBy=Patient for a group; the files then hold several types.",
            "A token of Google's own.",
        ],
        switches: &["kick-off-format=ndjson", "group-wants=organizeOutputBy"],
        settings: &[
            LEVEL_EVERYBODY,
            ("OUTPUT_FORMAT", "ndjson"),
            ("ORGANIZE_OUTPUT_BY", "Patient"),
            ("MIXED_FILES", "split"),
        ],
        group: Some(EVERYBODY),
        shape: |builder| builder.source_way(Way::Bearer).polls(1),
        ..USUAL
    },
    Profile {
        name: "healthlake",
        title: "AWS HealthLake",
        about: "signatures for AWS, a document as the kick-off's body, files at s3:// URLs",
        demands: &[
            "Every request signed for the service healthlake (Signature Version 4).",
            "The kick-off by POST with a JSON document of its own, and the parameters in the query.",
            "That the client reads S3 with credentials of AWS.",
        ],
        habits: &[
            "The files lie in the bucket that the document names, and the manifest's URLs are s3://bucket/key.",
            "Refusals are JSON as AWS has it, and no OperationOutcome.",
        ],
        switches: &[
            "kick-off-wants-document=JobName,DataAccessRoleArn,OutputDataConfig",
            "files-in-s3",
            "requires-access-token=false",
        ],
        settings: &[
            ("SOURCE_TRUSTED_ORIGINS", "s3://exports"),
            ("KICKOFF_BODY", HEALTHLAKE_DOCUMENT),
        ],
        shape: |builder| builder.source_way(Way::Aws).polls(1),
        ..USUAL
    },
    Profile {
        name: "firely",
        title: "Firely Server",
        about: "files for Accept: application/fhir+ndjson only, 410 for a cancelled job",
        demands: &["Accept: application/fhir+ndjson on files."],
        habits: &[
            "A cancelled job is answered with 410.",
            "A failed job is answered with 500 and an OperationOutcome.",
        ],
        switches: &[
            "files-want-accept=application/fhir+ndjson",
            "deleted-job-answers=gone",
        ],
        shape: |builder| builder.polls(1),
        ..USUAL
    },
    Profile {
        name: "intersystems",
        title: "InterSystems IRIS for Health",
        about: "URLs with a host name of its own where it is behind a proxy",
        habits: &["Status and file URLs name the server as it is called behind the proxy."],
        demands: &["That this name is known where the client runs, and trusted by it."],
        switches: &["internal-host"],
        settings: &[("SOURCE_TRUSTED_ORIGINS", "{internal}")],
        shape: |builder| builder.polls(1),
        ..USUAL
    },
    Profile {
        name: "bcda",
        title: "BCDA (CMS)",
        about: "expires_in as a string, 404 for a file that is there a moment later",
        demands: &[
            "The client's secret by HTTP Basic.",
            "The export of all patients or of a group, by GET.",
        ],
        habits: &[
            "expires_in is a string.",
            "The token endpoint is named in the CapabilityStatement alone.",
            "A file is answered 404 the first time.",
        ],
        switches: &[
            "export-levels=patient,group",
            "kick-off-refuses-post",
            "expires-in=text",
            "oauth-uris-only",
            "answers=file:404*1",
        ],
        settings: &[("EXPORT_LEVEL", "group/all")],
        group: Some("all"),
        shape: |builder| {
            builder
                .token_auth_methods(&[TokenAuthMethod::Basic])
                .polls(1)
        },
        ..USUAL
    },
    Profile {
        name: "ibm",
        title: "LinuxForHealth FHIR Server (IBM), files in S3",
        about: "presigned URLs that refuse the token that the manifest asks for",
        habits: &[
            "requiresAccessToken is true, and the files are at presigned URLs of S3.",
            "These refuse a request that carries a token besides the signature.",
        ],
        switches: &["requires-access-token=true", "files-elsewhere"],
        shape: |builder| builder.signed_links(true).polls(1),
        ..USUAL
    },
    Profile {
        name: "ibm-files",
        title: "LinuxForHealth FHIR Server (IBM), files on the server",
        about: "relative output URLs",
        habits: &["The manifest's URLs are relative."],
        switches: &["output-urls-relative"],
        shape: |builder| builder.polls(1),
        ..USUAL
    },
    Profile {
        name: "medplum",
        title: "Medplum",
        about: "a gateway cuts a long kick-off, several files of one type",
        habits: &[
            "The first kick-off begins an export, and a gateway answers 504 in its place.",
            "A type has several files.",
        ],
        switches: &["kick-off-answer-lost*1"],
        trial: &[("EXPORT_RETRY_WAIT", "1")],
        shape: |builder| builder.polls(1).resources_per_file(7),
        ..USUAL
    },
    Profile {
        name: "openemr",
        title: "OpenEMR",
        about: "the body of a 202 is no JSON, private_key_jwt with RS384",
        demands: &["A signed assertion (private_key_jwt), RS384."],
        habits: &["The bodies of 202 answers are not JSON."],
        switches: &["kick-off-body-not-json", "status-body-not-json"],
        shape: |builder| {
            builder
                .source_way(Way::Jwt(KeyKind::Rsa))
                .signing_algorithms(&["RS384"])
                .polls(2)
        },
        ..USUAL
    },
    Profile {
        name: "smart",
        title: "SMART's reference server",
        about: "private_key_jwt only; simulates errors at every step: add --fault",
        demands: &["A signed assertion (private_key_jwt), ES384 or RS384."],
        habits: &["Errors are simulated at every step, as its configuration says: add --fault."],
        switches: &["progress-says=50% complete", "retry-after-says=1"],
        shape: |builder| builder.source_way(Way::Jwt(KeyKind::P384)).polls(2),
        ..USUAL
    },
    Profile {
        name: "stu4",
        title: "a server of the STU4 draft",
        about: "POST only, no lists, a status of the job's own, outcome for error",
        demands: &["The kick-off by POST, with repeated parameters instead of lists."],
        habits: &[
            "Polls are answered 200, and X-Export-Status says how the job is.",
            "The manifest has outcome instead of error, and no request.",
        ],
        switches: &[
            "kick-off-stu4",
            "separate-status",
            "errors-as-outcome",
            "export-errors=warnings",
            "manifest-lacks=request",
        ],
        settings: &[("SEPARATE_EXPORT_STATUS", "true")],
        shape: |builder| builder.polls(2),
        ..USUAL
    },
    Profile {
        name: "careless",
        title: "any server on a bad day",
        about: "random 500s, files that end early, odd lines, absurd Retry-Afters",
        habits: &[
            "Every third download is answered 500, and one ends early without saying so.",
            "Files have CRLF, blank lines, and no newline at their end.",
            "An output is listed twice.",
            "X-Progress is anything; Retry-After is 0, negative, a date in the past, and a year.",
        ],
        switches: &[
            "files-fail-every=3",
            "file-ends-at=300*1",
            "file-crlf",
            "file-blank-lines",
            "file-without-final-newline",
            "output-twice",
            "progress-says=<b>n/a</b>; 1e9 %",
            "retry-after-says=0|-1|Fri, 31 Dec 1999 23:59:59 GMT|31536000",
        ],
        trial: &[("RETRY_AFTER_MAX", "1")],
        shape: |builder| builder.polls(4),
        ..USUAL
    },
];
