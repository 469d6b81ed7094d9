//! URLs that are lent by a newer copy of a run's manifest: where the source signs its links, those of the stored one expire.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use url::Url;

use super::plan::Plan;
use crate::error::Result;
use crate::manifest::{Manifest, Output};
use crate::staging::layout;

/// Fetches the manifest again, for links that have expired. Its links lend URLs and nothing else.
pub type Renew = Arc<dyn Fn() -> BoxFuture<'static, Result<Links>> + Send + Sync>;

/// What a newer copy of the manifest lends to the files of a plan: URLs, and nothing else.
#[derive(Clone)]
pub struct Links {
    run: String,
    stored: Arc<Manifest>,
    fresh: Option<Arc<Manifest>>,
}

impl Links {
    /// What `fresh` lends to a plan. A manifest of another time is of another export, and lends nothing.
    #[must_use]
    pub fn of(plan: &Plan, fresh: Manifest) -> Self {
        let is_same_export = fresh.head.transaction_time == plan.stored().head.transaction_time;
        Self {
            run: plan.run().to_owned(),
            stored: Arc::clone(plan.stored()),
            fresh: is_same_export.then(|| Arc::new(fresh)),
        }
    }

    /// No links at all.
    #[must_use]
    pub fn none(plan: &Plan) -> Self {
        Self {
            run: plan.run().to_owned(),
            stored: Arc::clone(plan.stored()),
            fresh: None,
        }
    }

    /// Another URL of the same file: the same place in the list, the same type, and nothing but the signature differs.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Url> {
        let stored = self.stored.output(index)?;
        let fresh = self.fresh.as_ref()?.output(index)?;
        let key = |output: &Output<'_>| {
            layout::file_key(&self.run, output.resource_type, index, &output.url)
        };
        // Two URLs of one key differ in nothing but a signature.
        let lends = fresh.url != stored.url && key(&fresh) == key(&stored);
        lends.then(|| Url::parse(&fresh.url).ok()).flatten()
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("fresh", &self.fresh)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(outputs: &[(&str, &str)]) -> Arc<Manifest> {
        let outputs: Vec<_> = outputs
            .iter()
            .map(|(kind, url)| json!({"type": kind, "url": url}))
            .collect();
        let manifest = json!({"transactionTime": "t", "output": outputs});
        Arc::new(Manifest::read(&manifest, None).unwrap())
    }

    #[test]
    fn a_manifest_that_is_fetched_again_lends_its_signatures_and_nothing_else() {
        let stored = manifest(&[
            ("Patient", "http://h/1?X-Amz-Signature=old"),
            ("Patient", "http://h/2"),
            ("Patient", "http://h/3?sig=old"),
        ]);
        let fresh = manifest(&[
            ("Patient", "http://h/1?X-Amz-Signature=new"),
            ("Patient", "http://h/other"),
            ("Condition", "http://h/3?sig=new"),
        ]);
        let plan = Plan::new("abc", Arc::clone(&stored)).unwrap();
        let links = Links::of(&plan, Manifest::clone(&fresh));
        assert_eq!(links.get(0).unwrap().query(), Some("X-Amz-Signature=new"));
        assert_eq!(
            (links.get(1), links.get(2), links.get(3)),
            (None, None, None)
        );
        let lent = plan.clone().lent(links);
        assert_eq!(
            lent.file(0).unwrap().url.query(),
            Some("X-Amz-Signature=new")
        );
        assert_eq!(lent.file(0).unwrap().key, plan.file(0).unwrap().key);
        assert_eq!(lent.file(1).unwrap(), plan.file(1).unwrap());
    }

    #[test]
    fn a_manifest_of_another_export_lends_nothing() {
        let stored = manifest(&[("Patient", "http://h/1?sig=old")]);
        let plan = Plan::new("abc", stored).unwrap();
        let other = json!({"transactionTime": "later", "output": [{"type": "Patient", "url": "http://h/1?sig=new"}]});
        let other = Manifest::read(&other, None).unwrap();
        assert_eq!(Links::of(&plan, other).get(0), None);
    }
}
