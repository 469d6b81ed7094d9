//! How a sandbox should be, as its user says it. What is about the size and the pace of files is in `builder_files.rs`.

use std::path::PathBuf;
use std::time::Duration;

use crate::certificates::Demand;
use crate::clients::Way;
use crate::dataset::Dataset;
use crate::faults::Switch;
use crate::pathling::PathlingVersion;
use crate::s3::S3Policy;
use crate::settings::Settings;
use crate::token::TokenAuthMethod;

/// The ports of the listeners; 0 takes any that is free.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// The source's.
    pub source: u16,
    /// The token endpoint's.
    pub token: u16,
    /// The other origin of files.
    pub files: u16,
    /// S3's.
    pub s3: u16,
    /// The target's.
    pub target: u16,
}

/// How a sandbox should be. Without any call: a Pathling 7, twenty synthetic patients, authentication on at both
/// ends, no poll that has to be repeated, no faults.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) data: Dataset,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) faults: Vec<Switch>,
    pub(crate) ports: Ports,
    pub(crate) s3_policy: Option<S3Policy>,
    pub(crate) s3_folder: Option<PathBuf>,
    pub(crate) record: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            data: Dataset::synthetic(20),
            data_dir: None,
            faults: Vec::new(),
            ports: Ports::default(),
            s3_policy: None,
            s3_folder: None,
            record: true,
        }
    }
}

impl Builder {
    /// Which Pathling the target is. Default: 7.
    #[must_use]
    pub fn pathling(mut self, version: PathlingVersion) -> Self {
        self.settings.pathling = version;
        self
    }

    /// What the source holds at first. Default: `Dataset::synthetic(20)`.
    #[must_use]
    pub fn data(mut self, data: Dataset) -> Self {
        self.data = data;
        self
    }

    /// A folder of `.ndjson` files or FHIR `.json` resources that the source holds at first, instead of `data`.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// How many polls of an export are answered 202 before the manifest comes. Default: 0.
    #[must_use]
    pub fn polls(mut self, polls: usize) -> Self {
        self.settings.polls = polls;
        self
    }

    /// How many polls of an import are answered 202 before its end is told. Default: 0.
    #[must_use]
    pub fn import_polls(mut self, polls: usize) -> Self {
        self.settings.import_polls = polls;
        self
    }

    /// The `Retry-After` of the source's 202 answers to polls. Default: none. (Pathling never sends one.)
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.settings.retry_after = Some(value.into());
        self
    }

    /// Whether source and target want tokens. Default: both do.
    #[must_use]
    pub fn auth(self, on: bool) -> Self {
        self.source_auth(on).target_auth(on)
    }

    /// Whether the source wants tokens.
    #[must_use]
    pub fn source_auth(mut self, on: bool) -> Self {
        self.settings.source_auth = on;
        self
    }

    /// Whether the target wants tokens.
    #[must_use]
    pub fn target_auth(mut self, on: bool) -> Self {
        self.settings.target_auth = on;
        self
    }

    /// How the clients of source and target prove themselves. Default: by a secret, to the token endpoint.
    #[must_use]
    pub fn way(self, way: Way) -> Self {
        self.source_way(way).target_way(way)
    }

    /// How the source's client proves itself.
    #[must_use]
    pub fn source_way(mut self, way: Way) -> Self {
        self.settings.source_way = way;
        self
    }

    /// How the target's client proves itself.
    #[must_use]
    pub fn target_way(mut self, way: Way) -> Self {
        self.settings.target_way = way;
        self
    }

    /// What assertions may be signed with, as the token endpoint advertises it. Default: RS384 and ES384.
    #[must_use]
    pub fn signing_algorithms(mut self, names: &[&str]) -> Self {
        self.settings.signing_algorithms = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// The settings hold the addresses of secrets, which the sandbox keeps as AWS would: the source's in Secrets Manager
    /// as a member of a JSON object, the target's as a parameter.
    #[must_use]
    pub fn secrets_in_aws(mut self) -> Self {
        self.settings.secrets_in_aws = true;
        self
    }

    /// Everything but S3 and AWS is under TLS, and source and target want certificates of their clients. Default: no TLS.
    #[must_use]
    pub fn client_certificates(mut self, demand: Demand) -> Self {
        self.settings.client_certificates = Some(demand);
        self
    }

    /// How clients may prove themselves at the token endpoint, as it advertises it. Default: both ways.
    #[must_use]
    pub fn token_auth_methods(mut self, methods: &[TokenAuthMethod]) -> Self {
        self.settings.token_auth_methods = methods.to_vec();
        self
    }

    /// How long a token lives. Default: an hour.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// At how many resources a file of an export is cut. Default: 1000.
    #[must_use]
    pub fn resources_per_file(mut self, resources: usize) -> Self {
        self.settings.resources_per_file = resources;
        self
    }

    /// The files lie at another origin, which serves them without a token and refuses requests that carry one.
    #[must_use]
    pub fn files_elsewhere(mut self) -> Self {
        self.settings.files_elsewhere = true;
        self
    }

    /// The other origin of files is one that may have the source's token, and wants it.
    #[must_use]
    pub fn files_trusted(mut self) -> Self {
        self.settings.files_trusted = true;
        self
    }

    /// From where the target may import: beginnings of URLs. Default: `s3://` and `file:///`.
    #[must_use]
    pub fn allow(mut self, prefixes: &[&str]) -> Self {
        self.settings.allow = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        self
    }

    /// How long after a write Pathling 2 still reuses the jobs from before it. Default: 1.3 s, as measured.
    #[must_use]
    pub fn key_refresh(mut self, wait: Duration) -> Self {
        self.settings.key_refresh = wait;
        self
    }

    /// How long an import takes at least. Default: no time. (Real ones take seconds.) Polls of one that is not done
    /// are answered 202.
    #[must_use]
    pub fn import_delay(mut self, delay: Duration) -> Self {
        self.settings.import_delay = delay;
        self
    }

    /// How long a deletion at Pathling 2 takes. Default: no time. (Real ones take 2 to 4 s.)
    #[must_use]
    pub fn delete_delay(mut self, delay: Duration) -> Self {
        self.settings.delete_delay = delay;
        self
    }

    /// What S3 allows. Default: everything.
    #[must_use]
    pub fn s3_policy(mut self, policy: S3Policy) -> Self {
        self.s3_policy = Some(policy);
        self
    }

    /// A fault that is on from the start.
    #[must_use]
    pub fn fault(mut self, fault: impl Into<Switch>) -> Self {
        self.faults.push(fault.into());
        self
    }

    /// The listeners' ports. Default: any.
    #[must_use]
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }
}
