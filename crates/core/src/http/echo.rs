//! What a server's words may repeat, and a message must not: values of a URL's query, and what authenticates.
//!
//! The secrets that were sent are taken out before, by their values. This is for those that nobody here knows: of a proxy, a
//! store behind the source, somebody else's request.

use std::borrow::Cow;

use super::shown::shown_str;

/// What stands for something that authenticates.
const HIDDEN: &str = "***";

/// After these names comes what authenticates (RFC 9110, section 11.4).
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// What ends a URL in a text, beside white space.
const QUOTES: &[char] = &['"', '\'', '<', '>', '`', '\\'];

/// What may stand right before a relative URL.
const OPENING: &[char] = &['(', '[', '{'];

/// What follows a URL in a sentence, and is no part of it.
const PUNCTUATION: &[char] = &['.', ',', ';', ':', '!', '?', ')', ']', '}'];

/// A text without all that, its white space made one blank each time.
#[must_use]
pub fn harmless(text: &str) -> String {
    without(text.split_whitespace()).join(" ")
}

/// The words without all that.
pub(super) fn without<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Cow<'a, str>> {
    let mut hides = false;
    let mut all = Vec::new();
    for word in words {
        let hidden = hides;
        hides = names_scheme(word);
        all.push(match hidden {
            _ if hides => Cow::Borrowed(word),
            true => Cow::Borrowed(HIDDEN),
            false => bare(word),
        });
    }
    all
}

/// Whether a word ends with the name of a way to authenticate, behind whatever quotes it.
fn names_scheme(word: &str) -> bool {
    SCHEMES.iter().any(|scheme| {
        let Some(before) = word.len().checked_sub(scheme.len()) else {
            return false;
        };
        word.get(before..)
            .is_some_and(|end| end.eq_ignore_ascii_case(scheme))
            && !word[..before].ends_with(|c: char| c.is_alphanumeric())
    })
}

/// A word whose URLs are shown as our own are.
fn bare(word: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = word;
    while let Some((start, end)) = url_in(rest) {
        shown.push_str(&rest[..start]);
        shown.push_str(&shown_str(&rest[start..end]));
        rest = &rest[end..];
    }
    if shown.is_empty() {
        return Cow::Borrowed(word);
    }
    Cow::Owned(shown + rest)
}

/// Where the first URL is: an absolute one, or what has a query.
fn url_in(text: &str) -> Option<(usize, usize)> {
    let end_from = |at: usize| {
        text[at..]
            .find(QUOTES)
            .map_or(text.len(), |length| at + length)
    };
    let absolute = text.find("://").map(|at| {
        let scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        (text[..at].trim_end_matches(scheme).len(), at + 3)
    });
    let relative = text
        .find('?')
        .filter(|at| text[*at..end_from(*at)].contains('='))
        .map(|at| {
            let before = &text[..at];
            let start = before.rfind(|c: char| QUOTES.contains(&c) || OPENING.contains(&c));
            (start.map_or(0, |start| start + 1), at + 1)
        });
    let (start, inside) = match (absolute, relative) {
        (Some(absolute), Some(relative)) => absolute.min(relative),
        (one, other) => one.or(other)?,
    };
    let end = end_from(inside);
    let trimmed = text[inside..end].trim_end_matches(PUNCTUATION).len();
    Some((start, inside + trimmed))
}
