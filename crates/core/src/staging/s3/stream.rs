//! Objects that are too large to be read whole.

use futures_util::stream::{self, StreamExt};

use super::fault::Fault;
use super::{GET, Store};
use crate::error::Result;
use crate::staging::Chunks;

impl Store {
    /// See [`crate::staging::Staging::read_stream`].
    pub(in crate::staging) async fn read_stream(&self, key: &str) -> Result<Option<Chunks>> {
        let found = match self.get(key, None).await {
            Ok(found) => found,
            Err(fault) if fault.absent() || fault.forbidden() => return Ok(None),
            Err(fault) => return Err(self.error(&fault, key, GET)),
        };
        let url = self.place.url(key);
        let chunks = stream::unfold(Some((found.body, url)), |open| async {
            let (mut body, url) = open?;
            match body.next().await? {
                Ok(chunk) => Some((Ok(chunk), Some((body, url)))),
                Err(error) => {
                    let fault = Fault::broken(&format!("the answer broke off: {error}"));
                    Some((Err(fault.error(&url, GET)), None))
                }
            }
        });
        Ok(Some(chunks.boxed()))
    }
}
