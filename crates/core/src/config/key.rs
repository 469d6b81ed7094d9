//! A client's private key: what it may be written as, and what it can sign.
//!
//! RSA and P-384 alone, which is what SMART Backend Services asks servers to take (RS384, ES384). A key is a JWK (RFC 7517,
//! with RFC 7518, sections 6.2.2 and 6.3.2), a JWKS, or PEM: PKCS#8, PKCS#1 or SEC1.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

/// A key that was read. It shows as its kind and its id.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Pair>,
    /// The key's id at the server (`kid`).
    kid: Option<String>,
    /// The algorithm that a JWK names for itself.
    algorithm: Option<Algorithm>,
}

enum Pair {
    Rsa(RsaKeyPair),
    P384(EcdsaKeyPair),
}

/// How a key signs (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as in the RFC")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es384,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Rs384, Self::Es384, Self::Rs256, Self::Rs512];

    /// Its name in a JWT's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es384 => "ES384",
        }
    }
}

const EXPECTED: &str =
    "a JWK, a JWKS or PEM (PKCS#8, PKCS#1 or SEC1) that holds an RSA or a P-384 key is expected";

impl SigningKey {
    /// Reads a key. `kid` chooses from a JWKS, and is the id of a key that has none of its own. The error says what is
    /// wrong, and nothing of the text.
    pub fn read(text: &str, kid: Option<&str>) -> Result<Self, String> {
        let text = without_mark(text).trim();
        if text.starts_with('{') {
            return from_json(text, kid);
        }
        let text = with_line_ends(text);
        if is_encrypted(&text) {
            return Err("is a key under a passphrase, which this program cannot ask for; decrypt it, and keep it as a secret".to_owned());
        }
        if text.contains("BEGIN PUBLIC KEY") || text.contains("BEGIN CERTIFICATE") {
            return Err(format!("is no private key: {EXPECTED}"));
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| format!("is no private key: {EXPECTED}"))?;
        Ok(Self {
            pair: Arc::new(from_der(&der)?),
            kid: kid.map(str::to_owned),
            algorithm: None,
        })
    }

    /// The key's id, where it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it can sign with, the best first.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        match (self.algorithm, &*self.pair) {
            (Some(one), _) => vec![one],
            (None, Pair::P384(_)) => vec![Algorithm::Es384],
            (None, Pair::Rsa(_)) => vec![Algorithm::Rs384, Algorithm::Rs256, Algorithm::Rs512],
        }
    }

    /// Signs a text; `None` where the key does not know the algorithm. An ECDSA signature is as JWS has it (RFC 7518,
    /// section 3.4): two numbers of 48 bytes.
    #[must_use]
    pub fn sign(&self, algorithm: Algorithm, text: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let rsa = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_SHA512,
            Algorithm::Es384 => {
                let Pair::P384(pair) = &*self.pair else {
                    return None;
                };
                return Some(pair.sign(&random, text).ok()?.as_ref().to_vec());
            }
        };
        let Pair::Rsa(pair) = &*self.pair else {
            return None;
        };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(rsa, &random, text, &mut signature).ok()?;
        Some(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &*self.pair {
            Pair::Rsa(_) => "RSA",
            Pair::P384(_) => "P-384",
        };
        write!(f, "SigningKey({kind}, {:?}, ***)", self.kid)
    }
}

/// A PEM as it was: its line ends are often lost on the way into a variable, or written as two characters.
pub(super) fn with_line_ends(text: &str) -> String {
    without_mark(text).replace("\\n", "\n")
}

/// A text without the byte-order mark that editors on Windows put in front.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a PEM's key is under a passphrase (RFC 5958, or as OpenSSL did before it).
pub(super) fn is_encrypted(text: &str) -> bool {
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn from_der(der: &PrivateKeyDer<'_>) -> Result<Pair, String> {
    let unusable = || "is no RSA key of 2048 bits or more and no P-384 key".to_owned();
    let p384 = |der: &[u8]| {
        EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Pair::P384)
    };
    let pair = match der {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Pair::Rsa),
        PrivateKeyDer::Sec1(der) => p384(der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            RsaKeyPair::from_pkcs8(der)
                .map(Pair::Rsa)
                .or_else(|_| p384(der))
        }
        _ => return Err(unusable()),
    };
    pair.map_err(|_| unusable())
}

fn from_json(text: &str, kid: Option<&str>) -> Result<SigningKey, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|_| format!("is not JSON: {EXPECTED}"))?;
    let Some(keys) = value.get("keys") else {
        return from_jwk(&value, kid);
    };
    let private: Vec<&Value> = keys
        .as_array()
        .into_iter()
        .flatten()
        .filter(|key| key.get("d").is_some())
        .collect();
    let own = |key: &Value| key.get("kid").and_then(Value::as_str).map(str::to_owned);
    match (kid, private.as_slice()) {
        (_, []) => Err("is a JWKS without a private key: a member d is expected".to_owned()),
        (None, [one]) => from_jwk(one, None),
        (None, many) => Err(format!(
            "is a JWKS of {} private keys: the id of one is expected beside it",
            many.len()
        )),
        (Some(kid), many) => match many.iter().find(|key| own(key).as_deref() == Some(kid)) {
            Some(key) => from_jwk(key, Some(kid)),
            None => Err("is a JWKS that has no private key of the given id".to_owned()),
        },
    }
}

fn from_jwk(jwk: &Value, kid: Option<&str>) -> Result<SigningKey, String> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if let (Some(own), Some(given)) = (text("kid"), kid)
        && own != given
    {
        return Err("is a JWK of another id than the given one".to_owned());
    }
    let bytes = |name: &str| {
        text(name)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok())
            .ok_or_else(|| format!("is a JWK whose member {name} is absent or not base64url"))
    };
    let unusable = || "is a JWK whose numbers make no key".to_owned();
    let pair = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let mut numbers = vec![vec![0]];
            for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
                numbers.push(bytes(name)?);
            }
            RsaKeyPair::from_der(&sequence(&numbers))
                .map(Pair::Rsa)
                .map_err(|_| unusable())?
        }
        (Some("EC"), Some("P-384")) => {
            // A coordinate with leading zeros is sometimes written without them.
            let fixed = |name: &str| {
                let bytes = bytes(name)?;
                let zeros = 48_usize.checked_sub(bytes.len()).ok_or_else(unusable)?;
                Ok::<_, String>([vec![0; zeros], bytes].concat())
            };
            let public = [vec![4], fixed("x")?, fixed("y")?].concat();
            let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &fixed("d")?, &public)
                .map(Pair::P384)
                .map_err(|_| unusable())?
        }
        _ => return Err(format!("is a JWK of another kind: {EXPECTED}")),
    };
    let mut key = SigningKey {
        pair: Arc::new(pair),
        kid: kid.or(text("kid")).map(str::to_owned),
        algorithm: None,
    };
    if let Some(named) = text("alg") {
        let known = Algorithm::ALL.into_iter().find(|one| one.name() == named);
        match known.filter(|one| key.algorithms().contains(one)) {
            Some(one) => key.algorithm = Some(one),
            None => return Err("is a JWK for an algorithm that it cannot sign with here (RS384, RS256, RS512 and ES384 are known)".to_owned()),
        }
    }
    Ok(key)
}

/// A DER sequence of whole numbers, none of them negative: `RSAPrivateKey` (RFC 8017, appendix A.1.2).
fn sequence(numbers: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::new();
    for number in numbers {
        let bare = number.iter().position(|byte| *byte != 0);
        let bare = bare.map_or(&[0][..], |start| &number[start..]);
        let sign: &[u8] = if bare[0] >= 0x80 { &[0] } else { &[] };
        content.extend(element(0x02, &[sign, bare].concat()));
    }
    element(0x30, &content)
}

/// A DER element: tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match length {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // At most eight bytes of length.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend(long);
        }
    }
    out.extend(content);
    out
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
