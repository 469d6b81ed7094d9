//! The manifest of a run is kept: the first that is written under the run's name stays.

use bytes::Bytes;
use url::Url;

use super::Context;
use super::published::ManifestAt;
use super::run::{self, Stored, move_newest_kick_off, saw_manifest, stored_head};
use crate::error::{Kind, Result};
use crate::export::{Room, Status, Text};
use crate::http::Client;
use crate::manifest::Head;
use crate::staging::{Created, Staging, Writing, layout};
use crate::sync::RunRecord;

/// A run whose manifest is in staging.
pub(super) struct Kept {
    /// The run's name, with a suffix where the server counts its jobs anew.
    pub(super) run: String,
    /// Whether the manifest was written by this very call. Files of the run may be there all the same, of another export:
    /// a lifecycle rule, or a person, may have removed the manifest alone.
    pub(super) is_new: bool,
    /// The run's record.
    pub(super) record: RunRecord,
}

/// A manifest's text, for whoever keeps it.
pub(super) enum Whole<'a> {
    /// All of it.
    Here(Bytes),
    /// One that is too large to be held.
    Large(Large<'a>),
}

/// A manifest that is too large to be held.
pub(super) struct Large<'a> {
    /// What was written of it when it came, if anything was.
    pub(super) written: Option<Writing>,
    /// Whom to ask for it again.
    pub(super) client: &'a Client,
    pub(super) endpoint: &'a Url,
    pub(super) manifest_at: &'a ManifestAt,
}

impl Whole<'_> {
    /// Writes it where no manifest is; `false` says that there is one after all.
    async fn write(&mut self, staging: &Staging, key: &str, head: &Head) -> Result<bool> {
        match self {
            Self::Here(text) => {
                let created = staging.create(key, text.clone(), layout::JSON);
                Ok(matches!(created.await?, Created::New(_)))
            }
            Self::Large(large) => large.write(staging, key, head).await,
        }
    }
}

impl Large<'_> {
    async fn write(&mut self, staging: &Staging, key: &str, head: &Head) -> Result<bool> {
        if let Some(written) = self.written.take_if(|written| written.key() == key) {
            return written.finish().await;
        }
        // It belongs elsewhere than was thought before its end was seen.
        let room = Room {
            staging,
            key: key.to_owned(),
        };
        let at = self.manifest_at;
        let again = Box::pin(at.poll(self.client, self.endpoint, Some(&room), None));
        if let Status::Complete(told) = again.await?.status
            && told.head == *head
        {
            return match told.text {
                Text::OnItsWay(written) => written.finish().await,
                Text::Held(_) | Text::Gone => Ok(false),
            };
        }
        Err(Kind::SourceUnavailable.error(format!(
            "{}: the manifest changed while it was read",
            at.shown()
        )))
    }
}

/// Writes the manifest of `run`, or finds the one that was written before; a manifest of another transaction time there
/// means that the server reused the status URL, and the run gets a suffix. `head` is the manifest's own. With `name`, the run has
/// that name and no other. `begins` says that its files are fetched from now on.
pub(super) async fn keep_manifest(
    context: &Context,
    staging: &Staging,
    (run, name): (&str, Option<String>),
    (head, mut text): (&Head, Whole<'_>),
    base: Option<&Url>,
    begins: bool,
) -> Result<Kept> {
    let suffixed = || layout::suffixed(run, &head.transaction_time);
    let names = name.map_or_else(|| vec![run.to_owned(), suffixed()], |name| vec![name]);
    for candidate in names {
        let key = layout::manifest_key(&candidate);
        let mut found = run::stored(staging, &key, base).await?;
        if let (Stored::Broken(error), Whole::Here(text)) = (&found, &text)
            && run::is_of(staging, &candidate, head).await?
        {
            run::mend(staging, &key, text.clone(), error).await?;
            found = run::stored(staging, &key, base).await?;
        }
        let mut stored = match found {
            Stored::Head(stored) => Some(stored),
            Stored::Broken(error) => return Err(error),
            Stored::Absent => None,
        };
        let is_new = stored.is_none() && text.write(staging, &key, head).await?;
        if stored.is_none() && !is_new {
            stored = stored_head(staging, &key, base).await?;
        }
        if !is_new
            && stored
                .as_ref()
                .is_none_or(|stored| stored.transaction_time != head.transaction_time)
        {
            continue;
        }
        if let Some(stored) = &stored
            && (stored.outputs, stored.deleted, stored.errors)
                != (head.outputs, head.deleted, head.errors)
        {
            tracing::warn!(
                run = candidate,
                outputs = head.outputs,
                stored = stored.outputs,
                "the manifest names other files than before, at the same transactionTime: the run goes on with those that it named first"
            );
        }
        if candidate != run {
            move_newest_kick_off(staging, run, &candidate).await?;
        }
        let record = saw_manifest(context, staging, &candidate, head, begins).await?;
        return Ok(Kept {
            run: candidate,
            is_new,
            record,
        });
    }
    Err(Kind::StagingDenied
        .error(format!(
            "the folders of run {run} hold manifests of other exports"
        ))
        .next("Remove the run's folders below STAGING_URL, or use another place."))
}
