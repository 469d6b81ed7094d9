//! Until when an answer says that what it tells of is there (`Expires`; Bulk Data Access IG, "Response - Complete Status").

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The moment that `Expires` means, by this machine's clock: as long from now as it is after the answer's own `Date`, so
/// that two clocks need not agree.
///
/// `None` for what is no date (`0`, `-1`), and for one that is over as it comes: servers and proxies write such where they
/// mean that nothing is to be cached. `None` too where `Cache-Control` gives the same time as `max-age`: then it is a rule
/// for caches, which a proxy has written, and tells nothing about files.
pub(super) fn expires(
    text: &str,
    date: Option<&str>,
    cache_control: Option<&str>,
    now: SystemTime,
) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let lifetime = at.duration_since(date.unwrap_or(now)).ok()?;
    if lifetime.is_zero() || max_age(cache_control) == Some(lifetime) {
        return None;
    }
    Timestamp::try_from(now.checked_add(lifetime)?).ok()
}

fn max_age(cache_control: Option<&str>) -> Option<Duration> {
    let mut directives = cache_control?.split(',');
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("max-age");
        is_it.then(|| value.trim().parse().ok()).flatten()
    })?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 09:49:37 GMT";

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
    }

    fn told(text: &str, date: Option<&str>, cache: Option<&str>) -> Option<i64> {
        let at = expires(text, date, cache, now())?;
        Some(at.as_second() - 2_000_000_000)
    }

    #[test]
    fn it_is_a_time_from_now_by_the_servers_own_clock() {
        assert_eq!(told(LATER, Some(DATE), None), Some(3600));
        assert_eq!(told(LATER, Some(DATE), Some("no-cache")), Some(3600));
        assert_eq!(
            told(LATER, Some(DATE), Some("private, max-age=5")),
            Some(3600)
        );
        assert_eq!(told("Wed, 18 May 2033 03:34:20 GMT", None, None), Some(60));
        assert!(told("Fri, 01 Jan 9999 23:59:59 GMT", None, None) > Some(3600));
    }

    #[test]
    fn what_is_no_time_or_over_already_says_nothing() {
        for text in [
            "",
            "0",
            "-1",
            "soon",
            "2026-01-31T00:00:00Z",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(told(text, Some(DATE), None), None, "{text}");
        }
        assert_eq!(told(DATE, Some(DATE), None), None);
        assert_eq!(told(DATE, Some(LATER), None), None);
        // By this clock it is long over, and there is no other.
        assert_eq!(told(LATER, None, None), None);
        assert_eq!(told(LATER, Some("yesterday"), None), None);
    }

    #[test]
    fn a_rule_for_caches_is_none_for_files() {
        for cache in ["max-age=3600", "public, Max-Age = 3600, x"] {
            assert_eq!(told(LATER, Some(DATE), Some(cache)), None, "{cache}");
        }
    }
}
