//! The requests as the kernel reads them. Owns one constructor per operation and the meaning of `user_data`; queues
//! nothing and keeps no memory. `mod` pushes what is built here, `completions` reads the names back.

#![allow(unsafe_code)]

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};

use crate::mesh::msg::ConnRef;

/// Kind of an operation, the top byte of its `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Multishot accept; the slot is the index of the listener.
    AcceptMany = 1,
    /// Single accept; the slot is the index of the listener.
    AcceptOne,
    PollReadable,
    Receive,
    Send,
    PollWritable,
    PeerName,
    ShutdownWrite,
    /// Completes only when it fails.
    Close,
    /// Completes only when there was nothing to cancel.
    Cancel,
    Doorbell,
}

const KINDS: [Kind; 11] = [
    Kind::AcceptMany,
    Kind::AcceptOne,
    Kind::PollReadable,
    Kind::Receive,
    Kind::Send,
    Kind::PollWritable,
    Kind::PeerName,
    Kind::ShutdownWrite,
    Kind::Close,
    Kind::Cancel,
    Kind::Doorbell,
];

/// Group of the provided receive buffers.
pub(super) const BUFFER_GROUP: u16 = 0;

/// Bits of a generation that travel in `user_data`.
const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// `kind` 8 bits | low part of the generation 24 bits | `slot` 32 bits.
pub(super) fn user_data(kind: Kind, conn: ConnRef) -> u64 {
    u64::from(kind as u8) << 56 | u64::from(conn.generation & GENERATION_MASK) << 32 | u64::from(conn.slot)
}

/// The parts of a `user_data`; the generation without its high part, which [`generation`] adds.
#[expect(clippy::cast_possible_truncation, reason = "each part is cut to its width")]
pub(super) fn parts(user_data: u64) -> (Kind, u32, u32) {
    let kind = usize::from((user_data >> 56) as u8);
    (KINDS[kind - 1], (user_data >> 32) as u32 & GENERATION_MASK, user_data as u32)
}

/// The part of a generation that does not travel.
pub(super) fn generation_high(generation: u32) -> u8 {
    generation.to_be_bytes()[0]
}

/// A whole generation.
pub(super) fn generation(high: u8, low: u32) -> u32 {
    u32::from(high) << GENERATION_BITS | low
}

fn listener_data(kind: Kind, listener: u16) -> u64 {
    user_data(kind, ConnRef { slot: u32::from(listener), generation: 0 })
}

/// Accept into slots of the kernel's choice until cancelled.
pub(super) fn accept_many(listener: u16, fd: Fd) -> Entry {
    opcode::AcceptMulti::new(fd).allocate_file_index(true).build().user_data(listener_data(Kind::AcceptMany, listener))
}

/// Accept one connection into a slot of the kernel's choice.
pub(super) fn accept_one(listener: u16, fd: Fd) -> Entry {
    opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
        .file_index(Some(DestinationSlot::auto_target()))
        .build()
        .user_data(listener_data(Kind::AcceptOne, listener))
}

/// End an accept of this kind.
pub(super) fn cancel_accept(kind: Kind, listener: u16) -> Entry {
    cancel(listener_data(kind, listener))
}

/// End a poll of this connection. By `user_data`, because the kernel finds that in a hash table, while looking for a
/// descriptor walks everything that is armed.
pub(super) fn cancel_poll(kind: Kind, conn: ConnRef) -> Entry {
    cancel(user_data(kind, conn))
}

fn cancel(target: u64) -> Entry {
    let builder = CancelBuilder::user_data(target);
    let nobody = ConnRef { slot: 0, generation: 0 };
    opcode::AsyncCancel2::new(builder).build().flags(Flags::SKIP_SUCCESS).user_data(user_data(Kind::Cancel, nobody))
}

/// What a readiness poll reports once no more than the rest of the data is to come. Errors wake every poll, but are
/// reported only where they are asked for.
const ENDS: libc::c_short = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;

/// Whether the result of a readiness poll tells of FIN or an error.
pub(super) fn has_end(events: u32) -> bool {
    events & mask(ENDS) != 0
}

/// Edge-triggered multishot poll for data, FIN and reset.
pub(super) fn poll_readable(conn: ConnRef) -> Entry {
    opcode::PollAdd::new(Fixed(conn.slot), mask(libc::POLLIN | ENDS))
        .multi(true)
        .build()
        .user_data(user_data(Kind::PollReadable, conn))
}

/// Edge-triggered multishot poll of the doorbell.
pub(super) fn poll_doorbell(fd: Fd) -> Entry {
    let nobody = ConnRef { slot: 0, generation: 0 };
    opcode::PollAdd::new(fd, mask(libc::POLLIN)).multi(true).build().user_data(user_data(Kind::Doorbell, nobody))
}

/// One poll for room to send, or for an error. Where the peer has sent FIN it ends at once, room or not: FIN ends every
/// poll.
pub(super) fn poll_writable(conn: ConnRef) -> Entry {
    opcode::PollAdd::new(Fixed(conn.slot), mask(ROOM)).build().user_data(user_data(Kind::PollWritable, conn))
}

/// The same as an edge-triggered poll that stays, which a FIN does not end.
pub(super) fn watch_writable(conn: ConnRef) -> Entry {
    opcode::PollAdd::new(Fixed(conn.slot), mask(ROOM))
        .multi(true)
        .build()
        .user_data(user_data(Kind::PollWritable, conn))
}

/// What makes a send worth trying.
const ROOM: libc::c_short = libc::POLLOUT | libc::POLLHUP | libc::POLLERR;

/// Whether the result of a poll for room tells of room, or of an error.
pub(super) fn has_room(events: u32) -> bool {
    events & mask(ROOM) != 0
}

fn mask(events: libc::c_short) -> u32 {
    u32::from(events.unsigned_abs())
}

/// One receive into a provided buffer, never waiting.
pub(super) fn receive(conn: ConnRef) -> Entry {
    opcode::Recv::new(Fixed(conn.slot), std::ptr::null_mut(), 0)
        .flags(libc::MSG_DONTWAIT)
        .buf_group(BUFFER_GROUP)
        .build()
        .flags(Flags::BUFFER_SELECT)
        .user_data(user_data(Kind::Receive, conn))
}

/// One send that completes only when the kernel did not take all of it. Without MSG_WAITALL a short send would count as
/// a success and its missing bytes would never be told; MSG_DONTWAIT ends it before the enter returns.
#[inline]
pub(super) fn send(conn: ConnRef, bytes: *const u8, length: u32) -> Entry {
    opcode::Send::new(Fixed(conn.slot), bytes, length)
        .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
        .flags(Flags::SKIP_SUCCESS)
        .user_data(user_data(Kind::Send, conn))
}

/// Ask for the peer's address: `getsockopt(SOL_SOCKET, SO_PEERNAME)` on a direct descriptor. `name` takes `length`
/// bytes, which must not exceed what the address family has.
pub(super) fn peer_name(conn: ConnRef, name: *mut u8, length: u32) -> Entry {
    const GETSOCKOPT: u32 = 2;
    const COMMAND_WORD: usize = 2;
    const LEVEL: u32 = libc::SOL_SOCKET.unsigned_abs();
    const NAME: u32 = libc::SO_PEERNAME.unsigned_abs();
    // The library builds the setter, whose layout is the getter's but for the command.
    let mut entry = opcode::SetSockOpt::new(Fixed(conn.slot), LEVEL, NAME, name.cast(), length)
        .build()
        .user_data(user_data(Kind::PeerName, conn));
    // SAFETY: an entry is the kernel's 64-byte `struct io_uring_sqe`, whose word 2 is `cmd_op`.
    let command = unsafe { (&raw mut entry).cast::<u32>().add(COMMAND_WORD) };
    // SAFETY: the pointer is inside `entry` and aligned as all its words are.
    unsafe { command.write(GETSOCKOPT) };
    entry
}

/// Send FIN.
pub(super) fn shutdown_write(conn: ConnRef) -> Entry {
    opcode::Shutdown::new(Fixed(conn.slot), libc::SHUT_WR).build().user_data(user_data(Kind::ShutdownWrite, conn))
}

/// Free the slot.
pub(super) fn close(conn: ConnRef) -> Entry {
    opcode::Close::new(Fixed(conn.slot)).build().flags(Flags::SKIP_SUCCESS).user_data(user_data(Kind::Close, conn))
}

const _: () = assert!(size_of::<Entry>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    /// What is packed into `user_data` comes back, and the high part of a generation completes it.
    #[test]
    fn names_survive_the_kernel() {
        for kind in KINDS {
            for (slot, number) in [(0, 0), (7, 1), (u32::MAX, u32::MAX), (1 << 31, 0x0123_4567), (3, 1 << 24)] {
                let conn = ConnRef { slot, generation: number };
                let (back, low, at) = parts(user_data(kind, conn));
                assert_eq!((back, at, generation(generation_high(number), low)), (kind, slot, number));
            }
        }
    }
}
