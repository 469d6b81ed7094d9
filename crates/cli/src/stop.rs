//! Being told to stop: Ctrl-C and SIGTERM. The first is for the sequence to stop at, the second ends the process at once.

use tokio::sync::oneshot;

/// By what the process was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C, or SIGINT from elsewhere.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Stop {
    /// The exit code by the shell's convention: 128 and the signal's number.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// What a person calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The first signal to come.
#[derive(Debug)]
pub(crate) struct FirstStop(oneshot::Receiver<Stop>);

impl FirstStop {
    /// Waits for it.
    pub(crate) async fn told(&mut self) -> Stop {
        match (&mut self.0).await {
            Ok(stop) => stop,
            // Nobody listens for signals here, so they end the process as they always do.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Listens from now on, in a task of its own: the second signal must end the process whatever the sequence is doing.
pub(crate) fn listen() -> FirstStop {
    let (tell, told) = oneshot::channel();
    match Signals::new() {
        Ok(mut signals) => {
            tokio::spawn(async move {
                let _ = tell.send(signals.next().await);
                let second = signals.next().await;
                std::process::exit(second.exit_code().into());
            });
        }
        Err(error) => {
            tracing::warn!(%error, "signals cannot be caught; they end the process at once");
        }
    }
    FirstStop(told)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[allow(clippy::unnecessary_wraps)]
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Stop {
        // Where Ctrl-C cannot be listened for, it ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Stop::Interrupt
    }
}
