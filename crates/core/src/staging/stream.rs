//! Objects that are too large to be read whole, chunk by chunk.

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{Backend, Staging};
use crate::error::Result;

/// An object's bytes as they come. It ends after its first error.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

impl Staging {
    /// Reads an object of any size as a stream, or gives `None` where it is absent (or, on S3, may not be read).
    ///
    /// `StagingUnavailable` from the stream where the object breaks off.
    pub async fn read_stream(&self, key: &str) -> Result<Option<Chunks>> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.read_stream(key).await,
            Backend::S3(store) => store.read_stream(key).await,
        }
    }
}
