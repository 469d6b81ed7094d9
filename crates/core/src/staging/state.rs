//! Our own state as JSON: read it, and change it although others do so at the same time.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Created, Object, Replaced, Staging, layout};
use crate::error::{Kind, Result};

/// How often a change is tried against others before it is given up.
const ATTEMPTS: u32 = 12;

impl Staging {
    /// Reads a JSON object of ours, or `None` where it is absent.
    ///
    /// `StagingDenied` where there is something else under the key.
    pub async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.read(key).await? {
            Some(object) => self.parse(key, &object).map(Some),
            None => Ok(None),
        }
    }

    /// Changes a JSON object of ours, starting from `T::default()` where it is absent, and returns what it is then.
    ///
    /// `change` says whether there is anything to write. It is called again with what others wrote in the meantime, and
    /// may meet its own change there (the answer to a write can be lost), so it must be able to run twice.
    /// `StagingUnavailable` where others keep changing it first.
    pub async fn update_json<T, F>(&self, key: &str, mut change: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Default,
        F: FnMut(&mut T) -> Result<bool>,
    {
        let mut found = self.read(key).await?;
        for attempt in 0..ATTEMPTS {
            let mut value = match &found {
                Some(object) => self.parse(key, object)?,
                None => T::default(),
            };
            if !change(&mut value)? {
                return Ok(value);
            }
            let bytes = serde_json::to_vec_pretty(&value).map_err(|error| {
                Kind::StagingDenied.error(format!("{} cannot be written: {error}", self.url(key)))
            })?;
            found = match found {
                None => match self.create(key, bytes.into(), layout::JSON).await? {
                    Created::New(_) => return Ok(value),
                    Created::Exists(object) => Some(object),
                },
                Some(object) => match self.replace(key, bytes.into(), &object.version).await? {
                    Replaced::Done(_) => return Ok(value),
                    Replaced::Conflict => {
                        tokio::time::sleep(jitter(attempt)).await;
                        self.read(key).await?
                    }
                },
            };
        }
        Err(Kind::StagingUnavailable.error(format!(
            "{} was changed by others {ATTEMPTS} times while it was being changed here",
            self.url(key)
        )))
    }

    fn parse<T: DeserializeOwned>(&self, key: &str, object: &Object) -> Result<T> {
        serde_json::from_slice(&object.bytes).map_err(|error| {
            Kind::StagingDenied
                .error(format!(
                    "{} is not what this program writes there: {error}",
                    self.url(key)
                ))
                .next("Move that object away, or set STAGING_URL to a place of its own.")
        })
    }
}

/// A wait of random length that grows with the attempts, so that those who collided do not collide again.
pub(super) fn jitter(attempt: u32) -> Duration {
    let most = 50_u64 << attempt.min(6);
    Duration::from_millis(rand::random_range(0..=most))
}
