//! Whether two resources are the same, less what Pathling is known to drop.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Elements of a resource that Pathling does not keep.
const DROPPED: &[&str] = &["contained"];

/// The names of the elements that are not the same, from the resource on (`name.family`), each once. Two numbers of the same
/// value are the same, and so are what is empty and what is absent: in FHIR's JSON nothing is empty.
pub(super) fn differences(staged: &Value, found: &Value) -> Vec<String> {
    let mut names = BTreeSet::new();
    compare("", staged, found, &mut names);
    names.into_iter().collect()
}

fn compare(name: &str, staged: &Value, found: &Value, names: &mut BTreeSet<String>) {
    match (staged, found) {
        (Value::Object(staged), Value::Object(found)) => members(name, staged, found, names),
        (Value::Array(staged), Value::Array(found)) if staged.len() == found.len() => {
            for (staged, found) in staged.iter().zip(found) {
                compare(name, staged, found, names);
            }
        }
        (Value::Number(staged), Value::Number(found)) if staged.as_f64() == found.as_f64() => {}
        _ if staged == found => {}
        _ => {
            names.insert(name.to_owned());
        }
    }
}

fn members(
    of: &str,
    staged: &Map<String, Value>,
    found: &Map<String, Value>,
    names: &mut BTreeSet<String>,
) {
    for name in staged.keys().chain(found.keys()) {
        if of.is_empty() && !found.contains_key(name) && DROPPED.contains(&name.as_str()) {
            continue;
        }
        let whole = match of {
            "" => name.clone(),
            of => format!("{of}.{name}"),
        };
        let [staged, found] = [staged, found].map(|it| it.get(name).filter(|it| !is_empty(it)));
        match (staged, found) {
            (Some(staged), Some(found)) => compare(&whole, staged, found, names),
            (None, None) => {}
            _ => {
                names.insert(whole);
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_the_same_in_another_writing_is_the_same() {
        let staged =
            json!({"id": "1", "contained": [{"id": "c"}], "value": 1.50, "empty": {}, "list": []});
        let found = json!({"value": 1.5, "id": "1", "_value": null});
        assert!(differences(&staged, &found).is_empty());
    }

    #[test]
    fn elements_that_differ_are_named_without_what_is_in_them() {
        let staged = json!({"id": "1", "foo": "x", "name": [{"family": "a"}, {"family": "b"}], "given": [1, 2]});
        let found = json!({"id": "1", "name": [{"family": "a"}, {"family": "B", "use": "old"}], "given": [1]});
        assert_eq!(
            differences(&staged, &found),
            ["foo", "given", "name.family", "name.use"]
        );
        assert_eq!(differences(&json!({"a": 1}), &json!([])), [""]);
    }
}
