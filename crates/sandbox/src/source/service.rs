//! The source's two listeners.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};

use super::Source;
use crate::call::{Reply, outcome};
use crate::record::Service;
use crate::server;

/// The source's listener.
pub(crate) struct SourceService(pub(crate) Arc<Source>);

impl server::Service for SourceService {
    async fn answer(&self, request: Request<Body>) -> Reply {
        let source = &self.0;
        source
            .world
            .record(Service::Source, request, |call| async move {
                source.route(&call).await
            })
            .await
    }
}

/// The other origin's listener: only files.
pub(crate) struct FilesService(pub(crate) Arc<Source>);

impl server::Service for FilesService {
    async fn answer(&self, request: Request<Body>) -> Reply {
        let source = &self.0;
        source
            .world
            .record(Service::Files, request, |call| async move {
                let path = call.below("/files").unwrap_or_default();
                match (&call.method, path.as_slice()) {
                    (&Method::GET, [id, name]) => {
                        source.file(&call, id, name, Service::Files).await
                    }
                    _ => outcome(404, "not-found", "There are only files here"),
                }
            })
            .await
    }
}
