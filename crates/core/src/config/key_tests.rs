use serde_json::json;

use super::*;

/// RFC 7515, appendix A.2.1: the key, what is signed with it, and the signature.
fn rfc() -> (Value, &'static str, &'static str) {
    let key = json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
        "d": "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
        "p": "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
        "q": "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
        "dp": "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
        "dq": "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
        "qi": "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
    });
    (
        key,
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    )
}

#[test]
fn the_rfcs_key_signs_as_the_rfc_says() {
    let (jwk, text, signature) = rfc();
    let key = SigningKey::read(&jwk.to_string(), None).unwrap();
    let signed = key.sign(Algorithm::Rs256, text.as_bytes()).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(signed), signature);
    assert_eq!(key.algorithms()[0], Algorithm::Rs384);
    assert_eq!(key.sign(Algorithm::Es384, b"x"), None);
    let marked = SigningKey::read(&format!("\u{feff}{jwk}"), None);
    assert!(marked.is_ok(), "{marked:?}");
}

#[test]
fn a_key_has_the_id_that_it_was_given_or_its_own_and_the_algorithm_that_it_names() {
    let (mut jwk, ..) = rfc();
    let read = |jwk: &Value, kid| SigningKey::read(&jwk.to_string(), kid);
    assert_eq!(read(&jwk, None).unwrap().kid(), None);
    assert_eq!(read(&jwk, Some("a")).unwrap().kid(), Some("a"));
    jwk["kid"] = json!("own");
    jwk["alg"] = json!("RS512");
    let key = read(&jwk, None).unwrap();
    assert_eq!(
        (key.kid(), key.algorithms()),
        (Some("own"), vec![Algorithm::Rs512])
    );
    assert!(read(&jwk, Some("a")).unwrap_err().contains("another id"));
    jwk["alg"] = json!("ES384");
    assert!(read(&jwk, None).unwrap_err().contains("algorithm"));
}

#[test]
fn a_set_of_keys_wants_to_know_which_where_there_are_several_private_ones() {
    let (mut one, ..) = rfc();
    one["kid"] = json!("one");
    let mut two = one.clone();
    two["kid"] = json!("two");
    let mut public = one.clone();
    public.as_object_mut().unwrap().remove("d");
    let read = |keys: Value, kid| SigningKey::read(&json!({"keys": keys}).to_string(), kid);
    let own = |keys, kid| read(keys, kid).unwrap().kid().map(str::to_owned);
    assert_eq!(own(json!([public, two]), None).as_deref(), Some("two"));
    assert_eq!(own(json!([one, two]), Some("two")).as_deref(), Some("two"));
    for (keys, kid, says) in [
        (json!([one, two]), None, "2 private keys"),
        (
            json!([one, two]),
            Some("three"),
            "no private key of the given id",
        ),
        (json!([public]), None, "without a private key"),
        (json!({}), None, "without a private key"),
    ] {
        let why = read(keys, kid).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn what_is_no_key_of_ours_is_refused_and_none_of_it_told() {
    let (jwk, ..) = rfc();
    let without = |name: &str| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove(name);
        jwk.to_string()
    };
    let pem = |label: &str| format!("-----BEGIN {label}-----\naHVzaA==\n-----END {label}-----");
    for text in [
        String::new(),
        "hush".to_owned(),
        "{\"hush\"".to_owned(),
        json!({"kty": "oct", "k": "hush"}).to_string(),
        json!({"kty": "EC", "crv": "P-256", "d": "hush", "x": "hush", "y": "hush"}).to_string(),
        json!({"kty": "EC", "crv": "P-384", "d": "hush", "x": "hush", "y": "hush"}).to_string(),
        without("d"),
        without("qi"),
        pem("PRIVATE KEY"),
        pem("EC PRIVATE KEY"),
        pem("RSA PRIVATE KEY"),
        pem("PUBLIC KEY"),
        pem("CERTIFICATE"),
        pem("ENCRYPTED PRIVATE KEY"),
    ] {
        let why = SigningKey::read(&text, None).unwrap_err();
        assert!(!why.contains("hush") && !why.contains("aHVza"), "{why}");
        assert!(why.starts_with("is "), "{why}");
    }
    let key = SigningKey::read(&jwk.to_string(), None).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(RSA, None, ***)");
}

#[test]
fn lengths_are_as_der_has_them() {
    assert_eq!(element(2, &[]), [2, 0]);
    assert_eq!(element(2, &[7; 127])[..2], [2, 127]);
    assert_eq!(element(2, &[7; 128])[..3], [2, 0x81, 128]);
    assert_eq!(element(2, &[7; 300])[..4], [2, 0x82, 1, 44]);
    assert_eq!(
        sequence(&[vec![0], vec![0, 0x80]]),
        [0x30, 7, 2, 1, 0, 2, 2, 0, 0x80]
    );
}
