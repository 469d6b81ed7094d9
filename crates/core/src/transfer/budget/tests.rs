use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const KIB: usize = 1 << 10;

/// Whether a future waits when it is asked once.
async fn waits<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    let mut future = future;
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

fn at_rest(budget: &Budget) {
    let state = budget.shared.state();
    assert_eq!((state.leased, state.filling, state.favoured), (0, 0, None));
    assert!(state.growers.is_empty() && state.line.is_empty());
    assert!(state.idle_bytes <= budget.shared.total);
}

#[tokio::test]
async fn a_taker_waits_until_there_is_room_and_takers_are_served_in_the_order_of_asking() {
    let budget = Budget::new(100, 80, 0);
    let first = budget.take(80).await;
    let mut large = std::pin::pin!(budget.take(50));
    let mut small = std::pin::pin!(budget.take(10));
    assert!(waits(large.as_mut()).await);
    assert!(waits(small.as_mut()).await, "it must not overtake");
    drop(first);
    assert_eq!(large.await.capacity(), 50);
    assert_eq!(small.await.capacity(), 10);
    at_rest(&budget);
}

#[tokio::test]
async fn a_taker_that_stops_waiting_is_in_nobodys_way() {
    let budget = Budget::new(100, 80, 0);
    let _held = budget.take(80).await;
    let mut large = Box::pin(budget.take(50));
    let mut small = std::pin::pin!(budget.take(10));
    assert!(waits(large.as_mut()).await && waits(small.as_mut()).await);
    drop(large);
    assert!(!waits(small).await);
}

#[tokio::test]
async fn memory_is_held_until_the_last_clone_of_the_bytes_is_gone() {
    let budget = Budget::new(100, 100, 0);
    let mut buffer = budget.take(100).await;
    buffer.push(b"abc");
    assert_eq!((buffer.len(), buffer.room()), (3, 97));
    let filled = buffer.freeze();
    let sent = filled.bytes();
    drop(filled);
    let mut next = std::pin::pin!(budget.take(1));
    assert!(waits(next.as_mut()).await);
    assert_eq!(&sent[..], b"abc");
    drop(sent);
    next.await;
    at_rest(&budget);
}

#[tokio::test]
async fn a_large_allocation_is_used_again_and_makes_room_for_another_size() {
    let budget = Budget::new(1024 * KIB as u64, 1024 * KIB as u64, 0);
    let mut buffer = budget.take(512 * KIB).await;
    buffer.push(b"x");
    let bytes = buffer.freeze().bytes();
    let place = bytes.as_ptr();
    drop(bytes);
    // A taker of a little less gets it too.
    let again = budget.take(500 * KIB).await;
    assert_eq!(again.memory.data.bytes().as_ptr(), place);
    assert!(again.is_empty() && again.capacity() == 500 * KIB);
    drop(again);
    let other = budget.take(1024 * KIB).await;
    assert_eq!(budget.shared.state().idle_bytes, 0);
    drop(other);
    assert_eq!(budget.most_used(), 1024 * KIB as u64);
    at_rest(&budget);
}

#[tokio::test]
async fn a_part_is_had_at_once_when_nothing_else_goes_on() {
    let budget = Budget::new(400, 100, 40);
    assert!(!waits(std::pin::pin!(budget.take(100))).await);
    assert!(
        !waits(std::pin::pin!(budget.take(900))).await,
        "what is too large goes alone"
    );
    at_rest(&budget);
}

#[tokio::test]
async fn buffers_that_fill_the_budget_are_finished_one_after_the_other() {
    let budget = Budget::new(90, 50, 0);
    let mut one = budget.take(20).await;
    let mut two = budget.take(20).await;
    // What is left is for the first that needs it.
    assert!(!waits(std::pin::pin!(one.grow(50))).await);
    let mut more = Box::pin(two.grow(50));
    assert!(waits(more.as_mut()).await);
    // Who wants more goes before who begins.
    let mut late = std::pin::pin!(budget.take(50));
    assert!(waits(late.as_mut()).await);
    drop(one.freeze());
    assert!(!waits(more.as_mut()).await);
    drop(more);
    assert!(waits(late.as_mut()).await);
    drop(two);
    late.await;
    at_rest(&budget);
}

#[tokio::test]
async fn what_is_counted_beside_a_buffer_stays_counted_when_it_is_split() {
    let budget = Budget::new(100, 40, 20);
    let mut buffer = budget.take(40).await;
    buffer.also(20).await;
    let filled = buffer.split();
    assert_eq!(buffer.capacity(), 0);
    drop(filled);
    assert_eq!(budget.shared.state().leased, 20);
    buffer.also(5).await;
    buffer.grow(40).await;
    assert_eq!(budget.shared.state().leased, 45);
    drop(buffer);
    at_rest(&budget);
}

/// One file: some parts of known or unknown size, each sent by a task of its own, dropped at some point or not.
async fn file(budget: Budget, seed: u64, part: usize, line: usize) {
    let mut dice = StdRng::seed_from_u64(seed);
    let known = dice.random_bool(0.4);
    let parts = dice.random_range(1..6);
    let mut sending = Vec::new();
    let mut buffer = None;
    for _ in 0..parts {
        let size = dice.random_range(1..=part);
        let first = if known { size } else { size.min(part / 8) };
        let buffer = match &mut buffer {
            None => buffer.insert(budget.take(first).await),
            Some(buffer) => {
                buffer.grow(first).await;
                buffer
            }
        };
        while buffer.len() < size {
            for _ in 0..dice.random_range(0..3) {
                tokio::task::yield_now().await;
            }
            if buffer.room() == 0 {
                buffer.grow((buffer.capacity() * 2).min(part)).await;
            }
            if dice.random_bool(0.5) {
                buffer.also(dice.random_range(0..=line)).await;
            }
            let some = buffer.room().min(size - buffer.len()).min(part / 4);
            buffer.push(&vec![7; some]);
        }
        let filled = buffer.split();
        assert!(filled.bytes().iter().all(|byte| *byte == 7));
        let yields = dice.random_range(0..9);
        sending.push(tokio::spawn(async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            drop(filled);
        }));
    }
    for sent in sending {
        sent.await.unwrap();
    }
}

#[tokio::test]
async fn any_mix_of_files_ends_within_the_budget_and_gives_everything_back() {
    for seed in 0..60 {
        let mut dice = StdRng::seed_from_u64(seed);
        let part = dice.random_range(8..600) * KIB;
        let line = [0, part / 2, part][dice.random_range(0..3)];
        let total = (part + line) * dice.random_range(10..45) / 10;
        let budget = Budget::new(total as u64, part as u64, line as u64);
        let files: Vec<_> = (0..dice.random_range(2..30))
            .map(|number| {
                let file = file(budget.clone(), seed * 1000 + number, part, line);
                // Some are dropped at one of their waits.
                let polls = if dice.random_bool(0.3) {
                    dice.random_range(1..30)
                } else {
                    usize::MAX
                };
                tokio::spawn(some_polls(file, polls))
            })
            .collect();
        for file in files {
            tokio::time::timeout(Duration::from_mins(1), file)
                .await
                .unwrap_or_else(|_| panic!("seed {seed} has a deadlock: {budget:?}"))
                .unwrap();
        }
        // What a file that was dropped had to send may still be under way.
        while budget.shared.state().leased > 0 {
            tokio::task::yield_now().await;
        }
        at_rest(&budget);
        assert!(budget.most_used() <= total as u64, "seed {seed}");
    }
}

/// Polls a future so often, then drops it.
async fn some_polls(future: impl Future<Output = ()>, mut polls: usize) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        polls -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if polls > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

#[tokio::test]
async fn memory_that_is_all_in_use_goes_from_one_taker_to_the_next_as_it_is() {
    let budget = Budget::new(2048 * KIB as u64, 1024 * KIB as u64, 0);
    let mut places = std::collections::BTreeSet::new();
    let mut held = Vec::new();
    for round in 0..10 {
        let mut buffer = budget.take(1024 * KIB - round).await;
        buffer.push(b"x");
        let bytes = buffer.freeze().bytes();
        places.insert(bytes.as_ptr());
        held.push(bytes);
        if held.len() == 2 {
            // The next taker waits already when the memory comes back.
            let mut next = std::pin::pin!(budget.take(1024 * KIB));
            assert!(waits(next.as_mut()).await);
            held.remove(0);
            let mut next = next.await;
            next.push(b"y");
            places.insert(next.freeze().bytes().as_ptr());
        }
    }
    assert_eq!(places.len(), 2, "no third block was ever made");
    drop(held);
    at_rest(&budget);
}
