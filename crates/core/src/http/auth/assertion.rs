//! The assertion that a client signs to say who it is (RFC 7523, section 3; SMART Backend Services, "Protocol details").

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use crate::config::{Algorithm, Secret, SigningKey};

/// How long an assertion is good from now on. SMART allows five minutes, by the server's clock; this one may be a minute
/// fast, or nearly four slow.
const LIFE: Duration = Duration::from_mins(4);

/// How much earlier than now an assertion says that it was made: no server reads a moment in the future, which it refuses.
const EARLIER: Duration = Duration::from_mins(1);

/// Signs an assertion of a client for the token endpoint `audience`. Every one is another: no `jti` is used twice.
pub(super) fn assertion(
    client: &str,
    audience: &str,
    jwks_url: Option<&Url>,
    key: &SigningKey,
    algorithm: Algorithm,
) -> Option<Secret> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let claims = json!({
        "iss": client,
        "sub": client,
        "aud": audience,
        "exp": (now + LIFE).as_secs(),
        "iat": now.saturating_sub(EARLIER).as_secs(),
        "jti": uuid::Uuid::new_v4(),
    });
    let mut header = json!({"alg": algorithm.name(), "typ": "JWT"});
    if let Some(kid) = key.kid() {
        header["kid"] = json!(kid);
    }
    if let Some(url) = jwks_url {
        header["jku"] = json!(url);
    }
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = key.sign(algorithm, signed.as_bytes())?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Some(Secret::new(format!("{signed}.{signature}")))
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The algorithm of those that the key knows which the server takes too; the key's best where the server names none.
/// The error says what both know.
pub(super) fn algorithm(key: &SigningKey, supported: &[String]) -> Result<Algorithm, String> {
    let known = key.algorithms();
    let found = known
        .iter()
        .find(|one| supported.is_empty() || supported.iter().any(|name| name == one.name()));
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|one| one.name()).collect();
        format!(
            "the key signs with {}, and the server takes only {}",
            names.join(", "),
            super::super::shown::quoted(&supported.join(", "), 200, &[])
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        let pair = aws_lc_rs::signature::EcdsaKeyPair::generate(
            &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        );
        let pem = pair.unwrap().to_pkcs8v1().unwrap();
        let pem = base64::engine::general_purpose::STANDARD.encode(pem.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----");
        SigningKey::read(&pem, Some("k1")).unwrap()
    }

    fn parts(assertion: &Secret) -> (Value, Value) {
        let parts: Vec<&str> = assertion.reveal().split('.').collect();
        let part =
            |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        assert_eq!(parts.len(), 3);
        (part(parts[0]), part(parts[1]))
    }

    #[test]
    fn an_assertion_says_what_the_specification_asks_for_and_is_never_the_same() {
        let key = key();
        let make = || {
            let jku = Url::parse("https://me.example/jwks").unwrap();
            assertion("me", "https://h/t?x", Some(&jku), &key, Algorithm::Es384).unwrap()
        };
        let (header, claims) = parts(&make());
        assert_eq!(
            header,
            json!({"alg": "ES384", "typ": "JWT", "kid": "k1", "jku": "https://me.example/jwks"})
        );
        for (name, value) in [("iss", "me"), ("sub", "me"), ("aud", "https://h/t?x")] {
            assert_eq!(claims[name], value);
        }
        assert_ne!(claims["jti"], parts(&make()).1["jti"]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap().as_secs();
        let (until, from) = (
            claims["exp"].as_u64().unwrap(),
            claims["iat"].as_u64().unwrap(),
        );
        assert!(until - from <= 300, "five minutes");
        assert!(
            (now + 200..=now + 240).contains(&until),
            "room for a clock that is fast"
        );
        assert!(
            from + 60 <= now,
            "not in the future of a clock that is slow"
        );
    }

    #[test]
    fn an_algorithm_is_one_that_both_know() {
        let key = key();
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            algorithm(&key, &names)
        };
        assert_eq!(of(&[]), Ok(Algorithm::Es384));
        assert_eq!(of(&["RS384", "ES384"]), Ok(Algorithm::Es384));
        let why = of(&["RS384", "RS256"]).unwrap_err();
        assert!(
            why.contains("ES384") && why.contains("RS384, RS256"),
            "{why}"
        );
    }
}
