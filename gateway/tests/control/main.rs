//! The control thread between real rings: the loop against fake shards, the admin routes against a fake feed as well.

mod admin;
mod drain;
mod node;
mod support;
