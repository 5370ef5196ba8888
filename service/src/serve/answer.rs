//! The body of an answer on its way out. Owns cutting it into pieces, so that the libraries below hold little of it for
//! a peer that does not read. When its last piece is written, it gives back what request and answer held of the budget.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::budget::Held;
use super::progress::{Exchange, Turn};
use crate::panics::ours;

/// Bytes of one piece.
const PIECE_BYTES: usize = 16 * 1024;

/// Put into an answer's extensions: what its body holds of the budget, until the body is out.
#[derive(Clone, Debug)]
pub struct HeldByAnswer(#[expect(dead_code, reason = "given back with the answer")] Arc<Held>);

impl From<Held> for HeldByAnswer {
    fn from(held: Held) -> HeldByAnswer {
        HeldByAnswer(Arc::new(held))
    }
}

/// A body under way to the peer, which counts against the budget until it is written.
pub(super) struct Answer {
    body: Body,
    /// What a frame of `body` has left.
    rest: Bytes,
    exchange: Option<Arc<Exchange>>,
    held: Arc<HeldByExchange>,
}

/// What request and answer hold of the budget.
#[derive(Debug)]
pub(super) struct HeldByExchange(pub(super) Option<Held>, pub(super) Option<HeldByAnswer>);

/// A piece that the library below has not written yet holds what all of the answer does: the pieces share its memory.
struct Piece(Bytes, #[expect(dead_code, reason = "given back with the bytes")] Arc<HeldByExchange>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Answer {
    /// To the request of `exchange`, which ends with it.
    pub(super) fn new(body: Body, held: HeldByExchange, exchange: Option<Arc<Exchange>>) -> Answer {
        if let Some(exchange) = &exchange {
            exchange.answered(body.size_hint().exact().is_some());
        }
        Answer { body, rest: Bytes::new(), exchange, held: Arc::new(held) }
    }

    fn turn(&self, turn: Turn) {
        if let Some(exchange) = &self.exchange {
            exchange.turn(turn);
        }
    }

    fn piece(&mut self) -> Bytes {
        let bytes = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(bytes);
        match *self.held {
            HeldByExchange(None, None) => piece,
            HeldByExchange(..) => Bytes::from_owner(Piece(piece, Arc::clone(&self.held))),
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let polled = ours(|| Pin::new(&mut self.body).poll_frame(cx));
            // Whoever reads faster than there is something to read waits for us.
            self.turn(if polled.is_pending() { Turn::Ours } else { Turn::Answer });
            match std::task::ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::address::AddressBlock;
    use crate::serve::budget::Budget;

    /// Nothing is lost by the cuts, the length stays known, and what is held is held until the last piece is written.
    #[tokio::test]
    async fn an_answer_comes_whole_in_pieces() {
        let budget = Budget::new(1 << 20);
        let held = budget.share(AddressBlock::Local).try_hold(50_000).map(HeldByAnswer::from);
        let text: Bytes = (0..50_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut answer = Answer::new(Body::from(text.clone()), HeldByExchange(None, held), None);
        let (mut came, mut last) = (Vec::new(), Bytes::new());
        while let Some(frame) = answer.frame().await {
            let piece = frame.expect("in memory").into_data().expect("data");
            assert!((1..=PIECE_BYTES).contains(&piece.len()));
            came.extend_from_slice(&piece);
            assert_eq!(answer.size_hint().exact(), Some((text.len() - came.len()) as u64));
            assert!(budget.held_bytes() > 0);
            last = piece;
        }
        assert!(came == text && answer.is_end_stream());
        drop(answer);
        assert!(budget.held_bytes() > 0, "a piece is not written yet");
        drop(last);
        assert_eq!(budget.held_bytes(), 0);
    }
}
