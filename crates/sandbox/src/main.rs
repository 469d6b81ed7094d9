//! The program `sandbox`: starts a sandbox, prints the settings that lead to it, and waits.

mod sizes;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sandbox::{
    Builder, Demand, Fault, KeyKind, Only, PathlingVersion, Ports, Profile, Sandbox, Switch, Way,
};
use sizes::{Files, Size};
use tokio::signal::unix::{SignalKind, signal};

/// A FHIR source, a token endpoint, an S3 and a Pathling on this machine, for trying out pathling-import.
///
/// Prints the settings that pathling-import needs against it, then runs until it is interrupted.
#[derive(Debug, Parser)]
#[command(version, after_long_help = format!("Profiles:\n{}\nFaults: {}", Profile::list(), Fault::names()))]
struct Arguments {
    /// A folder of NDJSON files or FHIR JSON resources that the source holds; otherwise synthetic patients
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How many synthetic patients the source holds
    ///
    /// [default: 20; none with --big, --files or --outputs]
    #[arg(long, conflicts_with = "data")]
    patients: Option<usize>,
    #[command(flatten)]
    large: Large,
    /// Which Pathling the target is
    #[arg(long, value_enum, default_value = "7")]
    pathling: Version,
    /// The vendor whose server the source behaves like, by its name; `--help` lists them all. Further options change it
    #[arg(long, value_name = "NAME", value_parser = Profile::named)]
    profile: Option<&'static Profile>,
    /// A fault that is on, by its name, for ever or for so many times; may be repeated; `--help` lists them all
    #[arg(long, value_name = "NAME[=ARGUMENT][*TIMES]")]
    fault: Vec<Switch>,
    /// Source and target want no tokens
    #[arg(long)]
    no_auth: bool,
    /// How source and target have their clients prove themselves; the keys of `jwt` are made at the start
    ///
    /// [default: secret, or what the profile wants]
    #[arg(long, value_enum, conflicts_with = "no_auth")]
    auth: Option<Auth>,
    /// The settings name where AWS keeps the secrets, which the sandbox does in its place
    #[arg(long)]
    secrets_in_aws: bool,
    /// Everything but S3 is under TLS, and source and target want certificates of their clients, on which TLS insists, or
    /// an answer as nginx gives it
    #[arg(long, value_enum, value_name = "BY")]
    client_certificates: Option<By>,
    /// How many polls of export and import are answered with 202
    ///
    /// [default: 0, or what the profile does]
    #[arg(long)]
    polls: Option<usize>,
    /// The Retry-After of the source's 202 answers to polls
    #[arg(long, value_name = "SECONDS|DATE")]
    retry_after: Option<String>,
    /// At how many resources the source cuts its files
    ///
    /// [default: 1000, or what the profile does]
    #[arg(long)]
    resources_per_file: Option<usize>,
    /// How the settings are printed: env for a shell, json for programs
    ///
    /// JSON has the names of the environment too, so it is no configuration file for pathling-import, whose names are others.
    #[arg(long, value_enum, default_value = "env")]
    format: Format,
    /// A file that the settings are written to when everything runs
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Ends after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// A listener on this port (0: any) that tells what arrived; its address is printed as `SANDBOX_CONTROL`
    #[arg(long, value_name = "PORT")]
    control: Option<u16>,
    /// The source's port; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    source_port: u16,
    /// The token endpoint's port
    #[arg(long, default_value_t = 0)]
    token_port: u16,
    /// The port of the other origin of files
    #[arg(long, default_value_t = 0)]
    files_port: u16,
    /// S3's port
    #[arg(long, default_value_t = 0)]
    s3_port: u16,
    /// The target's port
    #[arg(long, default_value_t = 0)]
    target_port: u16,
}

/// Sizes, paces and what else long runs want.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Large files and long runs")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct Large {
    /// One more file of so many bytes, made as it is read: `Observation=1GiB`; may be repeated
    #[arg(long, value_name = "TYPE=SIZE")]
    big: Vec<Files>,
    /// So many more files of so many bytes each: `Patient=200x5MiB`; may be repeated
    #[arg(long, value_name = "TYPE=COUNTxSIZE")]
    files: Vec<Files>,
    /// So many more files of one resource each, over ten types
    #[arg(long, value_name = "COUNT")]
    outputs: Option<usize>,
    /// The manifest tells each output's fileSize
    #[arg(long)]
    file_sizes: bool,
    /// Files hold several types, in a block for each patient
    #[arg(long)]
    mixed_files: bool,
    /// The manifest comes in pages of so many outputs
    #[arg(long, value_name = "OUTPUTS")]
    page_size: Option<usize>,
    /// Files are sent as gzip to clients that accept it
    #[arg(long)]
    gzip: bool,
    /// The manifest's URLs are signed, anew in each manifest
    #[arg(long)]
    signed_links: bool,
    /// How many bytes of files the source sends a second, such as 10MiB
    #[arg(long, value_name = "BYTES")]
    source_rate: Option<Size>,
    /// How much longer each answer of source and S3 takes
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency: u64,
    /// Only this side runs, and no request is recorded
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Requests are not recorded: a long run costs no memory
    #[arg(long, conflicts_with = "record")]
    no_record: bool,
    /// Requests are recorded with --only too
    #[arg(long)]
    record: bool,
    /// The folder in which S3 keeps its buckets, and which stays
    #[arg(long, value_name = "PATH")]
    s3_folder: Option<PathBuf>,
}

impl Large {
    fn apply(self, mut builder: Builder) -> Builder {
        for Files {
            kind,
            number,
            bytes,
        } in self.big.into_iter().chain(self.files)
        {
            builder = builder.synthetic_files(&kind, number, bytes);
        }
        if let Some(outputs) = self.outputs {
            builder = builder.outputs(outputs);
        }
        if let Some(Size(bytes)) = self.source_rate {
            builder = builder.source_rate(bytes);
        }
        if let Some(folder) = self.s3_folder {
            builder = builder.s3_folder(folder);
        }
        if let Some(outputs) = self.page_size {
            builder = builder.page_size(outputs);
        }
        let record = self.record || self.only.is_none() && !self.no_record;
        builder = match self.only {
            Some(Side::S3) => builder.only(Only::S3),
            Some(Side::Source) => builder.only(Only::Source),
            None => builder,
        };
        builder
            .file_sizes(self.file_sizes)
            .mixed_files(self.mixed_files)
            .gzip(self.gzip)
            .signed_links(self.signed_links)
            .latency(Duration::from_millis(self.latency))
            .record(record)
    }

    fn is_there(&self) -> bool {
        !self.big.is_empty() || !self.files.is_empty() || self.outputs.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Auth {
    Secret,
    Jwt,
    JwtRsa,
    Bearer,
    Basic,
    Aws,
    None,
}

impl Auth {
    fn way(self) -> Option<Way> {
        Some(match self {
            Self::Secret => Way::Secret,
            Self::Jwt => Way::Jwt(KeyKind::P384),
            Self::JwtRsa => Way::Jwt(KeyKind::Rsa),
            Self::Bearer => Way::Bearer,
            Self::Basic => Way::Basic,
            Self::Aws => Way::Aws,
            Self::None => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Tls,
    Answer,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Side {
    S3,
    Source,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "7")]
    Seven,
    #[value(name = "2")]
    Two,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Env,
    Json,
}

impl Format {
    fn write(self, settings: &[(String, String)]) -> String {
        match self {
            Self::Env => settings.iter().fold(String::new(), |text, (name, value)| {
                let quoted = value.replace('\'', r"'\''");
                text + "export " + name + "='" + &quoted + "'\n"
            }),
            Self::Json => {
                let members = settings
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone().into()))
                    .collect();
                format!("{:#}\n", serde_json::Value::Object(members))
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let time = arguments.seconds.map(Duration::from_secs);
    let (format, ready_file, control) = (
        arguments.format,
        arguments.ready_file.clone(),
        arguments.control,
    );

    let profile = arguments.profile;
    let mut sandbox = start(arguments).await?;
    let mut settings = sandbox.env();
    if let Some(port) = control {
        let origin = sandbox.control(port).await?;
        settings.push(("SANDBOX_CONTROL".to_owned(), origin));
    }
    let text = format.write(&settings);
    let about = profile.map(Profile::introduction).unwrap_or_default();
    match format {
        Format::Env => io::stdout().write_all(commented(&about).as_bytes())?,
        Format::Json => io::stderr().write_all(about.as_bytes())?,
    }
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()?;
    if let Some(path) = ready_file {
        write_whole(&path, &text)?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = tokio::time::sleep(time.unwrap_or(Duration::MAX)) => {}
    }
    let leaks = sandbox.all_leaks();
    // They are told here, and not by a panic.
    sandbox.expect_leaks();
    if leaks.is_empty() {
        Ok(())
    } else {
        let text = format!("credentials went astray:\n{}", leaks.join("\n"));
        Err(io::Error::other(text))
    }
}

/// Lines that a shell does not read.
fn commented(text: &str) -> String {
    text.lines()
        .fold(String::new(), |text, line| text + "# " + line + "\n")
}

async fn start(arguments: Arguments) -> io::Result<Sandbox> {
    let usual = if arguments.large.is_there() { 0 } else { 20 };
    let patients = arguments.patients.unwrap_or(usual);
    let mut builder = Sandbox::builder()
        .pathling(match arguments.pathling {
            Version::Seven => PathlingVersion::Seven,
            Version::Two => PathlingVersion::Two,
        })
        .data(sandbox::Dataset::synthetic(patients))
        .ports(Ports {
            source: arguments.source_port,
            token: arguments.token_port,
            files: arguments.files_port,
            s3: arguments.s3_port,
            target: arguments.target_port,
        });
    if let Some(profile) = arguments.profile {
        builder = builder.profile(profile);
    }
    if arguments.no_auth || arguments.auth == Some(Auth::None) {
        builder = builder.auth(false);
    }
    if let Some(way) = arguments.auth.and_then(Auth::way) {
        builder = builder.way(way);
    }
    if let Some(polls) = arguments.polls {
        builder = builder.polls(polls).import_polls(polls);
    }
    if let Some(resources) = arguments.resources_per_file {
        builder = builder.resources_per_file(resources);
    }
    if arguments.secrets_in_aws {
        builder = builder.secrets_in_aws();
    }
    if let Some(by) = arguments.client_certificates {
        builder = builder.client_certificates(match by {
            By::Tls => Demand::ByTls,
            By::Answer => Demand::ByAnswer,
        });
    }
    if let Some(folder) = arguments.data {
        builder = builder.data_dir(folder);
    }
    if let Some(value) = arguments.retry_after {
        builder = builder.retry_after(value);
    }
    for fault in arguments.fault {
        builder = builder.fault(fault);
    }
    arguments.large.apply(builder).start().await
}

/// Writes a file so that whoever waits for it never sees half of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".part");
    std::fs::write(&hidden, text)?;
    std::fs::rename(&hidden, path)
}
