//! What the functions write while they work: metrics in CloudWatch's embedded format, and lines of a log.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::Story;

/// How long what a process has written may take to be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// One value of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The names and values of its dimensions, as `Step=fhir-export`.
    pub dimensions: Vec<String>,
    /// The value.
    pub value: f64,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The metrics, in the order in which each function wrote them.
    pub metrics: Vec<Metric>,
    /// The other lines.
    pub lines: Vec<Value>,
    /// All of it, as text.
    pub text: String,
}

impl Telemetry {
    /// Reads what the functions of a story have written, once so many of their calls have said how they ended. Every line is
    /// a JSON object.
    pub async fn of(story: &Story, calls: usize) -> Self {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = story.logs();
            let ended = text.matches("\"outcome\":\"").count();
            let last = tokio::time::Instant::now() >= until;
            if ended >= calls && text.ends_with('\n') || last {
                assert_eq!(ended, calls, "calls that said how they ended:\n{text}");
                // What is on stdout was written right after that.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Self::read(story.logs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads what was written.
    #[must_use]
    pub fn read(text: String) -> Self {
        let (mut metrics, mut lines) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("a line is no JSON ({error}): {line}"));
            match line.get("_aws") {
                Some(_) => metrics.extend(values(&line)),
                None => lines.push(line),
            }
        }
        Self {
            metrics,
            lines,
            text,
        }
    }

    /// The values of a metric, by the value of its one dimension; an empty text where it has none.
    #[must_use]
    pub fn of_metric(&self, name: &str) -> Vec<(&str, f64)> {
        let found = self.metrics.iter().filter(|metric| metric.name == name);
        found
            .map(|metric| {
                let dimension = metric.dimensions.first().map_or("", String::as_str);
                (
                    dimension.split_once('=').map_or("", |(_, value)| value),
                    metric.value,
                )
            })
            .collect()
    }

    /// The sum of a metric's values.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.of_metric(name).iter().map(|(_, value)| value).sum()
    }

    /// The names of the metrics, each with its unit and the names of its dimensions.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<String> {
        let kind = |metric: &Metric| {
            let names: String = metric
                .dimensions
                .iter()
                .filter_map(|dimension| Some(format!(" by {}", dimension.split_once('=')?.0)))
                .collect();
            format!("{} in {}{names}", metric.name, metric.unit)
        };
        self.metrics.iter().map(kind).collect()
    }

    /// The lines that say how calls ended.
    #[must_use]
    pub fn summaries(&self) -> Vec<&Value> {
        let is_one = |line: &&Value| line.get("outcome").is_some();
        self.lines.iter().filter(is_one).collect()
    }
}

/// The values in one document, by the rules of its format.
fn values(document: &Value) -> Vec<Metric> {
    let moment = document["_aws"]["Timestamp"].as_u64();
    // In milliseconds: in this century, and not in microseconds.
    let moment = moment.expect("a document has a time");
    assert!(
        (1_700_000_000_000..10_000_000_000_000).contains(&moment),
        "{moment}"
    );
    let directives = document["_aws"]["CloudWatchMetrics"].as_array();
    let directives = directives.expect("a document has directives");
    let mut found = Vec::new();
    for directive in directives {
        assert_eq!(directive["Namespace"], NAMESPACE, "{document}");
        let sets = directive["Dimensions"].as_array().expect("dimensions");
        let metrics = directive["Metrics"].as_array().expect("metrics");
        assert!(sets.len() == 1 && metrics.len() <= 100, "{document}");
        let names = sets[0].as_array().expect("a set of dimensions");
        let dimension = |name: &Value| {
            let name = name.as_str().expect("a dimension's name");
            let value = document[name].as_str().expect("a dimension's value");
            format!("{name}={value}")
        };
        for metric in metrics {
            let name = metric["Name"].as_str().expect("a metric's name");
            found.push(Metric {
                name: name.to_owned(),
                unit: metric["Unit"].as_str().expect("a unit").to_owned(),
                dimensions: names.iter().map(dimension).collect(),
                value: document[name].as_f64().expect("a metric's value"),
            });
        }
    }
    found
}

/// The namespace that tests set.
pub const NAMESPACE: &str = "Test/PathlingImport";
