//! The faults that are switched on, for ever or for a number of times.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fault_names::ParseFaultError;
use crate::faults::Fault;

/// A fault as a person switches it on: `NAME[=ARGUMENT][*TIMES]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The fault.
    pub fault: Fault,
    /// For how many times; None: until it is switched off, or as often as it says itself.
    pub times: Option<usize>,
}

impl From<Fault> for Switch {
    fn from(fault: Fault) -> Self {
        Self { fault, times: None }
    }
}

impl FromStr for Switch {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let counted = text
            .rsplit_once('*')
            .and_then(|(name, times)| Some((name, times.parse().ok()?)));
        let (name, times) = match counted {
            Some((name, times)) => (name, Some(times)),
            None => (text, None),
        };
        Ok(Self {
            fault: name.parse()?,
            times,
        })
    }
}

/// The faults that are switched on. A handle: clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Active>>>);

#[derive(Debug, Clone)]
struct Active {
    fault: Fault,
    /// How many times it is still to show; None for ever.
    left: Option<usize>,
}

impl Faults {
    /// Switches a fault on until it is switched off; one that counts itself, for as many times as it says.
    pub fn on(&self, fault: Fault) {
        let times = fault.own_times();
        self.add(fault, times);
    }

    /// Switches a fault on as a person wrote it.
    pub fn switch(&self, switch: Switch) {
        match switch.times {
            Some(times) => self.times(times, switch.fault),
            None => self.on(switch.fault),
        }
    }

    /// Switches a fault on for one time.
    pub fn once(&self, fault: Fault) {
        self.add(fault, Some(1));
    }

    /// Switches a fault on for this many times.
    pub fn times(&self, times: usize, fault: Fault) {
        self.add(fault, Some(times));
    }

    /// Switches a fault off, however it was switched on.
    #[allow(clippy::needless_pass_by_value, reason = "reads like its counterparts")]
    pub fn off(&self, fault: Fault) {
        self.lock().retain(|active| active.fault != fault);
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The faults that would still show.
    #[must_use]
    pub fn active(&self) -> Vec<Fault> {
        self.lock()
            .iter()
            .map(|active| active.fault.clone())
            .collect()
    }

    fn add(&self, fault: Fault, left: Option<usize>) {
        if left != Some(0) {
            self.lock().push(Active { fault, left });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this fault shows now; counts it if so.
    pub(crate) fn fires(&self, fault: &Fault) -> bool {
        self.take(|active| (active == fault).then_some(()))
            .is_some()
    }

    /// What `wanted` wants of the faults that are on, without counting any as shown.
    pub(crate) fn peek<T>(&self, wanted: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.lock().iter().find_map(|active| wanted(&active.fault))
    }

    /// The first fault that `wanted` wants, counted as shown.
    pub(crate) fn take<T>(&self, wanted: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let mut all = self.lock();
        let (index, found) = all
            .iter()
            .enumerate()
            .find_map(|(index, active)| Some((index, wanted(&active.fault)?)))?;
        if let Some(left) = &mut all[index].left {
            *left -= 1;
            if *left == 0 {
                all.remove(index);
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fault_shows_as_often_as_it_was_switched_on_for() {
        for (text, times) in [
            ("file-cut-at=10*2", 2),
            ("files-429=3", 3),
            ("files-no-etag*1", 1),
        ] {
            let faults = Faults::default();
            let switch: Switch = text.parse().unwrap();
            let fault = switch.fault.clone();
            faults.switch(switch);
            for _ in 0..times {
                assert!(faults.fires(&fault), "{text}");
            }
            assert!(!faults.fires(&fault), "{text}");
        }
        let faults = Faults::default();
        faults.switch("files-no-etag".parse().unwrap());
        assert!((0..9).all(|_| faults.fires(&Fault::FilesNoEtag)));
        assert!("files-no-etag*x".parse::<Switch>().is_err());
    }
}
