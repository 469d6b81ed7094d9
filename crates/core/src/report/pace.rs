//! How many bytes came when, over a time that nobody knows beforehand: in spans that grow with it, so that there are never
//! many.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// How many spans there are at most.
const MOST: i64 = 120;

/// How long a span is at first, in milliseconds.
const SHORTEST: i64 = 10;

/// Bytes by the time in which they came.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// How long each span is, in milliseconds.
    width: i64,
    /// Bytes by the number of a span, counted from the beginning of time.
    spans: BTreeMap<i64, f64>,
}

/// A span, and how fast bytes came in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Its beginning.
    pub began: Timestamp,
    /// Its end.
    pub ended: Timestamp,
    /// Bytes a second.
    pub rate: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            width: SHORTEST,
            spans: BTreeMap::new(),
        }
    }
}

impl Pace {
    /// Takes in that so many bytes came between these moments: evenly, for more is not known.
    // What a run moves is far from what a float cannot hold.
    #[allow(clippy::cast_precision_loss)]
    pub fn add(&mut self, began: Timestamp, ended: Timestamp, bytes: u64) {
        let began = began.as_millisecond();
        // What came at once came in some time all the same.
        let ended = ended.as_millisecond().max(began + 1);
        self.make_room(began, ended - 1);
        let each = bytes as f64 / (ended - began) as f64;
        for number in began.div_euclid(self.width)..=(ended - 1).div_euclid(self.width) {
            let (from, to) = (number * self.width, (number + 1) * self.width);
            let shared = to.min(ended) - from.max(began);
            *self.spans.entry(number).or_default() += each * shared as f64;
        }
    }

    /// Makes the spans so long that few of them hold all there is and these moments.
    fn make_room(&mut self, from: i64, to: i64) {
        loop {
            let (from, to) = (from.div_euclid(self.width), to.div_euclid(self.width));
            let (lowest, highest) = (self.spans.keys().next(), self.spans.keys().next_back());
            let lowest = lowest.map_or(from, |known| from.min(*known));
            let highest = highest.map_or(to, |known| to.max(*known));
            if highest - lowest < MOST {
                return;
            }
            self.width *= 2;
            let mut joined = BTreeMap::<i64, f64>::new();
            for (number, bytes) in std::mem::take(&mut self.spans) {
                *joined.entry(number.div_euclid(2)).or_default() += bytes;
            }
            self.spans = joined;
        }
    }

    /// All spans from the first in which anything came to the last, those without anything too.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn spans(&self) -> Vec<Span> {
        let (Some(first), Some(last)) = (self.spans.keys().next(), self.spans.keys().next_back())
        else {
            return Vec::new();
        };
        let at = |number: i64| Timestamp::from_millisecond(number * self.width).ok();
        let span = |number: i64| {
            let bytes = self.spans.get(&number).copied().unwrap_or_default();
            Some(Span {
                began: at(number)?,
                ended: at(number + 1)?,
                rate: bytes * 1000.0 / self.width as f64,
            })
        };
        (*first..=*last).filter_map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap()
    }

    fn total(pace: &Pace) -> f64 {
        let of = |span: &Span| span.rate * span.ended.duration_since(span.began).as_secs_f64();
        pace.spans().iter().map(of).sum()
    }

    #[test]
    fn bytes_are_spread_over_the_time_in_which_they_came() {
        let mut pace = Pace::default();
        assert_eq!(pace.spans(), []);
        pace.add(at(0), at(20), 100);
        pace.add(at(30), at(30), 7);
        let rates: Vec<i64> = pace
            .spans()
            .iter()
            .map(|span| {
                #[allow(clippy::cast_possible_truncation)]
                let rate = span.rate.round() as i64;
                rate
            })
            .collect();
        assert_eq!(rates, [5000, 5000, 0, 700]);
    }

    #[test]
    fn spans_grow_and_nothing_is_lost_whatever_comes_in_whatever_order() {
        let mut pace = Pace::default();
        pace.add(at(86_400_000), at(90_000_000), 1_000);
        pace.add(at(0), at(5), 10);
        pace.add(at(40_000_000), at(86_500_000), 500);
        let spans = pace.spans();
        assert!(spans.len() <= 120, "{}", spans.len());
        assert!((total(&pace) - 1510.0).abs() < 0.01, "{}", total(&pace));
        // A clock that was set back.
        pace.add(at(10), at(0), 5);
        assert!((total(&pace) - 1515.0).abs() < 0.01);
    }
}
