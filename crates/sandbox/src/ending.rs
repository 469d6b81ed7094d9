//! The end of a sandbox: no credential may have gone astray until then.

use std::io::Write as _;

use crate::sandbox::Sandbox;

/// The largest object of state that is looked through for secrets, in bytes.
const STATE_LOOKED_AT: u64 = 1 << 20;

impl Sandbox {
    /// Everything that went astray since the start, whatever was forgotten meanwhile; secrets that lie in the bucket among
    /// the program's own objects too. A sandbox that ends with any of it panics.
    #[must_use]
    pub fn all_leaks(&self) -> Vec<String> {
        let mut leaks = self.world.log.leaks().clone();
        leaks.extend(self.secrets_in_store());
        leaks
    }

    /// Leaks are meant: the sandbox's end is none that panics.
    pub fn expect_leaks(&self) {
        self.world.log.expect_leaks();
    }

    /// The objects of the program's own state that hold a secret or a token.
    fn secrets_in_store(&self) -> Vec<String> {
        let bucket = self.bucket();
        let state = |key: &str| {
            let name = key.rsplit('/').next().unwrap_or_default();
            name.starts_with('_') || key.contains("/sync/") || key.contains("/_parts/")
        };
        self.s3_objects()
            .into_iter()
            .filter(|(key, bytes)| state(key) && *bytes <= STATE_LOOKED_AT)
            .filter(|(key, _)| {
                let content = std::fs::read(bucket.join(key)).unwrap_or_default();
                self.world.log.knows_in(&String::from_utf8_lossy(&content))
            })
            .map(|(key, _)| format!("a secret or a token lies in the object {key}"))
            .collect()
    }
}

/// No request of any test may carry a credential astray, so none has to ask for it.
impl Drop for Sandbox {
    #[allow(
        clippy::panic,
        reason = "a test that leaked has failed, whatever else it found"
    )]
    fn drop(&mut self) {
        if self.world.log.expects_leaks() {
            return;
        }
        let leaks = self.all_leaks();
        if leaks.is_empty() {
            return;
        }
        let text = format!("credentials went astray:\n{}", leaks.join("\n"));
        if std::thread::panicking() {
            // The test has failed already, and a second panic would hide why.
            let _ = writeln!(std::io::stderr(), "{text}");
        } else {
            panic!("{text}");
        }
    }
}
