//! What a connection is at. Owns what its socket and the library above tell each other: whether a header is under way,
//! whose turn each request is, what must be said and closed. It reads, writes and closes nothing: `stream` does. The
//! phase in which the connection holds its place ([`super::places`]) follows from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::{Held, Share};
use super::places::{Phase, Place};
use crate::panics::ours;

/// What is spoken on a socket, as far as this file must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// One request after the other.
    Http1,
    /// Requests at once; the library above keeps the time of each.
    Http2,
}

/// Where a connection is between its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before a request, none of which has come.
    Idle,
    /// A request's header, or the first words of HTTP/2, have begun.
    Head,
    /// The library above has what it needs. HTTP/2 stays here, with or without requests.
    Request,
}

/// Who must do something for a request to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// We.
    Ours,
    /// The peer, who has not sent all of the body.
    Body,
    /// The peer, who has not taken all of the answer; or he has asked what others are asked for us, in bounded time.
    Answer,
    /// Time must pass: the answer is held back, and nobody misses it.
    Denied,
}

/// How far one connection is with its exchange; written by its task, read by whoever needs its place.
#[derive(Debug)]
pub(super) struct Progress {
    speech: Speech,
    place: Place,
    share: Share,
    state: Mutex<State>,
    idle: Notify,
    ends: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) stage: Stage,
    /// When it became that.
    pub(super) since: Instant,
    pub(super) head_bytes: usize,
    /// What the header holds of the budget.
    pub(super) head_held: Option<Held>,
    /// The peer may still be sending what nobody will read.
    pub(super) unread: bool,
    /// Answer with this and close.
    pub(super) refusal: Option<&'static [u8]>,
    /// When an answer of known length was made, until the next request.
    pub(super) answer_made: Option<Instant>,
    /// Everything is said.
    lingers: bool,
    /// The peer takes nothing of what is written.
    stuck: bool,
    /// Requests under way, by [`Turn`].
    turns: [usize; 4],
    /// There was a request.
    has_asked: bool,
    /// There are to be no more.
    ending: bool,
    /// Requests since the connection last waited for the peer.
    at_once: usize,
    /// The last bytes that came.
    tail: [u8; 3],
    phase: Phase,
}

impl State {
    /// These bytes came.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(3)..] {
            self.tail = [self.tail[1], self.tail[2], *byte];
        }
    }

    fn ends_a_header(&self) -> bool {
        &self.tail == b"\n\r\n" || self.tail.ends_with(b"\n\n")
    }

    /// Whether requests are under way.
    pub(super) fn has_requests(&self) -> bool {
        self.turns.iter().any(|count| *count > 0)
    }

    fn now(&self) -> Phase {
        let at = |turn: Turn| self.turns[turn as usize] > 0;
        match self.stage {
            _ if self.lingers => Phase::Linger,
            _ if self.stuck => Phase::Answer,
            Stage::Idle | Stage::Request if !self.has_asked && !self.has_requests() => Phase::New,
            Stage::Idle => Phase::Idle,
            Stage::Head => Phase::Head,
            Stage::Request if at(Turn::Ours) => Phase::Work,
            Stage::Request if at(Turn::Body) => Phase::Body,
            Stage::Request if at(Turn::Answer) => Phase::Answer,
            Stage::Request => Phase::Idle,
        }
    }
}

impl Progress {
    /// A connection that has said nothing yet.
    pub(super) fn new(place: Place, share: Share, speech: Speech) -> Arc<Progress> {
        let (stage, phase) = match speech {
            Speech::Http1 => (Stage::Idle, Phase::New),
            Speech::Http2 => (Stage::Head, Phase::Head),
        };
        place.enter(phase);
        let state = State {
            stage,
            since: Instant::now(),
            head_bytes: 0,
            head_held: None,
            unread: false,
            refusal: None,
            answer_made: None,
            lingers: false,
            stuck: false,
            turns: [0; 4],
            has_asked: false,
            ending: false,
            at_once: 0,
            tail: *b"\n\r\n",
            phase,
        };
        Arc::new(Progress { speech, place, share, state: Mutex::new(state), idle: Notify::new(), ends: Notify::new() })
    }

    /// What is spoken.
    pub(super) fn speech(&self) -> Speech {
        self.speech
    }

    /// The connection's place.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What its address may hold.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }

    /// A header is whole: its request, and what the header holds of the budget, to be kept as long as that.
    pub(super) fn request_begun(self: &Arc<Self>) -> (Arc<Exchange>, Option<Held>) {
        let held = self.change(|state| {
            state.stage = Stage::Request;
            state.since = Instant::now();
            state.turns[Turn::Ours as usize] += 1;
            state.has_asked = true;
            state.at_once += 1;
            state.answer_made = None;
            state.head_bytes = 0;
            state.head_held.take()
        });
        let (progress, turn, has_body) = (Arc::clone(self), Mutex::new(Turn::Ours), AtomicBool::new(true));
        (Arc::new(Exchange { progress, turn, has_body }), held)
    }

    /// Resolves when a request was answered: the library above must look at the socket again, so that its clock is set.
    pub(super) async fn idle(&self) {
        self.idle.notified().await;
    }

    /// All that has come is read: the connection waits for the peer.
    pub(super) fn waits_for_peer(&self) {
        self.state().at_once = 0;
    }

    /// Whether the peer has sent this request behind another one, without waiting for us: others have their turn first.
    pub(super) fn is_behind_another(&self) -> bool {
        self.state().at_once > 1
    }

    /// Whether this is to be the connection's last answer.
    pub(super) fn is_ending(&self) -> bool {
        self.state().ending
    }

    /// Resolves when the connection is to end.
    pub(super) async fn ends(&self) {
        self.ends.notified().await;
    }

    /// Whether a request's body was left unread.
    pub(super) fn is_unread(&self) -> bool {
        self.state().unread
    }

    /// Answer a header that is under way with these bytes, and close; false when none is.
    pub(super) fn refuse(&self, answer: &'static [u8]) -> bool {
        let mut state = self.state();
        if state.stage == Stage::Head {
            state.refusal = Some(answer);
        }
        state.stage == Stage::Head
    }

    /// What a refused header is answered. What it holds is held on: the library above keeps its bytes to the end.
    pub(super) fn take_refusal(&self) -> Option<&'static [u8]> {
        self.state().refusal.take()
    }

    /// The connection is at this now.
    pub(super) fn enter(&self, stage: Stage) {
        self.change(|state| {
            state.stage = stage;
            state.since = Instant::now();
        });
    }

    /// Whether the peer takes what is written.
    pub(super) fn stuck(&self, stuck: bool) {
        self.change(|state| state.stuck = stuck);
    }

    /// Everything is said.
    pub(super) fn linger(&self) {
        self.change(|state| state.lingers = true);
    }

    /// Look or change within one phase.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        ours(|| {
            let mut state = self.state();
            let result = change(&mut state);
            let phase = state.now();
            if std::mem::replace(&mut state.phase, phase) != phase {
                self.place.enter(phase);
            }
            result
        })
    }
}

/// A request and its answer, until nobody needs this any more.
#[derive(Debug)]
pub(super) struct Exchange {
    progress: Arc<Progress>,
    turn: Mutex<Turn>,
    has_body: AtomicBool,
}

impl Exchange {
    /// As [`Exchange::turn`], by the request's body: of no interest once somebody else has said whose turn it is.
    pub(super) fn body_turn(&self, turn: Turn) {
        let now = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(now, Turn::Ours | Turn::Body) {
            self.turn(turn);
        }
    }

    /// It is somebody else's turn.
    pub(super) fn turn(&self, turn: Turn) {
        let mut own = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *own, turn);
        if before != turn {
            self.progress.change(|state| {
                state.turns[before as usize] -= 1;
                state.turns[turn as usize] += 1;
            });
        }
    }

    /// There is an answer; of known length or not. The library above keeps the time of those of HTTP/2.
    pub(super) fn answered(&self, length_known: bool) {
        self.turn(Turn::Answer);
        if self.progress.speech == Speech::Http1 && length_known {
            self.progress.state().answer_made = Some(Instant::now());
        }
    }

    /// The request is its header.
    pub(super) fn has_no_body(&self) {
        self.has_body.store(false, Ordering::Relaxed);
    }

    /// The connection ends with its answer.
    pub(super) fn end_connection(&self) {
        self.progress.state().ending = true;
        self.progress.ends.notify_one();
    }

    /// Not all of the body was read.
    pub(super) fn leave_unread(&self) {
        self.progress.state().unread = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let turn = *self.turn.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.progress.change(|state| {
            state.turns[turn as usize] -= 1;
            if self.progress.speech == Speech::Http1 {
                // Behind a request without body the end of what came tells whether the next header has begun, or is
                // whole.
                let begun = !self.has_body.load(Ordering::Relaxed) && !state.ends_a_header();
                state.stage = if begun { Stage::Head } else { Stage::Idle };
                state.since = Instant::now();
            }
        });
        self.progress.idle.notify_one();
    }
}
