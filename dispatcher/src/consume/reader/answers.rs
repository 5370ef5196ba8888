//! Where answers come in. Owns which question an answer belongs to and what a failed one means for its source; what it
//! says is `topology`'s, `edges`' and `slices`' business.

use std::time::Duration;

use crate::bus::log::{Answer, AskId, Source, Trouble};

use super::asks::UnderWay;
use super::counts::FETCH_BOUNDS;
use super::slices::Seen;
use super::state::Reader;

/// A source that wants not to be asked for longer is asked all the same.
const THROTTLE_MAX: Duration = Duration::from_secs(60);
/// Answers in a row that come early and bring nothing, after which a source is asked less often.
const EMPTY_MAX: u32 = 3;

impl Reader {
    /// A question is answered. One that nobody asked, or that was answered before, means nothing.
    pub fn answer(&mut self, now: Duration, id: AskId, answer: Answer) {
        self.look(now);
        let Some(asked) = self.asks.end(id) else {
            self.counts.late += 1;
            return;
        };
        match (asked, answer) {
            (UnderWay::Topology { number }, Answer::Topology(topology)) => self.heard_topology(now, number, topology),
            (UnderWay::Topology { .. }, answer) => self.topology_failed(now, trouble(answer)),
            (UnderWay::Edges { source, edge, asked }, Answer::Edges(answers)) => {
                self.source_answered(source, |state| state.asking_edges = false);
                self.heard_edges(now, edge, asked, answers);
            }
            (UnderWay::Edges { source, .. }, answer) => {
                self.source_answered(source, |state| state.asking_edges = false);
                self.source_failed(source, now, trouble(answer));
            }
            (UnderWay::Read { source, at, wait, granted, asked }, Answer::Read { throttle, slices }) => {
                self.source_answered(source, |state| state.reading = false);
                self.memory.give_back(granted);
                let took = now.saturating_sub(at);
                // A source answers within `wait`. If it took longer, this process may have stood still meanwhile, and
                // the answer be as old as the question.
                let seen = Seen { at: if took > wait { at } else { now }, is_fresh: at >= self.stood_until };
                let bytes_before = self.counts.bytes;
                let progress = self.heard_read(now, seen, asked, slices);
                if self.counts.bytes > bytes_before {
                    self.counts.fetch.record(&FETCH_BOUNDS, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                }
                self.pace(source, now, throttle, !progress && took < wait / 2);
            }
            (UnderWay::Read { source, granted, .. }, answer) => {
                self.source_answered(source, |state| state.reading = false);
                self.memory.give_back(granted);
                self.source_failed(source, now, trouble(answer));
            }
        }
    }

    fn source_answered(&mut self, source: Source, ended: impl FnOnce(&mut super::asks::SourceState)) {
        if let Some(state) = self.sources.get_mut(&source) {
            ended(state);
        }
    }

    /// When a source that answered may be read again.
    fn pace(&mut self, source: Source, now: Duration, throttle: Duration, was_in_vain: bool) {
        let Some(state) = self.sources.get_mut(&source) else { return };
        state.trouble = None;
        state.empty = if was_in_vain { state.empty.saturating_add(1) } else { 0 };
        let wait = match state.empty > EMPTY_MAX {
            true => state.backoff.next(self.settings.pauses(), &mut self.rng),
            false => {
                state.backoff.reset();
                Duration::ZERO
            }
        };
        state.read_not_before = state.read_not_before.max(now + wait.max(throttle.min(THROTTLE_MAX)));
    }

    /// A source could not be asked: it is left alone for a while, and the topic may know another leader.
    fn source_failed(&mut self, source: Source, now: Duration, trouble: Trouble) {
        self.counts.failed += 1;
        if let Some(state) = self.sources.get_mut(&source) {
            let wait = match trouble {
                Trouble::Denied(_) => state.backoff.next(self.settings.slow_pauses(), &mut self.rng),
                _ => state.backoff.next(self.settings.pauses(), &mut self.rng),
            };
            state.not_before = now + wait;
            state.trouble = Some(trouble);
        }
        self.want_topology();
    }
}

/// Why an answer is none.
fn trouble(answer: Answer) -> Trouble {
    match answer {
        Answer::Failed(trouble) => trouble,
        _ => Trouble::Refused("a question was answered with something else".into()),
    }
}
