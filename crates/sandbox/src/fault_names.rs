//! The faults' names on the command line, and back.

use std::fmt;

use crate::fault_words::{self as words, PLACES, place, place_name};
use crate::faults::{Answer, ExpiresIn, Fault, TokenClaim};
use crate::habits;
use crate::named_faults;

/// A name that is no fault's, or an argument that it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFaultError(String);

impl fmt::Display for ParseFaultError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ParseFaultError {}

/// What a manifest may say in `requiresAccessToken`, by name.
const CLAIMS: [(&str, TokenClaim); 4] = [
    ("true", TokenClaim::True),
    ("false", TokenClaim::False),
    ("text", TokenClaim::Text),
    ("absent", TokenClaim::Absent),
];

/// Faults without an argument, by name.
const PLAIN: &[(&str, Fault)] = &[
    ("answers-have-ids", Fault::AnswersHaveIds),
    ("oauth-uris-only", Fault::OauthUrisOnly),
    ("secret-rotates", Fault::SecretRotates),
    ("secrets-denied", Fault::SecretsDenied),
    (
        "kick-off-without-content-location",
        Fault::KickOffWithoutContentLocation,
    ),
    (
        "kick-off-relative-content-location",
        Fault::KickOffRelativeContentLocation,
    ),
    ("kick-off-body-not-json", Fault::KickOffBodyNotJson),
    ("kick-off-reuses-job", Fault::KickOffReusesJob),
    ("kick-off-answer-lost", Fault::KickOffAnswerLost),
    ("kick-off-refuses-get", Fault::KickOffRefusesGet),
    ("kick-off-refuses-post", Fault::KickOffRefusesPost),
    ("kick-off-stu4", Fault::KickOffStu4),
    ("job-numbers-repeat", Fault::JobNumbersRepeat),
    ("source-loses-job", Fault::SourceLosesJob),
    ("separate-status", Fault::SeparateStatus),
    ("status-body-not-json", Fault::StatusBodyNotJson),
    ("source-cancels-job", Fault::SourceCancelsJob),
    ("manifest-is-array", Fault::ManifestIsArray),
    ("manifest-is-outcome", Fault::ManifestIsOutcome),
    ("error-file-without-url", Fault::ErrorFileWithoutUrl),
    ("errors-as-outcome", Fault::ErrorsAsOutcome),
    ("output-absent", Fault::OutputAbsent),
    ("output-without-url", Fault::OutputWithoutUrl),
    ("output-urls-relative", Fault::OutputUrlsRelative),
    ("output-twice", Fault::OutputTwice),
    ("page-not-ready", Fault::PageNotReady),
    ("pages-in-circle", Fault::PagesInCircle),
    ("pages-differ", Fault::PagesDiffer),
    ("partial-manifests", Fault::PartialManifests),
    (
        "partial-manifests-contradicted",
        Fault::PartialManifestsContradicted,
    ),
    ("count-wrong", Fault::CountWrong),
    ("count-absent", Fault::CountAbsent),
    ("files-elsewhere", Fault::FilesElsewhere),
    ("files-redirect", Fault::FilesRedirect),
    ("file-hangs-midway", Fault::FileHangsMidway),
    ("file-cut-midway", Fault::FileCutMidway),
    ("file-chunked-cut-midway", Fault::FileChunkedCutMidway),
    ("files-chunked", Fault::FilesChunked),
    ("files-ignore-range", Fault::FilesIgnoreRange),
    ("files-weak-etag", Fault::FilesWeakEtag),
    ("files-no-etag", Fault::FilesNoEtag),
    ("files-change-midway", Fault::FilesChangeMidway),
    ("files-wrong-range", Fault::FilesWrongRange),
    ("file-gzip-truncated", Fault::FileGzipTruncated),
    ("file-gzip-corrupt", Fault::FileGzipCorrupt),
    ("file-gzip-members", Fault::FileGzipMembers),
    ("file-gzip-trailing-garbage", Fault::FileGzipTrailingGarbage),
    ("file-empty", Fault::FileEmpty),
    ("file-only-blank-lines", Fault::FileOnlyBlankLines),
    ("file-without-final-newline", Fault::FileWithoutFinalNewline),
    ("file-crlf", Fault::FileCrlf),
    ("file-bom", Fault::FileBom),
    ("file-blank-lines", Fault::FileBlankLines),
    ("file-bad-json", Fault::FileBadJson),
    ("file-line-without-id", Fault::FileLineWithoutId),
    ("file-line-empty-id", Fault::FileLineEmptyId),
    ("file-line-numeric-id", Fault::FileLineNumericId),
    ("file-line-other-type", Fault::FileLineOtherType),
    (
        "file-two-resources-on-one-line",
        Fault::FileTwoResourcesOnOneLine,
    ),
    ("file-invalid-utf8", Fault::FileInvalidUtf8),
    ("file-duplicate-id", Fault::FileDuplicateId),
    ("import-drops-rows", Fault::ImportDropsRows),
    ("target-loses-job", Fault::TargetLosesJob),
    (
        "import-without-content-location",
        Fault::ImportWithoutContentLocation,
    ),
    ("s3-refuses-head", Fault::S3RefusesHead),
    ("s3-refuses-list", Fault::S3RefusesList),
    ("s3-refuses-list-parts", Fault::S3RefusesListParts),
    ("s3-refuses-abort", Fault::S3RefusesAbort),
    ("s3-bad-digest-multipart", Fault::S3BadDigestMultipart),
    ("s3-encrypts", Fault::S3Encrypts),
    ("s3-loses-upload", Fault::S3LosesUpload),
    (
        "s3-refuses-conditional-writes",
        Fault::S3RefusesConditionalWrites,
    ),
    ("s3-refuses-multipart", Fault::S3RefusesMultipart),
    ("s3-refuses-everything", Fault::S3RefusesEverything),
    ("s3-slow-down", Fault::S3SlowDown),
    ("s3-internal-error", Fault::S3InternalError),
    ("s3-complete-fails", Fault::S3CompleteFails),
    ("s3-complete-fails-in-body", Fault::S3CompleteFailsInBody),
    ("s3-complete-conflicts", Fault::S3CompleteConflicts),
    ("s3-complete-answer-lost", Fault::S3CompleteAnswerLost),
    ("s3-hangs", Fault::S3Hangs),
];

/// The name with its argument.
pub(crate) fn name(fault: &Fault) -> String {
    match fault {
        Fault::Answers(place, answer) => {
            let mut text = format!("answers={}:{}", place_name(*place), answer.status);
            if answer.outcome.is_some() {
                text.push_str(":outcome");
            }
            if let Some(value) = &answer.retry_after {
                text.push_str(":retry-after=");
                text.push_str(value);
            }
            text
        }
        Fault::Hang(place) => format!("hang={}", place_name(*place)),
        Fault::Delay(place, milliseconds) => {
            format!("delay={}:{milliseconds}", place_name(*place))
        }
        Fault::Html(place, status) => format!("html={}:{status}", place_name(*place)),
        Fault::TokenExpires(place) => format!("token-expires={}", place_name(*place)),
        Fault::ExpiresIn(ExpiresIn::Text) => "expires-in=text".to_owned(),
        Fault::ExpiresIn(ExpiresIn::Absent) => "expires-in=absent".to_owned(),
        Fault::TokenClock(seconds) => format!("token-clock={seconds}"),
        Fault::ManifestLacks(member) => format!("manifest-lacks={member}"),
        Fault::OutputType(name) => format!("output-type={name}"),
        Fault::OutputPadding(bytes) => format!("output-padding={bytes}"),
        Fault::RequiresAccessToken(claim) => {
            format!("requires-access-token={}", key(&CLAIMS, claim))
        }
        Fault::ExportErrors(content) => {
            format!("export-errors={}", words::error_content_name(*content))
        }
        Fault::SeparateStatusSays(status) => format!("separate-status-says={status}"),
        Fault::DeletedJobAnswers(answer) => {
            format!("deleted-job-answers={}", words::deleted_job_name(*answer))
        }
        Fault::FileLongLine(bytes) => format!("file-long-line={bytes}"),
        Fault::FileCutAt(bytes) => format!("file-cut-at={bytes}"),
        Fault::FileEndsAt(bytes) => format!("file-ends-at={bytes}"),
        Fault::FilesExpireAfter(requests, status) => {
            format!("files-expire-after={requests}:{status}")
        }
        Fault::Files429(times) => format!("files-429={times}"),
        Fault::Files429Date(times) => format!("files-429-date={times}"),
        Fault::Files503(times) => format!("files-503={times}"),
        Fault::FilesAtMost(most) => format!("files-at-most={most}"),
        Fault::ImportFails(status) => format!("import-fails={status}"),
        Fault::S3RefusesCrc64Nvme(400) => "s3-refuses-crc64nvme".to_owned(),
        Fault::S3RefusesCrc64Nvme(status) => format!("s3-refuses-crc64nvme={status}"),
        Fault::S3SlowDowns(times) => format!("s3-slow-down={times}"),
        Fault::S3Rate(bytes) => format!("s3-rate={bytes}"),
        Fault::S3PartFails(number) => format!("s3-part-fails={number}"),
        Fault::Habit(habit) => habits::name(habit),
        other => named_faults::name(other).unwrap_or_else(|| key(PLAIN, other).to_owned()),
    }
}

/// The fault of that name.
pub(crate) fn parse(text: &str) -> Result<Fault, ParseFaultError> {
    let (name, argument) = match text.split_once('=') {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    let wrong = |what: &str| ParseFaultError(format!("the fault {name} wants {what}"));
    let named = || named_faults::parse(name, argument.unwrap_or_default());
    if let Some(fault) = habits::parse(name, argument).or_else(named) {
        return fault.map_err(wrong);
    }
    let counts_itself = name == "s3-slow-down" && argument.is_some();
    if let Some((_, fault)) = PLAIN.iter().find(|(known, _)| *known == name)
        && !counts_itself
    {
        return match argument {
            None => Ok(fault.clone()),
            Some(_) => Err(wrong("no argument")),
        };
    }
    let text = argument.unwrap_or_default();
    let number = || text.parse::<u16>().map_err(|_| wrong("a number"));
    let times = || text.parse::<usize>().map_err(|_| wrong("a number"));
    let bytes = || text.parse::<u64>().map_err(|_| wrong("a number of bytes"));
    match name {
        "answers" => answers(text).ok_or_else(|| wrong("PLACE:STATUS[:outcome][:retry-after=S]")),
        "hang" => Ok(Fault::Hang(place(text).ok_or_else(|| wrong("a place"))?)),
        "delay" => text
            .split_once(':')
            .and_then(|(at, milliseconds)| {
                Some(Fault::Delay(place(at)?, milliseconds.parse().ok()?))
            })
            .ok_or_else(|| wrong("PLACE:MILLISECONDS")),
        "html" => text
            .split_once(':')
            .and_then(|(at, status)| Some(Fault::Html(place(at)?, status.parse().ok()?)))
            .ok_or_else(|| wrong("PLACE:STATUS")),
        "token-expires" => Ok(Fault::TokenExpires(
            place(text).ok_or_else(|| wrong("a place"))?,
        )),
        "expires-in" => match text {
            "text" => Ok(Fault::ExpiresIn(ExpiresIn::Text)),
            "absent" => Ok(Fault::ExpiresIn(ExpiresIn::Absent)),
            _ => Err(wrong("text or absent")),
        },
        "token-clock" => text
            .parse()
            .map(Fault::TokenClock)
            .map_err(|_| wrong("a number of seconds")),
        "manifest-lacks" => Ok(Fault::ManifestLacks(text.to_owned())),
        "output-type" => Ok(Fault::OutputType(text.to_owned())),
        "output-padding" => Ok(Fault::OutputPadding(times()?)),
        "requires-access-token" => CLAIMS
            .iter()
            .find(|(known, _)| *known == text)
            .map(|(_, claim)| Fault::RequiresAccessToken(*claim))
            .ok_or_else(|| wrong("true, false, text or absent")),
        "separate-status-says" => Ok(Fault::SeparateStatusSays(number()?)),
        "export-errors" => words::error_content(text)
            .map(Fault::ExportErrors)
            .ok_or_else(|| wrong("errors, fatal, warnings, garbage, nothing or long-line[:BYTES]")),
        "deleted-job-answers" => words::deleted_job(text)
            .map(Fault::DeletedJobAnswers)
            .ok_or_else(|| wrong("gone, goes-on, empty or bare")),
        "file-long-line" => Ok(Fault::FileLongLine(times()?)),
        "file-cut-at" => Ok(Fault::FileCutAt(bytes()?)),
        "file-ends-at" => Ok(Fault::FileEndsAt(bytes()?)),
        "files-expire-after" => {
            let (requests, status) = text.split_once(':').unwrap_or((text, "403"));
            match (requests.parse(), status.parse()) {
                (Ok(requests), Ok(status)) => Ok(Fault::FilesExpireAfter(requests, status)),
                _ => Err(wrong("N[:STATUS]")),
            }
        }
        "files-429" => Ok(Fault::Files429(times()?)),
        "files-429-date" => Ok(Fault::Files429Date(times()?)),
        "files-503" => Ok(Fault::Files503(times()?)),
        "files-at-most" => Ok(Fault::FilesAtMost(times()?)),
        "import-fails" => Ok(Fault::ImportFails(number()?)),
        "s3-refuses-crc64nvme" => match argument {
            None | Some("400") => Ok(Fault::S3RefusesCrc64Nvme(400)),
            Some("501") => Ok(Fault::S3RefusesCrc64Nvme(501)),
            Some(_) => Err(wrong("nothing, 400 or 501")),
        },
        "s3-slow-down" => Ok(Fault::S3SlowDowns(times()?)),
        "s3-rate" => Ok(Fault::S3Rate(bytes()?)),
        "s3-part-fails" => text
            .parse()
            .map(Fault::S3PartFails)
            .map_err(|_| wrong("a part's number")),
        _ => Err(ParseFaultError(format!(
            "there is no fault named {name}; there are {}",
            names()
        ))),
    }
}

/// All names, and what stands behind those that take an argument.
pub(crate) fn names() -> String {
    let with_argument = [
        "answers=PLACE:STATUS[:outcome][:retry-after=VALUE]",
        "hang=PLACE",
        "delay=PLACE:MILLISECONDS",
        "html=PLACE:STATUS",
        "token-expires=PLACE",
        "expires-in=text|absent",
        "token-clock=SECONDS",
        "manifest-lacks=MEMBER",
        "output-type=TYPE",
        "output-padding=BYTES",
        "requires-access-token=true|false|text|absent",
        "separate-status-says=STATUS",
        "deleted-job-answers=gone|goes-on|empty|bare",
        "export-errors=errors|fatal|warnings|garbage|nothing|long-line[:BYTES]",
        "file-long-line=BYTES",
        "file-cut-at=BYTES",
        "file-ends-at=BYTES",
        "files-expire-after=N[:STATUS]",
        "files-429=N",
        "files-429-date=N",
        "files-503=N",
        "files-at-most=N",
        "import-fails=STATUS",
        "s3-refuses-crc64nvme[=501]",
        "s3-slow-down=N",
        "s3-rate=BYTES",
        "s3-part-fails=N",
    ];
    let plain = PLAIN.iter().map(|(name, _)| *name);
    let places: Vec<&str> = PLACES.iter().map(|(name, _)| *name).collect();
    let all: Vec<&str> = with_argument
        .into_iter()
        .chain(named_faults::NAMES)
        .chain(habits::NAMES)
        .chain(plain)
        .collect();
    format!(
        "{}; a PLACE is one of {}",
        all.join(", "),
        places.join(", ")
    )
}

/// `PLACE:STATUS[:outcome][:retry-after=VALUE]`
fn answers(text: &str) -> Option<Fault> {
    let mut parts = text.splitn(3, ':');
    let at = place(parts.next()?)?;
    let mut answer = Answer::new(parts.next()?.parse().ok()?);
    let mut rest = parts.next().unwrap_or_default();
    if let Some(after) = rest.strip_prefix("outcome") {
        answer = answer.outcome("exception", "The sandbox was told to answer so");
        rest = after.strip_prefix(':').unwrap_or(after);
    }
    if let Some(value) = rest.strip_prefix("retry-after=") {
        answer = answer.retry_after(value);
        rest = "";
    }
    rest.is_empty().then_some(Fault::Answers(at, answer))
}

/// The name under which a table has a value.
fn key<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table
        .iter()
        .find(|(_, known)| known == value)
        .map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_fault() {
        for text in [
            "answers=kick-off:503:outcome:retry-after=2",
            "answers=status:429",
            "hang=file",
            "delay=file:20",
            "html=status:200",
            "token-expires=file",
            "expires-in=text",
            "expires-in=absent",
            "token-clock=-90",
            "manifest-lacks=transactionTime",
            "output-type=../../x",
            "output-padding=100",
            "requires-access-token=text",
            "separate-status-says=500",
            "deleted-job-answers=goes-on",
            "export-errors=garbage",
            "export-errors=long-line",
            "export-errors=long-line:5",
            "hang=error-file",
            "file-long-line=100",
            "file-cut-at=0",
            "file-ends-at=7",
            "files-expire-after=2:410",
            "files-429=2",
            "files-429-date=2",
            "files-503=2",
            "files-at-most=2",
            "import-fails=500",
            "s3-refuses-crc64nvme",
            "s3-refuses-crc64nvme=501",
            "s3-slow-down=3",
            "s3-rate=1000",
            "s3-part-fails=2",
        ] {
            assert_eq!(parse(text).unwrap().name(), text);
        }
        for (name, fault) in PLAIN {
            assert_eq!(&parse(name).unwrap(), fault);
            assert_eq!(fault.name(), *name);
        }
    }

    #[test]
    fn a_wrong_name_or_argument_is_refused() {
        for text in [
            "nonsense",
            "hang",
            "hang=nowhere",
            "expires-in=soon",
            "token-clock=fast",
            "file-bom=1",
            "answers=status:x",
            "files-429=many",
            "files-expire-after=1:x",
            "s3-refuses-crc64nvme=502",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
