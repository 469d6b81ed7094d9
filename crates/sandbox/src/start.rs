//! The start of a sandbox.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::assertion::Seen;
use crate::builder::Builder;
use crate::certificates::Certificates;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::dataset::Dataset;
use crate::faults::Faults;
use crate::keeper::KeeperService;
use crate::leaks::Rules;
use crate::pathling::{Pathling, PathlingService};
use crate::record::{Log, Service};
use crate::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::sandbox::Sandbox;
use crate::server::{Tls, bind, serve};
use crate::settings::Only;
use crate::source::{FilesService, Source, SourceService};
use crate::token::{TokenService, Tokens};
use crate::traffic::Gauges;
use crate::world::{Origins, World};

impl Builder {
    /// Starts the listeners on loopback. Fails where a port is taken or the data cannot be read.
    pub async fn start(self) -> io::Result<Sandbox> {
        let data = match &self.data_dir {
            Some(path) => Dataset::folder(path)?,
            None => self.data,
        };
        let data = match self.settings.profile {
            Some(profile) => profile.data(data),
            None => data,
        };
        let certificates = self.settings.client_certificates;
        let certificates = certificates
            .map(Certificates::new)
            .transpose()?
            .map(Arc::new);
        let scheme = if certificates.is_some() {
            "https"
        } else {
            "http"
        };
        let (source_port, source_origin) = bind(scheme, self.ports.source).await?;
        let (token_port, token_origin) = bind(scheme, self.ports.token).await?;
        let (files_port, files_origin) = bind(scheme, self.ports.files).await?;
        let (s3_port, s3_origin) = bind("http", self.ports.s3).await?;
        let (target_port, target_origin) = bind(scheme, self.ports.target).await?;
        let (secrets_port, secrets_origin) = bind("http", 0).await?;

        let faults = Faults::default();
        for fault in self.faults {
            faults.switch(fault);
        }
        let log = Log::new(self.record, Rules::of(&self.settings));
        log.know_secret(SECRET_KEY, Service::S3);
        let (source_way, target_way) = (self.settings.source_way, self.settings.target_way);
        let clients = Clients::new(source_way, target_way, &log);
        let world = Arc::new(World {
            settings: self.settings,
            origins: Origins {
                source: source_origin,
                token: token_origin,
                files: files_origin,
                s3: s3_origin,
                target: target_origin,
                secrets: secrets_origin,
            },
            faults,
            log: Arc::new(log),
            gauges: Gauges::default(),
            tokens: Tokens::default(),
            clients,
            shelf: std::sync::Mutex::default(),
            certificates,
            assertions: Seen::default(),
            clock: Clock::default(),
            answers: std::sync::atomic::AtomicU64::default(),
        });

        let (folder, temporary) = folder(self.s3_folder)?;
        let s3 = Arc::new(S3::new(
            Arc::clone(&world),
            &folder,
            (ACCESS_KEY, SECRET_KEY),
            self.s3_policy,
        )?);
        let source = Arc::new(Source::new(Arc::clone(&world), data, folder.clone()));
        let pathling = Arc::new(Pathling::new(Arc::clone(&world), folder.clone()));
        let only = world.settings.only;
        let mut servers = Vec::new();
        let tls = |service| {
            let certificates = world.certificates.as_ref();
            certificates.map(|them| Tls(Arc::clone(them), service))
        };
        if only != Some(Only::S3) {
            let service = Arc::new(SourceService(Arc::clone(&source)));
            servers.push(serve(source_port, service, tls(Service::Source)));
            let service = Arc::new(TokenService(Arc::clone(&world)));
            servers.push(serve(token_port, service, tls(Service::Token)));
            let service = Arc::new(FilesService(Arc::clone(&source)));
            servers.push(serve(files_port, service, tls(Service::Files)));
        }
        if only != Some(Only::Source) {
            servers.push(serve(s3_port, s3, None));
        }
        let service = Arc::new(KeeperService(Arc::clone(&world)));
        servers.push(serve(secrets_port, service, None));
        if only.is_none() {
            let service = Arc::new(PathlingService(Arc::clone(&pathling)));
            servers.push(serve(target_port, service, tls(Service::Target)));
        }
        Ok(Sandbox {
            servers,
            world,
            source,
            pathling,
            folder,
            temporary,
        })
    }
}

/// The folder of the buckets, with the first of them; and what removes it at the end, where it is a temporary one.
fn folder(wanted: Option<PathBuf>) -> io::Result<(PathBuf, Option<tempfile::TempDir>)> {
    let (folder, temporary) = if let Some(folder) = wanted {
        (folder, None)
    } else {
        let temporary = tempfile::Builder::new().prefix("sandbox-").tempdir()?;
        (temporary.path().to_path_buf(), Some(temporary))
    };
    std::fs::create_dir_all(folder.join(BUCKET))?;
    Ok((folder, temporary))
}
