//! One budget of buffer memory for all files in flight (`TRANSFER_MEMORY`).
//!
//! A [`Buffer`] is memory that a file's bytes are gathered in; [frozen](Buffer::freeze) it can be sent, as often as it
//! takes, and when the last who holds the bytes lets go, the memory is free again. Whoever wants more than there is
//! waits, in the order of asking: this is what holds the sources back while the store is slow.
//!
//! **Why it never deadlocks.** What is frozen comes back by itself. Only a buffer holds memory while it waits for more,
//! up to `most` = a part and the line beside it. Memory is given to buffers only while `most` less what the *favoured*
//! one of them holds is left over of the total when all that is frozen has come back. One buffer at a time is favoured,
//! from when the memory gets short until it is frozen or dropped: it may have all that is left, is served before all
//! others, and so is always able to fill its part, send it and give everything back; then the next is favoured. Buffers
//! that want more go before those that begin.
//!
//! What this asks of the callers: whoever holds a buffer must not wait for anything that is given back only by those who
//! wait for memory. So a [slot](super::pace::Pace::slot) for the source is taken before the buffer, never after, and what is
//! frozen is sent while its file waits for the next buffer: in its own task, or the same `select`.
//!
//! It counts what is allocated for buffers, those that are kept idle included. It knows neither files nor stores.

mod block;
mod share;

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::oneshot;

use block::Block;
use share::{Ask, Shared, Waiting};

/// The budget. Clones are the same one.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

impl Budget {
    /// A budget of `total` bytes, whose largest single buffer is `part` bytes. `line` is the most that a buffer
    /// [counts beside itself](Buffer::also): 0 where no checker holds lines back.
    #[must_use]
    pub fn new(total: u64, part: u64, line: u64) -> Self {
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            shared: Arc::new(Shared {
                total: bytes(total),
                most: bytes(part.saturating_add(line).min(total)),
                state: Mutex::default(),
            }),
        }
    }

    /// A buffer that begins with so many bytes, once they are free, and may [grow](Buffer::grow) up to a part.
    pub async fn take(&self, bytes: usize) -> Buffer {
        let id = {
            let mut state = self.shared.state();
            state.last_buffer += 1;
            state.last_buffer
        };
        let mut buffer = Buffer {
            memory: Memory {
                shared: Arc::clone(&self.shared),
                buffer: id,
                frozen: false,
                held: 0,
                data: Block::none(),
            },
            beside: 0,
        };
        buffer.grow(bytes).await;
        buffer
    }

    /// The most bytes that were allocated at any time.
    #[cfg(test)]
    #[must_use]
    pub fn most_used(&self) -> u64 {
        self.shared.state().most_used as u64
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Budget")
            .field("total", &self.shared.total)
            .field("leased", &state.leased)
            .field("idle", &state.idle_bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes of one file that are gathered until they are sent.
pub struct Buffer {
    memory: Memory,
    /// What is counted beside the bytes.
    beside: usize,
}

impl Buffer {
    /// How many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.data.bytes().len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.data.bytes().is_empty()
    }

    /// How many bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.data.capacity()
    }

    /// How many more bytes fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Appends bytes, which must fit.
    pub fn push(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room());
        self.memory.data.push(bytes);
    }

    /// Makes it hold at least so many bytes, a part at most, once they are free. Dropped while it waits, it changed nothing.
    pub async fn grow(&mut self, to: usize) {
        let now = self.capacity();
        if to <= now {
            return;
        }
        let wanted = if self.memory.data.size() < to { to } else { 0 };
        let offered = self.hold(to - now, now > 0, wanted).await;
        self.memory.reallocate(to, offered);
    }

    /// Counts so many bytes that its file holds elsewhere, in all: the line that a checker has not seen the end of. It
    /// stays counted over [`Buffer::split`]. Waits where it is more than before.
    pub async fn also(&mut self, bytes: usize) {
        if let Some(more) = bytes.checked_sub(self.beside).filter(|more| *more > 0) {
            self.hold(more, true, 0).await;
        } else {
            self.memory.let_go(self.beside - bytes);
        }
        self.beside = bytes;
    }

    /// Holds so many more bytes. Gives a block of `wanted` bytes, where one lay idle.
    async fn hold(&mut self, bytes: usize, in_the_middle: bool, wanted: usize) -> Block {
        let mut granted = self.memory.ask(bytes, in_the_middle, wanted).await;
        self.memory.held += mem::take(&mut granted.held);
        mem::replace(&mut granted.data, Block::none())
    }

    /// What is in it, to be sent, at once; the buffer is left without capacity, which [`Buffer::grow`] gives it again.
    pub fn split(&mut self) -> Filled {
        let data = mem::replace(&mut self.memory.data, Block::none());
        let held = data.capacity();
        self.memory.freeze(held);
        Filled {
            bytes: Bytes::from_owner(Memory {
                shared: Arc::clone(&self.memory.shared),
                buffer: self.memory.buffer,
                frozen: true,
                held,
                data,
            }),
        }
    }

    /// What is in it, to be sent, when no more follows.
    #[must_use]
    pub fn freeze(mut self) -> Filled {
        self.split()
    }
}

/// Bytes to send. Their memory is free again when this and every clone of the bytes are gone.
#[derive(Debug)]
pub struct Filled {
    bytes: Bytes,
}

impl Filled {
    /// The bytes, which are shared and not copied.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

/// A share of the budget, and the allocation that it stands for, which is no larger. Dropped, both are given back.
struct Memory {
    shared: Arc<Shared>,
    /// The buffer that it is of.
    buffer: u64,
    /// Whether it has left that buffer, and comes back by itself.
    frozen: bool,
    held: usize,
    data: Block,
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        self.data.bytes()
    }
}

impl Memory {
    /// So many bytes more, when it is their turn, with a block of `wanted` bytes if one lies idle then.
    async fn ask(&self, bytes: usize, in_the_middle: bool, wanted: usize) -> Memory {
        let shared = &self.shared;
        let mut waiting = Waiting {
            shared,
            answered: false,
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut state = shared.state();
            let queue = if in_the_middle || state.favoured() == Some(self.buffer) {
                &mut state.growers
            } else {
                &mut state.line
            };
            queue.push_back(Ask {
                buffer: self.buffer,
                held: self.held,
                bytes,
                wanted,
                reply,
            });
            shared.serve(&mut state);
        }
        let Ok(granted) = answer.await else {
            // An ask stays in its queue until it is answered, and the queue lives as long as this.
            return std::future::pending().await;
        };
        waiting.answered = true;
        granted
    }

    /// Makes the allocation as large as what is held for it: `to`, for which `held` was raised.
    fn reallocate(&mut self, to: usize, offered: Block) {
        if self.data.stretch(to) {
            return;
        }
        // Old and new are there for a moment, of which nobody keeps count.
        let mut data = if offered.capacity() == to {
            offered
        } else {
            Block::of(to)
        };
        data.push(self.data.bytes());
        let before = mem::replace(&mut self.data, data);
        self.shared.keep(&mut self.shared.state(), before);
    }

    /// Gives a part of what is held back.
    fn let_go(&mut self, bytes: usize) {
        if bytes > 0 {
            self.held -= bytes;
            let mut state = self.shared.state();
            state.take_back(self.buffer, bytes);
            self.shared.serve(&mut state);
        }
    }

    /// Leaves a part of what is held to bytes that are frozen.
    fn freeze(&mut self, bytes: usize) {
        self.held -= bytes;
        let mut state = self.shared.state();
        state.freeze(self.buffer, bytes);
        self.shared.serve(&mut state);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.held > 0 {
            let mut state = self.shared.state();
            if self.frozen {
                state.leased -= self.held;
            } else {
                state.take_back(self.buffer, self.held);
            }
            let block = mem::replace(&mut self.data, Block::none());
            self.shared.keep(&mut state, block);
            self.shared.serve(&mut state);
        }
    }
}

#[cfg(test)]
mod tests;
