//! A reader's questions on their way to brokers and back: the model of the log's driver and of the brokers' waiting.
//! Owns what is under way, and that the seam's promises are kept: each question is answered, one of a kind at a time.
//! What is late is handed in all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use halley_dispatcher::bus::log::{
    Answer, Ask, AskId, Edge, EdgeOf, ReadFrom, Refusal, Slice, Source, TopicId, Trouble,
};

use crate::cluster::number;
use crate::network::Fate;
use crate::world::{Event, World};

/// Longest time until whoever asks is told that nobody answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A question under way.
pub struct Asked {
    pub gateway: usize,
    pub life: u32,
    id: AskId,
    pub ask: Ask,
    fate: Fate,
    pub source: Source,
    /// It was answered; what comes now is late.
    is_over: bool,
    /// It waits at its broker for something to read.
    is_parked: bool,
}

/// What a broker answers to a read, by partition.
type Slices = Vec<(i32, Result<Slice, Refusal>)>;

/// What a driver may be asked at one time, checked for each gateway.
#[derive(Default)]
pub struct Line {
    topology: BTreeSet<usize>,
    reads: BTreeMap<Source, usize>,
    edges: BTreeMap<Source, usize>,
    /// Nothing may be read from a source before.
    pub muted: BTreeMap<Source, Duration>,
    /// Earlier answers, for who takes them against the rule.
    pub kept: BTreeMap<Source, Slices>,
    /// Answers that brought nothing, by the second.
    vain: BTreeMap<u64, usize>,
}

/// Answers that bring nothing which a reader may cause in one second: what waits half a second at each of three
/// brokers, and what backs off.
const VAIN_MAX: usize = 60;

impl World {
    /// A reader asks.
    pub fn ask(&mut self, gateway: usize, id: AskId, mut ask: Ask) {
        self.twist_ask(&mut ask);
        let question = self.asks.len();
        let line = &mut self.gateways[gateway].line;
        let source = match &ask {
            Ask::Topology => {
                line.topology.insert(question);
                assert_eq!(line.topology.len(), 1, "one question about the topology at a time");
                number(self.chance.below(self.cluster.brokers.len()))
            }
            Ask::Edges { source, .. } => {
                assert_eq!(line.edges.insert(*source, question), None, "one question about edges at a time");
                *source
            }
            Ask::Read { source, .. } => {
                assert_eq!(line.reads.insert(*source, question), None, "one read at a time");
                let muted = line.muted.get(source).copied().unwrap_or_default();
                assert!(self.queue.now >= muted, "source {source} wants not to be asked until {muted:?}");
                *source
            }
        };
        let fate = self.fate(source);
        let life = self.gateways[gateway].life;
        self.note(|| format!("gateway {gateway} asks {source} {id:?}: {ask:?}: {fate:?}"));
        self.asks.push(Asked { gateway, life, id, ask, fate, source, is_over: false, is_parked: false });
        if let Some(after) = fate.arrives {
            self.queue.after(after, Event::AskArrives(question));
        }
        if let Some(after) = fate.gives_up {
            self.queue.after(after.min(ANSWER_WITHIN), Event::AskFails { question, is_late: false });
        }
        self.queue.after(ANSWER_WITHIN, Event::AskFails { question, is_late: true });
    }

    /// A question reaches its broker.
    pub fn ask_arrives(&mut self, question: usize) {
        let asked = &self.asks[question];
        let (source, wait) = match asked.ask {
            Ask::Read { wait, .. } => (asked.source, wait),
            _ => (asked.source, Duration::ZERO),
        };
        if !self.cluster.broker(source).is_up || asked.fate.answer.is_none() {
            return;
        }
        if !wait.is_zero() && self.is_empty(question) {
            self.asks[question].is_parked = true;
            self.parked.push(question);
            self.queue.after(wait, Event::AskWaited(question));
            return;
        }
        self.answer_ask(question);
    }

    /// The broker waits no longer.
    pub fn ask_waited(&mut self, question: usize) {
        if std::mem::take(&mut self.asks[question].is_parked) {
            self.parked.retain(|parked| *parked != question);
            if self.cluster.broker(self.asks[question].source).is_up {
                self.answer_ask(question);
            }
        }
    }

    /// Something can be read at these brokers that could not be before.
    pub fn look_at_parked(&mut self) {
        let readable = std::mem::take(&mut self.cluster.readable);
        let parked: Vec<usize> = self.parked.clone();
        for question in parked {
            let source = self.asks[question].source;
            if readable.contains(&source) && self.cluster.broker(source).is_up && !self.is_empty(question) {
                self.ask_waited(question);
            }
        }
    }

    fn is_empty(&mut self, question: usize) -> bool {
        let Ask::Read { source, topic, from, .. } = self.asks[question].ask.clone() else { return false };
        from.iter().all(|from| self.cluster.is_at_end(source, topic, *from))
    }

    fn answer_ask(&mut self, question: usize) {
        let answer = match self.asks[question].ask.clone() {
            Ask::Topology => match self.cluster.topology(self.asks[question].source) {
                Some(topology) => Answer::Topology(topology),
                None => Answer::Failed(Trouble::NoTopic("there is no such topic".into())),
            },
            Ask::Edges { source, edge, partitions } => Answer::Edges(self.edges(source, edge, &partitions)),
            Ask::Read { source, topic, from, bytes_max, .. } => {
                let throttle = if self.chance.in_1000(5) { self.chance.time(1_000, 900_000) } else { Duration::ZERO };
                Answer::Read { throttle, slices: self.slices(source, topic, &from, bytes_max) }
            }
        };
        if let Some(after) = self.asks[question].fate.answer {
            self.queue.after(after, Event::Answered { question, answer: Box::new(answer) });
        }
    }

    fn edges(
        &mut self,
        source: Source,
        edge: Edge,
        of: &[EdgeOf],
    ) -> Vec<(i32, Result<halley_dispatcher::bus::log::Place, Refusal>)> {
        of.iter().map(|of| (of.partition, self.cluster.edge(source, edge, *of))).collect()
    }

    fn slices(&mut self, source: Source, topic: TopicId, from: &[ReadFrom], bytes_max: u32) -> Slices {
        let mut room = usize::try_from(bytes_max).expect("64 bits");
        let mut is_first = true;
        let mut slices = Vec::new();
        for from in from {
            let limit = room.min(usize::try_from(from.bytes_max).expect("64 bits"));
            let slice = self.cluster.read(source, topic, *from, limit, is_first);
            if let Ok(slice) = &slice {
                is_first &= slice.batches.is_empty();
                room = room.saturating_sub(slice.batches.len());
            }
            slices.push((from.partition, slice));
        }
        slices
    }

    /// An answer reaches the reader.
    pub fn answered(&mut self, question: usize, answer: Answer) {
        let asked = &mut self.asks[question];
        let (gateway, life, id, source) = (asked.gateway, asked.life, asked.id, asked.source);
        let is_late = std::mem::replace(&mut asked.is_over, true);
        if self.gateways[gateway].life != life || !self.gateways[gateway].is_up {
            return;
        }
        let now = self.queue.now;
        if !is_late {
            let line = &mut self.gateways[gateway].line;
            match &asked.ask {
                Ask::Topology => drop(line.topology.remove(&question)),
                Ask::Edges { .. } => drop(line.edges.remove(&source)),
                Ask::Read { .. } => drop(line.reads.remove(&source)),
            }
            if let Answer::Read { throttle, .. } = &answer {
                line.muted.insert(source, now + *throttle);
            }
            if is_vain(&answer) {
                let vain = line.vain.entry(now.as_secs()).or_default();
                *vain += 1;
                assert!(*vain < VAIN_MAX, "gateway {gateway} asks {vain} times in vain within a second");
            }
        }
        self.note(|| {
            format!(
                "gateway {gateway} hears {id:?} of {source}{}: {}",
                if is_late { " late" } else { "" },
                brief(&answer)
            )
        });
        let answer = self.twisted(question, answer);
        self.hand_in(gateway, id, answer);
    }

    /// The driver gives up.
    pub fn ask_fails(&mut self, question: usize, is_late: bool) {
        if self.asks[question].is_over {
            return;
        }
        let trouble = match is_late {
            true => Trouble::TimedOut("nobody answered in time".into()),
            false => Trouble::Unreachable("the connection broke".into()),
        };
        self.answered(question, Answer::Failed(trouble));
    }
}

fn is_vain(answer: &Answer) -> bool {
    match answer {
        Answer::Read { slices, .. } => {
            !slices.iter().any(|(_, slice)| slice.as_ref().is_ok_and(|it| !it.batches.is_empty()))
        }
        _ => true,
    }
}

fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Read { throttle, slices } => {
            let brief = |slice: &Result<Slice, Refusal>| match slice {
                Ok(slice) => format!("{} bytes, {}..{}", slice.batches.len(), slice.log_start, slice.high_watermark),
                Err(refusal) => format!("{refusal:?}"),
            };
            let slices: Vec<_> =
                slices.iter().map(|(partition, slice)| format!("{partition}: {}", brief(slice))).collect();
            format!("{throttle:?} {slices:?}")
        }
        other => format!("{other:?}"),
    }
}
