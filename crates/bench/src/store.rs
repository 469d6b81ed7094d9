//! S3: s3s-fs as its own program serves it, in a folder that goes away with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use nix::sys::statvfs::statvfs;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;

use crate::serve::{self, COUNT, Counters};
use crate::{Outcome, usage};

pub(crate) const BUCKET: &str = "bench";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ACCESS_KEY: &str = "AKIABENCHBENCHBENCH0";
pub(crate) const SECRET_KEY: &str = "bench/secret+access/key012345678901234567";

/// Where a file system in memory is, if there is one.
const IN_MEMORY: &str = "/dev/shm";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many bytes of objects there must be room for
    #[arg(long, default_value_t = 3 << 30)]
    room: u64,
    /// Where the objects are to be; otherwise in memory where there is room, else where temporary files are
    #[arg(long, value_name = "FOLDER")]
    within: Option<PathBuf>,
}

/// Serves until stdin ends.
pub(crate) async fn serve(options: Options) -> Outcome<()> {
    let folder = tempfile::Builder::new()
        .prefix("pathling-import-bench-")
        .tempdir_in(match options.within {
            Some(within) => within,
            None => place(options.room)?,
        })?;
    std::fs::create_dir(folder.path().join(BUCKET))?;
    let files = FileSystem::new(folder.path())
        .map_err(|error| format!("no store at {}: {error:?}", folder.path().display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let counters = Arc::new(Counters::default());
    serve::until_stdin_ends(Some(folder.path().to_owned()), move |request| {
        answer(service.clone(), Arc::clone(&counters), request)
    })
    .await
}

async fn answer(
    service: S3Service,
    counters: Arc<Counters>,
    request: Request<Incoming>,
) -> Response<s3s::Body> {
    if request.uri().path() == COUNT {
        return Response::new(Bytes::from(counters.json()).into());
    }
    counters.add(request.method());
    Service::call(&service, request)
        .await
        .unwrap_or_else(|error| {
            crate::say(&format!("S3 could not answer: {error:?}"));
            let mut response = Response::default();
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
}

/// A folder in memory where there is room enough, so that no disk is measured.
fn place(room: u64) -> Outcome<PathBuf> {
    let memory = Path::new(IN_MEMORY);
    if memory.is_dir() {
        let system = statvfs(memory)?;
        let free = system.blocks_available() * system.fragment_size();
        // What is in there takes memory that others cannot have.
        if free >= room && usage::available()? >= room {
            return Ok(memory.to_owned());
        }
    }
    Ok(std::env::temp_dir())
}
