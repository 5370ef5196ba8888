//! The body of an answer on its way out. Owns cutting it into pieces, so that a peer that does not read makes the libraries below
//! hold little of it, and giving back what request and answer held of the budget when its last piece is out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::budget::Held;
use super::stream::Progress;

/// Bytes of one piece.
const PIECE_BYTES: usize = 16 * 1024;

/// Put into an answer's extensions: what its body holds of the budget, until the body is out.
#[derive(Clone, Debug)]
pub struct HeldByAnswer(pub Arc<Held>);

/// See the module.
pub struct Answer {
    body: Body,
    /// What a frame of `body` has left.
    rest: Bytes,
    ends: Option<Arc<Progress>>,
    /// Given back with this.
    _held: (Option<Held>, Option<HeldByAnswer>),
}

impl Answer {
    /// `ends` is told when the answer is out, or nobody wants it any more.
    pub fn new(body: Body, held: (Option<Held>, Option<HeldByAnswer>), ends: Option<Arc<Progress>>) -> Answer {
        Answer { body, rest: Bytes::new(), ends, _held: held }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let bytes = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(bytes)))))
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

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(progress) = &self.ends {
            progress.answered();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::address::AddressBlock;
    use crate::serve::budget::Budget;

    /// Nothing is lost by the cuts, the length stays known, and what is held is held until the last piece is taken.
    #[tokio::test]
    async fn an_answer_comes_whole_in_pieces() {
        let budget = Budget::new(1 << 20);
        let held = budget.share(AddressBlock::Local).try_hold(50_000).map(|held| HeldByAnswer(Arc::new(held)));
        let text: Bytes = (0..50_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut answer = Answer::new(Body::from(text.clone()), (None, held), None);
        let mut came = Vec::new();
        while let Some(frame) = answer.frame().await {
            let piece = frame.expect("in memory").into_data().expect("data");
            assert!((1..=PIECE_BYTES).contains(&piece.len()));
            came.extend_from_slice(&piece);
            assert_eq!(answer.size_hint().exact(), Some((text.len() - came.len()) as u64));
            assert!(budget.held_bytes() > 0);
        }
        assert!(came == text && answer.is_end_stream());
        drop(answer);
        assert_eq!(budget.held_bytes(), 0);
    }
}
