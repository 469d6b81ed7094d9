//! Many URLs in little memory: those of one export are alike but for a number and a signature.

/// After how many URLs one is kept whole, so that any can be had without reading all before it.
const BLOCK: usize = 16;

/// The shortest run of equal bytes that is worth a note.
const WORTH: usize = 4;

/// A list of URLs in the order in which they were added. Each is kept as its differences from the one before.
#[derive(Clone, Default)]
pub(super) struct Urls {
    bytes: Vec<u8>,
    /// Where each URL's notes end.
    ends: Vec<usize>,
    last: Vec<u8>,
}

impl Urls {
    pub(super) fn push(&mut self, url: &str) {
        let url = url.as_bytes();
        if self.ends.len().is_multiple_of(BLOCK) {
            self.last.clear();
        }
        note(&mut self.bytes, &self.last, url);
        self.ends.push(self.bytes.len());
        self.last.clear();
        self.last.extend_from_slice(url);
    }

    pub(super) fn get(&self, index: usize) -> Option<String> {
        self.ends.get(index)?;
        let mut url = Vec::new();
        for at in (index - index % BLOCK)..=index {
            url = self.after(&url, at);
        }
        Some(text(&url))
    }

    /// All URLs in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = String> {
        let mut url = Vec::new();
        (0..self.ends.len()).map(move |index| {
            if index.is_multiple_of(BLOCK) {
                url.clear();
            }
            url = self.after(&url, index);
            text(&url)
        })
    }

    /// Nothing is added any more.
    pub(super) fn close(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.last = Vec::new();
    }

    /// The URL of `index`, from the one before it.
    fn after(&self, before: &[u8], index: usize) -> Vec<u8> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut notes = &self.bytes[start..self.ends[index]];
        let mut url = Vec::with_capacity(before.len() + 8);
        while !notes.is_empty() {
            let same = number(&mut notes);
            let at = url.len();
            url.extend_from_slice(&before[at..at + same]);
            let own = number(&mut notes);
            let (bytes, rest) = notes.split_at(own);
            url.extend_from_slice(bytes);
            notes = rest;
        }
        url
    }
}

/// Adds the notes that make `url` of `before`: how many bytes are the same, how many are its own, and those; and again.
fn note(notes: &mut Vec<u8>, before: &[u8], url: &[u8]) {
    let same_from = |at: usize| {
        let before = before.get(at..).unwrap_or_default();
        let pairs = before.iter().zip(&url[at..]);
        pairs.take_while(|(before, own)| before == own).count()
    };
    let mut at = 0;
    while at < url.len() {
        let same = same_from(at);
        at += same;
        let begin = at;
        while at < url.len() {
            let again = same_from(at);
            if again >= WORTH {
                break;
            }
            at += again.max(1);
        }
        add_number(notes, same);
        add_number(notes, at - begin);
        notes.extend_from_slice(&url[begin..at]);
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn add_number(notes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return notes.push(low);
        }
        notes.push(low | 0x80);
    }
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

/// A URL that was parsed is ASCII, so nothing is lost.
fn text(url: &[u8]) -> String {
    String::from_utf8_lossy(url).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(all: &[String]) -> Urls {
        let mut urls = Urls::default();
        all.iter().for_each(|url| urls.push(url));
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
            .map(|n| format!("https://bucket.example.org/export/{n:06}.ndjson?{policy}&X-Amz-Signature={:064x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let whole: usize = all.iter().map(String::len).sum();
        assert!(urls(&all).bytes.len() * 2 < whole);
    }
}
