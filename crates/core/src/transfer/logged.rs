//! A transfer's progress in the log, for where nobody watches a bar.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::progress::{Event, Observer};

/// A long transfer says this often how far it is.
const BETWEEN: Duration = Duration::from_secs(10);

/// How far the transfer is, and when that was said.
struct Seen {
    files: usize,
    done: usize,
    fetched: usize,
    received: u64,
    staged: u64,
    said: Instant,
}

/// Writes what happens to the log: each file at level debug, and from time to time how far it is at level info. What is
/// tried again is logged where it happens.
#[must_use]
pub fn observer() -> Observer {
    let seen = Mutex::new(Seen::none());
    Arc::new(move |event| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(&event);
    })
}

impl Seen {
    fn none() -> Self {
        Self {
            files: 0,
            done: 0,
            fetched: 0,
            received: 0,
            staged: 0,
            said: Instant::now(),
        }
    }

    fn take(&mut self, event: &Event) {
        match *event {
            Event::Planned { files, bytes } => {
                *self = Self {
                    files,
                    ..Self::none()
                };
                tracing::info!(files, bytes, "transfer planned");
            }
            Event::FileStarted {
                index,
                length,
                offset,
            } => tracing::debug!(index, length, offset, "file started"),
            Event::Bytes(bytes) => self.received += bytes,
            Event::FileDone {
                index,
                fetched,
                bytes,
                resources,
            } => {
                self.done += 1;
                self.fetched += usize::from(fetched);
                self.staged += bytes;
                tracing::debug!(index, fetched, bytes, resources, "file done");
            }
            // What is said of these is said where they happen.
            Event::Ahead { .. }
            | Event::Retrying { .. }
            | Event::Waiting { .. }
            | Event::SentAgain
            | Event::KickedOff(_)
            | Event::ExportGoesOn { .. }
            | Event::StatusFailed(_)
            | Event::ExportComplete(_)
            | Event::FileAsked { .. }
            | Event::FileFailed { .. }
            | Event::TransferComplete(_)
            | Event::Arrived(_) => {}
        }
        if self.said.elapsed() >= BETWEEN {
            self.said = Instant::now();
            tracing::info!(
                files = self.files,
                done = self.done,
                fetched = self.fetched,
                bytes_received = self.received,
                bytes_staged = self.staged,
                "transfer goes on"
            );
        }
    }
}
