//! Two workers at one run, for `transfer_workers.rs`: each begins `transfer-to-s3` again and again, and is dropped in its
//! midst after a while.
//!
//!     interleaved-workers SEED EVENT
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pathling_import_core::Kind;
use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::{self, Context};
use pathling_import_tests::Random;
use serde_json::Value;

/// How often each worker is dropped half-way, at most.
const TRIES: usize = 4;

/// The longest that one is left alone, in milliseconds.
const LONGEST: u64 = 1500;

/// One worker: it begins again and again, and is dropped each time after a while, unless it ends first.
async fn work(settings: Settings, event: Value, mut random: Random) {
    let mut context = Arc::new(Context::new(settings.clone()));
    for _ in 0..TRIES {
        let patience = Duration::from_millis(random.below(LONGEST));
        let step = steps::run(Step::TransferToS3, &context, event.clone());
        match tokio::time::timeout(patience, Box::pin(step)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => assert!(
                matches!(
                    error.kind(),
                    Kind::JobInProgress
                        | Kind::Transfer
                        | Kind::SourceUnavailable
                        | Kind::StagingUnavailable
                ),
                "{error}"
            ),
            Err(_dropped) => {}
        }
        if random.below(2) == 0 {
            context = Arc::new(Context::new(settings.clone()));
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let [seed, event] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let settings = Settings::load(Step::TransferToS3, &environment, None).unwrap();
    let event: Value = serde_json::from_str(&event).unwrap();
    let seed: u64 = seed.parse().unwrap();
    let one = work(settings.clone(), event.clone(), Random::of(seed));
    let other = work(settings, event, Random::of(seed.wrapping_add(1)));
    let (one, other) = (tokio::spawn(one), tokio::spawn(other));
    one.await.unwrap();
    other.await.unwrap();
    println!("both workers have ended");
}
