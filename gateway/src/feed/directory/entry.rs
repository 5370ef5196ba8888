//! A login as others are told of it, and how they say which one they mean. Owns these two shapes alone; where the directory
//! keeps what is in them is `logins`' business.

use std::net::SocketAddr;

use crate::mesh::msg::ConnRef;

/// One login as the directory knows it.
#[derive(Clone, Debug)]
pub struct DirectoryEntry {
    /// Shard index.
    pub shard: u16,
    /// The connection in that shard.
    pub conn: ConnRef,
    /// Connection key.
    pub key: String,
    /// Member id.
    pub mid: i64,
    /// Peer address.
    pub peer: Option<SocketAddr>,
}

/// Which logins are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Select {
    /// By connection key.
    Key(String),
    /// By member id.
    Mid(i64),
}
