//! What this process is at AWS, for one client: its region, its credentials and the endpoints that its environment names. Nothing
//! is looked for before it is needed.

use aws_config::SdkConfig;
use tokio::sync::OnceCell;

use super::Keyring;

/// What the environment says, once somebody has asked.
#[derive(Debug, Default)]
pub(in crate::http) struct Account(OnceCell<Known>);

/// What it says.
#[derive(Debug)]
pub(in crate::http) struct Known {
    pub(in crate::http) settings: SdkConfig,
    pub(in crate::http) keyring: Keyring,
}

impl Account {
    pub(in crate::http) async fn known(&self) -> &Known {
        let look = || async {
            let settings = super::settings(None).await;
            let keyring = Keyring::new(settings.credentials_provider());
            Known { settings, keyring }
        };
        // Boxed: it is large, and most clients have no need of it.
        self.0.get_or_init(|| Box::pin(look())).await
    }
}

impl Known {
    /// The region, where there is one.
    pub(in crate::http) fn region(&self) -> Option<&str> {
        self.settings.region().map(AsRef::as_ref)
    }
}
