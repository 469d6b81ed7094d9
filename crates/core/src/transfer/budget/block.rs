//! A block of memory that bytes are gathered in.
//!
//! A large one is an anonymous map of its own: dropped, its pages are the system's again at once, wherever in the address
//! space it lay. The allocator would keep what parts of several files leave behind, between blocks that are still in use:
//! a transfer of 32 MiB of buffers then holds some 20 MiB more than it counts.

use memmap2::MmapMut;

/// From this size on a block is a map.
pub(super) const LARGE: usize = 256 << 10;

/// Memory of a fixed capacity, filled from its beginning.
#[derive(Debug)]
pub(super) struct Block {
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Map { map: MmapMut, filled: usize },
}

impl Block {
    /// No memory at all.
    pub(super) fn none() -> Self {
        Self {
            memory: Memory::Heap(Vec::new()),
        }
    }

    /// An empty block of exactly so many bytes.
    pub(super) fn of(capacity: usize) -> Self {
        let map = (capacity >= LARGE).then(|| MmapMut::map_anon(capacity).ok());
        let memory = if let Some(map) = map.flatten() {
            Memory::Map { map, filled: 0 }
        } else {
            // Small, or the system gives no more maps.
            let mut heap = Vec::new();
            heap.reserve_exact(capacity);
            Memory::Heap(heap)
        };
        Self { memory }
    }

    /// How many bytes it can hold.
    pub(super) fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap(heap) => heap.capacity(),
            Memory::Map { map, .. } => map.len(),
        }
    }

    /// The bytes that are in it.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(heap) => heap,
            Memory::Map { map, filled } => &map[..*filled],
        }
    }

    /// Appends bytes, which must fit.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match &mut self.memory {
            Memory::Heap(heap) => heap.extend_from_slice(bytes),
            Memory::Map { map, filled } => {
                map[*filled..*filled + bytes.len()].copy_from_slice(bytes);
                *filled += bytes.len();
            }
        }
    }

    /// Forgets the bytes that are in it.
    pub(super) fn clear(&mut self) {
        match &mut self.memory {
            Memory::Heap(heap) => heap.clear(),
            Memory::Map { filled, .. } => *filled = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_blocks_hold_just_what_they_were_made_for() {
        assert_eq!(Block::none().capacity(), 0);
        for capacity in [1, 100, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE] {
            let mut block = Block::of(capacity);
            assert_eq!((block.capacity(), block.bytes().len()), (capacity, 0));
            block.push(b"abc");
            block.push(&vec![b'd'; capacity.saturating_sub(3)]);
            assert_eq!(block.bytes().len(), capacity.max(3));
            assert_eq!(&block.bytes()[..3], b"abc");
            block.clear();
            assert_eq!(block.bytes(), b"");
            block.push(b"x");
            assert_eq!(block.bytes(), b"x");
            assert!(matches!(block.memory, Memory::Map { .. }) == (capacity >= LARGE));
        }
    }
}
