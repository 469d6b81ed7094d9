//! As much of JSON Schema 2020-12 as `docs/run-record.schema.json` uses, and no more: what else a schema says is refused, so
//! that nothing is taken for checked that is not.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// What a schema may say here, and means nothing for a value.
const WORDS: &[&str] = &[
    "$schema",
    "$id",
    "$defs",
    "$ref",
    "title",
    "description",
    "minItems",
    "maxItems",
];

/// A schema.
pub struct Schema(Value);

impl Schema {
    /// The schema of a run's record.
    #[must_use]
    pub fn of_run_records() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/run-record.schema.json"
        );
        let text = std::fs::read_to_string(path).expect("the schema can be read");
        Self(serde_json::from_str(&text).expect("the schema is JSON"))
    }

    /// The value is what the schema says, and has no field that the schema does not name.
    pub fn assert_describes(&self, value: &Value) {
        let mut wrong = Vec::new();
        self.check(&self.0, value, "$", &mut wrong);
        assert!(wrong.is_empty(), "{wrong:#?}\nin {value:#}");
    }

    /// Every field that the schema names, as a path such as `kickOffs[].at`.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        let mut fields = Vec::new();
        self.walk(&self.0, "", &mut fields);
        fields
    }

    fn walk(&self, schema: &Value, path: &str, fields: &mut Vec<String>) {
        let schema = self.resolved(schema);
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            fields.push(path.clone());
            self.walk(of, &path, fields);
        }
        if schema.get("items").is_some() {
            self.walk(&schema["items"], &format!("{path}[]"), fields);
        }
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(name) = schema["$ref"].as_str() else {
            return schema;
        };
        let name = name
            .strip_prefix("#/$defs/")
            .expect("a reference is to $defs");
        self.0["$defs"].get(name).expect("the definition is there")
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
        let schema = self.resolved(schema);
        let rules = schema.as_object().expect("a schema is an object");
        for (rule, says) in rules {
            let holds = match rule.as_str() {
                "type" => types(says).any(|name| is_of_type(name, value)),
                "enum" => says.as_array().is_some_and(|all| all.contains(value)),
                "minimum" => value.as_f64().is_none_or(|it| Some(it) >= says.as_f64()),
                "format" if says == "date-time" => value
                    .as_str()
                    .is_none_or(|text| text.parse::<Timestamp>().is_ok()),
                "required" => names(says).all(|name| value.get(name).is_some()),
                "prefixItems" => {
                    let items = value.as_array().into_iter().flatten();
                    for (of, item) in says.as_array().into_iter().flatten().zip(items) {
                        self.check(of, item, path, wrong);
                    }
                    true
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.check(says, item, &format!("{path}[]"), wrong);
                    }
                    true
                }
                "properties" => {
                    self.check_fields(says, value, path, wrong);
                    true
                }
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        self.check(says, value, &format!("{path}.{name}"), wrong);
                    }
                    true
                }
                word => WORDS.contains(&word),
            };
            if !holds {
                wrong.push(format!("{path}: {rule} {says}: {value}"));
            }
        }
    }

    fn check_fields(&self, known: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
        let none = Map::new();
        for (name, value) in value.as_object().unwrap_or(&none) {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(of) => self.check(of, value, &path, wrong),
                None => wrong.push(format!("{path}: the schema does not name it")),
            }
        }
    }
}

fn types(says: &Value) -> impl Iterator<Item = &str> {
    says.as_str().into_iter().chain(names(says))
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}
