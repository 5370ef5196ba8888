//! How old what was not read yet is, by our own clock (rule S2). Owns what was said about a partition's end, and when;
//! never looks at a record's time, which another host wrote.

use std::collections::VecDeque;
use std::time::Duration;

/// Marks kept of one partition.
const MARKS_MAX: usize = 256;

/// At these times the partition was known to reach so far. Ascending in both.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    list: VecDeque<Mark>,
    /// Marks that are nearer in time than this become one, with the earlier time.
    resolution: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    end: i64,
    at: Duration,
}

impl Marks {
    /// Fine enough to see `age_max`.
    pub(super) fn new(age_max: Duration) -> Marks {
        let resolution = (age_max / 128).clamp(Duration::from_millis(10), Duration::from_secs(1));
        Marks { list: VecDeque::new(), resolution }
    }

    /// What is below `end` was there, as somebody said who was asked `at` that time. An end that is no farther than
    /// the last is known already. Beyond the bound an age is said too high, never too low.
    pub(super) fn note(&mut self, end: i64, at: Duration) {
        let full = self.list.len() >= MARKS_MAX;
        match self.list.back_mut() {
            Some(last) if end <= last.end => {}
            Some(last) if full || at.saturating_sub(last.at) < self.resolution => last.end = end,
            _ => self.list.push_back(Mark { end, at }),
        }
    }

    /// Forget what lies below a position that will not go back.
    pub(super) fn reached(&mut self, position: i64) {
        while self.list.front().is_some_and(|mark| mark.end <= position) {
            self.list.pop_front();
        }
    }

    /// Forget what is said to be above `end`: the log was cut off there.
    pub(super) fn cut(&mut self, end: i64) {
        while self.list.back().is_some_and(|mark| mark.end > end) {
            self.list.pop_back();
        }
    }

    /// Since when something at or above this position waits; `None` when nothing is known to.
    pub(super) fn since(&self, position: i64) -> Option<Duration> {
        self.list.iter().find(|mark| mark.end > position).map(|mark| mark.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// S2: the age counts from the oldest mark that was not reached, whatever came later.
    #[test]
    fn s2_the_oldest_mark_that_was_not_reached_counts() {
        let mut marks = Marks::new(Duration::from_secs(60));
        marks.note(10, at(1_000));
        marks.note(20, at(2_000));
        marks.note(20, at(3_000));
        assert_eq!(marks.since(5), Some(at(1_000)));
        assert_eq!(marks.since(10), Some(at(2_000)));
        assert_eq!(marks.since(20), None);
        marks.reached(10);
        assert_eq!(marks.since(0), Some(at(2_000)));
        marks.cut(15);
        assert_eq!(marks.since(0), None, "what was cut off is not waited for");
    }

    /// The list is bounded, and a mark that takes another in keeps the earlier time.
    #[test]
    fn marks_are_bounded_and_never_say_too_little() {
        let mut marks = Marks::new(Duration::MAX);
        for step in 0..10_000_u32 {
            marks.note(i64::from(step) + 1, at(2_000 * u64::from(step)));
        }
        assert_eq!(marks.list.len(), MARKS_MAX);
        assert_eq!(marks.since(9_998), Some(at(2_000 * 255)));
    }
}
