//! Lines about a state that goes on. Owns when one is worth writing again; writes none itself.

use std::time::{Duration, Instant};

/// A state that goes on is said again this seldom, however its words change.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Whether a state should be said now.
#[derive(Debug, Default)]
pub struct Seldom {
    said: Option<(String, Instant)>,
}

impl Seldom {
    /// The state is this now: whether to say so. It is said when it begins, and when its words are others and it was
    /// not said for 30 s.
    pub fn is_news(&mut self, words: &str, now: Instant) -> bool {
        let is_news = match &self.said {
            None => true,
            Some((said, at)) => said != words && now.saturating_duration_since(*at) >= AGAIN_AFTER,
        };
        if is_news {
            self.said = Some((words.to_owned(), now));
        }
        is_news
    }

    /// The state is over: whether it was said.
    pub fn ends(&mut self) -> bool {
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count of seconds within the words does not make a line of each second; the beginning and the end are said.
    #[test]
    fn words_that_change_all_the_time_are_said_seldom() {
        let begin = Instant::now();
        let mut seldom = Seldom::default();
        let mut said = 0;
        for second in 0..61 {
            said += usize::from(seldom.is_news(&format!("for {second} s"), begin + Duration::from_secs(second)));
        }
        assert_eq!(said, 3);
        assert!(seldom.ends() && !seldom.ends());
        assert!(seldom.is_news("for 1 s", begin));
        assert!(!seldom.is_news("for 1 s", begin + Duration::from_secs(3_600)), "nothing has changed");
    }
}
