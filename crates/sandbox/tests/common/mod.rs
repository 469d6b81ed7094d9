//! A client that does what pathling-import does, as plainly as can be.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use base64::Engine as _;
use reqwest::{Method, StatusCode};
use sandbox::{ACCESS_KEY, BUCKET, PathlingVersion, REGION, SECRET_KEY, Sandbox};
use serde_json::{Value, json};

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// What the body's first issue says.
    pub fn diagnostics(&self) -> String {
        self.json()["issue"][0]["diagnostics"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

pub struct Client {
    pub http: reqwest::Client,
    env: HashMap<String, String>,
}

pub const KICK_OFF: [(&str, &str); 2] = [
    ("accept", "application/fhir+json"),
    ("prefer", "respond-async"),
];

pub const IMPORT: [(&str, &str); 3] = [
    ("accept", "application/fhir+json"),
    ("content-type", "application/fhir+json"),
    ("prefer", "respond-async"),
];

impl Client {
    pub fn new(sandbox: &Sandbox) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self {
            http,
            env: sandbox.env().into_iter().collect(),
        }
    }

    pub fn setting(&self, name: &str) -> &str {
        &self.env[name]
    }

    /// A request with exactly these headers.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> reqwest::Result<Answer> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    }

    /// A new token for `SOURCE` or `TARGET`; None where that wants none.
    pub async fn token(&self, who: &str, scopes: Option<&str>) -> Option<String> {
        let id = self.env.get(&format!("{who}_CLIENT_ID"))?;
        let secret = self.setting(&format!("{who}_CLIENT_SECRET"));
        let scopes = scopes.unwrap_or_else(|| self.setting(&format!("{who}_SCOPES")));
        let endpoint = self.setting(&format!("{who}_ENDPOINT"));
        let discovery = format!("{endpoint}/.well-known/smart-configuration");
        let discovered = self.send("GET", &discovery, &[], None).await.unwrap();
        assert_eq!(discovered.status, 200);
        let token_endpoint = discovered.json()["token_endpoint"]
            .as_str()
            .unwrap()
            .to_owned();
        let encode =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(id), encode(secret));
        let basic = base64::engine::general_purpose::STANDARD.encode(pair);
        let form = format!("grant_type=client_credentials&scope={}", encode(scopes));
        let answer = self
            .send(
                "POST",
                &token_endpoint,
                &[
                    ("authorization", &format!("Basic {basic}")),
                    ("content-type", "application/x-www-form-urlencoded"),
                ],
                Some(form),
            )
            .await
            .unwrap();
        assert_eq!(
            answer.status,
            200,
            "{:?}",
            String::from_utf8_lossy(&answer.body)
        );
        Some(answer.json()["access_token"].as_str().unwrap().to_owned())
    }

    async fn with_token(
        &self,
        who: &str,
        headers: &[(&str, &str)],
        method: &str,
        url: &str,
        body: Option<String>,
    ) -> Answer {
        let token = self.token(who, None).await;
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = headers.to_vec();
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        self.send(method, url, &headers, body).await.unwrap()
    }

    /// A request to the source below its base, or at a whole URL.
    pub async fn source(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}/{path}", self.setting("SOURCE_ENDPOINT"))
        };
        self.with_token("SOURCE", headers, "GET", &url, None).await
    }

    /// A request to the target below its base, or at a whole URL, with the headers of an import.
    pub async fn target(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}/{path}", self.setting("TARGET_ENDPOINT"))
        };
        let body = body.map(Value::to_string);
        self.with_token("TARGET", &IMPORT, method, &url, body).await
    }

    /// A whole export: kick-off, polls, manifest.
    pub async fn export(&self, query: &str) -> Value {
        let accepted = self.source(&format!("$export{query}"), &KICK_OFF).await;
        assert_eq!(
            accepted.status,
            202,
            "{:?}",
            String::from_utf8_lossy(&accepted.body)
        );
        let status_url = accepted.header("content-location").unwrap().to_owned();
        for _ in 0..20 {
            let answer = self
                .source(&status_url, &[("accept", "application/json")])
                .await;
            match answer.status {
                202 => assert!(answer.header("x-progress").is_some()),
                200 => return answer.json(),
                status => panic!("{status}: {:?}", answer.json()),
            }
        }
        panic!("the export does not end");
    }

    /// A whole import of such Parameters: the last poll's answer.
    pub async fn import(&self, query: &str, parameters: &Value) -> Answer {
        let accepted = self
            .target("POST", &format!("$import{query}"), Some(parameters))
            .await;
        if accepted.status != StatusCode::ACCEPTED {
            return accepted;
        }
        self.poll(accepted.header("content-location").unwrap())
            .await
    }

    /// Polls a job to its end.
    pub async fn poll(&self, job: &str) -> Answer {
        for _ in 0..20 {
            let answer = self.target("GET", job, None).await;
            if answer.status != 202 {
                return answer;
            }
        }
        panic!("the import does not end");
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "sandbox");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(self.setting("AWS_ENDPOINT_URL_S3"))
            .credentials_provider(credentials)
            .force_path_style(true)
            .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

/// A Patient's line.
pub fn patient(id: &str, family: &str) -> String {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family}]}).to_string()
}

/// A folder on disk to stage files in.
pub struct Staging(pub tempfile::TempDir);

impl Staging {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file and tells its URL.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        self.url(name)
    }

    /// The URL of a file, a folder or a glob.
    pub fn url(&self, name: &str) -> String {
        format!("file://{}/{name}", self.0.path().display())
    }
}

/// The ids of the target's rows of a type, in order.
pub fn ids(sandbox: &Sandbox, kind: &str) -> Vec<String> {
    let mut ids: Vec<_> = sandbox
        .rows(kind)
        .into_iter()
        .map(|row| row.id.unwrap_or_default())
        .collect();
    ids.sort();
    ids
}

/// Copies every output into `staging/run/<Type>/<n>.ndjson`.
pub async fn staged(client: &Client, manifest: &Value) {
    let s3 = client.s3();
    for (index, output) in manifest["output"].as_array().unwrap().iter().enumerate() {
        let answer = client.source(output["url"].as_str().unwrap(), &[]).await;
        assert_eq!(answer.status, 200);
        let lines = String::from_utf8(answer.body.clone())
            .unwrap()
            .lines()
            .count();
        assert_eq!(output["count"], json!(lines));
        s3.put_object()
            .bucket(BUCKET)
            .key(format!(
                "run/{}/{index:05}.ndjson",
                output["type"].as_str().unwrap()
            ))
            .body(answer.body.into())
            .send()
            .await
            .unwrap();
    }
}

/// Imports `staging/run/<Type>/*.ndjson` of these types, with overwrite, in the dialect of the target.
pub async fn import_all(client: &Client, types: &[&str]) {
    let metadata = client.target("GET", "metadata", None).await.json();
    let version = if metadata["software"]["name"] == "Pathling" {
        PathlingVersion::Seven
    } else {
        PathlingVersion::Two
    };
    let inputs: Vec<_> = types
        .iter()
        .map(|kind| (*kind, format!("s3://{BUCKET}/run/{kind}/*.ndjson")))
        .collect();
    let inputs: Vec<_> = inputs
        .iter()
        .map(|(kind, url)| (*kind, url.as_str()))
        .collect();
    let answer = client
        .import("", &parameters(version, "overwrite", &inputs))
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
}

/// The Parameters of an import, in a dialect.
pub fn parameters(version: PathlingVersion, mode: &str, inputs: &[(&str, &str)]) -> Value {
    let part = |kind: &str, url: &str| {
        vec![
            json!({"name": "resourceType", "valueCode": kind}),
            json!({"name": "url", "valueUrl": url}),
        ]
    };
    let parameter: Vec<Value> = match version {
        PathlingVersion::Seven => inputs
            .iter()
            .map(|(kind, url)| {
                let mut part = part(kind, url);
                part.push(json!({"name": "mode", "valueCode": mode}));
                json!({"name": "source", "part": part})
            })
            .collect(),
        PathlingVersion::Two => inputs
            .iter()
            .map(|(kind, url)| json!({"name": "input", "part": part(kind, url)}))
            .chain([
                json!({"name": "saveMode", "valueCode": mode}),
                json!({"name": "inputFormat", "valueCode": "application/fhir+ndjson"}),
            ])
            .collect(),
    };
    json!({"resourceType": "Parameters", "parameter": parameter})
}
