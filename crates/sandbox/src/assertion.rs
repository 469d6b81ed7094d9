//! Signed assertions at the token endpoint: `private_key_jwt`, as SMART Backend Services asks servers to check it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

use crate::faults::Fault;
use crate::record::Service;
use crate::world::World;

/// The ids of assertions that were taken: none is taken twice.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashSet<String>>);

/// Whose assertion it is; why it is none, else.
pub(crate) fn verify(world: &World, assertion: &str) -> Result<Service, String> {
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return Err("The assertion is no JWT".to_owned());
    };
    let bytes = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| "The assertion is not base64url".to_owned())
    };
    let object = |text: &str| {
        serde_json::from_slice::<Value>(&bytes(text)?)
            .map_err(|_| "The assertion is not JSON".to_owned())
    };
    let (head, body) = (object(header)?, object(claims)?);
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let claimed = text("iss");
    let Some((owner, key)) = world.clients.key_of(claimed) else {
        return Err("Unknown client".to_owned());
    };
    let algorithm = head.get("alg").and_then(Value::as_str).unwrap_or_default();
    let supported = &world.settings.signing_algorithms;
    if !supported.iter().any(|one| one == algorithm) {
        return Err(format!("The algorithm {algorithm} is not supported"));
    }
    if head.get("typ").is_some_and(|kind| kind != "JWT") {
        return Err("typ is not JWT".to_owned());
    }
    if head.get("kid").and_then(Value::as_str) != Some(&key.kid) {
        return Err("There is no key of this kid".to_owned());
    }
    let signed = &assertion[..header.len() + 1 + claims.len()];
    if !key.verifies(algorithm, signed.as_bytes(), &bytes(signature)?) {
        return Err("The signature is wrong".to_owned());
    }
    if text("sub") != claimed {
        return Err("sub is not iss".to_owned());
    }
    if text("aud") != format!("{}/token", world.origins.token) {
        return Err("aud is not this token endpoint".to_owned());
    }
    let ahead = world.faults.peek(|fault| match fault {
        Fault::TokenClock(seconds) => Some(*seconds),
        _ => None,
    });
    let now = Timestamp::now().as_second() + ahead.unwrap_or_default();
    let time = |name: &str| body.get(name).and_then(Value::as_i64);
    match time("exp") {
        Some(until) if until <= now => return Err("The assertion has expired".to_owned()),
        Some(until) if until > now + 300 => {
            return Err("exp is more than five minutes away".to_owned());
        }
        Some(_) => {}
        None => return Err("exp is absent".to_owned()),
    }
    if time("iat").is_some_and(|from| from > now) {
        return Err("iat is in the future".to_owned());
    }
    let id = text("jti");
    let mut seen = world
        .assertions
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if id.is_empty() || !seen.insert(id.to_owned()) {
        return Err("jti is absent or was used before".to_owned());
    }
    Ok(owner)
}
