//! The command `pathling-import` as a process.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::pty::openpty;
use sandbox::Sandbox;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{Env, Output, binary, memory};

/// How long the command may run before it is killed and the test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// A run of the command that is being prepared.
pub struct CommandRun {
    env: Env,
    arguments: Vec<OsString>,
    folder: TempDir,
    patience: Duration,
    terminal: bool,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// All of the standard output.
    pub stdout: String,
    /// All of the standard error.
    pub stderr: String,
}

/// A run that goes on. Dropped, it is killed.
pub struct Running {
    child: Child,
    /// The standard output so far.
    pub stdout: Output,
    /// The standard error so far.
    pub stderr: Output,
    readers: [JoinHandle<()>; 2],
    patience: Duration,
    /// Where a person would sit, if its standard input is a terminal.
    person: Option<File>,
    // The working folder lives as long as the process.
    _folder: TempDir,
}

/// A run against this sandbox, configured by environment variables, in an empty working folder, with waits of no time.
#[must_use]
pub fn pathling_import(sandbox: &Sandbox) -> CommandRun {
    let mut env = Env::of(sandbox);
    for job in ["EXPORT", "TRANSFER", "IMPORT"] {
        env.set(&format!("{job}_RETRY_WAIT"), "0.01");
    }
    CommandRun {
        env,
        arguments: Vec::new(),
        folder: TempDir::new().expect("a folder can be made"),
        patience: PATIENCE,
        terminal: false,
    }
}

impl CommandRun {
    /// With this environment variable too, or with this value instead.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.set(name, value);
        self
    }

    /// Without this environment variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.unset(name);
        self
    }

    /// With this environment and no other.
    #[must_use]
    pub fn only_env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// The environment as it is so far.
    #[must_use]
    pub fn environment(&self) -> &Env {
        &self.env
    }

    /// With this argument too.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With this file in the working folder.
    #[must_use]
    pub fn file(self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.path().join(name), content).expect("a file can be written");
        self
    }

    /// The working folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// With this much time until it is killed and the test fails, instead of two minutes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// With a terminal as its standard input, at which [`Running::types`] types.
    #[must_use]
    pub fn at_a_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Runs the command to its end.
    pub async fn run(self) -> Finished {
        self.spawn().wait().await
    }

    /// Starts the command.
    #[must_use]
    pub fn spawn(self) -> Running {
        let (stdin, person) = if self.terminal {
            let pair = openpty(None, None).expect("a terminal can be made");
            (Stdio::from(pair.slave), Some(File::from(pair.master)))
        } else {
            (Stdio::null(), None)
        };
        let mut child = Command::new(binary("pathling-import"))
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.env.iter())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the command starts");
        let (stdout, first) = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let (stderr, second) = Output::of(child.stderr.take().expect("stderr is a pipe"));
        Running {
            child,
            stdout,
            stderr,
            readers: [first, second],
            patience: self.patience,
            person,
            _folder: self.folder,
        }
    }
}

impl Running {
    /// Waits for the end.
    pub async fn wait(mut self) -> Finished {
        let ended = tokio::time::timeout(self.patience, self.child.wait()).await;
        let Ok(ended) = ended else {
            panic!("the command does not end:\n{}", self.stderr.text());
        };
        let code = ended.expect("the process can be waited for").code();
        for reader in self.readers {
            reader.await.expect("its output can be read");
        }
        Finished {
            code,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Types this at its terminal.
    pub fn types(&self, text: &str) {
        let mut person = self.person.as_ref().expect("it has a terminal");
        person
            .write_all(text.as_bytes())
            .expect("a terminal takes what is typed");
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        let ended = self.child.try_wait().expect("the process can be asked");
        ended.is_none()
    }

    /// The most memory that the process has had so far, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        memory::peak(self.child.id().expect("the process still runs"))
    }

    /// Kills the process where it stands, as `kill -9` does.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the process can be killed");
    }

    /// Sends a signal by its name, e.g. `INT`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the process still runs");
        let sent = Command::new("/bin/kill")
            .arg(format!("-{name}"))
            .arg(id.to_string())
            .status()
            .await
            .expect("/bin/kill is there");
        assert!(sent.success(), "the signal {name} could not be sent");
    }
}

impl Finished {
    /// Both outputs, for assertions about what is nowhere.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// The same run, which must have ended with this exit code.
    #[must_use]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}
