//! Who gets how much of the budget, and when: the rule that the module's documentation describes, and nothing about bytes.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Memory;
use super::block::Block;

pub(super) struct Shared {
    pub(super) total: usize,
    /// The most that one buffer comes to hold.
    pub(super) most: usize,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// What buffers and frozen bytes hold.
    pub(super) leased: usize,
    /// What buffers hold of it; the rest comes back by itself.
    pub(super) filling: usize,
    /// The buffer that is served before all others, and what it holds.
    pub(super) favoured: Option<(u64, usize)>,
    /// Buffers that wait for more.
    pub(super) growers: VecDeque<Ask>,
    /// Buffers that wait to begin.
    pub(super) line: VecDeque<Ask>,
    /// Allocations that nobody uses at the moment, the last used at the end, and their sum.
    pub(super) idle: Vec<Block>,
    pub(super) idle_bytes: usize,
    #[cfg(test)]
    pub(super) most_used: usize,
    pub(super) last_buffer: u64,
}

pub(super) struct Ask {
    /// Which buffer asks.
    pub(super) buffer: u64,
    /// What it holds already.
    pub(super) held: usize,
    pub(super) bytes: usize,
    /// How large a block it wants for that; 0 for none.
    pub(super) wanted: usize,
    pub(super) reply: oneshot::Sender<Memory>,
}

/// Who stops waiting may have been in the way of others.
pub(super) struct Waiting<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.serve(&mut self.shared.state());
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The sums are whole at every point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers all who can be answered.
    pub(super) fn serve(self: &Arc<Self>, state: &mut State) {
        state.growers.retain(|ask| !ask.reply.is_closed());
        while let Some(ask) = self.next(state) {
            state.give(ask.buffer, ask.bytes);
            // Before what is kept idle makes room for those that allocate.
            let data = state.used_before(ask.wanted);
            self.make_room(state);
            #[cfg(test)]
            {
                state.most_used = state.most_used.max(state.leased + state.idle_bytes);
            }
            let granted = Memory {
                shared: Arc::clone(self),
                buffer: ask.buffer,
                frozen: false,
                held: ask.bytes,
                data,
            };
            // One that stopped waiting this instant cannot give it back by itself: the lock is held here.
            if let Err(mut unwanted) = ask.reply.send(granted) {
                state.take_back(unwanted.buffer, mem::take(&mut unwanted.held));
                self.keep(state, mem::replace(&mut unwanted.data, Block::none()));
            }
        }
    }

    /// Keeps a block that is no longer counted as leased, if it is worth it.
    pub(super) fn keep(&self, state: &mut State, mut block: Block) {
        if block.is_worth_keeping() {
            block.clear();
            state.idle_bytes += block.size();
            state.idle.push(block);
            self.make_room(state);
        }
    }

    fn make_room(&self, state: &mut State) {
        while state.idle_bytes > 0 && state.leased + state.idle_bytes > self.total {
            state.idle_bytes -= state.idle.remove(0).size();
        }
    }

    /// The next that can be answered, if any.
    fn next(&self, state: &mut State) -> Option<Ask> {
        let of_favoured = state
            .favoured()
            .and_then(|id| state.growers.iter().position(|ask| ask.buffer == id));
        if let Some(at) = of_favoured {
            return if self.is_free(state, &state.growers[at]) {
                state.growers.remove(at)
            } else {
                None
            };
        }
        if let Some(ask) = state.growers.front()
            && self.may_have(state, ask)
        {
            if !self.is_free(state, ask) {
                return None;
            }
            let ask = state.growers.pop_front()?;
            self.favour(state, &ask);
            return Some(ask);
        }
        while state.line.front()?.reply.is_closed() {
            state.line.pop_front();
        }
        let ask = state.line.front()?;
        if !self.is_free(state, ask) || !self.may_have(state, ask) {
            return None;
        }
        let ask = state.line.pop_front()?;
        self.favour(state, &ask);
        Some(ask)
    }

    /// Whether there is so much now. What is too large for the whole budget goes alone.
    fn is_free(&self, state: &State, ask: &Ask) -> bool {
        state.leased + ask.bytes <= self.total || state.leased == 0
    }

    /// Whether the favoured buffer can still be filled after this, or the asker can become the favoured one.
    fn may_have(&self, state: &State, ask: &Ask) -> bool {
        state.favoured.is_none() || self.leaves_enough(state, ask)
    }

    fn leaves_enough(&self, state: &State, ask: &Ask) -> bool {
        let held = state.favoured.map_or(0, |(_, held)| held);
        state.filling + ask.bytes + self.most.saturating_sub(held) <= self.total
    }

    /// Favours the asker where it would not leave enough for another to be favoured.
    fn favour(&self, state: &mut State, ask: &Ask) {
        if state.favoured.is_none() && !self.leaves_enough(state, ask) {
            state.favoured = Some((ask.buffer, ask.held));
        }
    }
}

impl State {
    pub(super) fn favoured(&self) -> Option<u64> {
        self.favoured.map(|(id, _)| id)
    }

    fn give(&mut self, buffer: u64, bytes: usize) {
        self.leased += bytes;
        self.filling += bytes;
        if let Some((id, held)) = &mut self.favoured
            && buffer == *id
        {
            *held += bytes;
        }
    }

    pub(super) fn take_back(&mut self, buffer: u64, bytes: usize) {
        self.freeze(buffer, bytes);
        self.leased -= bytes;
    }

    /// Counts bytes of a buffer as frozen: they stay leased, but nobody has to wait for the buffer to get them back.
    pub(super) fn freeze(&mut self, buffer: u64, bytes: usize) {
        self.filling -= bytes;
        if let Some((id, held)) = &mut self.favoured
            && buffer == *id
        {
            *held -= bytes;
            if *held == 0 {
                self.favoured = None;
            }
        }
    }

    /// The smallest block that lies idle and fits so many bytes, of several the one that was used last; none where there is
    /// no such.
    fn used_before(&mut self, wanted: usize) -> Block {
        let idle = self.idle.iter().enumerate().rev();
        let fitting = idle.filter(|(_, block)| block.fits(wanted));
        let Some((at, _)) = fitting.min_by_key(|(_, block)| block.size()) else {
            return Block::none();
        };
        let mut block = self.idle.remove(at);
        self.idle_bytes -= block.size();
        block.stretch(wanted);
        block
    }
}
