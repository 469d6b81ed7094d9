//! Secrets that are kept elsewhere: where the value of a secret would stand, its address may.
//!
//! This reads addresses. What lies there, [`crate::http`] fetches.

use std::fmt;

use super::Secret;

/// A secret, or where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret itself.
    Given(Secret),
    /// It is kept by AWS.
    Kept(Reference),
}

/// Who keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// AWS Secrets Manager.
    SecretsManager,
    /// The parameter store of AWS Systems Manager.
    ParameterStore,
}

/// The address of a secret: an ARN, and behind a `#` the member of the JSON object that lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The setting that holds it, for messages.
    pub setting: &'static str,
    /// Who keeps it.
    pub keeper: Keeper,
    /// The ARN, without the member.
    pub arn: String,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'static str,
    /// The region that it is kept in.
    pub region: String,
    /// The member of a JSON object; without one, all that lies there is the secret.
    pub member: Option<String>,
}

const PARTITIONS: [&str; 3] = ["aws", "aws-cn", "aws-us-gov"];

impl SecretSource {
    /// Reads what a setting holds. The error is what is wrong with an ARN that is none of these two services'.
    pub(super) fn parse(setting: &'static str, text: &str) -> Result<Self, String> {
        if !text.starts_with("arn:aws") {
            return Ok(Self::Given(Secret::new(text)));
        }
        let (arn, member) = match text.split_once('#') {
            Some((arn, member)) => (arn, Some(member)),
            None => (text, None),
        };
        if member == Some("") {
            return Err("names no member behind its #".to_owned());
        }
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, service, region, _, resource] = parts.as_slice() else {
            return Err("is an ARN that breaks off".to_owned());
        };
        let partition = PARTITIONS
            .into_iter()
            .find(|known| known == partition)
            .ok_or_else(|| format!("is an ARN of none of {}", PARTITIONS.join(", ")))?;
        let (keeper, begins) = match *service {
            "secretsmanager" => (Keeper::SecretsManager, "secret:"),
            "ssm" => (Keeper::ParameterStore, "parameter/"),
            _ => {
                return Err(
                    "is an ARN of neither AWS Secrets Manager nor an SSM parameter".to_owned(),
                );
            }
        };
        let named = resource
            .strip_prefix(begins)
            .is_some_and(|name| !name.is_empty());
        let region_like = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !named || region.is_empty() || !region.chars().all(region_like) {
            return Err(format!(
                "is no whole ARN; arn:{partition}:{service}:REGION:ACCOUNT:{begins}NAME is expected"
            ));
        }
        Ok(Self::Kept(Reference {
            setting,
            keeper,
            arn: arn.to_owned(),
            partition,
            region: (*region).to_owned(),
            member: member.map(str::to_owned),
        }))
    }
}

/// As the person wrote it.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)?;
        match &self.member {
            Some(member) => write!(f, "#{member}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Reference {
        match SecretSource::parse("X", text).unwrap() {
            SecretSource::Kept(reference) => reference,
            SecretSource::Given(_) => panic!("{text} is an address"),
        }
    }

    #[test]
    fn an_arn_of_either_keeper_is_an_address_and_any_other_text_the_secret_itself() {
        let text = "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a/b-AbCdEf#c d";
        let found = kept(text);
        assert_eq!(found.to_string(), text);
        assert_eq!(found.keeper, Keeper::SecretsManager);
        assert_eq!(
            (found.partition, &*found.region),
            ("aws-us-gov", "us-gov-west-1")
        );
        assert_eq!(found.member.as_deref(), Some("c d"));
        assert!(!found.arn.contains('#'));
        let found = kept("arn:aws-cn:ssm:cn-north-1:123456789012:parameter/a/b");
        assert_eq!(found.keeper, Keeper::ParameterStore);
        assert_eq!(found.member, None);
        for text in ["s3cret", "arn:", "arn:x:y", "#a", "{\"a\": 1}"] {
            let given = SecretSource::Given(Secret::new(text));
            assert_eq!(SecretSource::parse("X", text), Ok(given));
        }
    }

    #[test]
    fn an_arn_that_leads_nowhere_is_refused() {
        for text in [
            "arn:aws",
            "arn:aws:s3:::bucket",
            "arn:aws:secretsmanager:eu-west-1:1:secret",
            "arn:aws:secretsmanager:eu-west-1:1:secret:",
            "arn:aws:secretsmanager::1:secret:a",
            "arn:aws:secretsmanager:evil.example/:1:secret:a",
            "arn:aws:ssm:eu-west-1:1:parameter",
            "arn:aws:ssm:eu-west-1:1:document/a",
            "arn:aws-moon:ssm:moon-1:1:parameter/a",
            "arn:aws:ssm:eu-west-1:1:parameter/a#",
        ] {
            let why = SecretSource::parse("X", text).unwrap_err();
            assert!(!why.contains("bucket"), "{why}");
        }
    }
}
