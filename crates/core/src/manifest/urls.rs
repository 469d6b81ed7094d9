//! Many URLs in little memory: those of one export are alike but for a number and a signature.

/// How many URLs are kept together. The first of them is whole, so that any can be had without reading all before it.
const BLOCK: usize = 16;

/// How many digits are worth being packed.
const WORTH: usize = 4;

/// Hexadecimal digits, as they are packed.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A list of URLs in the order in which they were added. Each is kept as its differences from the one before.
///
/// It lies in many small pieces: one that grew as a whole would be copied again and again, and leave holes behind.
#[derive(Clone, Default)]
pub(super) struct Urls {
    blocks: Vec<Box<[u8]>>,
    length: usize,
    /// The notes of the block that is being filled.
    open: Vec<u8>,
    last: Vec<u8>,
    notes: Vec<u8>,
}

impl Urls {
    pub(super) fn push(&mut self, url: &str) {
        let url = url.as_bytes();
        self.notes.clear();
        note(&mut self.notes, &self.last, url);
        add_number(&mut self.open, self.notes.len());
        self.open.extend_from_slice(&self.notes);
        self.length += 1;
        self.last.clear();
        if self.length.is_multiple_of(BLOCK) {
            self.close_block();
        } else {
            self.last.extend_from_slice(url);
        }
    }

    /// Nothing is added any more.
    pub(super) fn close(&mut self) {
        if !self.open.is_empty() {
            self.close_block();
        }
        (self.open, self.last, self.notes) = Default::default();
    }

    /// More is added after all.
    pub(super) fn open(&mut self) {
        if self.length.is_multiple_of(BLOCK) {
            return;
        }
        if let Some(block) = self.blocks.pop() {
            self.last = of_block(&block).last().unwrap_or_default().into_bytes();
            self.open = block.into_vec();
        }
    }

    fn close_block(&mut self) {
        self.blocks.push(Box::from(self.open.as_slice()));
        self.open.clear();
    }

    pub(super) fn get(&self, index: usize) -> Option<String> {
        let block = self.blocks.get(index / BLOCK)?;
        of_block(block).nth(index % BLOCK)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// All URLs in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = String> {
        self.blocks.iter().flat_map(|block| of_block(block))
    }
}

/// The URLs of a block, in their order.
fn of_block(mut block: &[u8]) -> impl Iterator<Item = String> {
    let mut url = Vec::new();
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let length = number(&mut block);
        let (notes, rest) = block.split_at(length);
        block = rest;
        url = after(&url, notes);
        // A URL that was parsed is ASCII, so nothing is lost.
        Some(String::from_utf8_lossy(&url).into_owned())
    })
}

/// The URL that the notes make of the one before.
fn after(before: &[u8], mut notes: &[u8]) -> Vec<u8> {
    let mut url = Vec::with_capacity(before.len() + 8);
    let mut at = 0;
    while !notes.is_empty() {
        let same = number(&mut notes);
        url.extend_from_slice(&before[at..at + same]);
        let own = number(&mut notes);
        let (length, is_packed) = (own >> 1, own & 1 == 1);
        let (bytes, rest) = notes.split_at(if is_packed {
            length.div_ceil(2)
        } else {
            length
        });
        if is_packed {
            let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
            url.extend(digits.take(length).map(|digit| DIGITS[usize::from(digit)]));
        } else {
            url.extend_from_slice(bytes);
        }
        at = segment_end(before, at + same);
        notes = rest;
    }
    url
}

/// Adds the notes that make `url` of `before`: how many bytes are the same, how many are its own, and those; and again. Its own
/// are those up to the end of a segment of the URL, and stand for as much of the other, however long that is. The
/// lowest bit of the second number says that its own are packed digits.
fn note(notes: &mut Vec<u8>, before: &[u8], url: &[u8]) {
    let (mut at, mut of_before) = (0, 0);
    while at < url.len() {
        let pairs = before[of_before..].iter().zip(&url[at..]);
        let same = pairs.take_while(|(before, own)| before == own).count();
        let begin = at + same;
        of_before = segment_end(before, of_before + same);
        let end = segment_end(url, begin);
        // Where segments do not match, nothing after them does.
        at = match before.get(of_before) {
            Some(byte) if url.get(end) == Some(byte) => end,
            _ => url.len(),
        };
        let own = &url[begin..at];
        let packed = packed(own);
        add_number(notes, same);
        add_number(notes, own.len() << 1 | usize::from(packed.is_some()));
        match packed {
            Some(packed) => notes.extend(packed),
            None => notes.extend_from_slice(own),
        }
    }
}

/// Where the segment of a URL ends that the byte at this place is of, or which ends there.
fn segment_end(url: &[u8], at: usize) -> usize {
    let rest = url.iter().skip(at);
    let length = rest.take_while(|byte| !b"/?&=.".contains(byte)).count();
    at + length
}

/// Two hexadecimal digits in a byte: signatures are little else. `None` where there is anything else, or too few of them.
fn packed(text: &[u8]) -> Option<impl Iterator<Item = u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let fits = text.len() >= WORTH && text.iter().all(|byte| digit(*byte).is_some());
    let pair = move |pair: &[u8]| {
        let [high, low] = [0, 1].map(|at| pair.get(at).copied().and_then(digit).unwrap_or(0));
        high << 4 | low
    };
    fits.then(|| text.chunks(2).map(pair))
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn add_number(notes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        notes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    notes.push(number.to_le_bytes()[0]);
}

fn number(notes: &mut &[u8]) -> usize {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let Some((byte, rest)) = notes.split_first() else {
            break;
        };
        *notes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(all: &[String]) -> Urls {
        let mut urls = Urls::default();
        for url in all {
            urls.push(url);
        }
        urls.close();
        urls
    }

    #[test]
    fn every_url_comes_back_as_it_was_however_it_differs_from_the_one_before() {
        let long = "x".repeat(70_000);
        let mut all: Vec<String> = [
            "", "a", "", "abcdefgh", "abcdefgh", "abXdefgh", "abcd", "zzzzzzzz",
        ]
        .map(str::to_owned)
        .into();
        all.push(format!("https://h/{long}?a=1"));
        all.push(format!("https://h/{long}?b=22&{long}"));
        all.extend(
            [
                "a/b?c=1",
                "a/longer?c=22",
                "a/b?c=1&d=e",
                "a/b",
                "a.b/c",
                "a//b?",
                "?=&",
                "=&?",
                "abc/def/ghi",
                "abc",
                "/",
            ]
            .map(str::to_owned),
        );
        for odd in ["0a1b2c3d", "0a1b2c3", "0A1B2C3D", "0a1b2c3g", "0a1b"] {
            all.push(format!("https://h/f?sig={odd}"));
            all.push(odd.to_owned());
        }
        all.extend(
            (0..100).map(|number| format!("https://h/files/{number}?sig={}", number * 7919)),
        );
        let urls = urls(&all);
        for (index, url) in all.iter().enumerate() {
            assert_eq!(urls.get(index).as_ref(), Some(url), "{index}");
        }
        assert_eq!(urls.get(all.len()), None);
        assert_eq!(urls.iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn signed_urls_take_little_more_than_their_signatures() {
        let policy =
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=someone&X-Amz-Date=20260101T000000Z";
        let all: Vec<String> = (0..1000_u64)
            .map(|n| {
                let kind = match n % 3 {
                    0 => "Patient",
                    1 => "Condition",
                    _ => "Observation",
                };
                let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let signature = format!("{random:016x}").repeat(4);
                format!("https://bucket.example.org/export/{n:06}.{kind}.ndjson?{policy}&X-Amz-Signature={signature}")
            })
            .collect();
        let whole: usize = all.iter().map(String::len).sum();
        let kept: usize = urls(&all).blocks.iter().map(|block| block.len()).sum();
        // Of each sixty-four digits and the type, and of one in sixteen all.
        assert!(kept * 3 < whole && kept < 1000 * 72, "{kept} of {whole}");
    }
}
