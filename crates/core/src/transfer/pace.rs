//! How many requests one server is sent side by side (`TRANSFER_CONCURRENCY`).
//!
//! Without a fixed number it is found by trying: a few more are allowed as long as more comes through with more, and half
//! as many at once when the server says that it has too much to do. It asks the clock when something happens and has no
//! task of its own; it knows neither requests nor what they are for, and repeats nothing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Where the search begins.
const FIRST: usize = 16;

/// Where it ends.
const MOST: usize = 64;

/// What a finished request counts beside its bytes, so that many small files are throughput too.
const REQUEST: u64 = 32 << 10;

/// What comes through is measured over at least so long, and over as many requests as go on side by side,
const WINDOW: Duration = Duration::from_millis(50);

/// but no longer than this: large files take their time.
const LONG_WINDOW: Duration = Duration::from_millis(500);

/// How much of the limit must be under way on average, for what comes through to be its doing.
const USED: f64 = 0.75;

/// How long the limit stays after it fell, or after a rise that brought nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// The pace of the requests to one server. Clones are the same one.
#[derive(Clone)]
pub struct Pace {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    /// Whether the limit is searched for; otherwise it only comes back after a fall.
    adaptive: bool,
    retry_after_max: Duration,
    state: Mutex<State>,
    /// The server asked to be left alone: those who wait set their clocks.
    paused: Notify,
}

struct State {
    limit: usize,
    in_flight: usize,
    line: VecDeque<oneshot::Sender<Slot>>,
    /// When the server asked to be called again.
    not_before: Option<Instant>,
    /// The limit does not rise before this.
    settled_until: Option<Instant>,
    /// How often the limit fell because of the server.
    falls: u64,
    /// Whether nothing has held the limit back yet: then it rises by half of itself.
    rushing: bool,
    /// The limit before the last rise, and what came through with it, in units of work a second.
    before: Option<(usize, f64)>,
    /// What is seen of the present limit, from when it is used.
    window: Option<Window>,
}

/// What came through in a while.
struct Window {
    since: Instant,
    work: u64,
    finished: usize,
    /// The time that requests were under way, summed over them, up to the last time that their number changed.
    busy: Duration,
    counted: Instant,
}

impl Pace {
    /// `fixed` requests side by side, or as many as prove useful: 16 at first and up to 64. A Retry-After of more than
    /// `retry_after_max` counts as that.
    #[must_use]
    pub fn new(fixed: Option<u32>, retry_after_max: Duration) -> Self {
        let fixed = fixed.map(|fixed| usize::try_from(fixed).unwrap_or(usize::MAX).max(1));
        let limit = fixed.unwrap_or(FIRST);
        Self {
            shared: Arc::new(Shared {
                most: fixed.unwrap_or(MOST),
                adaptive: fixed.is_none(),
                retry_after_max,
                state: Mutex::new(State {
                    limit,
                    in_flight: 0,
                    line: VecDeque::new(),
                    not_before: None,
                    settled_until: None,
                    falls: 0,
                    rushing: true,
                    before: None,
                    window: None,
                }),
                paused: Notify::new(),
            }),
        }
    }

    /// The leave to send one request, in the order of asking, and not before a Retry-After has passed.
    pub async fn slot(&self) -> Slot {
        let mut answer = self.shared.ask(Instant::now());
        loop {
            let mut paused = std::pin::pin!(self.shared.paused.notified());
            paused.as_mut().enable();
            let not_before = self.shared.state().not_before;
            tokio::select! {
                biased;
                Ok(slot) = &mut answer => return slot,
                () = paused => {}
                () = until(not_before) => {
                    let mut state = self.shared.state();
                    self.shared.serve(&mut state, Instant::now());
                }
            }
        }
    }

    /// The leave to send one more request for a file whose body broke in the middle: after a Retry-After, but whatever the
    /// limit. Its file holds buffers, and those who have the slots may wait for just these.
    pub async fn again(&self) -> Slot {
        loop {
            let not_before = {
                let mut state = self.shared.state();
                match state.not_before.filter(|time| *time > Instant::now()) {
                    None => {
                        state.count(1, Instant::now());
                        return Slot::new(&self.shared, state.falls);
                    }
                    paused => paused,
                }
            };
            until(not_before).await;
        }
    }

    /// How many requests may be under way now.
    #[cfg(test)]
    fn limit(&self) -> usize {
        self.shared.state().limit
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Pace")
            .field("limit", &state.limit)
            .field("in_flight", &state.in_flight)
            .finish_non_exhaustive()
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The leave to have one request under way. Dropped, it is given back and says nothing about the server.
pub struct Slot {
    shared: Arc<Shared>,
    /// The falls that its request knows of.
    falls: u64,
    open: bool,
}

impl Slot {
    fn new(shared: &Arc<Shared>, falls: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            falls,
            open: true,
        }
    }

    /// So many more bytes came through.
    pub fn moved(&self, bytes: u64) {
        self.moved_at(bytes, Instant::now());
    }

    /// The request is done.
    pub fn done(mut self) {
        self.end(Instant::now(), State::finished);
    }

    /// The server said that it has too much to do, and maybe for how long.
    pub fn throttled(mut self, retry_after: Option<Duration>) {
        self.throttled_at(retry_after, Instant::now());
    }

    fn moved_at(&self, bytes: u64, now: Instant) {
        let mut state = self.shared.state();
        if let Some(window) = &mut state.window {
            window.work += bytes;
        }
        if state.measure(&self.shared, now) {
            self.shared.serve(&mut state, now);
        }
    }

    fn throttled_at(&mut self, retry_after: Option<Duration>, now: Instant) {
        let known = self.falls;
        let wait = retry_after.map(|wait| wait.min(self.shared.retry_after_max));
        self.end(now, |state, _, now| state.fall(known, wait, now));
        if wait.is_some() {
            self.shared.paused.notify_waiters();
        }
    }

    fn end(&mut self, now: Instant, how: impl FnOnce(&mut State, &Shared, Instant)) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let mut state = self.shared.state();
        how(&mut state, &self.shared, now);
        state.count(-1, now);
        self.shared.serve(&mut state, now);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.end(Instant::now(), |_, _, _| {});
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The counts are whole at every point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(self: &Arc<Self>, now: Instant) -> oneshot::Receiver<Slot> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state();
        state.line.push_back(reply);
        self.serve(&mut state, now);
        answer
    }

    fn serve(self: &Arc<Self>, state: &mut State, now: Instant) {
        if state.not_before.is_some_and(|time| time > now) {
            return;
        }
        state.not_before = None;
        while state.in_flight < state.limit
            && let Some(reply) = state.line.pop_front()
        {
            match reply.send(Slot::new(self, state.falls)) {
                Ok(()) => state.count(1, now),
                // Nobody waits there any more, and the lock is held.
                Err(mut slot) => slot.open = false,
            }
        }
        if state.in_flight >= state.limit && state.window.is_none() {
            state.window = Some(Window::new(now));
        }
    }
}

impl State {
    fn count(&mut self, requests: isize, now: Instant) {
        if let Some(window) = &mut self.window {
            window.pass(self.in_flight, now);
        }
        self.in_flight = self.in_flight.saturating_add_signed(requests);
    }

    fn finished(&mut self, shared: &Shared, now: Instant) {
        if let Some(window) = &mut self.window {
            window.work += REQUEST;
            window.finished += 1;
        }
        self.measure(shared, now);
    }

    /// Looks whether enough was seen to move the limit. Whether more requests are allowed now.
    #[allow(clippy::cast_precision_loss)]
    fn measure(&mut self, shared: &Shared, now: Instant) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        let time = now.duration_since(window.since);
        if time < WINDOW || (window.finished < self.limit && time < LONG_WINDOW) {
            return false;
        }
        window.pass(self.in_flight, now);
        let rate = window.work as f64 / time.as_secs_f64();
        let under_way = window.busy.as_secs_f64() / time.as_secs_f64();
        if under_way < self.limit as f64 * USED {
            self.window = None;
            self.before = None;
            return false;
        }
        self.window = Some(Window::new(now));
        let limit = self.limit;
        if rate > 0.0 && self.settled_until.is_none_or(|time| time <= now) {
            self.limit = self.better(shared, rate, now);
        }
        self.limit > limit
    }

    /// The limit that follows from what came through with the present one.
    #[allow(clippy::cast_precision_loss)]
    fn better(&mut self, shared: &Shared, rate: f64, now: Instant) -> usize {
        if shared.adaptive
            && let Some((limit, rate_before)) = self.before.take()
        {
            // More requests should bring a share more; a third of that is enough to go on.
            let share = self.limit as f64 / limit as f64 - 1.0;
            if rate < rate_before * (1.0 + share / 3.0) {
                self.rushing = false;
                self.settled_until = Some(now + PAUSE);
                return limit;
            }
        }
        self.before = Some((self.limit, rate));
        let more = if self.rushing { self.limit / 2 } else { 1 };
        (self.limit + more.max(1)).min(shared.most)
    }

    /// The server has too much to do. What was sent before the limit fell says nothing about the new one.
    fn fall(&mut self, known: u64, wait: Option<Duration>, now: Instant) {
        let wait = wait.unwrap_or_default();
        if !wait.is_zero() {
            self.not_before = self.not_before.max(now.checked_add(wait));
        }
        self.settled_until = self.settled_until.max(now.checked_add(wait.max(PAUSE)));
        if known == self.falls {
            self.falls += 1;
            self.limit = (self.limit.min(self.in_flight) / 2).max(1);
            self.rushing = false;
            self.before = None;
            self.window = None;
        }
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            work: 0,
            finished: 0,
            busy: Duration::ZERO,
            counted: now,
        }
    }

    /// So many requests were under way until now.
    fn pass(&mut self, in_flight: usize, now: Instant) {
        let time = now.duration_since(self.counted);
        self.busy += time.saturating_mul(u32::try_from(in_flight).unwrap_or(u32::MAX));
        self.counted = now;
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
