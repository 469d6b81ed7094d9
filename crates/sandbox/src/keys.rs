//! The clients' private keys: made here, written in the forms that clients read, and used to verify what clients sign.
//!
//! By other libraries than those that this project's client signs with, so that the two check each other.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p384::ecdsa::signature::Verifier as _;
use p384::ecdsa::{Signature, SigningKey};
use p384::elliptic_curve::Generate as _;
use p384::pkcs8::EncodePrivateKey as _;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use serde_json::{Value, json};

/// What kind of key a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// P-384, for ES384.
    P384,
    /// RSA with 2048 bits, for RS384. Takes a moment to make, once in a process.
    Rsa,
}

/// How a private key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// A JWK.
    Jwk,
    /// A JWKS in which a public key of another id comes first.
    Jwks,
    /// PEM, PKCS#8.
    Pkcs8,
    /// PEM of the key's own kind: PKCS#1 for RSA, SEC1 for P-384.
    Traditional,
}

/// A client's key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) kid: String,
    pair: Pair,
}

#[derive(Clone)]
enum Pair {
    P384(Box<p384::SecretKey>),
    Rsa(Arc<rsa::PrivateKey>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Key({})", self.kid)
    }
}

impl Key {
    pub(crate) fn new(kind: KeyKind, id: &str) -> Self {
        static RSA: OnceLock<Arc<rsa::PrivateKey>> = OnceLock::new();
        let pair = match kind {
            KeyKind::P384 => Pair::P384(Box::new(p384::SecretKey::generate())),
            KeyKind::Rsa => {
                let make = || Arc::new(rsa::PrivateKey::generate());
                Pair::Rsa(Arc::clone(RSA.get_or_init(make)))
            }
        };
        Self {
            kid: id.to_owned(),
            pair,
        }
    }

    /// The private key as a text.
    pub(crate) fn written(&self, form: KeyForm) -> String {
        match (form, &self.pair) {
            (KeyForm::Jwk, _) => self.jwk().to_string(),
            (KeyForm::Jwks, _) => {
                let mut public = self.jwk();
                if let Some(members) = public.as_object_mut() {
                    members.retain(|name, _| ["kty", "crv", "x", "y", "n", "e"].contains(&&**name));
                    members.insert("kid".to_owned(), json!("another"));
                }
                json!({"keys": [public, self.jwk()]}).to_string()
            }
            (KeyForm::Pkcs8, Pair::P384(key)) => {
                let der = key.to_pkcs8_der();
                pem(
                    "PRIVATE KEY",
                    der.as_ref().map_or(&[], |der| der.as_bytes()),
                )
            }
            (KeyForm::Pkcs8, Pair::Rsa(key)) => {
                let der = key.to_pkcs8_der();
                pem(
                    "PRIVATE KEY",
                    der.as_ref().map_or(&[], |der| der.as_bytes()),
                )
            }
            (KeyForm::Traditional, Pair::P384(key)) => {
                let der = key.to_sec1_der();
                pem("EC PRIVATE KEY", der.as_ref().map_or(&[], |der| der))
            }
            (KeyForm::Traditional, Pair::Rsa(key)) => {
                let der = key.to_pkcs1_der();
                pem(
                    "RSA PRIVATE KEY",
                    der.as_ref().map_or(&[], |der| der.as_bytes()),
                )
            }
        }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::P384(key) => {
                let point = SigningKey::from(&**key)
                    .verifying_key()
                    .to_sec1_point(false);
                let (x, y) = point.as_bytes()[1..].split_at(48);
                json!({
                    "kty": "EC", "crv": "P-384", "kid": self.kid, "alg": "ES384",
                    "x": text(x), "y": text(y), "d": text(&key.to_bytes()),
                })
            }
            Pair::Rsa(key) => {
                let number = |number: Option<&rsa::BoxedUint>| {
                    text(
                        &number
                            .map(rsa::BoxedUint::to_be_bytes_trimmed_vartime)
                            .unwrap_or_default(),
                    )
                };
                let primes = key.primes();
                json!({
                    "kty": "RSA", "kid": self.kid, "n": text(&key.n_bytes()), "e": text(&key.e_bytes()),
                    "d": number(Some(key.d())),
                    "p": number(primes.first().map(AsRef::as_ref)),
                    "q": number(primes.get(1).map(AsRef::as_ref)),
                    "dp": number(key.dp()), "dq": number(key.dq()),
                    "qi": number(key.crt_coefficient().as_ref()),
                })
            }
        }
    }

    /// The texts by which the key is known wherever it turns up: no part of them is public.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let jwk = self.jwk();
        let numbers = ["d", "p", "q"]
            .into_iter()
            .filter_map(|name| jwk[name].as_str());
        let mut all: Vec<String> = numbers.map(str::to_owned).collect();
        // A line in the middle of a PEM.
        for form in [KeyForm::Pkcs8, KeyForm::Traditional] {
            let pem = self.written(form);
            all.extend(pem.lines().nth(2).map(str::to_owned));
        }
        all
    }

    /// Whether this key's private half signed the text.
    pub(crate) fn verifies(&self, algorithm: &str, text: &[u8], signature: &[u8]) -> bool {
        match (&self.pair, algorithm) {
            (Pair::P384(key), "ES384") => Signature::from_slice(signature).is_ok_and(|signature| {
                let key = SigningKey::from(&**key);
                key.verifying_key().verify(text, &signature).is_ok()
            }),
            (Pair::Rsa(key), "RS256") => rsa_verifies::<rsa::sha2::Sha256>(key, text, signature),
            (Pair::Rsa(key), "RS384") => rsa_verifies::<rsa::sha2::Sha384>(key, text, signature),
            (Pair::Rsa(key), "RS512") => rsa_verifies::<rsa::sha2::Sha512>(key, text, signature),
            _ => false,
        }
    }
}

fn rsa_verifies<D>(key: &rsa::PrivateKey, text: &[u8], signature: &[u8]) -> bool
where
    D: rsa::sha2::Digest + rsa::pkcs8::AssociatedOid,
{
    let scheme = rsa::Pkcs1v15Sign::new::<D>();
    let public = key.to_public_key();
    public.verify(scheme, &D::digest(text), signature).is_ok()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        lines.push_str(line);
        lines.push('\n');
        rest = more;
    }
    lines + "-----END " + label + "-----\n"
}
