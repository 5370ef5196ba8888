//! A whole shard on the fake kernel, with its clients, directory and control: every decision of a run is read from the
//! tape. The model is that of the seeded runs, and so are its promises.

use crate::choices::Tape;
use crate::world::World;

/// What the world is like, then acts, each with what it needs and with how much of what is on its way moves before the
/// next.
pub fn shard(data: &[u8]) {
    World::new(Tape::new(data)).run();
}
