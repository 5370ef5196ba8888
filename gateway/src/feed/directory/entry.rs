//! A login as others are told of it, and how they say which one they mean. Owns these two shapes alone; where the
//! directory keeps what is in them is `logins`' business.

use std::net::SocketAddr;

use crate::mesh::msg::ConnRef;

/// One login as the directory knows it.
#[derive(Clone, Debug)]
pub struct DirectoryEntry {
    /// Index of the shard that holds the connection.
    pub shard: u16,
    /// The connection in that shard.
    pub conn: ConnRef,
    /// Connection key, as pushes to keys name it.
    pub key: String,
    /// Member id, as pushes to users name it; 0 and below is nobody's.
    pub mid: i64,
    /// Address of the peer; `None` when the listener does not speak IP.
    pub peer: Option<SocketAddr>,
}

/// Which logins are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Select {
    /// By connection key.
    Key(String),
    /// By member id, above 0.
    Mid(i64),
}
