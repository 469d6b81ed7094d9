//! The object store: s3s and s3s-fs behind what real stores check and s3s-fs does not.

mod access;
mod checked;
mod exports;
mod operations;
mod policy;
mod store;
mod sums;
mod uploads;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::Request;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;

use crate::call::{Reply, empty, percent_decode};
use crate::faults::Fault;
use crate::rate::{Rate, paced};
use crate::record::Service;
use crate::server;
use crate::traffic::counted;
use crate::world::World;

use access::Access;
pub use policy::S3Policy;
use store::Store;

/// The bucket that is there from the start.
pub const BUCKET: &str = "staging";
/// The bucket that a source puts its files into, where it does that.
pub const EXPORT_BUCKET: &str = "exports";
/// The access key of the one account.
pub const ACCESS_KEY: &str = "AKIASANDBOXSANDBOX00";
/// Its secret.
pub const SECRET_KEY: &str = "sandbox/secret+access/key0123456789abcdef";
/// The region that the store says it is in.
pub const REGION: &str = "eu-central-1";

/// The store's listener.
pub(crate) struct S3 {
    world: Arc<World>,
    service: S3Service,
    /// The pace at which bodies are read, where a fault sets one.
    pace: Mutex<Option<Arc<Rate>>>,
}

impl S3 {
    /// A store whose buckets are the folders of `root`.
    pub(crate) fn new(
        world: Arc<World>,
        root: &Path,
        (access_key, secret_key): (&str, &str),
        policy: Option<S3Policy>,
    ) -> io::Result<Self> {
        let files = FileSystem::new(root).map_err(|error| {
            io::Error::other(format!("no store at {}: {error:?}", root.display()))
        })?;
        let mut builder = S3ServiceBuilder::new(Store::new(files, Arc::clone(&world), root));
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        builder.set_access(Access::new(Arc::clone(&world), root, policy));
        Ok(Self {
            world,
            service: builder.build(),
            pace: Mutex::default(),
        })
    }

    /// The pace that the fault sets now, one for all bodies.
    fn pace(&self) -> Option<Arc<Rate>> {
        let wanted = self.world.faults.peek(|fault| match fault {
            Fault::S3Rate(bytes) => Some(*bytes),
            _ => None,
        })?;
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.as_ref().is_none_or(|pace| pace.per_second() != wanted) {
            *pace = Some(Arc::new(Rate::new(wanted)));
        }
        pace.clone()
    }
}

impl server::Service for S3 {
    async fn answer(&self, request: Request<Body>) -> Reply {
        let flight = self.world.gauges.of(Service::S3).enter();
        let entry = self.world.log.begin(
            (Service::S3, None),
            request.method().as_str(),
            &percent_decode(request.uri().path()),
            request.uri().query().unwrap_or_default(),
            request.headers(),
            b"",
        );
        if self.world.faults.fires(&Fault::S3Hangs) {
            std::future::pending::<()>().await;
        }
        self.world.lag().await;
        let is_export = exports::is_download(&request);
        let flushed = request.extensions().get().cloned();
        if is_export && let Some(refusal) = exports::refusal(&self.world) {
            self.world.log.end(entry, refusal.status().as_u16());
            return counted(refusal, &self.world.log, entry, flight);
        }
        let request = match self.pace() {
            Some(pace) => request.map(|body| paced(body, pace)),
            None => request,
        };
        let request = request.map(s3s::Body::http_body_unsync);
        // A task of its own: a client that goes away must not cut a write in its middle, which is one step to a real store.
        let service = self.service.clone();
        let answered = tokio::spawn(async move { service.call(request).await });
        let reply = match answered.await {
            Ok(Ok(reply)) => reply.map(Body::new),
            Ok(Err(error)) => {
                tracing::warn!(?error, "S3 could not answer");
                empty(500)
            }
            Err(error) => {
                tracing::warn!(%error, "S3 could not answer");
                empty(500)
            }
        };
        let reply = if is_export {
            exports::cut(&self.world, reply, flushed)
        } else {
            reply
        };
        self.world.log.end(entry, reply.status().as_u16());
        counted(reply, &self.world.log, entry, flight)
    }
}
