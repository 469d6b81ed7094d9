//! A call of the kind that most of AWS's services speak (AWS JSON 1.1): one signed POST, one JSON answer.
//!
//! For the few calls that are not worth an SDK crate. It is not for S3.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use reqwest::header::HeaderValue;
use reqwest::{Method, Request, StatusCode};
use serde_json::Value;
use url::Url;

use super::{ANSWER, CONNECT, Keyring, NoCredentials, Rules, Scope, SignableBody};
use crate::http::{Connections, words};

/// The most that is read of an answer: a secret has 64 KiB.
const LONGEST: usize = 1 << 20;

/// What is called.
pub(in crate::http) struct Call<'a> {
    pub(in crate::http) url: &'a Url,
    pub(in crate::http) region: &'a str,
    /// The name to sign for.
    pub(in crate::http) service: &'a str,
    /// `X-Amz-Target`.
    pub(in crate::http) target: &'a str,
    pub(in crate::http) body: &'a Value,
}

/// What came of it.
pub(in crate::http) enum Answer {
    /// 200.
    Good(Value),
    /// Any other status, with the service's code and words where it gave some.
    Refused(StatusCode, String, String),
}

/// Why no answer came.
pub(in crate::http) enum Failed {
    /// There are no credentials, and there will be none; why.
    NoCredentials(String),
    /// Another try may do.
    Passing(String),
    /// The request could not even be made.
    Unbuilt(String),
}

impl Call<'_> {
    pub(in crate::http) async fn send(&self, settings: &SdkConfig) -> Result<Answer, Failed> {
        let keyring = Keyring::new(settings.credentials_provider());
        let credentials = keyring.credentials().await.map_err(|none| match none {
            NoCredentials::ForGood(why) => Failed::NoCredentials(why),
            NoCredentials::Passing(why) => Failed::Passing(format!("no AWS credentials: {why}")),
        })?;
        let request = self.signed(credentials).map_err(Failed::Unbuilt)?;
        let connections = Connections::new(CONNECT);
        let http = connections.client().map_err(Failed::Unbuilt)?;
        let exchange = async {
            let failed = |error: reqwest::Error| words::of_request(&error, CONNECT);
            let mut answer = http.execute(request).await.map_err(failed)?;
            let status = answer.status();
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                if bytes.len() + chunk.len() > LONGEST {
                    return Err("the answer is too long".to_owned());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok((status, bytes))
        };
        let answered = tokio::time::timeout(ANSWER, exchange).await;
        let answered = answered.map_err(|_| Failed::Passing(words::no_answer(ANSWER)))?;
        let (status, bytes) = answered.map_err(Failed::Passing)?;
        let value = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
        if status == StatusCode::OK {
            return Ok(Answer::Good(value));
        }
        let said = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let code = said("__type").rsplit('#').next().unwrap_or_default();
        let words = [said("message"), said("Message")].concat();
        Ok(Answer::Refused(status, code.to_owned(), words))
    }

    fn signed(&self, credentials: Credentials) -> Result<Request, String> {
        const TYPE: &str = "application/x-amz-json-1.1";
        let scope = Scope {
            region: self.region,
            service: self.service,
            rules: Rules::Usual,
        };
        let body = self.body.to_string();
        let headers = [("content-type", TYPE), ("x-amz-target", self.target)];
        let payload = SignableBody::Bytes(body.as_bytes());
        let signed = scope.sign(
            credentials,
            ("POST", self.url),
            headers.into_iter(),
            payload,
        )?;
        let mut request = Request::new(Method::POST, self.url.clone());
        for (name, value) in headers {
            let value = HeaderValue::from_str(value);
            let value = value.map_err(|_| "a header has no valid value".to_owned())?;
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().extend(signed);
        *request.body_mut() = Some(body.into());
        Ok(request)
    }
}
