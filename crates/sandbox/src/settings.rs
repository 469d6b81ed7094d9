//! How a sandbox should be, as its services read it.

use std::time::Duration;

use crate::certificates::Demand;
use crate::clients::Way;
use crate::pathling::PathlingVersion;
use crate::profiles::Profile;
use crate::synthetic::Wanted;
use crate::token::TokenAuthMethod;

/// One side of a sandbox, to run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// The source with its token endpoint and its other origin of files.
    Source,
    /// The object store.
    S3,
}

/// What every service knows of how it should be.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Settings {
    pub(crate) pathling: PathlingVersion,
    pub(crate) polls: usize,
    pub(crate) import_polls: usize,
    pub(crate) retry_after: Option<String>,
    pub(crate) source_auth: bool,
    pub(crate) target_auth: bool,
    pub(crate) source_way: Way,
    pub(crate) target_way: Way,
    pub(crate) signing_algorithms: Vec<String>,
    pub(crate) secrets_in_aws: bool,
    pub(crate) token_auth_methods: Vec<TokenAuthMethod>,
    pub(crate) token_lifetime: Duration,
    pub(crate) resources_per_file: usize,
    pub(crate) files_elsewhere: bool,
    pub(crate) files_trusted: bool,
    pub(crate) allow: Vec<String>,
    pub(crate) key_refresh: Duration,
    pub(crate) delete_delay: Duration,
    pub(crate) import_delay: Duration,
    pub(crate) prefix: String,
    pub(crate) gzip: bool,
    pub(crate) file_sizes: bool,
    pub(crate) signed_links: bool,
    pub(crate) page_size: Option<usize>,
    pub(crate) mixed_files: bool,
    pub(crate) synthetic: Vec<Wanted>,
    pub(crate) source_rate: Option<u64>,
    pub(crate) latency: Duration,
    pub(crate) only: Option<Only>,
    pub(crate) client_certificates: Option<Demand>,
    pub(crate) profile: Option<&'static Profile>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pathling: PathlingVersion::Seven,
            polls: 0,
            import_polls: 0,
            retry_after: None,
            source_auth: true,
            target_auth: true,
            source_way: Way::Secret,
            target_way: Way::Secret,
            signing_algorithms: ["RS384", "ES384"].map(str::to_owned).to_vec(),
            secrets_in_aws: false,
            token_auth_methods: vec![TokenAuthMethod::Basic, TokenAuthMethod::Post],
            token_lifetime: Duration::from_hours(1),
            resources_per_file: 1000,
            files_elsewhere: false,
            files_trusted: false,
            allow: ["s3://", "file:///"].map(str::to_owned).to_vec(),
            key_refresh: Duration::from_millis(1300),
            delete_delay: Duration::ZERO,
            import_delay: Duration::ZERO,
            prefix: "pathling".to_owned(),
            gzip: false,
            file_sizes: false,
            signed_links: false,
            page_size: None,
            mixed_files: false,
            synthetic: Vec::new(),
            source_rate: None,
            latency: Duration::ZERO,
            only: None,
            client_certificates: None,
            profile: None,
        }
    }
}
