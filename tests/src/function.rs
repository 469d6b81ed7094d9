//! One of the five Lambda binaries as a process, served by a Lambda Runtime API.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use lambda_simulator::{InvocationBuilder, InvocationStatus, Simulator};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{Env, Output, binary, memory};

/// The time that an invocation has, unless the test says otherwise.
const TIMEOUT_MS: u64 = 60_000;

/// How much longer than its time an invocation is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a function posts to the Runtime API instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LambdaError {
    /// `errorType`.
    pub error_type: String,
    /// `errorMessage`.
    pub error_message: String,
}

/// A running function. Dropped, its process is killed.
pub struct Function {
    name: String,
    simulator: Simulator,
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Function {
    /// Starts the binary `<name>-lambda` with this environment and what Lambda's runtime adds to it.
    pub async fn start(name: &str, env: &Env) -> Self {
        Self::start_through(&[], name, env).await
    }

    /// As [`Function::start`], through another program that takes the binary as its last argument and becomes it.
    pub async fn start_through(wrapper: &[String], name: &str, env: &Env) -> Self {
        let simulator = Simulator::builder()
            .function_name(name)
            .build()
            .await
            .expect("the simulator of the Runtime API starts");
        let mut given = simulator.lambda_env_vars();
        // Lambda's own libraries are not here.
        given.remove("LD_LIBRARY_PATH");
        let mut line: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        line.push(binary(&format!("{name}-lambda")).into());
        let mut child = Command::new(&line[0])
            .args(&line[1..])
            .env_clear()
            .envs(given)
            .envs(env.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the function's binary starts");
        let (stdout, _) = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let (stderr, _) = Output::of(child.stderr.take().expect("stderr is a pipe"));
        Self {
            name: name.to_owned(),
            simulator,
            child,
            stdout,
            stderr,
        }
    }

    /// Where its Runtime API is: host and port.
    #[must_use]
    pub fn runtime(&self) -> String {
        let variables = self.simulator.lambda_env_vars();
        variables["AWS_LAMBDA_RUNTIME_API"].clone()
    }

    /// Invokes the function, and gives its answer or the error that it posts.
    pub async fn invoke(&mut self, event: Value) -> Result<Value, LambdaError> {
        self.invoke_with_timeout(event, TIMEOUT_MS).await
    }

    /// As [`Function::invoke`], with as much time as given, of which the function is told.
    pub async fn invoke_with_timeout(
        &mut self,
        event: Value,
        timeout_ms: u64,
    ) -> Result<Value, LambdaError> {
        let invocation = InvocationBuilder::new()
            .payload(event)
            .timeout_ms(timeout_ms)
            .build()
            .expect("an invocation needs no more than that");
        let id = self.simulator.enqueue(invocation).await;
        let until = tokio::time::Instant::now() + Duration::from_millis(timeout_ms) + PATIENCE;
        loop {
            let state = self.simulator.get_invocation_state(&id).await;
            let state = state.expect("the simulator knows the invocation");
            match state.status {
                InvocationStatus::Success => {
                    return Ok(state.response.expect("a success has an answer").payload);
                }
                InvocationStatus::Error => {
                    let error = state.error.expect("a failure has an error");
                    return Err(LambdaError {
                        error_type: error.error_type,
                        error_message: error.error_message,
                    });
                }
                _ => {}
            }
            let ended = self.child.try_wait().expect("the process can be asked");
            assert!(
                ended.is_none(),
                "{} ended ({ended:?}) instead of answering:\n{}",
                self.name,
                self.logs()
            );
            assert!(
                tokio::time::Instant::now() < until,
                "{} did not answer in time:\n{}",
                self.name,
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }

    /// Everything that the process has written so far.
    #[must_use]
    pub fn logs(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }

    /// Stops the process where it stands, as Lambda does between two invocations; [`Function::thaw`] lets it go on.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the process still runs");
        let id = i32::try_from(id).expect("a process's id is a small number");
        kill(Pid::from_raw(id), signal).expect("the process can be told");
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
}
