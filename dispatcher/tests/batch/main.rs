//! Record batches seen from outside: golden bytes, what another encoder writes, damage of every kind, and round trips.
//! One binary, so that it is linked once.

mod codecs;
mod damage;
mod format;
mod support;
