//! Tables that grow without standing still. Owns the kinds that shards, connections and feed share: numbered things in
//! segments that never move ([`slab`]), an index of them in parts that grow one by one ([`index`]), and what waits in
//! order ([`queue`]). Knows nothing of what is in them, and uses no other part of the gateway.

pub mod index;
pub mod queue;
pub mod slab;
