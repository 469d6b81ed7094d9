//! Where metrics go.

use super::read::Reader;

/// The longest name that a namespace may have.
const LONGEST: usize = 255;

/// The namespace of CloudWatch that metrics are written for.
pub(super) fn metrics_namespace(reader: &mut Reader) -> Option<String> {
    let namespace = reader.string("METRICS_NAMESPACE")?;
    if is_namespace(&namespace) {
        return Some(namespace);
    }
    let written = reader.written("METRICS_NAMESPACE");
    reader.contradiction(format!(
        "{written} is no namespace of CloudWatch: up to {LONGEST} letters, digits and . - _ / # : are expected, and none that begins with AWS/ or with a colon"
    ));
    None
}

/// Whether CloudWatch takes it (`PutMetricData`, `Namespace`).
fn is_namespace(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte);
    text.len() <= LONGEST
        && text.bytes().all(fits)
        && !text.starts_with(':')
        && !text.starts_with("AWS/")
}

#[cfg(test)]
mod tests {
    use super::is_namespace;

    #[test]
    fn a_namespace_is_one_that_cloudwatch_takes_from_others_than_aws() {
        for good in ["PathlingImport", "a.b-c_d/e#f:9", &"n".repeat(255)] {
            assert!(is_namespace(good), "{good}");
        }
        for bad in ["two words", "AWS/Lambda", ":a", "ä", &"n".repeat(256)] {
            assert!(!is_namespace(bad), "{bad}");
        }
    }
}
