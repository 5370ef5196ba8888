//! What the handle of the producer and its task both see. Owns how they speak to each other; waits for nothing. Next:
//! [`super::driver`].

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use super::counts::ProduceCounts;
use crate::bus::{Position, PublishError, Record};

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
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            closed: watch::Sender::new(false),
            counts: ProduceCounts::default(),
        })
    }

    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<Arc<str>>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
