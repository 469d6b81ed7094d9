//! Secrets that AWS keeps: fetched when they are first needed, kept for the life of the process, and fetched again after
//! a server refused one, because it may have been changed meanwhile.
//!
//! Two calls, `GetSecretValue` of Secrets Manager and `GetParameter` of Systems Manager. Nothing but the addresses shows
//! in messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use serde_json::{Value, json};
use url::Url;

use super::Backoff;
use super::Flight;
use super::Side;
use super::aws::{self, Answer, Call, Failed};
use super::shown::{quoted, shown};
use crate::config::{Keeper, Reference, Secret, SecretSource};
use crate::error::{Error, Kind, Result};

/// What lies at an ARN, and since when this process knows it.
#[derive(Clone)]
struct Fetched {
    whole: Secret,
    at: Instant,
}

/// By ARN: two settings that name two members of one object fetch it once.
static FETCHED: Mutex<BTreeMap<String, Arc<Flight<Fetched>>>> = Mutex::new(BTreeMap::new());

/// The secret.
///
/// Errors: configuration, where it is not there or may not be read; unavailable ([`Side::unavailable`]) where another
/// try may do.
pub(super) async fn secret(source: &SecretSource, side: Side) -> Result<Secret> {
    match source {
        SecretSource::Given(secret) => Ok(secret.clone()),
        SecretSource::Kept(reference) => {
            // What could not be used may have been mended since.
            let usable = |fetched: &Fetched| member(&fetched.whole, reference).is_ok();
            of(reference, side, usable).await
        }
    }
}

/// The secret that lies there instead of the refused one; `None` where it is still the same, or is no address at all.
pub(super) async fn instead_of(
    refused: &Secret,
    source: &SecretSource,
    side: Side,
) -> Result<Option<Secret>> {
    let SecretSource::Kept(reference) = source else {
        return Ok(None);
    };
    let came = Instant::now();
    let usable = |fetched: &Fetched| {
        let differs = member(&fetched.whole, reference).is_ok_and(|secret| secret != *refused);
        differs || fetched.at > came
    };
    let secret = of(reference, side, usable).await?;
    Ok(Some(secret).filter(|secret| secret != refused))
}

/// What lies at an address, for whom neither server matters.
///
/// Errors: as for [`secret`]; it is the source that is called unavailable.
pub(crate) async fn kept(reference: &Reference) -> Result<Secret> {
    let usable = |fetched: &Fetched| member(&fetched.whole, reference).is_ok();
    of(reference, Side::Source, usable).await
}

/// What lies at an address and was fetched no longer ago than this, and when: for what no answer tells that it was changed.
///
/// Errors: as for [`secret`].
pub(super) async fn fresh(
    reference: &Reference,
    side: Side,
    age: Duration,
) -> Result<(Secret, Instant)> {
    let usable =
        |fetched: &Fetched| fetched.at.elapsed() < age && member(&fetched.whole, reference).is_ok();
    let fetched = fetched(reference, side, usable).await?;
    Ok((member(&fetched.whole, reference)?, fetched.at))
}

async fn of(
    reference: &Reference,
    side: Side,
    usable: impl Fn(&Fetched) -> bool,
) -> Result<Secret> {
    member(&fetched(reference, side, usable).await?.whole, reference)
}

/// All that lies at the ARN: what is known, where that is usable.
async fn fetched(
    reference: &Reference,
    side: Side,
    usable: impl Fn(&Fetched) -> bool,
) -> Result<Fetched> {
    let flight = {
        let mut all = FETCHED.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = all.entry(reference.arn.clone());
        Arc::clone(flight.or_insert_with(|| Arc::new(Flight::new())))
    };
    // Boxed: it is large, and seldom needed.
    let fetch = Box::pin(fetch(reference, side));
    flight.get(usable, fetch).await
}

/// The secret in what lies at the ARN.
fn member(whole: &Secret, reference: &Reference) -> Result<Secret> {
    let value = serde_json::from_str::<Value>(whole.reveal()).unwrap_or_default();
    let Some(name) = &reference.member else {
        // Of all secrets only keys and headers are JSON objects themselves.
        let may_be_object = ["_PRIVATE_KEY", "_HEADERS"];
        let may_be_object = may_be_object
            .iter()
            .any(|end| reference.setting.ends_with(end));
        if value.is_object() && !may_be_object {
            return Err(unusable(reference, "a JSON object is kept there")
                .next(format!("Name one of its members: {}#NAME.", reference.arn)));
        }
        return Ok(whole.clone());
    };
    let wrong = |what: &str| {
        Kind::Configuration
            .error(format!(
                "{} names {reference}, but {what}",
                reference.setting
            ))
            .next(
                "Correct the name behind the #, or what is kept there; a JSON object is expected.",
            )
    };
    if !value.is_object() {
        return Err(wrong("what is kept there is no JSON object"));
    }
    match value.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(Secret::new(text.clone())),
        // A JWK may lie there as it is.
        Some(member @ Value::Object(_)) => Ok(Secret::new(member.to_string())),
        Some(_) => Err(wrong("this member is no text")),
        None => Err(wrong("what is kept there has no such member")),
    }
}

async fn fetch(reference: &Reference, side: Side) -> Result<Fetched> {
    let settings = aws::settings(Some(&reference.region)).await;
    let url = url(reference, &settings).map_err(|why| unusable(reference, &why))?;
    let (service, target, body) = match reference.keeper {
        Keeper::SecretsManager => (
            "secretsmanager",
            "secretsmanager.GetSecretValue",
            json!({"SecretId": reference.arn}),
        ),
        Keeper::ParameterStore => (
            "ssm",
            "AmazonSSM.GetParameter",
            json!({"Name": reference.arn, "WithDecryption": true}),
        ),
    };
    let call = Call {
        url: &url,
        region: &reference.region,
        service,
        target,
        body: &body,
    };
    let mut waits = Backoff::new(Duration::from_millis(200), Duration::from_secs(2), 2);
    let value = loop {
        let error = match call.send(&settings).await {
            Ok(Answer::Good(value)) => break value,
            Ok(Answer::Refused(status, code, words)) => {
                let passing = status.is_server_error() || code.contains("Throttl");
                if !passing {
                    return Err(refused(reference, &url, &code, &words));
                }
                unavailable(reference, &url, side, &format!("{status} {code}"))
            }
            Err(Failed::Passing(why)) => unavailable(reference, &url, side, &why),
            Err(Failed::NoCredentials(why)) => {
                let why = format!("there are no AWS credentials to fetch it with ({why})");
                return Err(unusable(reference, &why)
                    .next("Give this process AWS credentials: a role, a profile or variables."));
            }
            Err(Failed::Unbuilt(why)) => return Err(unusable(reference, &why)),
        };
        match waits.next(None) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(error),
        }
    };
    let text = match reference.keeper {
        Keeper::SecretsManager => value.get("SecretString"),
        Keeper::ParameterStore => value.pointer("/Parameter/Value"),
    };
    let text = text.and_then(Value::as_str).map(str::trim);
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Err(unusable(reference, "no text is kept there"));
    };
    tracing::debug!(arn = reference.arn, "secret fetched");
    Ok(Fetched {
        whole: Secret::new(text),
        at: Instant::now(),
    })
}

/// Where the keeper answers: where variables or a profile say, else at AWS's own address in the ARN's region.
fn url(reference: &Reference, settings: &SdkConfig) -> Result<Url, String> {
    let (id, host) = match reference.keeper {
        Keeper::SecretsManager => ("Secrets Manager", "secretsmanager"),
        Keeper::ParameterStore => ("SSM", "ssm"),
    };
    let dual = settings.use_dual_stack().unwrap_or_default();
    let suffix = match (reference.partition, dual) {
        ("aws-cn", false) => "amazonaws.com.cn",
        ("aws-cn", true) => "api.amazonwebservices.com.cn",
        (_, false) => "amazonaws.com",
        (_, true) => "api.aws",
    };
    let fips = if settings.use_fips().unwrap_or_default() {
        "-fips"
    } else {
        ""
    };
    let text = aws::endpoint(settings, id)
        .unwrap_or_else(|| format!("https://{host}{fips}.{}.{suffix}/", reference.region));
    let url = Url::parse(&text).map_err(|error| format!("its endpoint is no URL: {error}"))?;
    // What is answered is a secret.
    if !super::address::carries_secrets(&url, false) {
        return Err(format!("its endpoint {} is not https", shown(&url)));
    }
    Ok(url)
}

fn unusable(reference: &Reference, why: &str) -> Error {
    let setting = reference.setting;
    Kind::Configuration
        .error(format!("{setting} names {reference}, but {why}"))
        .next(format!("Correct {setting}, or what is kept there."))
}

fn unavailable(reference: &Reference, url: &Url, side: Side, why: &str) -> Error {
    side.unavailable()
        .error(format!(
            "{} names {reference}, which cannot be fetched: POST {}: {why}",
            reference.setting,
            shown(url)
        ))
        .next("See whether AWS can be reached from here, then start again.")
}

fn refused(reference: &Reference, url: &Url, code: &str, words: &str) -> Error {
    let setting = reference.setting;
    let action = match reference.keeper {
        Keeper::SecretsManager => "secretsmanager:GetSecretValue",
        Keeper::ParameterStore => "ssm:GetParameter",
    };
    let from = shown(url);
    let arn = &reference.arn;
    match code {
        "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => {
            Kind::Configuration
                .error(format!("{setting} names {arn}, and there is no such one ({from}: {code})"))
                .next(format!("Correct {setting}: its account, region and name."))
        }
        "AccessDeniedException" => Kind::Configuration
            .error(format!("{setting} names {arn}, which this program may not read ({from}: {code})"))
            .next(format!(
                "Allow its role {action} on {arn}, and kms:Decrypt on the key where it is one of your own."
            )),
        _ => unusable(
            reference,
            &format!("{from} refuses it: {code} {}", quoted(words, 300, &[])),
        ),
    }
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;

    fn reference(text: &str) -> Reference {
        Reference {
            setting: "SOURCE_CLIENT_SECRET",
            keeper: if text.contains(":ssm:") {
                Keeper::ParameterStore
            } else {
                Keeper::SecretsManager
            },
            arn: text.to_owned(),
            partition: if text.contains("aws-cn") {
                "aws-cn"
            } else {
                "aws"
            },
            region: "cn-north-1".to_owned(),
            member: Some("key".to_owned()),
        }
    }

    #[test]
    fn a_keeper_answers_in_its_own_region_and_partition_or_where_it_was_said() {
        let settings = || SdkConfig::builder().behavior_version(BehaviorVersion::latest());
        let at = |settings: &SdkConfig, arn: &str| url(&reference(arn), settings).map(String::from);
        let usual = settings().build();
        for (arn, expected) in [
            (
                "arn:aws-cn:ssm:",
                "https://ssm.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "arn:aws:",
                "https://secretsmanager.cn-north-1.amazonaws.com/",
            ),
        ] {
            assert_eq!(at(&usual, arn).unwrap(), expected);
        }
        let fips = settings().use_fips(true).use_dual_stack(true).build();
        assert_eq!(
            at(&fips, "arn:aws:ssm:").unwrap(),
            "https://ssm-fips.cn-north-1.api.aws/"
        );
        let own = settings().endpoint_url("http://127.0.0.1:9").build();
        assert_eq!(at(&own, "arn:aws:").unwrap(), "http://127.0.0.1:9/");
        let open = settings().endpoint_url("http://aws.example").build();
        assert!(at(&open, "arn:aws:").unwrap_err().contains("not https"));
    }

    #[test]
    fn a_member_is_a_text_or_an_object_and_what_lies_there_is_never_told() {
        let of = |whole: &str| member(&Secret::new(whole), &reference("arn:aws:x"));
        assert_eq!(of(r#"{"key": "a"}"#).unwrap().reveal(), "a");
        assert_eq!(
            of(r#"{"key": {"kty": 1}}"#).unwrap().reveal(),
            r#"{"kty":1}"#
        );
        for (whole, says) in [
            ("hush", "no JSON object"),
            ("[\"hush\"]", "no JSON object"),
            (r#"{"hush": "hush"}"#, "no such member"),
            (r#"{"key": 7, "hush": 1}"#, "no text"),
            (r#"{"key": ""}"#, "no text"),
        ] {
            let error = of(whole).unwrap_err();
            assert_eq!(error.kind(), Kind::Configuration);
            let text = error.to_string();
            assert!(
                text.contains(says) && text.contains("SOURCE_CLIENT_SECRET"),
                "{text}"
            );
            assert!(
                text.contains("arn:aws:x#key") && !text.contains("hush"),
                "{text}"
            );
        }
    }
}
