//! Other processes: started, waited for, and ended by their ids, whatever happens.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;
use crate::serve::Ready;

/// How long a server may take to go away by itself.
const LEAVING: Duration = Duration::from_secs(10);

/// Knows the process that is waited for, and ends it when a signal comes or its time is over.
pub(super) struct Supervisor {
    patience: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    running: Option<Pid>,
    /// Why the process was ended, and why nothing more is to be started.
    stopped: Option<&'static str>,
}

impl State {
    fn stop(&mut self, why: &'static str) {
        self.stopped = Some(why);
        if let Some(pid) = self.running {
            // It may be gone already; its id is its own until it was waited for.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// A supervisor that gives each process so much time, and stops at the first signal.
    pub(super) fn new(patience: Duration) -> Outcome<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let told = Arc::clone(&state);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _here = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            lock(&told).stop("interrupted");
        });
        Ok(Self { patience, state })
    }

    /// Gives an error once everything is to stop.
    pub(super) fn go_on(&self) -> Outcome<()> {
        lock(&self.state)
            .stopped
            .map_or(Ok(()), |why| Err(why.into()))
    }

    /// Runs a process to its end and gives what it wrote to stdout.
    pub(super) fn run(&self, command: &mut Command) -> Outcome<String> {
        self.go_on()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let mut text = String::new();
        let read = self.watching(child.id(), || {
            stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text))
        });
        let status = child.wait()?;
        self.go_on()?;
        read??;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}").into());
        }
        Ok(text)
    }

    /// Starts a server, and waits until it can be asked.
    pub(super) fn serve(&self, command: &mut Command) -> Outcome<Server> {
        self.go_on()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut server = Server {
            ready: Ready {
                authority: String::new(),
                folder: None,
            },
            stdin,
            child,
        };
        let mut line = String::new();
        self.watching(server.child.id(), || {
            stdout.map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line))
        })??;
        self.go_on()?;
        server.ready = serde_json::from_str(&line)
            .map_err(|_| format!("{command:?} did not say where it is"))?;
        Ok(server)
    }

    /// Does `work`, which ends when the process does; the process is ended when its time is over.
    pub(super) fn watching<T>(&self, id: u32, work: impl FnOnce() -> T) -> Outcome<T> {
        let pid = Pid::from_raw(i32::try_from(id)?);
        {
            let mut state = lock(&self.state);
            state.running = Some(pid);
            if let Some(why) = state.stopped {
                state.stop(why);
            }
        }
        let done = std::thread::scope(|scope| {
            let (ended, end) = channel::<()>();
            scope.spawn(move || {
                if end.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
                    lock(&self.state).stop("one measurement took longer than there is patience");
                }
            });
            let done = work();
            drop(ended);
            done
        });
        lock(&self.state).running = None;
        Ok(done)
    }
}

/// A server that runs until this is dropped.
pub(super) struct Server {
    pub(super) ready: Ready,
    /// While this is open, it stays.
    stdin: Option<ChildStdin>,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let begin = Instant::now();
        while begin.elapsed() < LEAVING {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_end_is_ended() {
        let supervisor = Supervisor::new(Duration::from_millis(50)).unwrap();
        let error = supervisor
            .run(Command::new("sleep").arg("600"))
            .unwrap_err();
        assert!(error.to_string().contains("patience"), "{error}");
        assert!(supervisor.run(Command::new("true").arg("")).is_err());
    }

    #[test]
    fn what_a_process_says_is_had_and_its_failure_is_an_error() {
        let supervisor = Supervisor::new(Duration::from_mins(1)).unwrap();
        assert_eq!(
            supervisor.run(Command::new("echo").arg("x")).unwrap(),
            "x\n"
        );
        assert!(supervisor.run(&mut Command::new("false")).is_err());
    }
}
