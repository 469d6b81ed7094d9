//! Uploads that processes that died have left open.

use super::fault::Fault;
use super::{Store, parts};
use crate::error::Result;

const LIST_UPLOADS: &str = "s3:ListBucketMultipartUploads";

impl Store {
    /// See [`crate::staging::Staging::sweep`].
    pub(in crate::staging) async fn sweep(&self, below: &str) -> Result<()> {
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(self.name(&format!("{below}/")))
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await;
            let page =
                page.map_err(|error| self.error(&Fault::from(error), below, LIST_UPLOADS))?;
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            for upload in page.uploads.unwrap_or_default() {
                let key = upload.key.as_deref().and_then(|name| self.key(name));
                if let (Some(key), Some(id)) = (key, upload.upload_id) {
                    parts::abort(self, key, id).await;
                }
            }
            if page.is_truncated != Some(true) || key_marker.is_none() {
                return Ok(());
            }
        }
    }
}
