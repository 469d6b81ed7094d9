//! What led to a failure: the last log lines, as Sentry's breadcrumbs.
//!
//! They are the process's, and begin anew with each invocation. Sentry's own layer keeps a thread's: an event would lack what
//! tasks on other threads said, and hold what an earlier invocation did.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sentry::Breadcrumb;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How many are kept, the newest.
const LENGTH: usize = 100;

static TRAIL: Mutex<VecDeque<Breadcrumb>> = Mutex::new(VecDeque::new());

/// Keeps what it is told of.
pub(super) struct Trail;

impl<S: Subscriber> Layer<S> for Trail {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line(Breadcrumb {
            category: Some(metadata.target().to_owned()),
            ty: "log".to_owned(),
            level: match *metadata.level() {
                Level::ERROR => sentry::Level::Error,
                Level::WARN => sentry::Level::Warning,
                Level::INFO => sentry::Level::Info,
                Level::DEBUG | Level::TRACE => sentry::Level::Debug,
            },
            ..Breadcrumb::default()
        });
        event.record(&mut line);
        let mut trail = trail();
        if trail.len() == LENGTH {
            trail.pop_front();
        }
        trail.push_back(line.0);
    }
}

/// A line whose fields are being told.
struct Line(Breadcrumb);

impl Line {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        match (field.name(), value.into()) {
            ("message", Value::String(text)) => self.0.message = Some(text),
            (name, value) => {
                self.0.data.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// Forgets what was before.
pub(super) fn begin() {
    trail().clear();
}

/// What there is now, the oldest first.
pub(super) fn so_far() -> Vec<Breadcrumb> {
    trail().iter().cloned().collect()
}

fn trail() -> MutexGuard<'static, VecDeque<Breadcrumb>> {
    TRAIL.lock().unwrap_or_else(PoisonError::into_inner)
}
