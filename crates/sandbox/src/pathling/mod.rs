//! Pathling, as the two real servers behave: 7.2.0 with the `source` dialect and Pathling Server 2.0.1 with `input`.
//!
//! It really reads the files that it is told of, and it does with them what the real ones were seen to do: the same
//! refusals, the same silent drops, the same emptied tables and reused jobs.

mod answers;
mod batch;
mod failure;
mod importer;
mod jobs;
mod lines;
mod location;
mod seven;
mod tables;
mod two;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use http::{Method, Request};

use crate::call::{Call, Reply, outcome, with};
use crate::faults::Place;
use crate::record::Service;
use crate::server;
use crate::world::World;

use failure::Failure;
use importer::Importer;
use jobs::Jobs;
pub use tables::Row;
use tables::Tables;

/// The base of every URL of the target.
pub(crate) const BASE: &str = "/fhir";

/// Which of the two servers the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathlingVersion {
    /// Pathling 7.2.0, the last of the `source` dialect.
    #[default]
    Seven,
    /// Pathling Server 2.0.1, the `input` dialect.
    Two,
}

/// The target: its tables and its jobs.
pub(crate) struct Pathling {
    world: Arc<World>,
    version: PathlingVersion,
    importer: Arc<Importer>,
    jobs: Mutex<Jobs>,
    /// The types of which a resource is being deleted now.
    deleting: Mutex<HashSet<String>>,
}

impl Pathling {
    /// A target without any data. `s3_root` is the folder that holds S3's buckets.
    pub(crate) fn new(world: Arc<World>, s3_root: PathBuf) -> Self {
        let version = world.settings.pathling;
        Self {
            importer: Arc::new(Importer::new(Arc::clone(&world), s3_root)),
            world,
            version,
            jobs: Mutex::default(),
            deleting: Mutex::default(),
        }
    }

    pub(crate) fn rows(&self, kind: &str) -> Vec<Row> {
        self.tables().rows(kind).to_vec()
    }

    pub(crate) fn types(&self) -> Vec<String> {
        self.tables().types()
    }

    /// What a restart does: jobs are forgotten, a running import ends, tables stay.
    pub(crate) fn restart(&self) {
        self.jobs().clear();
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.importer.tables()
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the call has this authority.
    fn has_authority(&self, call: &Call, authority: &str) -> Result<bool, Reply> {
        if !self.world.settings.target_auth {
            return Ok(true);
        }
        let scopes = self.world.scopes(call, Service::Target)?;
        Ok(scopes.iter().any(|scope| match scope.as_str() {
            "user/*.write" => matches!(authority, "pathling:import" | "pathling:write"),
            scope => scope == authority || scope == "pathling",
        }))
    }

    /// Refuses a call that lacks one of these authorities.
    fn authorise(&self, call: &Call, authorities: &[&str]) -> Result<(), Reply> {
        for authority in authorities {
            if !self.has_authority(call, authority)? {
                let text = format!("Missing authority: '{authority}'");
                return Err(outcome(403, "forbidden", &text));
            }
        }
        Ok(())
    }

    async fn route(&self, call: &Call) -> Reply {
        let Some(path) = call.below(BASE) else {
            return outcome(404, "not-found", "HAPI-0302: Unknown path");
        };
        let place = match (&call.method, path.as_slice()) {
            (_, [".well-known", "smart-configuration"]) => Place::TargetSmartConfiguration,
            (_, ["metadata"]) => Place::TargetMetadata,
            (_, ["$import"]) => Place::ImportKickOff,
            (_, ["$job"]) => Place::ImportStatus,
            (&Method::DELETE, _) => Place::Delete,
            _ => Place::Count,
        };
        if let Some(told) = self.world.gate(place, call).await {
            return told;
        }
        match (&call.method, path.as_slice()) {
            (&Method::GET, [".well-known", "smart-configuration"]) => self.smart_configuration(),
            (&Method::GET, ["metadata"]) => self.metadata(),
            (&Method::POST, ["$import"]) => self.import(call).await,
            (_, ["$import"]) => with(outcome(405, "not-supported", "Only POST"), "allow", "POST"),
            (&Method::GET | &Method::POST, ["$job"]) => self.poll(call).await,
            (&Method::DELETE, ["$job"]) => self.delete_job(call),
            (&Method::POST, []) => self.batch(call).await,
            (&Method::GET, [kind]) => self.search(call, kind),
            (&Method::GET, [kind, id]) => self.read(call, kind, id),
            (&Method::DELETE, [kind]) => self.delete_without_id(kind),
            (&Method::DELETE, [kind, id]) => self.delete(call, kind, id).await,
            _ => not_supported(call),
        }
    }
}

/// What 7 says to nearly everything that is no import.
fn not_supported(call: &Call) -> Reply {
    let text = format!(
        "This server does not know how to handle {} operation at {}",
        call.method, call.path
    );
    outcome(400, "not-supported", &text)
}

/// The target's listener.
pub(crate) struct PathlingService(pub(crate) Arc<Pathling>);

impl server::Service for PathlingService {
    async fn answer(&self, request: Request<Body>) -> Reply {
        let pathling = &self.0;
        pathling
            .world
            .record(Service::Target, request, |call| async move {
                pathling.route(&call).await
            })
            .await
    }
}

/// An accepted or refused thing as an answer.
fn settle(result: Result<Reply, Failure>) -> Reply {
    result.unwrap_or_else(|failure| failure.reply())
}
