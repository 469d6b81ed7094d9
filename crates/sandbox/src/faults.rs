//! Faults: everything that may go wrong between the four servers and their client, each with a name.
//!
//! A test switches one on (`sandbox.faults().once(Fault::Hang(Place::Status))`), a person gives it to the program
//! (`--fault hang=status`; `--fault 'file-cut-at=1000*3'` for three times). A fault that was switched on for a number of
//! times is spent after them. A fault of an answer counts once for each answer that shows it.

use std::fmt;
use std::str::FromStr;

pub use crate::fault_names::ParseFaultError;
pub use crate::fault_switches::{Faults, Switch};
use crate::habits::Habit;

/// Where in the conversation a fault shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The source's `.well-known/smart-configuration`.
    SmartConfiguration,
    /// The source's `metadata`.
    SourceMetadata,
    /// The token endpoint.
    Token,
    /// The export's kick-off.
    KickOff,
    /// A poll of the export's status URL.
    Status,
    /// DELETE on the export's status URL.
    StatusDelete,
    /// A file's download, at either origin.
    File,
    /// The download of a file of errors, at either origin; [`Place::File`] holds for it too.
    ErrorFile,
    /// The target's `.well-known/smart-configuration`.
    TargetSmartConfiguration,
    /// The target's `metadata`.
    TargetMetadata,
    /// The kick-off of an import.
    ImportKickOff,
    /// A poll of the import's job.
    ImportStatus,
    /// The keeper of secrets at AWS.
    Secrets,
    /// A count or a search at the target.
    Count,
    /// A deletion at the target.
    Delete,
}

/// An answer that a server gives instead of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The issue code and diagnostics of an `OperationOutcome` as body; None for an empty body.
    pub outcome: Option<(String, String)>,
    /// The header `Retry-After`, as it is.
    pub retry_after: Option<String>,
}

impl Answer {
    /// An answer with this status and an empty body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            outcome: None,
            retry_after: None,
        }
    }

    /// With an `OperationOutcome` of one issue as its body.
    #[must_use]
    pub fn outcome(mut self, code: &str, diagnostics: &str) -> Self {
        self.outcome = Some((code.to_owned(), diagnostics.to_owned()));
        self
    }

    /// With a `Retry-After`, in seconds, as a date or as anything else.
    #[must_use]
    pub fn retry_after(mut self, value: impl fmt::Display) -> Self {
        self.retry_after = Some(value.to_string());
        self
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::new(status)
    }
}

/// What a manifest says in `requiresAccessToken`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenClaim {
    /// `true`
    True,
    /// `false`; the files are served without a token, and a token on their requests is a leak.
    False,
    /// `"true"`, a string, as one vendor does.
    Text,
    /// Nothing: the member is absent.
    Absent,
}

/// How a source answers polls of a job that was deleted, by DELETE on its status URL or by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedJob {
    /// 410, with an `OperationOutcome`.
    Gone,
    /// 202, for ever.
    GoesOn,
    /// 200 with nothing.
    Empty,
    /// 200 with a manifest of no files and no `transactionTime`.
    Bare,
}

/// What a file of errors holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorContent {
    /// Two issues of severity `error`, of other codes, and a warning; their diagnostics name a patient.
    Errors,
    /// One issue of severity `fatal`.
    Fatal,
    /// A warning and an information.
    Warnings,
    /// A line that is no JSON, a Patient, and an information.
    Garbage,
    /// A line of this many bytes, and an information.
    LongLine(usize),
    /// Nothing.
    Nothing,
}

/// How a token's answer tells how long the token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiresIn {
    /// As a string, as one vendor does.
    Text,
    /// Not at all.
    Absent,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This answer instead of the real one. `answers=PLACE:STATUS[:outcome][:retry-after=VALUE]`
    Answers(Place, Answer),
    /// The request is accepted and never answered. `hang=PLACE`
    Hang(Place),
    /// The answer comes this many milliseconds later. `delay=PLACE:MILLISECONDS`
    Delay(Place, u64),
    /// An HTML page with this status instead of JSON. `html=PLACE:STATUS`
    Html(Place, u16),
    /// The token that comes with the next request here is revoked, and the request answered 401. `token-expires=PLACE`
    TokenExpires(Place),

    /// How `expires_in` is told. `expires-in=text|absent`
    ExpiresIn(ExpiresIn),
    /// There is no SMART configuration: the token endpoint is named in the `CapabilityStatement` alone.
    OauthUrisOnly,
    /// The token endpoint's clock is ahead by so many seconds. `token-clock=SECONDS`
    TokenClock(i64),
    /// At the next request for a token both clients have new secrets, and the old ones are refused. Once.
    SecretRotates,
    /// The keeper of secrets allows nobody to read them: `AccessDeniedException`.
    SecretsDenied,

    /// The kick-off's 202 has no Content-Location.
    KickOffWithoutContentLocation,
    /// The kick-off's Content-Location is a path without an origin.
    KickOffRelativeContentLocation,
    /// The kick-off's 202 has a body that is not JSON.
    KickOffBodyNotJson,
    /// A kick-off with the same URL answers an earlier job's status URL.
    KickOffReusesJob,
    /// The kick-off is taken, and its answer lost on the way: 504 from a gateway.
    KickOffAnswerLost,
    /// A kick-off by GET is refused: 405.
    KickOffRefusesGet,
    /// A kick-off by POST is refused: 405.
    KickOffRefusesPost,
    /// The export is the one of STU4: POST only, parameters repeated instead of lists, and the metadata says so.
    KickOffStu4,
    /// The kick-off does not know this parameter: 400, or it is ignored for `handling=lenient`. `kick-off-lacks=PARAMETER`
    KickOffLacks(String),
    /// The kick-off wants this parameter of the vendor's own. `kick-off-wants=PARAMETER`
    KickOffWants(String),
    /// The metadata tells this edition of the IG. `metadata-edition=2.0.0`
    MetadataEdition(String),
    /// The metadata names a definition of the source's own, with these parameters. `metadata-names=PARAMETER,PARAMETER`
    MetadataNames(String),
    /// The source refuses every request without this header: 400. `source-wants-header=NAME`
    SourceWantsHeader(String),
    /// Every answer of source, files, token endpoint and target has an `X-Request-Id` of the server's own: `sandbox-1` and so on.
    AnswersHaveIds,
    /// The status URL counts its jobs from 1 anew with every export: the same URL, another job.
    JobNumbersRepeat,
    /// The source forgets the job: 404 on its status URL and its files.
    SourceLosesJob,
    /// The source supports `separate-export-status` (STU4): where the kick-off prefers it, polls are answered 200 and
    /// `X-Export-Status` says how the job is.
    SeparateStatus,
    /// The source answers polls with 200, and says in `X-Export-Status` that the job ended with this status.
    /// `separate-status-says=STATUS`
    SeparateStatusSays(u16),
    /// The 202 of a poll has a body that is not JSON.
    StatusBodyNotJson,
    /// The source cancels the job by itself when it is polled, as if somebody had deleted it.
    SourceCancelsJob,
    /// How polls of a job that was deleted are answered; 404 without this. `deleted-job-answers=gone|goes-on|empty|bare`
    DeletedJobAnswers(DeletedJob),

    /// The manifest is a JSON array.
    ManifestIsArray,
    /// The manifest is an `OperationOutcome`.
    ManifestIsOutcome,
    /// The manifest lacks this member. `manifest-lacks=MEMBER`
    ManifestLacks(String),
    /// The manifest has no `output`.
    OutputAbsent,
    /// The first output has no `url`.
    OutputWithoutUrl,
    /// The first output's `type` is this. `output-type=TYPE`
    OutputType(String),
    /// The outputs' URLs are relative.
    OutputUrlsRelative,
    /// The first output is listed twice.
    OutputTwice,
    /// A page of the manifest after the first is not there yet: 202.
    PageNotReady,
    /// The last page of the manifest leads to the first.
    PagesInCircle,
    /// The pages of the manifest after the first have another `transactionTime`.
    PagesDiffer,
    /// The manifest's answer has this `Expires`: so many seconds from now, after which the job's files are gone, or this text
    /// as it is. `manifest-expires=+SECONDS|-SECONDS|TEXT`
    ManifestExpires(String),
    /// Where the kick-off allows it, polls of a job that goes on are answered with the pages of the manifest that are
    /// there, one more each time (STU3, `allowPartialManifests`): wants `page_size`.
    PartialManifests,
    /// The same, and the first of these pages begins with an output that the complete manifest lacks.
    PartialManifestsContradicted,
    /// Each output has an extension of so many bytes. `output-padding=BYTES`
    OutputPadding(usize),
    /// The first output's `count` is one too high.
    CountWrong,
    /// No output has a `count`.
    CountAbsent,
    /// The export has a file of errors; switched on more than once, as many. `export-errors=errors|fatal|warnings|garbage|nothing|long-line[:BYTES]`
    ExportErrors(ErrorContent),
    /// The first file of errors has no `url`.
    ErrorFileWithoutUrl,
    /// The manifest has `outcome` in the place of `error`, as STU4 does.
    ErrorsAsOutcome,
    /// What the manifest says in `requiresAccessToken`. `requires-access-token=true|false|text|absent`
    RequiresAccessToken(TokenClaim),

    /// The files are at another origin.
    FilesElsewhere,
    /// The files answer 307 to another origin.
    FilesRedirect,
    /// The download stops in the middle, the connection stays open.
    FileHangsMidway,
    /// Content-Length is promised, the connection is closed in the middle.
    FileCutMidway,
    /// The body is chunked and ends in the middle without its last chunk.
    FileChunkedCutMidway,
    /// The connection is closed after exactly this many bytes of the answer's body, where it has more. `file-cut-at=BYTES`
    FileCutAt(u64),
    /// The body is chunked and ends well after this many bytes, where it should have more. `file-ends-at=BYTES`
    FileEndsAt(u64),
    /// The body is chunked: its length is not told.
    FilesChunked,

    /// Files ignore `Range`: always 200 and the whole.
    FilesIgnoreRange,
    /// Files have a weak `ETag`.
    FilesWeakEtag,
    /// Files have no `ETag`.
    FilesNoEtag,
    /// When a file is asked for again, it has the same resources in other bytes, and another `ETag`, from then on. Counts once
    /// for each file.
    FilesChangeMidway,
    /// A 206 has another part than was asked for, and says so in `Content-Range`.
    FilesWrongRange,

    /// A gzip body is chunked and ends well in the middle of the stream.
    FileGzipTruncated,
    /// A byte in the middle of a gzip body is another.
    FileGzipCorrupt,
    /// A gzip body has three members, one after the other, which is legal; their borders are anywhere.
    FileGzipMembers,
    /// A gzip body has garbage after the stream.
    FileGzipTrailingGarbage,

    /// The URLs of a manifest serve this many requests; the next, and all after it, are answered with this status, until the
    /// manifest is fetched again and has new ones. Switches signed links on. `files-expire-after=N[:STATUS]`
    FilesExpireAfter(usize, u16),
    /// So many downloads are answered 429 with a Retry-After of one second. Counts itself. `files-429=N`
    Files429(usize),
    /// So many downloads are answered 429 with a date as Retry-After. Counts itself. `files-429-date=N`
    Files429Date(usize),
    /// So many downloads are answered 503 with a Retry-After of one second. Counts itself. `files-503=N`
    Files503(usize),
    /// So many downloads at once are served, the others answered 429 with a Retry-After of one second. `files-at-most=N`
    FilesAtMost(usize),

    /// The first file has 0 bytes, its count is 0.
    FileEmpty,
    /// The first file has blank lines only, its count is 0.
    FileOnlyBlankLines,
    /// Files have no newline after the last line.
    FileWithoutFinalNewline,
    /// Files have CRLF line ends.
    FileCrlf,
    /// Files begin with a byte-order mark.
    FileBom,
    /// Files have blank lines and lines of spaces between the others.
    FileBlankLines,
    /// A line in the middle of the file breaks off.
    FileBadJson,
    /// A line in the middle of the file has no `id`.
    FileLineWithoutId,
    /// A line in the middle of the file has an empty `id`.
    FileLineEmptyId,
    /// A line in the middle of the file has a number as `id`.
    FileLineNumericId,
    /// A line in the middle of the file is a resource of another type.
    FileLineOtherType,
    /// Two resources of the file are on one line.
    FileTwoResourcesOnOneLine,
    /// A line in the middle of the file is not UTF-8.
    FileInvalidUtf8,
    /// A line in the middle of the file is this many bytes long. `file-long-line=BYTES`
    FileLongLine(usize),
    /// A resource of the file is there twice.
    FileDuplicateId,

    /// The import's job fails with this status on its polls, having written nothing; and is replayed. `import-fails=STATUS`
    ImportFails(u16),
    /// The target answers 200 on the poll, having written nothing.
    ImportDropsRows,
    /// At the next poll the target has lost the job: 404 `Job ID not found`.
    TargetLosesJob,
    /// The import's 202 has no Content-Location.
    ImportWithoutContentLocation,

    /// S3 refuses HEAD with 403.
    S3RefusesHead,
    /// S3 refuses every listing with 403.
    S3RefusesList,
    /// S3 refuses `ListParts` with 403.
    S3RefusesListParts,
    /// S3 refuses `AbortMultipartUpload` with 403.
    S3RefusesAbort,
    /// S3 does not know CRC64NVME: 400 `InvalidRequest` or 501 `NotImplemented` to every request that names it.
    /// `s3-refuses-crc64nvme[=501]`
    S3RefusesCrc64Nvme(u16),
    /// S3 refuses even the right CRC64NVME of a whole multipart object as `BadDigest`.
    S3BadDigestMultipart,
    /// S3 knows no conditional writes: 501 `NotImplemented`.
    S3RefusesConditionalWrites,
    /// S3 knows no multipart uploads: 501 `NotImplemented`.
    S3RefusesMultipart,
    /// S3 refuses everything with 403.
    S3RefusesEverything,
    /// S3 answers 503 `SlowDown` to every write.
    S3SlowDown,
    /// S3 answers 503 `SlowDown` to so many writes. Counts itself. `s3-slow-down=N`
    S3SlowDowns(usize),
    /// S3 reads so many bytes a second, of all bodies together; what it has not read waits at the client. `s3-rate=BYTES`
    S3Rate(u64),
    /// S3 answers 500 to the upload of a part of this number or a higher one. `s3-part-fails=N`
    S3PartFails(i32),
    /// S3 encrypts with keys of its own (SSE-KMS): the `ETag` of a part is no sum of its bytes, and another each time.
    S3Encrypts,
    /// S3 loses an upload when a part of it comes: 404 `NoSuchUpload` from then on.
    S3LosesUpload,
    /// S3 answers 500 `InternalError` to every request.
    S3InternalError,
    /// S3 answers 500 to the completion of a multipart upload.
    S3CompleteFails,
    /// S3 answers 200 to the completion of a multipart upload, with an error as its body.
    S3CompleteFailsInBody,
    /// S3 answers 409 to the completion of a multipart upload: begin again.
    S3CompleteConflicts,
    /// S3 completes a multipart upload and answers 500 all the same, as a gateway does that has lost the store's answer.
    S3CompleteAnswerLost,
    /// S3 accepts requests and never answers.
    S3Hangs,

    /// What a vendor's server makes a habit of.
    Habit(Habit),
}

impl Fault {
    /// How many times the fault shows by itself; None: until it is switched off.
    pub(crate) fn own_times(&self) -> Option<usize> {
        match self {
            Self::Files429(times)
            | Self::Files429Date(times)
            | Self::Files503(times)
            | Self::S3SlowDowns(times) => Some(*times),
            Self::SecretRotates => Some(1),
            _ => None,
        }
    }

    /// This answer (or just a status) at this place.
    #[must_use]
    pub fn answers(place: Place, answer: impl Into<Answer>) -> Self {
        Self::Answers(place, answer.into())
    }

    /// The fault's name with its argument, as the program's flag takes it.
    #[must_use]
    pub fn name(&self) -> String {
        crate::fault_names::name(self)
    }
}

impl Fault {
    /// The names of all faults, with the arguments that they take, for people to read.
    #[must_use]
    pub fn names() -> String {
        crate::fault_names::names()
    }
}

impl FromStr for Fault {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::fault_names::parse(text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}
