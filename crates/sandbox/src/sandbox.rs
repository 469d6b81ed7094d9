//! A running sandbox: where it can be reached, what arrived in it, and what may be changed while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::builder::Builder;
use crate::certificates::{ClientIdentity, arn};
use crate::clients::Kept;
use crate::clients::Way;
use crate::clock::Clock;
use crate::control::Control;
use crate::dataset::from_value;
use crate::faults::Faults;
use crate::keys::KeyForm;
use crate::pathling::{BASE as TARGET_BASE, Pathling, Row};
use crate::record::{Recorded, Service};
use crate::s3::{ACCESS_KEY, BUCKET, EXPORT_BUCKET, REGION, SECRET_KEY};
use crate::server::{Server, bind, serve};
use crate::settings::Only;
use crate::source::{BASE as SOURCE_BASE, Source, SourceFile};
use crate::types::is_importable;
use crate::world::World;

/// A Bulk Data source, a token endpoint, an S3 and a Pathling, all in this process. Dropped, they are gone.
#[must_use]
pub struct Sandbox {
    #[allow(dead_code, reason = "held for its drop, which ends the listeners")]
    pub(crate) servers: Vec<Server>,
    pub(crate) world: Arc<World>,
    pub(crate) source: Arc<Source>,
    pub(crate) pathling: Arc<Pathling>,
    /// Where S3 keeps its buckets.
    pub(crate) folder: PathBuf,
    #[allow(dead_code, reason = "held for its drop, which removes the folder")]
    pub(crate) temporary: Option<tempfile::TempDir>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sandbox")
            .field("origins", &self.world.origins)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// A sandbox to be described and started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The source's FHIR base: `SOURCE_ENDPOINT`.
    #[must_use]
    pub fn source_endpoint(&self) -> String {
        format!("{}{SOURCE_BASE}", self.world.origins.source)
    }

    /// The target's FHIR base: `TARGET_ENDPOINT`.
    #[must_use]
    pub fn target_endpoint(&self) -> String {
        format!("{}{TARGET_BASE}", self.world.origins.target)
    }

    /// The object store: `AWS_ENDPOINT_URL_S3`.
    #[must_use]
    pub fn s3_endpoint(&self) -> String {
        self.world.origins.s3.clone()
    }

    /// The token endpoint of source and target.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.world.origins.token)
    }

    /// The other origin, where files may lie.
    #[must_use]
    pub fn files_origin(&self) -> String {
        self.world.origins.files.clone()
    }

    /// `STAGING_URL`: `s3://staging/<prefix>`.
    #[must_use]
    pub fn staging_url(&self) -> String {
        format!("s3://{BUCKET}/{}", self.world.settings.prefix)
    }

    /// Every setting that a pathling-import process needs against this sandbox, as environment variables.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let only = self.world.settings.only;
        let mut env = Vec::new();
        if only != Some(Only::S3) {
            env.extend(self.source_env());
        }
        if let Some(profile) = self.world.settings.profile
            && only != Some(Only::S3)
        {
            let settings = profile.settings.iter().chain(profile.trial);
            env.extend(settings.map(|(name, value)| {
                let value = value.replace("{internal}", &self.world.told_source());
                ((*name).to_owned(), value)
            }));
        }
        if only != Some(Only::Source) {
            env.push(("STAGING_URL".to_owned(), self.staging_url()));
        }
        if only.is_none() {
            env.extend(self.target_env());
        }
        let mut aws = Vec::new();
        let signs = self.world.settings.source_auth && self.world.settings.source_way == Way::Aws;
        if only != Some(Only::Source) {
            aws.push(("AWS_ENDPOINT_URL_S3", self.s3_endpoint()));
        }
        if only != Some(Only::Source) || signs {
            aws.push(("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()));
            aws.push(("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()));
            aws.push(("AWS_REGION", REGION.to_owned()));
            aws.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
        }
        if let Some(certificates) = &self.world.certificates {
            let roots = certificates.roots().display().to_string();
            aws.push(("SSL_CERT_FILE", roots));
        }
        if self.world.settings.secrets_in_aws {
            let keeper = &self.world.origins.secrets;
            aws.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", keeper.clone()));
            aws.push(("AWS_ENDPOINT_URL_SSM", keeper.clone()));
        }
        env.extend(
            aws.into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        env
    }

    fn source_env(&self) -> Vec<(String, String)> {
        let settings = &self.world.settings;
        let mut env = vec![("SOURCE_ENDPOINT".to_owned(), self.source_endpoint())];
        if settings.source_auth {
            env.extend(
                self.world
                    .clients
                    .of(Service::Source)
                    .env(settings.secrets_in_aws),
            );
            if settings.source_way.is_oauth() {
                env.push(("SOURCE_SCOPES".to_owned(), "system/*.read".to_owned()));
            }
        } else {
            env.push((
                "SOURCE_AUTHENTICATION_ENABLED".to_owned(),
                "false".to_owned(),
            ));
        }
        env.extend(self.certificate_env(Service::Source));
        env
    }

    fn certificate_env(&self, service: Service) -> Vec<(String, String)> {
        let kept = self.world.settings.secrets_in_aws;
        let certificates = self.world.certificates.as_ref();
        certificates.map_or_else(Vec::new, |them| them.env(service, kept))
    }

    fn target_env(&self) -> Vec<(String, String)> {
        let settings = &self.world.settings;
        let mut env = vec![("TARGET_ENDPOINT".to_owned(), self.target_endpoint())];
        if settings.target_auth {
            env.extend(
                self.world
                    .clients
                    .of(Service::Target)
                    .env(settings.secrets_in_aws),
            );
            if settings.target_way.is_oauth() {
                let scopes =
                    "pathling:import pathling:write pathling:delete pathling:search pathling:read";
                env.push(("TARGET_SCOPES".to_owned(), scopes.to_owned()));
            }
        } else {
            env.push((
                "TARGET_AUTHENTICATION_ENABLED".to_owned(),
                "false".to_owned(),
            ));
        }
        env.extend(self.certificate_env(Service::Target));
        env
    }

    /// What a client shows to its server, where that wants a certificate.
    #[must_use]
    pub fn client_identity(&self, service: Service) -> Option<ClientIdentity> {
        let certificates = self.world.certificates.as_ref()?;
        Some(certificates.of(service))
    }

    /// Where AWS would keep this client's certificate and key, in one text.
    #[must_use]
    pub fn client_identity_arn(&self, service: Service) -> &'static str {
        arn(service)
    }

    /// Gives both clients new certificates, refuses the old ones from now on, and keeps the new ones where AWS would.
    pub fn rotate_certificates(&self) -> std::io::Result<()> {
        let certificates = self.world.certificates.as_ref();
        certificates.map_or(Ok(()), |them| them.rotate())
    }

    /// What the source's client proves itself with: its secret, token, password, or its private key in this form.
    #[must_use]
    pub fn source_proof(&self, form: KeyForm) -> String {
        self.world.clients.of(Service::Source).proof(form)
    }

    /// The id of the source's client's key, where it has one.
    #[must_use]
    pub fn source_kid(&self) -> Option<&str> {
        self.world.clients.of(Service::Source).kid()
    }

    /// Gives both clients new secrets (passwords, tokens), refuses the old ones from now on, and keeps the new ones where
    /// AWS would. Keys stay.
    pub fn rotate_secrets(&self) {
        self.world.clients.rotate(&self.world.log);
    }

    /// Keeps a text as AWS Secrets Manager would, and gives its address.
    pub fn keep(&self, name: &str, text: impl Into<String>) -> String {
        let arn = format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbCdEf");
        self.world.shelf().push(Kept {
            arn: arn.clone(),
            text: text.into(),
        });
        arn
    }

    /// Every text of the clients' that nobody may see.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let mut all = self.world.clients.secrets();
        if let Some(certificates) = &self.world.certificates {
            for service in [Service::Source, Service::Target] {
                let key = certificates.of(service).key;
                all.extend(
                    key.lines()
                        .filter(|line| !line.starts_with('-'))
                        .map(str::to_owned),
                );
            }
        }
        all
    }

    /// The rows that the target holds of a type, duplicates too.
    #[must_use]
    pub fn rows(&self, resource_type: &str) -> Vec<Row> {
        self.pathling.rows(resource_type)
    }

    /// The types of which the target holds a row.
    #[must_use]
    pub fn target_types(&self) -> Vec<String> {
        self.pathling.types()
    }

    /// Whether the target can hold resources of this type.
    #[must_use]
    pub fn holds(&self, resource_type: &str) -> bool {
        is_importable(self.world.settings.pathling, resource_type)
    }

    /// The lines that the source holds of a type.
    #[must_use]
    pub fn resources(&self, resource_type: &str) -> Vec<bytes::Bytes> {
        self.source.lines(resource_type)
    }

    /// The types of which the source holds a resource.
    #[must_use]
    pub fn source_types(&self) -> Vec<String> {
        self.source.types()
    }

    /// Creates or changes a resource at the source; false when the value is no resource.
    #[allow(clippy::must_use_candidate, reason = "done for its effect")]
    pub fn source_put(&self, resource: &Value) -> bool {
        let Some(resource) = from_value(resource) else {
            return false;
        };
        self.source.put(resource);
        true
    }

    /// Deletes a resource at the source; false when there is none.
    #[allow(clippy::must_use_candidate, reason = "done for its effect")]
    pub fn source_delete(&self, resource_type: &str, id: &str) -> bool {
        self.source.delete(resource_type, id)
    }

    /// The files that the newest export lists, those that are made as they are read too; empty before the first export.
    #[must_use]
    pub fn source_files(&self) -> Vec<SourceFile> {
        self.source.files()
    }

    /// Every export that was kicked off so far is complete from now on, however often it was polled.
    pub fn complete_exports(&self) {
        self.source.complete_exports();
    }

    /// Every file URL that the source told so far answers this status (403, 404 or 410) from now on. The manifest, fetched
    /// again, has URLs that are good, until this is called again.
    pub fn expire_links(&self, status: u16) {
        self.source.expire_links(status);
    }

    /// How many requests a service had in hand at once, at most, since the start or the last `reset_peaks`. A request is in
    /// hand until the last byte of its answer was taken.
    #[must_use]
    pub fn peak(&self, service: Service) -> usize {
        self.world.gauges.of(service).peak()
    }

    /// Forgets the peaks so far.
    pub fn reset_peaks(&self) {
        for service in Service::ALL {
            self.world.gauges.of(service).reset();
        }
    }

    /// The recorded requests for files at either origin or in S3, in order: their `path` tells the file, `headers["range"]` the
    /// range, `status` and `sent` what came of it.
    #[must_use]
    pub fn downloads(&self) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| {
            let of_source = matches!(request.service, Service::Source | Service::Files)
                && (request.path.contains("/files/") || request.path.contains("/Binary/"));
            let exports = format!("/{EXPORT_BUCKET}/");
            let in_s3 = request.service == Service::S3 && request.path.starts_with(&exports);
            of_source || in_s3
        });
        requests
    }

    /// Restarts the target: its jobs are forgotten, its data stays.
    pub fn restart_target(&self) {
        self.pathling.restart();
    }

    /// Key and size of every object in the bucket, by key.
    #[must_use]
    pub fn s3_objects(&self) -> Vec<(String, u64)> {
        objects(&self.bucket())
    }

    /// An object's bytes; None when there is none of that key.
    #[must_use]
    pub fn s3_object(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.bucket().join(key)).ok()
    }

    /// The folder on disk that holds the bucket's objects.
    #[must_use]
    pub fn bucket(&self) -> std::path::PathBuf {
        self.folder.join(BUCKET)
    }

    /// Every request that arrived at any listener, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.world.log.requests()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.world.log.clear();
    }

    /// Every credential that went astray, of the requests that are recorded and not forgotten, one sentence each: to an
    /// origin that it is not for, where none is wanted, as a cookie, or over plaintext to another machine. Empty is right.
    #[must_use]
    pub fn token_leaks(&self) -> Vec<String> {
        let requests = self.requests().into_iter();
        requests.flat_map(|request| request.leaks).collect()
    }

    /// Another listener, for scripts in other processes: `GET /requests`, `/rows/{type}`,
    /// `/counts`, `/leaks`, `/objects`, `/peaks`; `POST /source`, `/faults`, `/expire-links`, `/restart-target`;
    /// `DELETE /requests`, `/faults`, `/peaks`, `/source/{type}/{id}`. Gives its address, such as
    /// `http://127.0.0.1:8080`. Fails where the port is taken.
    pub async fn control(&mut self, port: u16) -> std::io::Result<String> {
        let (listener, origin) = bind("http", port).await?;
        let control = Control::new(self);
        self.servers.push(serve(listener, Arc::new(control), None));
        Ok(origin)
    }

    /// The time that source and target tell.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.world.clock.clone()
    }

    /// The faults, to switch on and off.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.world.faults.clone()
    }
}

/// Key and size of every object in a bucket's folder, by key.
pub(crate) fn objects(bucket: &Path) -> Vec<(String, u64)> {
    let mut objects = Vec::new();
    collect(bucket, "", &mut objects);
    objects.sort();
    objects
}

/// Adds the files below a folder, by their path from it.
fn collect(folder: &Path, prefix: &str, objects: &mut Vec<(String, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let key = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                collect(&entry.path(), &format!("{key}/"), objects);
            }
            Ok(metadata) => objects.push((key, metadata.len())),
            Err(_) => {}
        }
    }
}
