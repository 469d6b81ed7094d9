//! Which ids came twice among the files that one call of a transfer copied: Pathling fails a merge on them, or keeps both.
//!
//! A hash of 64 bits is kept of each id, eight bytes a resource, within a bound: half of `TRANSFER_MEMORY`, beside it. What
//! is beyond it is not looked at, and [`Ids::looked_at_all`] says so. Two hashes that are equal are two ids that may be: who wants
//! to know reads the two lines.

mod find;
mod hasher;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use find::Equal;
pub(super) use hasher::IdHasher;

/// The least room that a file's hashes take, in hashes.
const FIRST: usize = 32;

/// The hashes of the ids of all files that a call has copied.
#[derive(Debug)]
pub struct Ids {
    state: RandomState,
    room: Arc<Room>,
    kept: Mutex<Vec<Kept>>,
}

/// Where a line is in staging.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The object's key.
    pub key: String,
    /// The line's number in it, from 1.
    pub number: u64,
}

/// The hashes of one object's ids, in the order of its lines.
#[derive(Debug)]
pub struct Hashes {
    room: Arc<Room>,
    of_type: IdHasher,
    all: Vec<u64>,
    /// How many resources of the object were not seen by this call, for another had staged them.
    before: u64,
    /// Whether there was no room for all of them, so that none is kept.
    cut: bool,
}

#[derive(Debug)]
struct Kept {
    key: String,
    before: u64,
    hashes: Hashes,
}

/// How much all files together may keep.
#[derive(Debug)]
struct Room {
    bytes: usize,
    taken: AtomicUsize,
    refused: AtomicBool,
}

impl Room {
    fn take(&self, bytes: usize) -> bool {
        let most = self.bytes;
        let taken = |taken: usize| Some(taken + bytes).filter(|taken| *taken <= most);
        let was_room = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok();
        if !was_room {
            self.refused.store(true, Ordering::Relaxed);
        }
        was_room
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Ids {
    /// Of a call that has copied nothing, and whose buffers may take so many bytes.
    #[must_use]
    pub fn beside(transfer_memory: u64) -> Self {
        Self {
            state: RandomState::new(),
            room: Arc::new(Room {
                bytes: usize::try_from(transfer_memory / 2).unwrap_or(usize::MAX),
                taken: AtomicUsize::default(),
                refused: AtomicBool::default(),
            }),
            kept: Mutex::default(),
        }
    }

    /// The hashes of an object of resources of this type that begins to be copied, `before` of which are there already.
    #[must_use]
    pub fn of(&self, resource_type: &str, before: u64) -> Hashes {
        let mut hasher = self.state.build_hasher();
        hasher.write(resource_type.as_bytes());
        Hashes {
            room: Arc::clone(&self.room),
            of_type: IdHasher::after(hasher),
            all: Vec::new(),
            before,
            cut: false,
        }
    }

    /// The object is complete, and of this key.
    pub fn keep(&self, key: &str, mut hashes: Hashes) {
        hashes.shrink();
        if hashes.all.is_empty() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Kept {
            key: key.to_owned(),
            before: hashes.before,
            hashes,
        });
    }

    /// The bytes that the hashes take.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room.taken.load(Ordering::Relaxed)
    }

    /// Whether there was room for all.
    #[must_use]
    pub fn looked_at_all(&self) -> bool {
        !self.room.refused.load(Ordering::Relaxed)
    }
}

impl Hashes {
    /// Where the hash of a line's id begins.
    pub(super) fn hasher(&self) -> IdHasher {
        self.of_type.clone()
    }

    /// Adds that of the next line.
    pub(super) fn push(&mut self, hash: u64) {
        if self.cut {
            return;
        }
        if self.all.len() == self.all.capacity() {
            let more = FIRST.max(self.all.len() / 2);
            if !self.room.take(more * size_of::<u64>()) {
                self.forget();
                self.cut = true;
                return;
            }
            self.all.reserve_exact(more);
        }
        self.all.push(hash);
    }

    fn shrink(&mut self) {
        let before = self.all.capacity();
        self.all.shrink_to_fit();
        let freed = before - self.all.capacity();
        self.room.give_back(freed * size_of::<u64>());
    }

    fn forget(&mut self) {
        self.all.clear();
        self.shrink();
    }
}

impl Drop for Hashes {
    fn drop(&mut self) {
        self.forget();
    }
}
