//! Tables that grow without standing still. Owns the two kinds that shards, connections and feed share: numbered things in
//! segments that never move ([`slab`]), and an index of them in parts that grow one by one ([`index`]). Knows
//! nothing of what is in them, and uses no other part of the gateway.

pub mod index;
pub mod slab;
