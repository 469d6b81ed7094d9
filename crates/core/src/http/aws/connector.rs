//! The AWS SDK's requests over this program's own HTTP clients: one TLS configuration, one set of root certificates and
//! one rule for proxies, whoever sends. Signing, retries and patience stay the SDK's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use reqwest::Body;

use super::{ANSWER, CONNECT};
use crate::http::Connections;

/// What the SDK, its providers of credentials included, is to send its requests with.
pub(crate) fn http_client() -> SharedHttpClient {
    SharedHttpClient::new(Connectors::default())
}

/// A connector for each pair of times that a connection and an answer may take: the SDK asks for one with each request, and
/// waits for the credentials of a machine not as long as for a bucket.
#[derive(Debug, Default)]
struct Connectors(Mutex<HashMap<(Duration, Duration), SharedHttpConnector>>);

impl HttpClient for Connectors {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or(CONNECT);
        let answer = settings.read_timeout().unwrap_or(ANSWER);
        let mut connectors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let connections = Arc::new(Connections::new(connect));
            SharedHttpConnector::new(Connector {
                connections,
                answer,
            })
        };
        connectors
            .entry((connect, answer))
            .or_insert_with(make)
            .clone()
    }
}

#[derive(Clone, Debug)]
struct Connector {
    connections: Arc<Connections>,
    /// How long an answer may take to begin.
    answer: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.exchange(request).await })
    }
}

impl Connector {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let client = self.connections.client();
        let client = client.map_err(|why| ConnectorError::user(why.into()))?;
        let request = request.try_into_http1x().map_err(unsendable)?;
        let request = reqwest::Request::try_from(request.map(Body::wrap)).map_err(unsendable)?;
        let answered = tokio::time::timeout(self.answer, client.execute(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(broken(error)),
            Err(late) => return Err(ConnectorError::timeout(late.into())),
        };
        let response = http::Response::<Body>::from(response).map(SdkBody::from_body_1_x);
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// The request is not one: to send it again would not help.
fn unsendable(error: impl Into<aws_smithy_runtime_api::box_error::BoxError>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// No answer came. The SDK tries all of these again, as often as it is told to.
fn broken(error: reqwest::Error) -> ConnectorError {
    // Whoever reads it is told the object; the URL may hold an upload's id.
    let error = error.without_url();
    match (error.is_timeout(), error.is_connect()) {
        (true, true) => ConnectorError::timeout(error.into()).never_connected(),
        (true, false) => ConnectorError::timeout(error.into()),
        (false, true) => ConnectorError::io(error.into()).never_connected(),
        (false, false) => ConnectorError::other(error.into(), Some(ErrorKind::TransientError)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::http::words::deepest;

    #[tokio::test]
    async fn an_error_of_a_connection_does_not_hold_the_url() {
        let connector = Connector {
            connections: Arc::new(Connections::new(CONNECT)),
            answer: ANSWER,
        };
        let request = HttpRequest::get("http://127.0.0.1:1/lake?uploadId=secret").unwrap();
        let error = connector.exchange(request).await.unwrap_err();
        let said = format!("{error:?} {}", deepest(&error));
        assert!(!said.contains("lake") && !said.contains("secret"), "{said}");
        assert!(said.contains("refused"), "{said}");
    }
}
