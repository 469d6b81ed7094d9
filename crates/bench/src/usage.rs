//! What this process has used so far.

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::time::Instant;

use crate::Outcome;

/// What one piece of work took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Took {
    /// From begin to end, in seconds.
    pub(crate) wall: f64,
    /// User and system time of the whole process since its start, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that the process held at once, in bytes.
    pub(crate) rss: u64,
}

impl Took {
    /// What was used up to now by work that began at `begin`.
    pub(crate) fn since(begin: Instant) -> Outcome<Self> {
        Ok(Self {
            wall: begin.elapsed().as_secs_f64(),
            cpu: cpu()?,
            rss: memory("self", "VmHWM")?,
        })
    }
}

/// The seconds of user and system time that this process has taken.
pub(crate) fn cpu() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// A figure of a process's status, in bytes: `VmHWM` is the most memory it ever held, `VmRSS` what it holds now.
pub(crate) fn memory(process: &str, name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    field(&status, name).ok_or_else(|| format!("/proc/{process}/status has no {name}").into())
}

/// The bytes of memory that this machine can still give.
pub(crate) fn available() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/meminfo")?;
    field(&status, "MemAvailable").ok_or_else(|| "/proc/meminfo has no MemAvailable".into())
}

fn field(status: &str, name: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name)
            .then(|| value.trim().strip_suffix(" kB"))
            .flatten()
    })?;
    kib.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_holds_and_has_used() {
        let held = vec![1_u8; 8 << 20];
        assert!(memory("self", "VmHWM").unwrap() > held.len() as u64);
        assert!(memory("self", "VmHWM").unwrap() >= memory("self", "VmRSS").unwrap() / 2);
        assert!(cpu().unwrap() > 0.0);
        assert!(available().unwrap() > 0);
    }
}
