//! Where failures are reported to.

use sentry::types::Dsn;

use super::Secret;
use super::read::Reader;

/// Where failures are reported to, and under which names.
#[derive(Clone, Debug)]
pub struct Sentry {
    /// The data source name.
    pub dsn: Secret,
    /// The environment's name.
    pub environment: Option<String>,
    /// The release.
    pub release: Option<String>,
}

pub(super) fn sentry(reader: &mut Reader) -> Option<Sentry> {
    let environment = reader.string("SENTRY_ENVIRONMENT");
    let release = reader.string("SENTRY_RELEASE");
    let dsn = reader.secret("SENTRY_DSN")?;
    if dsn.reveal().parse::<Dsn>().is_ok() {
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
