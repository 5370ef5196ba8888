//! A record batch as a broker keeps it, with what a broker reads of it. Owns its own small reader and writer of Kafka's
//! message format 2, so that the shipped ones are held against another hand. Kept by a replica.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use halley_protocol::push::PushRecord;
use lz4_flex::frame::FrameDecoder;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const GZIP: i16 = 1;
const LZ4: i16 = 3;
/// A codec that nobody knows.
const UNKNOWN_CODEC: i16 = 7;

/// How the bytes are when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Sound,
    /// The next so many readers see another byte.
    DamagedFor(u8),
    /// Nobody ever reads it as it was.
    Unreadable,
}

/// A batch in a log.
#[derive(Clone, Debug)]
pub struct Batch {
    pub base: i64,
    pub last_delta: i32,
    pub epoch: i32,
    pub producer: i64,
    pub producer_epoch: i16,
    pub sequence: i32,
    /// Numbers of the pushes in it, each with its offset; what is no push of ours is not here.
    pub pushes: Vec<(i64, u64)>,
    /// Records in it, pushes or not.
    pub records: usize,
    pub health: Health,
    pub bytes: Bytes,
}

/// A record that is to be written: how far behind the batch's base, with its key and value.
pub type Written = (i32, Bytes, Bytes);

/// What stands in the header beside the records.
#[derive(Clone, Copy, Default)]
pub struct Head {
    pub attributes: i16,
    pub last_delta: i32,
    pub producer: i64,
    pub producer_epoch: i16,
    pub sequence: i32,
}

impl Head {
    /// Of a batch that no idempotent producer wrote.
    pub fn plain(last_delta: i32) -> Head {
        Head { last_delta, producer: -1, producer_epoch: -1, sequence: -1, attributes: 0 }
    }

    /// Of a foreign transaction.
    pub fn transactional(producer: i64, last_delta: i32) -> Head {
        Head { attributes: TRANSACTIONAL, producer, producer_epoch: 0, ..Head::plain(last_delta) }
    }

    /// That ends a foreign transaction.
    pub fn control(producer: i64) -> Head {
        Head { attributes: TRANSACTIONAL | CONTROL, ..Head::transactional(producer, 0) }
    }

    /// Of a codec that nobody knows.
    pub fn unknown_codec(last_delta: i32) -> Head {
        Head { attributes: UNKNOWN_CODEC, ..Head::plain(last_delta) }
    }
}

/// The number that a push of ours carries in its body.
pub fn push_number(value: &Bytes) -> Option<u64> {
    let record = PushRecord::decode(value).ok()?;
    let number: [u8; 8] = record.push.body.get(..8)?.try_into().ok()?;
    Some(u64::from_be_bytes(number))
}

impl Batch {
    /// Reads what a producer sent, as a leader does before it appends; `None` where it is no batch or damaged.
    pub fn read(bytes: &Bytes) -> Option<Batch> {
        let at = |start: usize, length: usize| bytes.get(start..start + length);
        let int = |start: usize| Some(i32::from_be_bytes(at(start, 4)?.try_into().ok()?));
        let long = |start: usize| Some(i64::from_be_bytes(at(start, 8)?.try_into().ok()?));
        let short = |start: usize| Some(i16::from_be_bytes(at(start, 2)?.try_into().ok()?));
        let length = usize::try_from(int(8)?).ok()?;
        let crc = u32::from_be_bytes(at(17, 4)?.try_into().ok()?);
        if bytes.len() != length + 12 || bytes[16] != 2 || crc32c::crc32c(&bytes[21..]) != crc {
            return None;
        }
        let attributes = short(21)?;
        let count = usize::try_from(int(57)?).ok()?;
        let base = long(0)?;
        let is_control = attributes & CONTROL != 0;
        let records = bytes.slice(HEADER_BYTES..);
        let mut inflated = Vec::new();
        let pushes = match attributes & 7 {
            _ if is_control => Vec::new(),
            0 => pushes(base, count, &records)?,
            GZIP => {
                GzDecoder::new(&records[..]).read_to_end(&mut inflated).ok()?;
                pushes(base, count, &inflated.into())?
            }
            LZ4 => {
                FrameDecoder::new(&records[..]).read_to_end(&mut inflated).ok()?;
                pushes(base, count, &inflated.into())?
            }
            _ => Vec::new(),
        };
        Some(Batch {
            base,
            last_delta: int(23)?,
            epoch: int(12)?,
            producer: long(43)?,
            producer_epoch: short(51)?,
            sequence: int(53)?,
            pushes,
            records: count,
            health: Health::Sound,
            bytes: bytes.clone(),
        })
    }

    /// A batch that is written here, at offset 0.
    pub fn written(head: Head, records: &[Written]) -> Batch {
        let mut bytes = vec![0; HEADER_BYTES];
        for (delta, key, value) in records {
            let mut record = vec![0];
            varint(0, &mut record);
            varint(i64::from(*delta), &mut record);
            for field in [key, value] {
                varint(i64::try_from(field.len()).expect("short"), &mut record);
                record.extend_from_slice(field);
            }
            varint(0, &mut record);
            varint(i64::try_from(record.len()).expect("short"), &mut bytes);
            bytes.extend_from_slice(&record);
        }
        let length = i32::try_from(bytes.len() - 12).expect("short");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[21..23].copy_from_slice(&head.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&head.last_delta.to_be_bytes());
        bytes[43..51].copy_from_slice(&head.producer.to_be_bytes());
        bytes[51..53].copy_from_slice(&head.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&head.sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&i32::try_from(records.len()).expect("few").to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Batch::read(&bytes.into()).expect("just written")
    }

    /// The same batch where a leader of `epoch` puts it.
    pub fn placed(mut self, base: i64, epoch: i32) -> Batch {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        self.bytes = bytes.freeze();
        self.pushes.iter_mut().for_each(|(offset, _)| *offset += base - self.base);
        (self.base, self.epoch) = (base, epoch);
        self
    }

    /// Offset of what follows it.
    pub fn next(&self) -> i64 {
        self.base + i64::from(self.last_delta) + 1
    }

    /// Sequence number of its last record.
    pub fn last_sequence(&self) -> i32 {
        self.sequence.wrapping_add(self.last_delta)
    }

    /// What the cleaner leaves of it: nothing but its place.
    pub fn emptied(&self) -> Batch {
        let head = Head {
            attributes: 0,
            last_delta: self.last_delta,
            producer: self.producer,
            producer_epoch: self.producer_epoch,
            sequence: self.sequence,
        };
        Batch::written(head, &[]).placed(self.base, self.epoch)
    }
}

fn pushes(base: i64, count: usize, bytes: &Bytes) -> Option<Vec<(i64, u64)>> {
    let mut found = Vec::new();
    let mut rest = 0;
    for _ in 0..count {
        let length = usize::try_from(read_varint(bytes, &mut rest)?).ok()?;
        let end = rest + length;
        let mut at = rest + 1;
        read_varint(bytes, &mut at)?;
        let delta = read_varint(bytes, &mut at)?;
        let key_bytes = read_varint(bytes, &mut at)?;
        at += usize::try_from(key_bytes).unwrap_or(0);
        let value_bytes = usize::try_from(read_varint(bytes, &mut at)?).unwrap_or(0);
        if at + value_bytes > bytes.len() {
            return None;
        }
        found.extend(push_number(&bytes.slice(at..at + value_bytes)).map(|number| (base + delta, number)));
        rest = end;
    }
    (rest == bytes.len()).then_some(found)
}

fn varint(value: i64, to: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    to.push(u8::try_from(rest).expect("seven bits"));
}

fn read_varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}
