//! What the store's one account may do: a list of actions, as a policy of AWS has them, on keys below a prefix.

/// An allow-list. What is not on it is refused with 403, and, as at AWS, so is the look at a missing key unless
/// `s3:ListBucket` is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Policy {
    prefix: String,
    actions: Vec<String>,
}

impl S3Policy {
    /// These actions (such as `s3:GetObject`) on keys that begin with this prefix.
    #[must_use]
    pub fn allow(prefix: impl Into<String>, actions: &[&str]) -> Self {
        Self {
            prefix: prefix.into(),
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
        }
    }

    /// Only `s3:GetObject` and `s3:PutObject`, everywhere.
    #[must_use]
    pub fn get_and_put() -> Self {
        Self::allow("", &["s3:GetObject", "s3:PutObject"])
    }

    /// Whether the operation is allowed on this key (None: on the bucket).
    pub(super) fn allows(&self, operation: &str, key: Option<&str>) -> bool {
        self.has(action(operation)) && key.is_none_or(|key| key.starts_with(&self.prefix))
    }

    /// Whether an action is on the list.
    pub(super) fn has(&self, action: &str) -> bool {
        self.actions.iter().any(|allowed| allowed == action)
    }
}

/// The action of AWS that an operation needs.
fn action(operation: &str) -> &'static str {
    match operation {
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "CompleteMultipartUpload"
        | "CopyObject"
        | "UploadPartCopy" => "s3:PutObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => "s3:ListBucket",
        "DeleteObject" | "DeleteObjects" => "s3:DeleteObject",
        "ListBuckets" => "s3:ListAllMyBuckets",
        "CreateBucket" => "s3:CreateBucket",
        _ => "",
    }
}
