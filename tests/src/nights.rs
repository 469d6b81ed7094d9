//! Night after night: how a synchronisation stands, and what was asked for last.

use sandbox::{Recorded, Sandbox};
use serde_json::Value;

use crate::Records as _;

/// Questions about a synchronisation whose staging is the sandbox's.
pub trait Nights {
    /// The state of every synchronisation, by its object's key.
    fn states(&self) -> Vec<(String, Value)>;
    /// The one state that there is.
    fn state(&self) -> Value;
    /// How far the one synchronisation has come.
    fn watermark(&self) -> Option<String>;
    /// What the newest kick-off asked for: its `_since`.
    fn asked_since(&self) -> Option<String>;
    /// What mode the newest import was asked for, in either dialect.
    fn asked_mode(&self) -> &'static str;
}

impl Nights for Sandbox {
    fn states(&self) -> Vec<(String, Value)> {
        let objects = self.s3_objects().into_iter().map(|(key, _)| key);
        let states = objects.filter(|key| key.contains("/sync/"));
        states
            .map(|key| {
                let state = self.s3_object(&key).expect("it was listed");
                let state = serde_json::from_slice(&state).expect("a state is JSON");
                (key, state)
            })
            .collect()
    }

    fn state(&self) -> Value {
        let mut states = self.states();
        assert_eq!(states.len(), 1, "synchronisations: {states:?}");
        states.remove(0).1
    }

    fn watermark(&self) -> Option<String> {
        let at = &self.state()["watermark"]["at"];
        at.as_str().map(str::to_owned)
    }

    fn asked_since(&self) -> Option<String> {
        let kick_offs = self.export_kick_offs();
        let newest = kick_offs.last().expect("an export was asked for");
        newest.parameter("_since")
    }

    fn asked_mode(&self) -> &'static str {
        let kick_offs = self.import_kick_offs();
        mode_of(kick_offs.last().expect("an import was asked for"))
    }
}

/// What mode an import was asked for.
fn mode_of(kick_off: &Recorded) -> &'static str {
    let body = kick_off.body.as_ref().expect("it has a body").to_string();
    let overwrite = body.contains("overwrite");
    assert_ne!(overwrite, body.contains("merge"), "{body}");
    if overwrite { "overwrite" } else { "merge" }
}
