//! Where the kernel writes peers' addresses. Owns a fixed number of places with stable addresses, each for one question
//! at a time, and reads what was written there. Asking is in `ops`, the answer goes out as an event.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::SUBMISSIONS_PER_ENTER;

/// Bytes of a `struct sockaddr_in`.
pub(super) const IPV4_BYTES: u32 = 16;
/// Bytes of a `struct sockaddr_in6`.
pub(super) const IPV6_BYTES: u32 = 28;

/// Room for the larger of the two.
type Place = [u8; IPV6_BYTES as usize];

/// Places for peers' addresses, each asked about once at a time.
pub(super) struct Names {
    places: Box<[UnsafeCell<Place>]>,
    free: Vec<u16>,
    /// Slot and place of each open question. Answers come in order, so the search ends at the front.
    asked: VecDeque<(u32, u16)>,
}

impl Names {
    /// One place for every entry of one enter: questions are answered within theirs.
    pub(super) fn new() -> Names {
        let count = u16::try_from(SUBMISSIONS_PER_ENTER).unwrap_or(u16::MAX);
        Names {
            places: (0..count).map(|_| UnsafeCell::new(Place::default())).collect(),
            free: (0..count).rev().collect(),
            asked: VecDeque::with_capacity(usize::from(count)),
        }
    }

    /// A place for the answer about this slot; `None` when all are taken.
    pub(super) fn ask(&mut self, slot: u32) -> Option<*mut u8> {
        let place = self.free.pop()?;
        self.asked.push_back((slot, place));
        Some(self.places[usize::from(place)].get().cast())
    }

    /// The question about this slot has ended; `result` is the number of bytes written, or an error.
    pub(super) fn answered(&mut self, slot: u32, result: i32) -> Option<SocketAddr> {
        let index = self.asked.iter().position(|&(asked, _)| asked == slot)?;
        let (_, place) = self.asked.remove(index)?;
        // SAFETY: the question has ended, so the kernel writes there no more, and nobody else has the pointer.
        let name = unsafe { *self.places[usize::from(place)].get() };
        self.free.push(place);
        parse(name.get(..usize::try_from(result).ok()?)?)
    }
}

/// An address as the kernel writes it (ip(7), ipv6(7)). An IPv4 client of a dual-stack listener is named by its IPv4
/// address.
fn parse(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes([*name.first()?, *name.get(1)?]);
    let port = u16::from_be_bytes([*name.get(2)?, *name.get(3)?]);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv4Addr::from(octets), port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv6Addr::from(octets).to_canonical(), port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_question_in_any_order() {
        let mut names = Names::new();
        let write = |place: *mut u8, last: u8| {
            let family = u8::try_from(libc::AF_INET).unwrap();
            let name = [family, 0, 0x1f, 0x90, 127, 0, 0, last];
            // SAFETY: `ask` gives out 28 writable bytes.
            unsafe { place.cast::<[u8; 8]>().write(name) };
        };
        for slot in 0..3 {
            let place = names.ask(slot).unwrap();
            write(place, u8::try_from(slot).unwrap());
        }
        for slot in [1, 2, 0] {
            let address = names.answered(slot, 16).unwrap();
            assert_eq!(address.to_string(), format!("127.0.0.{slot}:8080"));
        }
        assert_eq!(names.answered(1, 16), None, "answered before");
        let places: Vec<_> = std::iter::from_fn(|| names.ask(9)).collect();
        assert_eq!(places.len(), SUBMISSIONS_PER_ENTER, "every place is free again");
    }

    #[test]
    fn names_are_parsed_and_unmapped() {
        let v6 = |octets: [u8; 16]| {
            let mut name = [0; 28];
            name[..2].copy_from_slice(&u16::try_from(libc::AF_INET6).unwrap().to_ne_bytes());
            name[2..4].copy_from_slice(&443u16.to_be_bytes());
            name[8..24].copy_from_slice(&octets);
            parse(&name).map(|address| address.to_string())
        };
        assert_eq!(v6(Ipv6Addr::LOCALHOST.octets()).as_deref(), Some("[::1]:443"));
        assert_eq!(v6(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().octets()).as_deref(), Some("10.1.2.3:443"));
        assert_eq!(parse(&[1, 0]), None, "a Unix socket without a name");
        assert_eq!(parse(&[]), None);
    }
}
