//! Answers made of a list of rooms, kept for who asks the same of the same list. There is one copy, however many
//! readers there are and however slowly they read. Owns that copy, and what it holds of the budget, which is charged to
//! whoever asked first. Knows no route.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use halley_service::serve::answer::HeldByAnswer;
use halley_service::serve::budget::Share;

use super::answers::ready;
use crate::registry::Rooms;

/// Answers that are kept: different questions that many ask at the same time.
const KEPT_MAX: usize = 8;
/// Answers up to this length take nothing from the budget, in bytes.
const FREE_BYTES: usize = 16 * 1024;

/// The kept answers, [`KEPT_MAX`] at most, the oldest first.
#[derive(Default)]
pub(super) struct Renderings(Mutex<Vec<Rendering>>);

struct Rendering {
    rooms: Rooms,
    question: String,
    text: Bytes,
    held: Option<HeldByAnswer>,
}

/// There is no room for an answer of this size now.
pub(super) struct NoRoom;

impl Renderings {
    /// The answer to `question`, made of `rooms` by `render` if it is not at hand.
    pub(super) fn answer(
        &self,
        rooms: &Rooms,
        question: String,
        content_type: &'static str,
        share: &Share,
        render: impl FnOnce(&[(String, u32)]) -> Vec<u8>,
    ) -> Result<Response, NoRoom> {
        let (text, held) = self.find(rooms, &question).map_or_else(
            || {
                // What they hold may be what is missing.
                self.forget_others(rooms);
                let text = Bytes::from(render(rooms));
                let held = if text.len() <= FREE_BYTES {
                    None
                } else {
                    Some(share.for_strangers().try_hold(text.len()).ok_or(NoRoom)?.into())
                };
                self.keep(Rendering { rooms: Arc::clone(rooms), question, text: text.clone(), held: held.clone() });
                Ok((text, held))
            },
            Ok,
        )?;
        let mut response = ready(StatusCode::OK, content_type, text);
        if let Some(held) = held {
            response.extensions_mut().insert::<HeldByAnswer>(held);
        }
        Ok(response)
    }

    fn find(&self, rooms: &Rooms, question: &str) -> Option<(Bytes, Option<HeldByAnswer>)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|kept| Arc::ptr_eq(&kept.rooms, rooms) && kept.question == question)?;
        Some((found.text.clone(), found.held.clone()))
    }

    /// Answers made of older lists go, as nobody will ask for them again.
    fn forget_others(&self, rooms: &Rooms) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| Arc::ptr_eq(&kept.rooms, rooms));
    }

    fn keep(&self, rendering: Rendering) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(rendering);
    }
}

#[cfg(test)]
mod tests {
    use halley_service::address::AddressBlock;
    use halley_service::serve::budget::Budget;

    use super::*;

    fn rooms() -> Rooms {
        Rooms::from([("live://1".to_owned(), 1)])
    }

    /// A thousand readers of one list share one copy; the next list has its own, and nothing is held when all are gone.
    #[test]
    fn readers_of_one_list_share_one_copy() {
        let (budget, renderings) = (Budget::new(2 << 20), Renderings::default());
        let share = budget.share(AddressBlock::Local);
        let mut made = 0;
        let mut ask = |rooms: &Rooms, question: &str| {
            let render = |_: &[(String, u32)]| {
                made += 1;
                vec![b'x'; 100_000]
            };
            renderings.answer(rooms, question.to_owned(), "text/plain", &share, render).ok().expect("room")
        };
        let first = rooms();
        let answers: Vec<Response> = (0..1000).map(|_| ask(&first, "top")).collect();
        let one = budget.held_bytes();
        assert!((100_000..110_000).contains(&one), "{one}");
        let other = ask(&first, "bottom");
        assert_eq!(budget.held_bytes(), 2 * one);
        let second = rooms();
        let newer = ask(&second, "top");
        assert_eq!(budget.held_bytes(), 3 * one, "the readers of the first list are not done");
        drop((answers, other));
        assert_eq!((budget.held_bytes(), made), (one, 3));
        drop(newer);
    }

    #[test]
    fn a_large_answer_without_room_is_refused_and_a_small_one_is_not() {
        let budget = Budget::new(128 * 1024);
        let share = budget.share(AddressBlock::Local);
        let all = share.try_hold(64 * 1024);
        let renderings = Renderings::default();
        let ask = |bytes: usize| {
            renderings.answer(&rooms(), String::new(), "text/plain", &share, |_| vec![b'x'; bytes]).is_ok()
        };
        assert!(all.is_some() && ask(FREE_BYTES) && !ask(FREE_BYTES + 1));
        drop(all);
        assert!(ask(FREE_BYTES + 1));
    }

    /// What is kept of a list that is no more is not in the way of an answer to the next.
    #[test]
    fn older_answers_make_room_for_newer_ones() {
        let budget = Budget::new(200 * 1024);
        let share = budget.share(AddressBlock::Local);
        let renderings = Renderings::default();
        for _ in 0..3 {
            let answer = renderings.answer(&rooms(), String::new(), "text/plain", &share, |_| vec![b'x'; 80_000]);
            assert!(answer.is_ok());
        }
    }
}
