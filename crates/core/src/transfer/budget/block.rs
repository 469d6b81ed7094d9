//! A block of memory that bytes are gathered in.
//!
//! A large one is an anonymous map of its own: dropped, its pages are the system's again at once, wherever in the address
//! space it lay. The allocator would keep what parts of several files leave behind, between blocks that are still in use:
//! a transfer of 32 MiB of buffers then holds some 20 MiB more than it counts.

use memmap2::MmapMut;

/// From this size on a block is a map.
const LARGE: usize = 256 << 10;

/// The sizes of maps are multiples of this, or of a sixteenth of the next power of two, so that one file's block fits the
/// next file too, which is of about the same length. Pages that nothing was written to take no memory.
const STEP: usize = 64 << 10;

/// Memory of a certain capacity, filled from its beginning.
#[derive(Debug)]
pub(super) struct Block {
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Map {
        map: MmapMut,
        capacity: usize,
        filled: usize,
    },
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
        let map = (capacity >= LARGE).then(|| MmapMut::map_anon(rounded(capacity)).ok());
        let memory = if let Some(map) = map.flatten() {
            Memory::Map {
                map,
                capacity,
                filled: 0,
            }
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
            Memory::Map { capacity, .. } => *capacity,
        }
    }

    /// How many bytes of the address space it takes.
    pub(super) fn size(&self) -> usize {
        match &self.memory {
            Memory::Heap(heap) => heap.capacity(),
            Memory::Map { map, .. } => map.len(),
        }
    }

    /// Whether it is worth being kept for the next who wants one: to map and unmap one for each part costs a page fault for
    /// every 4 KiB. Small ones the allocator keeps by itself.
    pub(super) fn is_worth_keeping(&self) -> bool {
        matches!(self.memory, Memory::Map { .. })
    }

    /// Whether it has room for so many bytes, and not much more: pages that were written to count for nobody.
    pub(super) fn fits(&self, capacity: usize) -> bool {
        let size = self.size();
        self.is_worth_keeping() && size >= capacity && size <= capacity + capacity / 8 + STEP
    }

    /// Makes it hold so many bytes where it has the room, and says whether it has.
    pub(super) fn stretch(&mut self, to: usize) -> bool {
        match &mut self.memory {
            Memory::Map { map, capacity, .. } if map.len() >= to => {
                *capacity = to;
                true
            }
            _ => false,
        }
    }

    /// The bytes that are in it.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(heap) => heap,
            Memory::Map { map, filled, .. } => &map[..*filled],
        }
    }

    /// Appends bytes, which must fit.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match &mut self.memory {
            Memory::Heap(heap) => heap.extend_from_slice(bytes),
            Memory::Map { map, filled, .. } => {
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

fn rounded(capacity: usize) -> usize {
    let step = (capacity.next_power_of_two() / 16).max(STEP);
    capacity.next_multiple_of(step)
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
            assert_eq!(block.is_worth_keeping(), capacity >= LARGE);
        }
    }

    #[test]
    fn files_of_about_the_same_length_fit_the_same_block_and_parts_are_not_rounded() {
        let mib = 1 << 20;
        assert_eq!((rounded(8 * mib), rounded(5 * mib)), (8 * mib, 5 * mib));
        let mut block = Block::of(5 * mib + 1);
        assert!(block.fits(5 * mib - 1) && block.fits(5 * mib + 200_000));
        assert!(!block.fits(4 * mib) && !block.fits(6 * mib));
        assert!(block.size() <= 5 * mib + mib / 2);
        block.push(b"x");
        assert!(block.stretch(5 * mib + 100) && !block.stretch(6 * mib));
        assert_eq!(
            (block.capacity(), block.bytes()),
            (5 * mib + 100, &b"x"[..])
        );
        assert!(!Block::of(10).stretch(20));
    }
}
