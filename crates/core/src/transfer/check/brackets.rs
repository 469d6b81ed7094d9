//! The brackets of JSON that stand outside of strings, found 64 bytes at a time without a branch for each string.

use wide::u8x64;

/// How many bytes are looked at in one go.
pub(super) const WIDTH: usize = 64;

/// Whether the next byte stands in a string, and whether there is a backslash before it that escapes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strings {
    pub(super) inside: bool,
    pub(super) escaped: bool,
}

impl Strings {
    /// A bit for each of these bytes that is a bracket outside of strings, or a backslash there, which is none of JSON:
    /// nothing that follows one has a meaning.
    #[inline]
    pub(super) fn brackets(&mut self, bytes: &[u8]) -> u64 {
        let block = <[u8; WIDTH]>::try_from(bytes).unwrap_or_else(|_| {
            // White space changes nothing.
            let mut block = [b' '; WIDTH];
            block[..bytes.len()].copy_from_slice(bytes);
            block
        });
        let block = u8x64::from(block);
        let each = |byte| u8x64::splat(byte);
        let backslashes = block.simd_eq(each(b'\\')).to_bitmask();
        let quotes = block.simd_eq(each(b'"')).to_bitmask();
        // One bit is all that `[` and `{`, and `]` and `}`, differ in.
        let braces = block | each(b'{' ^ b'[');
        let brackets = (braces.simd_eq(each(b'{')) | braces.simd_eq(each(b'}'))).to_bitmask();

        let escaped = self.escapes(backslashes, bytes.len());
        // Each quotation mark flips all that follow it.
        let mut inside = quotes & !escaped;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        if self.inside {
            inside = !inside;
        }
        self.inside = inside >> (WIDTH - 1) == 1;
        (brackets | backslashes) & !inside
    }

    /// A bit for each of `length` bytes that a backslash escapes.
    fn escapes(&mut self, backslashes: u64, length: usize) -> u64 {
        if backslashes == 0 && !self.escaped {
            return 0;
        }
        let mut escaped = u128::from(self.escaped);
        let mut rest = u128::from(backslashes) & !escaped;
        while rest != 0 {
            let next = (rest & rest.wrapping_neg()) << 1;
            escaped |= next;
            // One that is escaped itself escapes nothing.
            rest &= !(next | next >> 1);
        }
        self.escaped = escaped >> length & 1 == 1;
        #[allow(clippy::cast_possible_truncation)]
        let within = escaped as u64;
        within
    }
}
