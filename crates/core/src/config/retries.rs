//! The command's waits.

use std::time::Duration;

use super::read::Reader;

/// The waits of the command for one step: `wait` times `back_off` to the n, at most `times` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How many waits there are before the step gives up.
    pub times: u32,
    /// The first wait.
    pub wait: Duration,
    /// By what each further wait is longer.
    pub back_off: f64,
}

impl Retry {
    /// The wait number `n`, counted from 0; never more than a year.
    #[must_use]
    pub fn wait_number(&self, n: u32) -> Duration {
        const YEAR: f64 = 31_536_000.0;
        let factor = self.back_off.powf(f64::from(n));
        Duration::from_secs_f64((self.wait.as_secs_f64() * factor).clamp(0.0, YEAR))
    }
}

/// The command's waits by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// For the kick-off and the export's status.
    pub export: Retry,
    /// For the transfer.
    pub transfer: Retry,
    /// For the import's kick-off and status.
    pub import: Retry,
}

impl Retries {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut of = |times, wait, back_off| Retry {
            times: reader.whole(times),
            wait: reader.seconds(wait),
            back_off: reader.factor(back_off),
        };
        Self {
            export: of(
                "EXPORT_RETRY_TIMES",
                "EXPORT_RETRY_WAIT",
                "EXPORT_RETRY_BACK_OFF",
            ),
            transfer: of(
                "TRANSFER_RETRY_TIMES",
                "TRANSFER_RETRY_WAIT",
                "TRANSFER_RETRY_BACK_OFF",
            ),
            import: of(
                "IMPORT_RETRY_TIMES",
                "IMPORT_RETRY_WAIT",
                "IMPORT_RETRY_BACK_OFF",
            ),
        }
    }
}
