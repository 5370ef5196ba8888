//! What the handle of the producer and its task both see. Owns how they speak to each other; waits for nothing. Next:
//! [`super::driver`].

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::counts::ProduceCounts;
use crate::bus::{Position, PublishError, Record};

/// How long the last word of records that do not get on counts, when nothing is tried any more.
const STUCK_FOR: Duration = Duration::from_secs(10);

/// One push on its way to the task.
pub(super) struct Submission {
    pub(super) records: Vec<Record>,
    pub(super) answer: oneshot::Sender<Result<Vec<Position>, PublishError>>,
}

/// What the handle and the task both see.
#[derive(Debug)]
pub(super) struct Shared {
    /// Of the topic, 0 while nobody has said.
    pub(super) partitions: AtomicUsize,
    /// Why nobody has said.
    pub(super) trouble: Mutex<Option<Arc<str>>>,
    /// What kept records waiting for long, and when that was so last.
    pub(super) stuck: Mutex<Option<(Arc<str>, Instant)>>,
    pub(super) records: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    pub(super) closed: watch::Sender<bool>,
    pub(super) counts: ProduceCounts,
}

impl Shared {
    pub(super) fn new() -> Arc<Shared> {
        Arc::new(Shared {
            partitions: AtomicUsize::new(0),
            trouble: Mutex::new(None),
            stuck: Mutex::new(None),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            closed: watch::Sender::new(false),
            counts: ProduceCounts::default(),
        })
    }

    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What keeps records waiting, or did within [`STUCK_FOR`]: whoever turned away for it comes back to look.
    pub(super) fn stuck(&self) -> Option<Arc<str>> {
        let known = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(_, at)| at.elapsed() < STUCK_FOR).map(|(why, _)| Arc::clone(why))
    }

    pub(super) fn set_stuck(&self, why: Option<Arc<str>>) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = why.map(|why| (why, Instant::now()));
    }

    pub(super) fn set_trouble(&self, trouble: Option<Arc<str>>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
