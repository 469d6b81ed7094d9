//! The end of an export's job at the source: DELETE on its status URL (Bulk Data Access IG, "Bulk Data Delete Request").
//!
//! It ends a job that still runs, and lets the source clear away the files of one that is complete. What the answer means
//! for the run is for the steps to say.

use url::Url;

use crate::error::Result;
use crate::http::{self, Client, Request, TokenUse};

/// What the source made of the wish to end a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It ends the job, or has ended it, and answered with this status.
    Done(u16),
    /// It knows no such job, or none any more, and answered with this status.
    Unknown(u16),
    /// It does not end jobs, and answered with this status.
    Unsupported(u16),
}

impl Deleted {
    /// The status that was answered.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Done(status) | Self::Unknown(status) | Self::Unsupported(status) => status,
        }
    }

    /// Whether the source has no such job from now on.
    #[must_use]
    pub fn is_gone(self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }
}

/// Asks the source to end the job of `status_url`.
///
/// Any answer but the expected ones is an error as [`http::failure`] has it, and so is none.
pub async fn delete(client: &Client, endpoint: &Url, status_url: &Url) -> Result<Deleted> {
    let url = http::status_url_for_polling(endpoint, status_url);
    let request = Request::delete(url).accept("application/json");
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    match response.status().as_u16() {
        status @ (200 | 202 | 204) => Ok(Deleted::Done(status)),
        status @ (404 | 410) => Ok(Deleted::Unknown(status)),
        status @ (405 | 501) => Ok(Deleted::Unsupported(status)),
        _ => Err(http::failure(response, "the deletion of the export's job").await),
    }
}
