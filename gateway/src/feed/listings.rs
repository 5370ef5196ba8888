//! Lists of all rooms for those who ask for them. Owns who waits and the list under way; a list is made a piece a turn,
//! so that pushes go on beside it. Asked by `requests`; the rooms are the directory's.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::directory::Rooms;
use super::intake::RoomList;

/// Rooms looked at in one turn for those who ask for all.
const ROOMS_PER_TURN: u32 = 4096;
/// Who may wait for lists of all rooms; who asks beyond it waits in turn, and everybody behind.
const LISTENERS_MAX: usize = 4096;

/// Lists of all rooms: one under way, made over several turns, for all who asked before it began, and those who asked
/// since. These get the next one, which has every room that was there when they asked.
#[derive(Debug, Default)]
pub(super) struct Listings {
    next: u32,
    found: Vec<(String, u32)>,
    served: Vec<oneshot::Sender<RoomList>>,
    waiting: Vec<oneshot::Sender<RoomList>>,
}

impl Listings {
    /// How many wait, for the list under way or the next.
    pub(super) fn len(&self) -> usize {
        self.served.len() + self.waiting.len()
    }

    /// One more who waits; handed back when there are too many.
    pub(super) fn add(&mut self, reply: oneshot::Sender<RoomList>) -> Result<(), oneshot::Sender<RoomList>> {
        if self.len() >= LISTENERS_MAX {
            return Err(reply);
        }
        self.waiting.push(reply);
        Ok(())
    }

    /// Look at the next rooms, and answer those who are served when there are no further ones.
    pub(super) fn go_on(&mut self, rooms: &Rooms) {
        self.served.retain(|reply| !reply.is_closed());
        if self.served.is_empty() {
            (self.next, self.found) = (0, Vec::new());
            std::mem::swap(&mut self.served, &mut self.waiting);
        }
        if self.served.is_empty() {
            return;
        }
        match rooms.list(self.next, ROOMS_PER_TURN, &mut self.found) {
            Some(next) => self.next = next,
            None => {
                let list: RoomList = Arc::new(std::mem::take(&mut self.found));
                // Whoever asked may have stopped waiting.
                self.served.drain(..).for_each(|reply| drop(reply.send(Arc::clone(&list))));
            }
        }
    }
}
