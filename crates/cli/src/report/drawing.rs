//! Drawings in inline SVG. They stretch to the width that there is, so they hold no text: labels stand beside them, where
//! they can wrap, and what a drawing shows is in a table too.

use jiff::Timestamp;
use pathling_import_core::report::files::FileTime;
use pathling_import_core::report::pace::Span;

use super::html::Html;

/// How wide a drawing is, in its own units.
const WIDTH: f64 = 1000.0;

/// How narrow a bar may be and still be seen.
const NARROWEST: f64 = 4.0;

/// How high one file's bar is, with the gap below it.
const LANE: f64 = 9.0;

/// How many lanes are drawn of one type: more at once than this are drawn over each other.
const LANES: usize = 40;

/// A stretch of time that is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    began: Timestamp,
    ended: Timestamp,
}

/// A bar over a stretch of time.
pub(super) struct Bar {
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) class: &'static str,
    pub(super) title: String,
}

impl Axis {
    pub(super) fn new(began: Timestamp, ended: Timestamp) -> Self {
        Self { began, ended }
    }

    /// Where a moment is, from 0 to [`WIDTH`].
    fn at(&self, moment: Timestamp) -> f64 {
        let all = self.ended.duration_since(self.began).as_secs_f64();
        if all <= 0.0 {
            return 0.0;
        }
        let part = moment.duration_since(self.began).as_secs_f64();
        (part / all * WIDTH).clamp(0.0, WIDTH)
    }

    /// Where a bar begins, and how wide it is: seen, and inside.
    fn stretch(&self, began: Timestamp, ended: Timestamp) -> (f64, f64) {
        let (from, to) = (self.at(began), self.at(ended));
        let width = (to - from).max(NARROWEST);
        (from.min(WIDTH - width), width)
    }
}

/// One bar on a track of its own.
pub(super) fn track(html: &mut Html, axis: &Axis, bar: &Bar) {
    drawing(html, "track", 10.0, &bar.title, |html| {
        rect(html, "ground", (0.0, WIDTH), (0.0, 10.0), "");
        let stretch = axis.stretch(bar.began, bar.ended);
        rect(html, bar.class, stretch, (0.0, 10.0), &bar.title);
    });
}

/// A share of the whole, as a bar.
// What a run moves is far from what a float cannot hold.
#[allow(clippy::cast_precision_loss)]
pub(super) fn share(html: &mut Html, part: u64, most: u64, label: &str) {
    let width = part as f64 / most.max(1) as f64 * WIDTH;
    drawing(html, "track", 10.0, label, |html| {
        rect(html, "ground", (0.0, WIDTH), (0.0, 10.0), "");
        if part > 0 {
            rect(html, "size", (0.0, width.max(NARROWEST)), (0.0, 10.0), "");
        }
    });
}

/// Files in lanes: those that were under way at once are below each other.
// There are forty lanes at most.
#[allow(clippy::cast_precision_loss)]
pub(super) fn lanes(
    html: &mut Html,
    axis: &Axis,
    files: &[&FileTime],
    label: &str,
    title: impl Fn(&FileTime) -> String,
) {
    let mut free: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for file in files {
        let (from, width) = axis.stretch(file.began, file.ended);
        let lane = free.iter().position(|free| *free <= from);
        let lane = lane.unwrap_or(free.len().min(LANES - 1));
        if lane == free.len() {
            free.push(0.0);
        }
        free[lane] = from + width + 1.0;
        placed.push((file, lane, (from, width)));
    }
    let height = (free.len() as f64 * LANE).max(LANE);
    drawing(html, "lanes", height, label, |html| {
        rect(html, "ground", (0.0, WIDTH), (0.0, height), "");
        for (file, lane, stretch) in placed {
            let class = if file.failed > 0 { "again" } else { "file" };
            let rows = (lane as f64 * LANE + 1.0, LANE - 2.0);
            rect(html, class, stretch, rows, &title(file));
        }
    });
}

/// How fast bytes came, as steps over time.
pub(super) fn chart(html: &mut Html, axis: &Axis, spans: &[Span], label: &str) {
    const HEIGHT: f64 = 120.0;
    let most = spans.iter().map(|it| it.rate).fold(0.0, f64::max);
    drawing(html, "chart", HEIGHT, label, |html| {
        rect(html, "ground", (0.0, WIDTH), (0.0, HEIGHT), "");
        for span in spans.iter().filter(|it| it.rate > 0.0) {
            let height = (span.rate / most * HEIGHT).max(1.0);
            let (from, to) = (axis.at(span.began), axis.at(span.ended));
            rect(
                html,
                "pace",
                (from, (to - from).max(1.0)),
                (HEIGHT - height, height),
                "",
            );
        }
    });
}

fn drawing(
    html: &mut Html,
    class: &'static str,
    height: f64,
    label: &str,
    inside: impl FnOnce(&mut Html),
) {
    let size = format!("0 0 {WIDTH} {height}");
    // As high as it says, whatever its width: only its length is stretched.
    let pixels = format!("{height}");
    let attributes = [
        ("class", class),
        ("viewBox", size.as_str()),
        ("width", "100%"),
        ("height", pixels.as_str()),
        ("preserveAspectRatio", "none"),
        ("shape-rendering", "crispEdges"),
        ("role", "img"),
        ("aria-label", label),
    ];
    html.element("svg", &attributes, inside);
}

fn rect(
    html: &mut Html,
    class: &'static str,
    (x, width): (f64, f64),
    (y, height): (f64, f64),
    title: &str,
) {
    let [x, y, width, height] = [x, y, width, height].map(|it| format!("{it:.1}"));
    let attributes = [
        ("class", class),
        ("x", x.as_str()),
        ("y", y.as_str()),
        ("width", width.as_str()),
        ("height", height.as_str()),
    ];
    html.element("rect", &attributes, |html| {
        if !title.is_empty() {
            html.leaf("title", &[], title);
        }
    });
}
