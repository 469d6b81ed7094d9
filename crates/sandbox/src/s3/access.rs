//! What the store refuses before it looks at a request's body: by policy, and by fault.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::policy::S3Policy;
use crate::faults::Fault;
use crate::world::World;

/// The check of every request.
pub(super) struct Access {
    world: Arc<World>,
    root: PathBuf,
    policy: Option<S3Policy>,
}

impl Access {
    pub(super) fn new(world: Arc<World>, root: &Path, policy: Option<S3Policy>) -> Self {
        Self {
            world,
            root: root.to_path_buf(),
            policy,
        }
    }

    fn refuse_by_fault(&self, operation: &str, conditional: bool) -> S3Result<()> {
        let fires = |fault: &Fault| self.world.faults.fires(fault);
        let writes = matches!(
            operation,
            "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload"
        );
        let lists = operation.starts_with("List");
        if fires(&Fault::S3RefusesEverything)
            || operation.starts_with("Head") && fires(&Fault::S3RefusesHead)
            || lists && fires(&Fault::S3RefusesList)
            || operation == "ListParts" && fires(&Fault::S3RefusesListParts)
            || operation == "AbortMultipartUpload" && fires(&Fault::S3RefusesAbort)
        {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let slow = |fault: &Fault| {
            matches!(fault, Fault::S3SlowDown | Fault::S3SlowDowns(_)).then_some(())
        };
        if writes && self.world.faults.take(slow).is_some() {
            return Err(s3_error!(SlowDown, "Please reduce your request rate."));
        }
        if fires(&Fault::S3InternalError)
            || operation == "CompleteMultipartUpload" && fires(&Fault::S3CompleteFails)
        {
            return Err(s3_error!(
                InternalError,
                "We encountered an internal error. Please try again."
            ));
        }
        if writes && conditional && fires(&Fault::S3RefusesConditionalWrites)
            || operation.contains("Multipart") && fires(&Fault::S3RefusesMultipart)
        {
            return Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented"
            ));
        }
        Ok(())
    }

    /// Refuses what names CRC64NVME, as stores do that do not know it.
    fn refuse_crc64nvme(&self, headers: &http::HeaderMap) -> S3Result<()> {
        let named = headers.iter().any(|(name, value)| {
            let name = name.as_str();
            name == "x-amz-checksum-crc64nvme"
                || matches!(
                    name,
                    "x-amz-checksum-algorithm" | "x-amz-sdk-checksum-algorithm" | "x-amz-trailer"
                ) && String::from_utf8_lossy(value.as_bytes())
                    .to_ascii_lowercase()
                    .contains("crc64nvme")
        });
        if !named {
            return Ok(());
        }
        let refusal = self.world.faults.take(|fault| match fault {
            Fault::S3RefusesCrc64Nvme(status) => Some(*status),
            _ => None,
        });
        match refusal {
            Some(501) => Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented"
            )),
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, SHA1, SHA256]"
            )),
            None => Ok(()),
        }
    }

    fn refuse_by_policy(
        &self,
        operation: &str,
        bucket: Option<&str>,
        key: Option<&str>,
    ) -> S3Result<()> {
        let Some(policy) = &self.policy else {
            return Ok(());
        };
        if !policy.allows(operation, key) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let looks = matches!(operation, "GetObject" | "HeadObject");
        if let (true, Some(bucket), Some(key)) = (looks, bucket, key)
            && !policy.has("s3:ListBucket")
            && !self.root.join(bucket).join(key).is_file()
        {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "Access Denied",
            ));
        }
        let operation = context.s3_op().name().to_owned();
        let conditional = context.headers().contains_key("if-none-match")
            || context.headers().contains_key("if-match");
        self.refuse_by_fault(&operation, conditional)?;
        self.refuse_crc64nvme(context.headers())?;
        let path = context.s3_path();
        self.refuse_by_policy(&operation, path.get_bucket_name(), path.get_object_key())
    }
}
