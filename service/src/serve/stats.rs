//! What the listeners of a process count. Owns the counters of each listener and their sum over listeners of one kind;
//! who shows them gives them names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::places::{Phase, Places};
use super::requests::Requests;
use crate::counters::Counter;

/// How often it is said that a listener has reached its bound, at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// One kind of listeners, such as those for HTTP; they count together.
#[derive(Debug)]
pub struct ListenerStats {
    name: &'static str,
    connections: Counter,
    accept_errors: Counter,
    places: Mutex<Vec<Places>>,
    told: Mutex<Option<Instant>>,
    requests: Requests,
}

impl ListenerStats {
    /// Listeners of this name, for logs and metrics.
    pub fn new(name: &'static str) -> Arc<ListenerStats> {
        ListenerStats::with_routes(name, Vec::new())
    }

    /// As [`ListenerStats::new`], telling requests for these paths apart.
    pub fn with_routes(name: &'static str, paths: Vec<&'static str>) -> Arc<ListenerStats> {
        Arc::new(ListenerStats {
            name,
            connections: Counter::default(),
            accept_errors: Counter::default(),
            places: Mutex::default(),
            told: Mutex::default(),
            requests: Requests::new(paths),
        })
    }

    /// What these listeners are called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Connections now.
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// Accepts that failed and were tried again.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.get()
    }

    /// Connections that left in this phase, to make room.
    pub fn evicted(&self, phase: Phase) -> u64 {
        self.places().iter().map(|places| places.evicted(phase)).sum()
    }

    /// Connections that found no place: for their address's bound, and for the listener's.
    pub fn turned_away(&self) -> (u64, u64) {
        self.places().iter().map(Places::turned_away).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    /// What requests over HTTP came to.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(super) fn watch(&self, places: &Places) {
        self.places().push(places.clone());
    }

    pub(super) fn accept_failed(&self) {
        self.accept_errors.add(1);
    }

    /// One more connection, until the value is dropped.
    pub(super) fn count(self: &Arc<ListenerStats>) -> Counted {
        self.connections.add(1);
        Counted(Arc::clone(self))
    }

    /// Whether something may be said now that must not be said often.
    pub(super) fn may_tell(&self) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told.is_none_or(|at| now.duration_since(at) >= TELL_EVERY);
        if may {
            *told = Some(now);
        }
        may
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<Places>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<ListenerStats>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.take_back(1);
    }
}
