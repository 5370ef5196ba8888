//! Record batches seen from outside: golden bytes, what another encoder writes, damage of every kind, round trips, and
//! the fuzz oracles, those of the Kafka client too, over everything that is stored. One binary, so that it is linked
//! once.

mod codecs;
#[path = "../../../protocol/tests/protocol/corpus.rs"]
mod corpus;
mod damage;
mod format;
mod oracles;
mod support;
