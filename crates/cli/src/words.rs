//! Durations and numbers as a person says them.

use std::time::Duration;

/// A duration in its two largest units: `0.4 s`, `45 s`, `15 min`, `1 h 30 min`, `2 d 3 h`.
pub(crate) fn duration(duration: Duration) -> String {
    if duration < Duration::from_millis(9_950) && duration.subsec_millis() >= 50 {
        let tenths = (duration.as_millis() + 50) / 100;
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    let (large, small) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => ((seconds / 60, "min"), (seconds % 60, "s")),
        3600..86_400 => ((seconds / 3600, "h"), (seconds % 3600 / 60, "min")),
        _ => ((seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")),
    };
    match small {
        (0, _) => format!("{} {}", large.0, large.1),
        (rest, unit) => format!("{} {} {rest} {unit}", large.0, large.1),
    }
}

/// A count with its noun: `1 file`, `5,023 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        indicatif::HumanCount(number),
        if number == 1 { one } else { many }
    )
}

/// A number of bytes in decimal units: `18.80 MB`.
pub(crate) fn bytes(number: u64) -> String {
    indicatif::DecimalBytes(number).to_string()
}

/// A text from elsewhere without what would move a terminal's cursor; line ends stay.
pub(crate) fn tame(text: &str) -> String {
    let tame = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.trim_end().chars().map(tame).collect()
}

/// The same on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace()
        .map(tame)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        for (milliseconds, text) in [
            (0, "0 s"),
            (49, "0 s"),
            (400, "0.4 s"),
            (9_960, "10 s"),
            (45_000, "45 s"),
            (59_700, "1 min"),
            (900_000, "15 min"),
            (5_400_000, "1 h 30 min"),
            (5_410_000, "1 h 30 min"),
            (183_600_000, "2 d 3 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn a_count_has_its_noun() {
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(5023, "file", "files"), "5,023 files");
    }

    #[test]
    fn a_text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(tame("a\u{1b}[2J\nb\r\n"), "a [2J\nb");
        assert_eq!(one_line("a\u{1b}[2J\n  b\n"), "a [2J b");
    }
}
