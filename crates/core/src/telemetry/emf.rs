//! CloudWatch's embedded metric format: lines of a log of which CloudWatch makes metrics. No request is sent for them.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>:
//! a document is one JSON object on a line of its own, of 1 MiB at most; what its directives name are members at its root, so a
//! metric has one value in it; a directive has at most 100 metrics, and a set of dimensions may be empty.

use serde::Serialize;
use serde_json::{Map, Number, Value};

/// One value of one metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric<'a> {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// The one dimension that it has, if any, and its value.
    pub(super) dimension: Option<(&'static str, &'a str)>,
    pub(super) value: Number,
}

/// What all documents of one call have in common.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    pub(super) namespace: &'a str,
    /// The level that Lambda's own filter of log levels sees (a line without one is INFO to it): the coarsest that passes.
    pub(super) level: &'a str,
    pub(super) at: jiff::Timestamp,
    pub(super) run: Option<&'a str>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "_aws")]
    aws: Metadata<'a>,
    level: &'a str,
    /// Lambda's filter minds a level only beside a time.
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    /// In milliseconds since 1970.
    timestamp: i64,
    cloud_watch_metrics: Vec<Directive<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    /// One set of dimensions.
    dimensions: [Vec<&'static str>; 1],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

/// The documents that hold all these values: as few as can be, each with its line end.
pub(super) fn lines(head: &Head<'_>, metrics: &[Metric<'_>]) -> Vec<String> {
    let mut documents: Vec<Document<'_>> = Vec::new();
    for metric in metrics {
        let at = documents
            .iter()
            .position(|document| document.has_room_for(metric));
        let at = at.unwrap_or_else(|| {
            documents.push(Document::new(head));
            documents.len() - 1
        });
        documents[at].add(head.namespace, metric);
    }
    let line = |document: &Document<'_>| serde_json::to_string(document).ok();
    documents
        .iter()
        .filter_map(line)
        .map(|line| line + "\n")
        .collect()
}

impl<'a> Document<'a> {
    fn new(head: &Head<'a>) -> Self {
        Self {
            aws: Metadata {
                timestamp: head.at.as_millisecond(),
                cloud_watch_metrics: Vec::new(),
            },
            level: head.level,
            timestamp: format!("{:.6}", head.at),
            run: head.run,
            members: Map::new(),
        }
    }

    fn has_room_for(&self, metric: &Metric<'_>) -> bool {
        let is_other = |(name, value): (&str, &str)| {
            let known = self.members.get(name);
            known.is_some_and(|known| known != value)
        };
        !self.members.contains_key(metric.name) && !metric.dimension.is_some_and(is_other)
    }

    fn add(&mut self, namespace: &'a str, metric: &Metric<'_>) {
        let names: Vec<_> = metric.dimension.iter().map(|(name, _)| *name).collect();
        if let Some((name, value)) = metric.dimension {
            self.members.insert(name.to_owned(), value.into());
        }
        let value = Value::Number(metric.value.clone());
        self.members.insert(metric.name.to_owned(), value);
        let definition = Definition {
            name: metric.name,
            unit: metric.unit,
        };
        let directives = &mut self.aws.cloud_watch_metrics;
        match directives.iter_mut().find(|of| of.dimensions[0] == names) {
            Some(directive) => directive.metrics.push(definition),
            None => directives.push(Directive {
                namespace,
                dimensions: [names],
                metrics: vec![definition],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metric(
        name: &'static str,
        dimension: Option<(&'static str, &'static str)>,
    ) -> Metric<'static> {
        Metric {
            name,
            unit: "Count",
            dimension,
            value: 3.into(),
        }
    }

    #[test]
    fn a_document_has_its_metrics_at_its_root_and_a_directive_for_each_set_of_dimensions() {
        let head = Head {
            namespace: "N",
            level: "WARN",
            at: "2026-01-31T00:00:00.0125Z".parse().unwrap(),
            run: Some("a1"),
        };
        let step = Some(("Step", "fhir-export"));
        let lines = lines(
            &head,
            &[metric("Waits", step), metric("A", None), metric("B", step)],
        );
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
        let count = |name: &str| json!({"Name": name, "Unit": "Count"});
        assert_eq!(
            serde_json::from_str::<Value>(line).unwrap(),
            json!({
                "_aws": {
                    "Timestamp": 1_769_817_600_012_i64,
                    "CloudWatchMetrics": [
                        {"Namespace": "N", "Dimensions": [["Step"]], "Metrics": [count("Waits"), count("B")]},
                        {"Namespace": "N", "Dimensions": [[]], "Metrics": [count("A")]},
                    ],
                },
                "level": "WARN",
                "timestamp": "2026-01-31T00:00:00.012500Z",
                "run": "a1",
                "Step": "fhir-export",
                "Waits": 3,
                "A": 3,
                "B": 3,
            })
        );
    }

    #[test]
    fn a_metric_of_several_values_takes_as_many_documents() {
        let head = Head {
            namespace: "N",
            level: "INFO",
            at: jiff::Timestamp::UNIX_EPOCH,
            run: None,
        };
        let of = |kind| metric("Resources", Some(("Type", kind)));
        let metrics = [of("Patient"), of("Group"), metric("A", None), of("Basic")];
        let types: Vec<Value> = lines(&head, &metrics)
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["Type"].take())
            .collect();
        assert_eq!(types, ["Patient", "Group", "Basic"]);
    }
}
