//! Links that expire: which of a job's URLs are still good.
//!
//! Each manifest that is answered has URLs of its own, told apart by their signature where links are signed. The number
//! of the manifest is the signature; nobody has to believe it.

use jiff::Timestamp;

use crate::call::Call;
use crate::faults::{Fault, Faults};

/// A job's links. Where links are not signed, a URL is good when the newest manifest is.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// How many manifests were answered.
    issued: u64,
    /// Up to which of them the URLs have expired.
    expired: u64,
    /// How many requests the newest manifest's URLs have had.
    served: usize,
    /// Whether a URL must be signed.
    signed: bool,
    status: u16,
}

impl Links {
    /// A new manifest is answered: gives the query of its URLs, with the question mark; empty where none is signed.
    pub(super) fn issue(&mut self, signed: bool, now: Timestamp) -> String {
        self.issued += 1;
        self.served = 0;
        self.signed = signed;
        if !signed {
            return String::new();
        }
        let date = now.strftime("%Y%m%dT%H%M%SZ");
        format!(
            "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=sandbox%2Fs3&X-Amz-Date={date}\
             &X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature={:064x}",
            self.issued
        )
    }

    /// All URLs so far answer this status from now on.
    pub(super) fn expire(&mut self, status: u16) {
        self.expired = self.issued;
        self.status = status;
    }

    /// Whether the call's URL is good; the status of the refusal where it is not.
    pub(super) fn admit(&mut self, call: &Call, faults: &Faults) -> Result<(), u16> {
        let of = match call.parameter("X-Amz-Signature") {
            Some(signature) => u64::from_str_radix(signature, 16)
                .ok()
                .filter(|number| (1..=self.issued).contains(number))
                .ok_or(403_u16)?,
            None if self.signed => return Err(403),
            None => self.issued,
        };
        if of > self.expired {
            self.served += 1;
            let served = self.served;
            let over = faults.take(|fault| match fault {
                Fault::FilesExpireAfter(requests, status) if served > *requests => Some(*status),
                _ => None,
            });
            if let Some(status) = over {
                self.expire(status);
            }
        }
        if of <= self.expired {
            return Err(self.status);
        }
        Ok(())
    }
}
