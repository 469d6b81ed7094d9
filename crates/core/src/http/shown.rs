//! How URLs and a server's words appear in messages and logs: without anything that could open a door.

use std::borrow::Cow;
use std::fmt::Write as _;

use url::Url;

use super::echo;
use crate::config::Secret;

/// How much of a URL a message holds, in characters: enough for any that is meant for people.
const LONGEST: usize = 500;

/// A URL for messages and logs: without user name, password and fragment, and with every value of its query replaced,
/// e.g. `https://h/$export?_type=…&_since=…`. Signatures, tokens and patients' identifiers live in query values.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // Both fail only for URLs that cannot have either.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let mut text = bare.to_string();
    if let Some(query) = url.query() {
        without_values(&mut text, query);
    }
    bounded(&text, LONGEST).into_owned()
}

/// The same for the URL of one resource, whose id is nothing for messages: the last segment of its path is replaced.
pub(super) fn shown_resource(url: &Url) -> String {
    let mut folder = url.clone();
    folder.set_query(None);
    // It fails only for URLs that have no path.
    if let Ok(mut segments) = folder.path_segments_mut() {
        segments.pop();
    }
    format!("{}/…", shown(&folder))
}

/// The same for a text that should be a URL but may be relative or anything else; control characters are escaped.
#[must_use]
pub fn shown_str(text: &str) -> String {
    if let Ok(url) = Url::parse(text)
        && url.has_host()
    {
        return shown(&url);
    }
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    // `//user:password@host/`, or the like: up to the last @ before the path begins.
    let start = path.find("//").map_or(0, |at| at + 2);
    let end = path[start..].find('/').map_or(path.len(), |at| start + at);
    let host = path[start..end]
        .rfind('@')
        .map_or(start, |at| start + at + 1);
    let mut shown = String::new();
    for c in path[..start].chars().chain(path[host..].chars()) {
        if c.is_control() {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if let Some(query) = query {
        without_values(&mut shown, query);
    }
    bounded(&shown, LONGEST).into_owned()
}

fn without_values(text: &mut String, query: &str) {
    for (index, pair) in query.split('&').enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        // A part without `=` may be a value as well as a name.
        if let Some((name, _)) = pair.split_once('=') {
            text.extend(name.chars().filter(|c| !c.is_control()));
            text.push('=');
        }
        text.push('…');
    }
}

/// The first `limit` characters of a text, and `…` where there were more.
pub(super) fn bounded(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// A server's words, fit for a message: on one line, bounded, and without any of the secrets, which servers do echo; nor any
/// other that shows as one ([`echo`]).
pub(super) fn quoted(text: &str, limit: usize, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets
        .iter()
        .map(|secret| secret.reveal())
        .filter(|secret| !secret.is_empty())
    {
        text = text.replace(secret, "***");
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        text = text.replace(&encoded, "***");
    }
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    bounded(&echo::without(words).join(" "), limit).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_neither_user_nor_query_values_nor_fragment() {
        let url =
            Url::parse("https://user:pass@h:8443/a/$export?_type=Patient&_since=x%3Dy&sig&=z#frag")
                .unwrap();
        assert_eq!(
            shown(&url),
            "https://h:8443/a/$export?_type=…&_since=…&…&=…"
        );
        assert_eq!(shown(&Url::parse("https://h/a").unwrap()), "https://h/a");
    }

    #[test]
    fn a_text_that_is_no_url_shows_no_more_than_one_that_is() {
        assert_eq!(shown_str("https://u:p@h/x?sig=abc"), "https://h/x?sig=…");
        assert_eq!(shown_str("//u:p@h/x?sig=abc"), "//h/x?sig=…");
        assert_eq!(
            shown_str("../files/1.ndjson?token=abc#f"),
            "../files/1.ndjson?token=…"
        );
        assert_eq!(shown_str("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown_str("https://u:p@"), "https://");
        assert_eq!(shown_str(""), "");
        assert!(shown_str(&"é".repeat(5000)).chars().count() <= LONGEST + 1);
    }

    #[test]
    fn a_servers_words_fit_on_a_line_and_hold_no_secret() {
        let secret = Secret::new("p ss/w");
        let text = "bad\r\n secret p ss/w and p+ss%2Fw \u{7} end";
        assert_eq!(quoted(text, 100, &[&secret]), "bad secret *** and *** end");
        assert_eq!(quoted("abcdef", 3, &[]), "abc…");
    }

    #[test]
    fn a_url_in_a_servers_words_is_shown_as_our_own_are() {
        for (text, shown) in [
            (
                "see https://u:p@h/x?sig=abc&y#frag now",
                "see https://h/x?sig=…&… now",
            ),
            ("(https://h/x?sig=a,b).", "(https://h/x?sig=…)."),
            (
                r#"{"url":"https://h/x?sig=abc","next":"http://i/y?a=1"}"#,
                r#"{"url":"https://h/x?sig=…","next":"http://i/y?a=…"}"#,
            ),
            (
                "<s3://b/k?X-Amz-Signature=abc>",
                "<s3://b/k?X-Amz-Signature=…>",
            ),
            ("GET=https://h/x?sig=abc", "GET=https://h/x?sig=…"),
            (
                "no file at /files/1.ndjson?token=abc, sorry",
                "no file at /files/1.ndjson?token=…, sorry",
            ),
            ("'files/1?token=abc'", "'files/1?token=…'"),
            (
                "HAPI-1: is this so? a=b: yes://",
                "HAPI-1: is this so? a=b: yes://",
            ),
            ("why?", "why?"),
        ] {
            assert_eq!(quoted(text, 500, &[]), shown);
        }
        // Before it is cut, not after.
        assert_eq!(
            quoted("https://h/x?sig=abcdef", 18, &[]),
            "https://h/x?sig=…"
        );
    }

    #[test]
    fn what_follows_the_name_of_a_way_to_authenticate_is_hidden() {
        for (text, shown) in [
            ("bad header: Bearer abc.def-_~", "bad header: Bearer ***"),
            (
                "Authorization: bearer\tabc failed",
                "Authorization: bearer *** failed",
            ),
            (
                r#"{"Authorization":"Basic dTpw"} is wrong"#,
                r#"{"Authorization":"Basic *** is wrong"#,
            ),
            ("forbearer abc", "forbearer abc"),
            ("Bearer", "Bearer"),
        ] {
            assert_eq!(quoted(text, 500, &[]), shown);
        }
    }
}
