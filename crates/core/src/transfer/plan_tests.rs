use serde_json::{Value, json};

use super::*;

fn of(outputs: &Value) -> Arc<Manifest> {
    let manifest = json!({"transactionTime": "t", "output": outputs});
    Arc::new(Manifest::read(&manifest, None).unwrap())
}

fn manifest(outputs: &[(&str, &str)]) -> Arc<Manifest> {
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(kind, url)| json!({"type": kind, "url": url}))
        .collect();
    of(&json!(outputs))
}

fn order(plan: &Plan) -> Vec<u32> {
    plan.order().collect()
}

#[test]
fn one_url_twice_is_one_file_and_other_urls_never_share_a_key() {
    let stored = manifest(&[
        ("Patient", "http://h/1"),
        ("Patient", "http://h/1"),
        ("Patient", "http://h/1?part=2"),
    ]);
    let plan = Plan::new("abc", stored).unwrap();
    assert_eq!(order(&plan), [0, 2]);
    assert_ne!(plan.file(0).unwrap().key, plan.file(2).unwrap().key);
}

#[test]
fn one_url_under_two_types_is_no_manifest_to_follow() {
    let stored = manifest(&[
        ("Patient", "http://h/1?sig=x"),
        ("Condition", "http://h/1?sig=x"),
    ]);
    let error = Plan::new("abc", stored).unwrap_err();
    assert_eq!(error.kind(), Kind::Manifest);
    assert!(
        error
            .what()
            .contains("http://h/1?sig=… holds Patient and that it holds Condition"),
        "{error}"
    );
}

#[test]
fn large_files_begin_first_and_the_others_stay_in_their_order() {
    let file = |n: usize, size: Value, count: Value| json!({"type": "Patient", "url": format!("http://h/{n}"), "fileSize": size, "count": count});
    let null = Value::Null;
    let stored = of(&json!([
        file(0, json!(10), null.clone()),
        file(1, null.clone(), json!(5000)),
        file(2, json!("99999999"), json!(1)),
        file(3, null.clone(), null.clone()),
        file(4, json!(10), json!(900)),
        file(5, json!("many"), json!(-1)),
    ]));
    // Of 3 and 5 nothing is known, so they count as much as the others on average.
    assert_eq!(
        order(&Plan::new("abc", stored).unwrap()),
        [2, 3, 5, 1, 0, 4]
    );
    let huge = of(&json!([
        file(0, json!(u64::MAX - 1), null.clone()),
        file(1, json!(u64::MAX - 1), null.clone()),
    ]));
    assert_eq!(Plan::new("abc", huge).unwrap().bytes(), Some(u64::MAX));
    let unknown = manifest(&[("Patient", "http://h/2"), ("Patient", "http://h/1")]);
    assert_eq!(order(&Plan::new("abc", unknown).unwrap()), [0, 1]);
}

#[test]
fn a_batch_is_just_its_items_under_the_names_that_they_have_in_the_whole() {
    let stored = manifest(&[
        ("Patient", "http://h/1"),
        ("Patient", "http://h/1"),
        ("Condition", "http://h/2"),
        ("Condition", "http://h/3"),
    ]);
    let whole = Plan::new("abc", stored).unwrap();
    let batch = whole.clone().only(&[3, 2, 3]).unwrap();
    assert_eq!(order(&batch), [2, 3]);
    assert_eq!(batch.file(3).unwrap(), whole.file(3).unwrap());
    for index in [1, 4, usize::MAX] {
        let error = whole.clone().only(&[0, index]).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.what().contains(&index.to_string()), "{error}");
    }
}
