//! The control listener: what a test asks the [`Sandbox`] in its own process, a script asks here.
//!
//! | request | answer |
//! |---|---|
//! | `GET /requests` | every recorded request, JSON |
//! | `DELETE /requests` | forgets them |
//! | `GET /leaks` | credentials that went astray since the start, a JSON array of sentences |
//! | `GET /counts` | rows by type at source and target, JSON |
//! | `GET /rows/{type}` | the target's rows of a type, NDJSON, byte for byte |
//! | `GET /resources/{type}` | the source's resources of a type, NDJSON, byte for byte |
//! | `GET /objects` | key and size of every object of S3, JSON |
//! | `POST /source` | puts the body, a resource, at the source |
//! | `DELETE /source/{type}/{id}` | deletes a resource at the source |
//! | `POST /faults` | switches on the fault that the body names, `NAME[=ARGUMENT][*TIMES]` |
//! | `DELETE /faults` | switches all faults off |
//! | `GET /peaks` | how many requests each service had in hand at most, JSON |
//! | `DELETE /peaks` | forgets them |
//! | `POST /expire-links` | file URLs told so far answer the status of the body, or 403 |
//! | `POST /restart-target` | the target forgets its jobs |

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Map, Value, json};

use crate::call::{Call, Reply, empty, plain_json, reply};
use crate::dataset::from_value;
use crate::faults::Switch;
use crate::pathling::Pathling;
use crate::record::Service;
use crate::sandbox::{Sandbox, objects};
use crate::server;
use crate::source::Source;
use crate::world::World;

/// The listener's view of the sandbox.
pub(crate) struct Control {
    world: Arc<World>,
    source: Arc<Source>,
    pathling: Arc<Pathling>,
    bucket: PathBuf,
}

impl Control {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        Self {
            world: Arc::clone(&sandbox.world),
            source: Arc::clone(&sandbox.source),
            pathling: Arc::clone(&sandbox.pathling),
            bucket: sandbox.bucket(),
        }
    }

    fn answer_call(&self, call: &Call) -> Reply {
        let path = call.below("").unwrap_or_default();
        match (&call.method, path.as_slice()) {
            (&Method::GET, ["requests"]) => plain_json(200, &json!(self.world.log.requests())),
            (&Method::DELETE, ["requests"]) => {
                self.world.log.clear();
                empty(204)
            }
            (&Method::GET, ["leaks"]) => plain_json(200, &json!(*self.world.log.leaks())),
            (&Method::GET, ["counts"]) => plain_json(200, &self.counts()),
            (&Method::GET, ["rows", kind]) => {
                let rows = self.pathling.rows(kind);
                ndjson(rows.into_iter().map(|row| row.line))
            }
            (&Method::GET, ["resources", kind]) => ndjson(self.source.lines(kind).into_iter()),
            (&Method::GET, ["objects"]) => plain_json(200, &json!(objects(&self.bucket))),
            (&Method::POST, ["source"]) => self.put(call),
            (&Method::DELETE, ["source", kind, id]) => empty(if self.source.delete(kind, id) {
                204
            } else {
                404
            }),
            (&Method::POST, ["faults"]) => self.fault(call),
            (&Method::DELETE, ["faults"]) => {
                self.world.faults.clear();
                empty(204)
            }
            (&Method::GET, ["peaks"]) => plain_json(200, &self.peaks()),
            (&Method::DELETE, ["peaks"]) => {
                for service in Service::ALL {
                    self.world.gauges.of(service).reset();
                }
                empty(204)
            }
            (&Method::POST, ["expire-links"]) => self.expire_links(call),
            (&Method::POST, ["restart-target"]) => {
                self.pathling.restart();
                empty(204)
            }
            _ => empty(404),
        }
    }

    fn counts(&self) -> Value {
        let source: Map<String, Value> = self
            .source
            .types()
            .into_iter()
            .map(|kind| {
                let count = self.source.lines(&kind).len();
                (kind, json!(count))
            })
            .collect();
        let target: Map<String, Value> = self
            .pathling
            .types()
            .into_iter()
            .map(|kind| {
                let count = self.pathling.rows(&kind).len();
                (kind, json!(count))
            })
            .collect();
        json!({"source": source, "target": target})
    }

    fn peaks(&self) -> Value {
        let peaks = Service::ALL.into_iter().map(|service| {
            let name = json!(service).as_str().unwrap_or_default().to_owned();
            (name, json!(self.world.gauges.of(service).peak()))
        });
        Value::Object(peaks.collect())
    }

    fn expire_links(&self, call: &Call) -> Reply {
        let body = String::from_utf8_lossy(&call.body);
        let status = match body.trim() {
            "" => Ok(403),
            text => text.parse(),
        };
        match status {
            Ok(status) => {
                self.source.expire_links(status);
                empty(204)
            }
            Err(_) => reply(400, "text/plain", "The body is no status\n"),
        }
    }

    fn put(&self, call: &Call) -> Reply {
        let value: Option<Value> = serde_json::from_slice(&call.body).ok();
        match value.as_ref().and_then(from_value) {
            Some(resource) => {
                self.source.put(resource);
                empty(204)
            }
            None => reply(400, "text/plain", "The body is no FHIR resource\n"),
        }
    }

    fn fault(&self, call: &Call) -> Reply {
        match String::from_utf8_lossy(&call.body).trim().parse::<Switch>() {
            Ok(switch) => {
                self.world.faults.switch(switch);
                empty(204)
            }
            Err(error) => reply(400, "text/plain", format!("{error}\n")),
        }
    }
}

/// Lines as they are, each with a newline after it.
fn ndjson(lines: impl Iterator<Item = Bytes>) -> Reply {
    let body = lines.fold(Vec::new(), |mut body, line| {
        body.extend_from_slice(&line);
        body.push(b'\n');
        body
    });
    reply(200, "application/fhir+ndjson", body)
}

impl server::Service for Control {
    async fn answer(&self, request: Request<Body>) -> Reply {
        self.answer_call(&Call::read(request).await)
    }
}
