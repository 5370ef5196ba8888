//! A batch whose checksum was found right. Owns the one place where that is looked at: whoever holds a [`Sound`] batch
//! need not look again, and nobody makes one otherwise. Says nothing about the records in it. Next: [`super::reader`].

use super::header::{Batch, Header, checksum};
use super::unreadable::Unreadable;

/// A batch that is one, with the bytes that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound(Batch);

impl Sound {
    /// The batch.
    pub fn batch(&self) -> &Batch {
        &self.0
    }

    /// It is not what it says after all: its place counts in no checksum, only the log around it shows that it is
    /// wrong.
    pub fn misplaced(self) -> Damaged {
        let header = self.0.header;
        Damaged { header, why: Unreadable::Misplaced(header.base_offset) }
    }
}

/// What is left of a batch that cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// What it says of itself, true or not.
    pub header: Header,
    /// [`Batch::fault`], or [`Unreadable::BadCrc`].
    pub why: Unreadable,
}

impl Batch {
    /// Whether what it says of itself can be believed: it is a batch, and its checksum is right.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(self) -> Result<Sound, Damaged> {
        match self.damage() {
            None => Ok(Sound(self)),
            Some(why) => Err(Damaged { header: self.header, why }),
        }
    }

    /// Why it cannot be believed; looks at every byte of it.
    pub(super) fn damage(&self) -> Option<Unreadable> {
        if let Some(fault) = self.fault() {
            return Some(fault);
        }
        let (written, found) = (self.header.crc, checksum(&self.bytes));
        (written != found).then_some(Unreadable::BadCrc { written, found })
    }
}
