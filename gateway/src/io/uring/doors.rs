//! The listening sockets of a ring and the one accept that may be armed on each. Owns what is armed; `completions`
//! notes when it has ended, and whether to arm again is the caller's choice.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::types::Fd;

use super::ops::Kind;
use super::slots::Facts;
use super::{ListenerId, UringIo, ops};

/// One listening socket.
pub(super) struct Door {
    pub(super) socket: Arc<OwnedFd>,
    /// What its connections are marked with.
    pub(super) family: Facts,
    /// The accept that is armed on it.
    pub(super) armed: Option<Kind>,
}

impl Door {
    /// A socket on which nothing is armed.
    pub(super) fn new(socket: Arc<OwnedFd>) -> Door {
        Door { family: family(&socket), socket, armed: None }
    }
}

impl UringIo {
    pub(super) fn arm_accept(&mut self, listener: ListenerId, kind: Kind) {
        let door = &mut self.doors[usize::from(listener.0)];
        debug_assert!(door.armed.is_none(), "{listener:?} has an accept armed");
        door.armed = Some(kind);
        let fd = Fd(door.socket.as_raw_fd());
        let entry = match kind {
            Kind::AcceptMany => ops::accept_many(listener.0, fd),
            _ => ops::accept_one(listener.0, fd),
        };
        self.push(&entry);
    }

    /// Cancels what is armed. When nothing is, the end is already on its way to the caller.
    pub(super) fn end_accept(&mut self, listener: ListenerId) {
        if let Some(kind) = self.doors[usize::from(listener.0)].armed {
            self.push(&ops::cancel_accept(kind, listener.0));
        }
    }
}

/// Address family of a listener, as its connections are marked.
fn family(listener: &OwnedFd) -> Facts {
    use rustix::net::{AddressFamily, getsockname};
    match getsockname(listener).map(|name| name.address_family()) {
        Ok(AddressFamily::INET) => Facts::default(),
        Ok(AddressFamily::INET6) => Facts::IPV6,
        _ => Facts::LOCAL,
    }
}
