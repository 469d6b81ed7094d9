//! The threads that everything runs on.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// A runtime with a thread for each core but one, which the kernel's side of every transfer keeps busy.
///
/// On two cores, and so in a Lambda of less than 3 GB, that is the calling thread alone. A second one would mostly wake the
/// first and be woken by it: a transfer of small files takes a quarter more of the processor then. One core moves, checks
/// and encrypts what such a machine's network bears. `TOKIO_WORKER_THREADS` says otherwise, if it is a number.
pub fn runtime() -> io::Result<Runtime> {
    let asked = std::env::var("TOKIO_WORKER_THREADS").ok();
    let cores = available_parallelism().map_or(1, NonZero::get);
    let mut builder = match threads(asked.as_deref(), cores) {
        1 => Builder::new_current_thread(),
        threads => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let runtime = builder.enable_all().build()?;
    {
        let _inside = runtime.enter();
        outlive_file_limit();
    }
    Ok(runtime)
}

/// Lets a write beyond the limit of file sizes (`ulimit -f`) fail, and be told of as what it is: the signal that comes with it
/// ends a process without a word. From now on it does nothing.
fn outlive_file_limit() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // On Linux (but for MIPS) and on macOS.
        const SIGXFSZ: i32 = 25;
        if let Err(error) = signal(SignalKind::from_raw(SIGXFSZ)) {
            tracing::debug!(%error, "a file that grows too large ends the process");
        }
    }
}

fn threads(asked: Option<&str>, cores: usize) -> usize {
    let asked = asked.and_then(|asked| asked.trim().parse().ok());
    asked.unwrap_or(cores.saturating_sub(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn a_core_is_left_to_the_kernel_where_there_are_several_and_a_number_that_is_asked_for_counts()
    {
        let found: Vec<usize> = (1..=4).map(|cores| threads(None, cores)).collect();
        assert_eq!(found, [1, 1, 2, 3]);
        assert_eq!(threads(Some("4"), 2), 4);
        assert_eq!(threads(Some("0"), 8), 1);
        assert_eq!(threads(Some("many"), 8), 7);
    }
}
