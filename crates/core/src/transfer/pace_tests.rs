use super::*;

const MS: Duration = Duration::from_millis(1);

/// A server in a time of its own, to which somebody always wants to send one more request.
struct Server {
    pace: Pace,
    now: Instant,
    /// When each request under way ends, and its slot.
    under_way: Vec<(Instant, Slot)>,
    asking: Option<oneshot::Receiver<Slot>>,
    refused: usize,
}

impl Server {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            now: Instant::now(),
            under_way: Vec::new(),
            asking: None,
            refused: 0,
        }
    }

    /// Lets time pass. A request takes what `takes` says of how many are under way; it is refused where there are more than
    /// `most`.
    fn run(&mut self, time: Duration, takes: impl Fn(usize) -> Duration, most: usize) {
        let end = self.now + time;
        while self.now < end {
            loop {
                let asking = self
                    .asking
                    .get_or_insert_with(|| self.pace.shared.ask(self.now));
                let Ok(slot) = asking.try_recv() else { break };
                self.asking = None;
                let ends = self.now + takes(self.under_way.len() + 1);
                self.under_way.push((ends, slot));
            }
            self.now += MS;
            let now = self.now;
            while let Some(at) = self.under_way.iter().position(|(ends, _)| *ends <= now) {
                let busy = self.under_way.len() > most;
                let (_, mut slot) = self.under_way.remove(at);
                if busy {
                    self.refused += 1;
                    slot.throttled_at(None, now);
                } else {
                    slot.moved_at(1000, now);
                    slot.end(now, State::finished);
                }
            }
        }
    }
}

fn adaptive() -> Pace {
    Pace::new(None, Duration::from_hours(1))
}

async fn slots(pace: &Pace, count: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    for _ in 0..count {
        slots.push(pace.slot().await);
    }
    slots
}

/// Whether a slot is to be had without a wait; it is given back.
fn is_free(pace: &Pace, now: Instant) -> bool {
    pace.shared.ask(now).try_recv().is_ok()
}

#[test]
fn the_limit_rises_to_its_end_while_more_requests_bring_more() {
    let mut server = Server::new(adaptive());
    assert_eq!(server.pace.limit(), FIRST);
    server.run(2000 * MS, |_| 20 * MS, 1000);
    assert_eq!(server.pace.limit(), 64);
}

#[test]
fn the_limit_stays_where_more_requests_bring_nothing() {
    let mut server = Server::new(adaptive());
    server.run(
        20_000 * MS,
        |busy| u32::try_from(busy).unwrap() * 5 * MS,
        1000,
    );
    assert!(
        (FIRST - 2..=FIRST + 4).contains(&server.pace.limit()),
        "{:?}",
        server.pace
    );
}

#[test]
fn the_limit_stays_below_what_the_server_refuses_and_near_it() {
    let mut server = Server::new(adaptive());
    server.run(3000 * MS, |_| 20 * MS, 20);
    let mut seen = Vec::new();
    server.refused = 0;
    for _ in 0..100 {
        server.run(100 * MS, |_| 20 * MS, 20);
        seen.push(server.pace.limit());
    }
    assert!(
        seen.iter().all(|limit| (5..=21).contains(limit)),
        "{seen:?}"
    );
    // Some 10,000 requests were sent.
    assert!(server.refused < 200, "{}", server.refused);
}

#[test]
fn the_limit_does_not_move_while_it_is_not_used() {
    let pace = adaptive();
    let mut now = Instant::now();
    for _ in 0..200 {
        let mut slot = pace.shared.ask(now).try_recv().unwrap();
        now += 20 * MS;
        slot.moved_at(1 << 20, now);
        slot.end(now, State::finished);
    }
    assert_eq!(pace.limit(), FIRST);
}

#[tokio::test]
async fn a_burst_of_refusals_halves_the_limit_once_and_the_next_burst_again() {
    let pace = adaptive();
    for limit in [8, 4, 2, 1, 1] {
        let before = pace.limit();
        for slot in slots(&pace, before).await {
            slot.throttled(None);
        }
        assert_eq!(pace.limit(), limit);
    }
}

#[test]
fn after_a_fall_the_limit_rests_for_a_second_and_comes_back_step_by_step() {
    let mut server = Server::new(adaptive());
    server.run(60 * MS, |_| 20 * MS, 0);
    let fallen = server.pace.limit();
    assert!(fallen <= 4);
    server.run(900 * MS, |_| 20 * MS, 1000);
    assert!(server.pace.limit() <= fallen);
    server.run(400 * MS, |_| 20 * MS, 1000);
    assert!((fallen + 1..=8).contains(&server.pace.limit()));
}

#[test]
fn a_retry_after_keeps_everyone_waiting_within_its_bound() {
    let pace = Pace::new(None, Duration::from_mins(1));
    let now = Instant::now();
    let mut slot = pace.shared.ask(now).try_recv().unwrap();
    slot.throttled_at(Some(Duration::from_hours(9)), now);
    assert!(!is_free(&pace, now + Duration::from_secs(59)));
    assert!(is_free(&pace, now + Duration::from_mins(1)));
}

#[tokio::test]
async fn who_waits_when_a_server_asks_for_time_gets_a_slot_when_it_has_passed() {
    let pace = Pace::new(Some(1), Duration::from_millis(30));
    let held = pace.slot().await;
    let waiting = tokio::spawn({
        let pace = pace.clone();
        async move { (pace.slot().await, pace.again().await) }
    });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    held.throttled(Some(Duration::MAX));
    let _both = waiting.await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn a_fixed_number_is_kept_but_for_a_server_that_has_too_much_to_do() {
    let pace = Pace::new(Some(3), Duration::ZERO);
    let held = slots(&pace, 3).await;
    let now = Instant::now();
    assert!(!is_free(&pace, now));
    drop(held);
    assert!(is_free(&pace, now));
    let mut server = Server::new(pace);
    server.run(1000 * MS, |_| 20 * MS, 1000);
    assert_eq!(server.pace.limit(), 3);
    server.run(50 * MS, |_| 20 * MS, 0);
    assert_eq!(server.pace.limit(), 1);
    server.run(5000 * MS, |_| 20 * MS, 1000);
    assert_eq!(server.pace.limit(), 3);
}

#[tokio::test]
async fn slots_go_to_those_who_wait_in_the_order_of_asking_and_past_those_who_gave_up() {
    let pace = Pace::new(Some(1), Duration::ZERO);
    let held = pace.slot().await;
    let now = Instant::now();
    let gave_up = pace.shared.ask(now);
    let mut second = pace.shared.ask(now);
    let mut third = pace.shared.ask(now);
    drop(gave_up);
    drop(held);
    assert!(third.try_recv().is_err());
    drop(second.try_recv().unwrap());
    assert!(third.try_recv().is_ok());
}

#[tokio::test]
async fn a_file_in_the_middle_goes_on_whatever_the_limit() {
    let pace = Pace::new(Some(1), Duration::ZERO);
    let _held = pace.slot().await;
    let again = pace.again().await;
    let now = Instant::now();
    assert!(!is_free(&pace, now));
    drop(again);
    assert!(!is_free(&pace, now));
}
