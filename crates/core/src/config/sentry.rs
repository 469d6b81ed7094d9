//! Where failures are reported to.

use sentry::types::Dsn;

use super::SecretSource;
use super::read::Reader;

/// Where failures are reported to, and under which names.
#[derive(Clone, Debug)]
pub struct Sentry {
    /// The data source name, or where it is kept.
    pub dsn: SecretSource,
    /// The environment's name.
    pub environment: Option<String>,
    /// The release.
    pub release: Option<String>,
}

pub(super) fn sentry(reader: &mut Reader) -> Option<Sentry> {
    let environment = reader.string("SENTRY_ENVIRONMENT");
    let release = reader.string("SENTRY_RELEASE");
    let dsn = reader.secret_or_reference("SENTRY_DSN")?;
    let usable = match &dsn {
        SecretSource::Given(dsn) => dsn.reveal().parse::<Dsn>().is_ok(),
        SecretSource::Kept(_) => true,
    };
    if usable {
        return Some(Sentry {
            dsn,
            environment,
            release,
        });
    }
    let written = reader.written("SENTRY_DSN");
    reader.contradiction(format!(
        "{written} is no Sentry DSN; https://<key>@<host>/<project> is expected"
    ));
    None
}
