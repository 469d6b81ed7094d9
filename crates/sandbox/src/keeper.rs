//! AWS Secrets Manager and the parameter store of Systems Manager, as far as a client reads one secret of each.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};

use crate::call::{Call, Reply, outcome, reply};
use crate::faults::{Fault, Place};
use crate::record::Service;
use crate::s3::ACCESS_KEY;
use crate::server;
use crate::world::World;

/// The listener of both.
pub(crate) struct KeeperService(pub(crate) Arc<World>);

impl server::Service for KeeperService {
    async fn answer(&self, request: Request<Body>) -> Reply {
        let world = &self.0;
        world
            .record(Service::Secrets, request, |call| async move {
                if call.method != Method::POST || call.path != "/" {
                    return outcome(404, "not-found", "There is nothing here");
                }
                if let Some(told) = world.gate(Place::Secrets, &call).await {
                    return told;
                }
                match answered(world, &call) {
                    Ok(value) => aws(200, &value),
                    Err((code, message)) => aws(400, &json!({"__type": code, "message": message})),
                }
            })
            .await
    }
}

fn aws(status: u16, value: &Value) -> Reply {
    reply(status, "application/x-amz-json-1.1", value.to_string())
}

fn answered(world: &World, call: &Call) -> Result<Value, (&'static str, &'static str)> {
    let (service, member) = match call.header("x-amz-target").as_deref() {
        Some("secretsmanager.GetSecretValue") => ("secretsmanager", "SecretId"),
        Some("AmazonSSM.GetParameter") => ("ssm", "Name"),
        _ => return Err(("UnknownOperationException", "There is no such operation")),
    };
    if call.header(header::CONTENT_TYPE).as_deref() != Some("application/x-amz-json-1.1") {
        return Err(("SerializationException", "The body is of another type"));
    }
    let signature = call.header(header::AUTHORIZATION).unwrap_or_default();
    let scope = format!("/eu-central-1/{service}/aws4_request");
    let signed = signature.starts_with("AWS4-HMAC-SHA256 Credential=")
        && signature.contains(&scope)
        && signature.contains("x-amz-target")
        && signature.contains("Signature=");
    if !signed {
        return Err((
            "MissingAuthenticationTokenException",
            "The request is not signed for this",
        ));
    }
    if !signature.contains(&format!("Credential={ACCESS_KEY}/")) {
        return Err((
            "UnrecognizedClientException",
            "The security token is invalid",
        ));
    }
    if world.faults.fires(&Fault::SecretsDenied) {
        return Err((
            "AccessDeniedException",
            "User is not authorized to perform this",
        ));
    }
    let asked: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let mut kept = world.clients.kept().to_vec();
    kept.extend(world.shelf().iter().cloned());
    kept.extend(world.certificates.iter().flat_map(|them| them.kept()));
    let kept = kept
        .iter()
        .find(|kept| asked[member] == kept.arn.as_str() && kept.arn.contains(service));
    match (kept, service) {
        (Some(kept), "ssm") if asked["WithDecryption"] == true => Ok(json!({
            "Parameter": {"ARN": kept.arn, "Type": "SecureString", "Value": kept.text, "Version": 1},
        })),
        (Some(kept), "ssm") => {
            Ok(json!({"Parameter": {"ARN": kept.arn, "Value": "AQICAHencrypted"}}))
        }
        (Some(kept), _) => {
            Ok(json!({"ARN": kept.arn, "Name": "sandbox/source", "SecretString": kept.text}))
        }
        (None, "ssm") => Err(("ParameterNotFound", "")),
        (None, _) => Err((
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret.",
        )),
    }
}
