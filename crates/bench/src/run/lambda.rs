//! The start of a Lambda's binary, until it asks the Runtime API for its first invocation.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::Options;
use super::supervise::Supervisor;
use super::table::Row;
use super::works::Work;
use crate::usage::{Took, memory};
use crate::{Outcome, say};

/// What a client says first when it waits for an invocation.
const POLL: &[u8] = b"GET /2018-06-01/runtime/invocation/next";

/// What a zip file of one entry is larger by than its compressed bytes: two headers with the name, and the end.
const ZIP: usize = 30 + 46 + 22 + 2 * "bootstrap".len();

/// Measures the start of the binary that is found.
pub(super) fn rows(supervisor: &Supervisor, options: &Options) -> Outcome<Vec<Row>> {
    let candidates = match &options.lambda {
        Some(path) => vec![(path.clone(), "as told")],
        None => candidates()?,
    };
    for (path, what) in candidates {
        if !path.is_file() {
            continue;
        }
        let mut row = Row::new(Work::Start, &Work::Start.title(false), 0, 0);
        for _ in 0..options.runs {
            match start(supervisor, &path) {
                Ok(took) => row.mover.push(took),
                // Built for another architecture.
                Err(error)
                    if error
                        .downcast_ref::<std::io::Error>()
                        .is_some_and(|error| error.raw_os_error() == Some(ENOEXEC)) =>
                {
                    say(&format!("{} is not for this machine", path.display()));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if row.mover.is_empty() {
            continue;
        }
        let zip = zipped(&path)? as f64 / f64::from(1 << 20);
        row.beside = format!("{what}; zip {zip:.1} MiB");
        return Ok(vec![row]);
    }
    say(
        "no Lambda was started, for none is built for this machine: make build-lambdas, or give --lambda",
    );
    Ok(Vec::new())
}

/// The error of an executable for another machine.
const ENOEXEC: i32 = nix::errno::Errno::ENOEXEC as i32;

/// Where builds leave the binary, the best first.
fn candidates() -> Outcome<Vec<(PathBuf, &'static str)>> {
    let program = std::env::current_exe()?;
    let release = program.parent().unwrap_or(Path::new("."));
    let target = release.parent().unwrap_or(Path::new("."));
    Ok(vec![
        (
            target.join("lambda/transfer-to-s3-lambda/bootstrap"),
            "built for Lambda",
        ),
        (
            target.join("lambda/transfer-to-s3-lambda"),
            "built for Lambda",
        ),
        (
            PathBuf::from(".aws-sam/build/TransferToS3Function/bootstrap"),
            "built for Lambda",
        ),
        (
            release.join("transfer-to-s3-lambda"),
            "not built for Lambda, but like the rest",
        ),
    ])
}

/// A process that is ended when this is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(supervisor: &Supervisor, path: &Path) -> Outcome<Took> {
    supervisor.go_on()?;
    let api = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "transfer-to-s3")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
        .env("AWS_REGION", "us-east-1")
        .env("SOURCE_ENDPOINT", "https://fhir.example.org/fhir")
        .env("SOURCE_CLIENT_ID", "bench")
        .env("SOURCE_CLIENT_SECRET", "bench")
        .env("SOURCE_SCOPES", "system/*.read")
        .env("STAGING_URL", "s3://bench/staging")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let begin = Instant::now();
    let lambda = Started(command.spawn()?);
    let id = lambda.0.id();
    let first = supervisor.watching(id, move || first_poll(&api, lambda, begin))?;
    supervisor.go_on()?;
    first
}

/// Waits for the first bytes of the first poll. Nobody connects where the process ended at once, so it is looked after.
fn first_poll(api: &TcpListener, mut lambda: Started, begin: Instant) -> Outcome<Took> {
    api.set_nonblocking(true)?;
    let mut stream = loop {
        match api.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(status) = lambda.0.try_wait()? {
                    return Err(format!("the Lambda ended with {status} before it polled").into());
                }
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_nonblocking(false)?;
    let mut first = [0; POLL.len()];
    stream.read_exact(&mut first)?;
    let wall = begin.elapsed().as_secs_f64();
    if first != POLL {
        return Err("the Lambda asked the Runtime API for something else first".into());
    }
    Ok(Took {
        wall,
        cpu: 0.0,
        rss: memory(&lambda.0.id().to_string(), "VmRSS")?,
    })
}

/// The size of a zip file of the binary.
fn zipped(path: &Path) -> Outcome<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&std::fs::read(path)?)?;
    Ok(encoder.finish()?.len() + ZIP)
}
