//! One import at a time: what both Pathlings share of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::PathlingVersion;
use super::failure::Failure;
use super::location::{decode, s3a};
use super::tables::Tables;
use super::{seven, two};
use crate::faults::Fault;
use crate::world::World;

/// What is to be imported.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Pathling 7 looks at the Parameters only when it is its turn.
    Seven(serde_json::Value),
    /// Pathling 2 has checked them at the kick-off.
    Two(two::Plan),
}

/// Does imports, one after the other.
#[derive(Debug)]
pub(super) struct Importer {
    pub(super) world: Arc<World>,
    pub(super) s3_root: PathBuf,
    tables: Mutex<Tables>,
    turn: tokio::sync::Mutex<()>,
}

impl Importer {
    pub(super) fn new(world: Arc<World>, s3_root: PathBuf) -> Self {
        let refresh = match world.settings.pathling {
            PathlingVersion::Seven => Duration::ZERO,
            PathlingVersion::Two => world.settings.key_refresh,
        };
        let clock = world.clock.clone();
        Self {
            world,
            s3_root,
            tables: Mutex::new(Tables::new(refresh, clock)),
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn, then imports; gives the URLs that are told as imported.
    pub(super) async fn run(self: Arc<Self>, work: Work) -> Result<Vec<String>, Failure> {
        let _turn = self.turn.lock().await;
        tokio::time::sleep(self.world.settings.import_delay).await;
        let importer = Arc::clone(&self);
        tokio::task::spawn_blocking(move || importer.import(&work))
            .await
            .unwrap_or_else(|_| Err(Failure::unexpected()))
    }

    fn import(&self, work: &Work) -> Result<Vec<String>, Failure> {
        let faults = &self.world.faults;
        let told = faults.take(|fault| match fault {
            Fault::ImportFails(status) => Some(*status),
            _ => None,
        });
        if let Some(status) = told {
            return Err(Failure::new(
                status,
                "The sandbox was told to fail this import",
            ));
        }
        let drops = faults.fires(&Fault::ImportDropsRows);
        match work {
            Work::Seven(_) if drops => Ok(Vec::new()),
            Work::Seven(parameters) => seven::run(self, parameters),
            Work::Two(plan) if drops => Ok(plan.shown()),
            Work::Two(plan) => two::run(self, plan),
        }
    }

    /// Whether files may be imported from there: a plain comparison of the URL's beginning, as the real ones do it.
    pub(super) fn allows(&self, url: &str) -> bool {
        let url = s3a(&decode(url));
        self.world
            .settings
            .allow
            .iter()
            .any(|prefix| url.starts_with(&s3a(prefix)))
    }
}
