//! The sandbox as a vendor's server, and runs against it.

use sandbox::{Builder, Dataset, Profile, Sandbox};

use crate::check::{
    assert_arrived, assert_no_secrets, assert_no_token_leaks, assert_nothing_half_staged,
};
use crate::{CommandRun, Finished, Records as _, pathling_import};

/// What a vendor's server holds in tests: nothing that an export of patients or of a group would leave out.
fn data() -> Dataset {
    Dataset::of(&[
        ("Condition", 8),
        ("Encounter", 4),
        ("Observation", 12),
        ("Patient", 4),
    ])
}

/// A sandbox whose source behaves like this vendor's.
pub async fn vendor(name: &str) -> Sandbox {
    vendor_with(name, |builder| builder).await
}

/// The same, changed further.
pub async fn vendor_with(name: &str, change: impl FnOnce(Builder) -> Builder) -> Sandbox {
    let profile = Profile::named(name).expect("there is such a profile");
    let builder = Sandbox::builder().data(data()).profile(profile);
    let started = change(builder).start().await;
    started.expect("the sandbox starts")
}

/// A run with the settings that the profile prints, or with those of `run`, ends well: everything is in the target, byte for
/// byte, nothing is left half-staged, and no credential went astray.
pub async fn arrives(sandbox: &Sandbox, run: CommandRun) -> Finished {
    let finished = run.arg("-vvv").run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_nothing_half_staged(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
    finished
}

/// Without these settings of the profile's, a run ends with the error of this name, which holds these words; nothing is
/// imported. With them, the next one ends well.
pub async fn wants(name: &str, settings: &[&str], error: &str, words: &[&str]) {
    let sandbox = vendor(name).await;
    let mut run = pathling_import(&sandbox);
    for setting in settings {
        assert!(
            run.environment().get(setting).is_some(),
            "{name}: {setting}"
        );
        run = run.without(setting);
    }
    let finished = run.run().await;
    finished.expect_error(error, words);
    assert_no_secrets(&sandbox, &finished.all());
    assert!(sandbox.import_kick_offs().is_empty(), "{name}");
    arrives(&sandbox, pathling_import(&sandbox)).await;
}
