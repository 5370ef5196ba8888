//! Why connections ended, for the log. Owns the comparison of the shards' counters with what was told before: one line
//! for each party at fault, every 10 seconds at most, however many connections ended. No shard writes a line.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::close::{CloseReason, Fault};
use crate::shard::stats::{CLOSE_REASONS, ShardStats};

/// Time between two looks at the counters.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What has been told of the ends.
pub struct Ends {
    shards: Vec<Arc<ShardStats>>,
    told: [u64; CLOSE_REASONS],
}

impl Ends {
    /// Of the connections of these shards; none is told yet.
    pub fn new(shards: Vec<Arc<ShardStats>>) -> Ends {
        Ends { shards, told: [0; CLOSE_REASONS] }
    }

    /// Tell again and again.
    pub async fn watch(&mut self) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            self.tell();
        }
    }

    /// Tell what has ended since the last time: what we could not help as a warning, what was decided as information,
    /// what clients did for those who look for it.
    pub fn tell(&mut self) {
        for (fault, ended) in self.news() {
            match fault {
                Fault::Ours => tracing::warn!(ended, "connections ended that the gateway could not go on serving"),
                Fault::Policy => tracing::info!(ended, "connections ended by an operator, a newer login or a limit"),
                Fault::Peer => tracing::debug!(ended, "connections ended by their clients, or for what they did"),
            }
        }
    }

    /// The reasons that have new ends, with their numbers, by whose doing it was.
    fn news(&mut self) -> Vec<(Fault, String)> {
        let mut now = [0; CLOSE_REASONS];
        for shard in &self.shards {
            for (sum, count) in now.iter_mut().zip(shard.read().closes) {
                *sum += count;
            }
        }
        let mut news: Vec<(Fault, String)> = Vec::new();
        for (reason, (told, now)) in CloseReason::ALL.iter().zip(self.told.iter_mut().zip(now)) {
            let count = now - std::mem::replace(told, now);
            if count == 0 {
                continue;
            }
            let at = news.iter().position(|(fault, _)| *fault == reason.fault()).unwrap_or_else(|| {
                news.push((reason.fault(), String::new()));
                news.len() - 1
            });
            let text = &mut news[at].1;
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{count} {}", reason.label());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::stats::Counts;

    /// Every end is told once, with the others of the same fault, over all shards.
    #[test]
    fn every_end_is_told_once() {
        let shards: Vec<Arc<ShardStats>> = (0..2).map(|_| Arc::default()).collect();
        let mut ends = Ends::new(shards.clone());
        assert_eq!(ends.news(), []);
        let mut counts = Counts::default();
        counts.closes[CloseReason::PeerClosed as usize] = 3;
        counts.closes[CloseReason::KeyReplaced as usize] = 2;
        shards[0].publish(&counts);
        counts.closes[CloseReason::BadFrame as usize] = 1;
        shards[1].publish(&counts);
        let expected =
            [(Fault::Peer, "6 peer_closed, 1 bad_frame".to_owned()), (Fault::Policy, "4 key_replaced".to_owned())];
        assert_eq!(ends.news(), expected);
        assert_eq!(ends.news(), []);
        counts.closes[CloseReason::IoFailed as usize] = 1;
        shards[1].publish(&counts);
        assert_eq!(ends.news(), [(Fault::Ours, "1 io_failed".to_owned())]);
    }
}
