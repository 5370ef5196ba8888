//! Records from any bytes: what is seen of one without decoding it is what its decoder says.

use std::sync::OnceLock;

use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{PushRecord, Target};

/// Nobody is here between two calls.
static INTEREST: OnceLock<Interest> = OnceLock::new();

/// The value of a record.
pub fn look(value: &[u8]) {
    let look = Look::at(value);
    match (&look, PushRecord::decode(&value.to_vec().into()).map(|record| record.push.target)) {
        (Look::Malformed, Err(_)) | (Look::Everybody, Ok(Target::All { .. })) => {}
        (Look::Room(seen), Ok(Target::Room(room))) => assert_eq!(*seen, room),
        (Look::Keys(seen), Ok(Target::Keys(keys))) => assert!(seen.clone().eq(keys.iter())),
        (Look::Mids(seen), Ok(Target::Mids(mids))) => assert!(seen.clone().eq(mids.iter().copied())),
        (look, decoded) => panic!("seen as {look:?}, decoded as {decoded:?}"),
    }
    passes_for_whom_it_names(&look);
}

/// If any one of those is here whom a record names, it passes; if nobody is, it does not.
fn passes_for_whom_it_names(look: &Look<'_>) {
    let interest = INTEREST.get_or_init(|| Interest::new(1));
    assert_eq!(interest.concerns(look), matches!(look, Look::Everybody | Look::Malformed));
    match look {
        Look::Keys(keys) => keys.clone().for_each(|key| {
            interest.raise_key(key);
            assert!(interest.concerns(look));
            interest.lower_key(key);
        }),
        Look::Mids(mids) => mids.clone().for_each(|mid| {
            interest.raise_mid(mid);
            assert!(interest.concerns(look));
            interest.lower_mid(mid);
        }),
        Look::Room(room) => {
            interest.raise_room(room);
            assert!(interest.concerns(look));
            interest.lower_room(room);
        }
        Look::Everybody | Look::Malformed => {}
    }
}
