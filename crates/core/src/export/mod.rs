//! The export at the source: kick-off and status (Bulk Data Access IG, "Bulk Data Kick-off Request" and "Bulk Data
//! Status Request"). What comes back is told as it is; what it means for the run is for the steps to say.
//!
//! - [`asked`](Wanted) is what an export is asked for, as a query or as FHIR Parameters;
//! - [`kick_off`] sends it, and waits a little where the source has too much to do;
//! - [`Capability`] is what the source says beforehand about its operation;
//! - [`status`] asks how it goes, and [`manifest_again`] for what it came to;
//! - [`delete`] ends its job.

mod asked;
mod capability;
mod ending;
mod in_file;
mod kick_off;
mod pages;
mod partial;
mod status;
mod told;

pub use asked::Wanted;
pub use capability::Capability;
pub(crate) use capability::unread as capabilities_unread;
pub use ending::{Deleted, delete};
pub use in_file::{look_for_file, manifest_in_file, status_in_file};
pub use kick_off::{Accepted, Failed, Patience, kick_off};
pub use pages::manifest_again;
pub use partial::Partial;
pub use status::{GoesOn, Polled, Status, parse_status_url, status};
pub use told::{Room, Text, Told};

/// The media type of all FHIR resources here.
const FHIR_JSON: &str = "application/fhir+json";

/// The preference for an answer whose status is that of the request, and not of the job (STU4).
const SEPARATE_STATUS: &str = "separate-export-status";

/// What the parsers of this room make of any text: nothing but values.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use serde_json::Value;
    use url::Url;

    /// Where a Content-Location leads.
    pub(crate) fn status_url(answered: &Url, location: &str) -> Option<Url> {
        super::kick_off::status_url(answered, location)
    }

    /// Reads a value as a `CapabilityStatement` and as an `OperationDefinition`.
    pub(crate) fn capability(endpoint: &Url, value: &Value) {
        super::capability::fuzzing(endpoint, value);
    }
}
