//! UTF-8 over bytes that come in pieces. It does not know of lines.

/// Looks whether bytes are UTF-8, and carries the beginning of a character whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    carry: Character,
}

/// The bytes of a character, or of its beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Character {
    bytes: [u8; 4],
    length: usize,
}

/// What was found in a piece.
#[derive(Default)]
pub(super) struct Looked {
    character: Character,
    /// So many bytes at the piece's beginning belong to the character that was carried on.
    pub(super) taken: usize,
    /// Up to here the piece is whole characters. What follows is the beginning of one, or nothing.
    pub(super) valid: usize,
    /// Where in the file there is something that cannot be UTF-8.
    pub(super) bad: Option<u64>,
}

impl Utf8 {
    /// Looks at the next piece, which begins at `place` of the file.
    pub(super) fn look(&mut self, piece: &[u8], place: u64) -> Looked {
        let mut looked = Looked::default();
        if let Some(pending) = self.pending() {
            let carry = &mut self.carry;
            let length = carry.length;
            let whole = length.max(width(carry.bytes[0]));
            looked.taken = piece.len().min(whole - length);
            looked.valid = looked.taken;
            carry.length += looked.taken;
            carry.bytes[length..carry.length].copy_from_slice(&piece[..looked.taken]);
            match std::str::from_utf8(&carry.bytes[..carry.length]) {
                Ok(_) => looked.character = std::mem::take(carry),
                Err(error) if error.error_len().is_none() => return looked,
                Err(_) => {
                    return Looked {
                        bad: Some(place - pending),
                        ..Looked::default()
                    };
                }
            }
        }
        let rest = &piece[looked.taken..];
        looked.valid = piece.len();
        if let Err(error) = simdutf8::compat::from_utf8(rest) {
            looked.valid = looked.taken + error.valid_up_to();
            if error.error_len().is_some() {
                looked.bad = Some(place + looked.valid as u64);
            } else {
                let begun = &piece[looked.valid..];
                self.carry.length = begun.len();
                self.carry.bytes[..begun.len()].copy_from_slice(begun);
            }
        }
        looked
    }

    /// How many bytes of an unfinished character there are.
    pub(super) fn pending(&self) -> Option<u64> {
        (self.carry.length > 0).then_some(self.carry.length as u64)
    }
}

impl Looked {
    /// The character that was carried on and is whole now.
    pub(super) fn carried(&self) -> Option<&[u8]> {
        let Character { bytes, length } = &self.character;
        (*length > 0).then_some(&bytes[..*length])
    }
}

/// The bytes of a character that begins with this one.
fn width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    }
}
