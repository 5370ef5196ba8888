//! The records of one batch. Owns inflating, and walking over records as borrowed slices, strictly: what
//! is not exactly a record is a reason to refuse the batch. Never copies a record, never allocates by a number that the
//! batch says. Memory for what was compressed is kept from batch to batch, up to a bound. A batch that is read in parts
//! is a [`Walk`]: it keeps its bytes and its place, and no record ahead. Next: [`crate::consume`].

use bytes::Bytes;

use super::header::Batch;
use super::inflate::Inflater;
use super::sound::Sound;
use super::{Codec, HEADER_BYTES, Header, ReadLimits, Unreadable, varint};

/// Reads batches, one after the other.
#[derive(Debug)]
pub struct BatchReader {
    inflater: Inflater,
}

impl BatchReader {
    /// One that has no memory yet.
    pub fn new(limits: ReadLimits) -> BatchReader {
        BatchReader { inflater: Inflater::new(limits) }
    }

    /// Bytes of memory held for compressed batches now: after the last was read, until the next one or
    /// [`BatchReader::trim`].
    pub fn held_bytes(&self) -> usize {
        self.inflater.held_bytes()
    }

    /// Give memory back down to what may be kept, as opening the next batch does.
    pub fn trim(&mut self) {
        self.inflater.trim();
    }

    /// The records of a batch that nobody has checked yet; none of a control batch, which has none of a producer. The
    /// batch's checksum is right then, its records were not looked at.
    ///
    /// # Errors
    /// Why nothing of it can be read.
    pub fn open<'b>(&'b mut self, batch: &'b Batch) -> Result<Records<'b>, Unreadable> {
        match batch.damage() {
            None => self.open_checked(batch),
            Some(why) => Err(why),
        }
    }

    /// As [`BatchReader::open`], without looking at the checksum a second time.
    ///
    /// # Errors
    /// As there.
    pub fn open_sound<'b>(&'b mut self, batch: &'b Sound) -> Result<Records<'b>, Unreadable> {
        self.open_checked(batch.batch())
    }

    /// The records of a batch, to be read in parts. [`BatchReader::close`] takes its memory back.
    ///
    /// # Errors
    /// As [`BatchReader::open`].
    pub fn walk(&mut self, batch: &Sound) -> Result<Walk, Unreadable> {
        let batch = batch.batch();
        let Records { rest, left, last_delta, header } = self.open_checked(batch)?;
        let body_bytes = rest.len();
        let is_plain = body_bytes == 0 || header.codec()? == Codec::None;
        let body = match is_plain {
            true => Body::Plain(batch.bytes.slice(batch.bytes.len() - body_bytes..)),
            false => Body::Inflated(self.inflater.take()),
        };
        Ok(Walk { body, at: 0, left, last_delta, header })
    }

    /// Nothing more is read of a batch.
    pub fn close(&mut self, walk: Walk) {
        if let Body::Inflated(bytes) = walk.body {
            self.inflater.put_back(bytes);
        }
    }

    fn open_checked<'b>(&'b mut self, batch: &'b Batch) -> Result<Records<'b>, Unreadable> {
        let header = batch.header;
        if header.record_count < 0 {
            return Err(Unreadable::Count(header.record_count));
        }
        if header.is_control() {
            return Ok(Records { rest: &[], left: 0, last_delta: -1, header });
        }
        let rest = match header.codec()? {
            Codec::None => &batch.bytes[HEADER_BYTES..],
            // Nothing was compressed, by whatever.
            _ if header.record_count == 0 && batch.bytes.len() == HEADER_BYTES => &[],
            codec => self.inflater.inflate(codec, &batch.bytes.slice(HEADER_BYTES..))?,
        };
        Ok(Records { rest, left: header.record_count, last_delta: -1, header })
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// Its place in the partition.
    pub offset: i64,
    /// When its producer made it, or when the broker appended it, in milliseconds of the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// What decided the partition.
    pub key: Option<&'b [u8]>,
    /// What it says.
    pub value: Option<&'b [u8]>,
    headers: &'b [u8],
    header_count: i32,
}

impl<'b> Record<'b> {
    /// Its headers, in order, names as bytes: producers may write any.
    pub fn headers(&self) -> impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)> + use<'b> {
        let mut rest = self.headers;
        // They were walked over once, so none of them is damaged.
        (0..self.header_count).map_while(move |_| read_header(&mut rest).ok())
    }
}

/// The records of a batch, in order. Behind an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Records<'b> {
    rest: &'b [u8],
    left: i32,
    last_delta: i32,
    header: Header,
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<Record<'b>, Unreadable>;

    #[inline]
    fn next(&mut self) -> Option<Result<Record<'b>, Unreadable>> {
        if self.left == 0 {
            let leftover = !std::mem::take(&mut self.rest).is_empty();
            return leftover.then_some(Err(Unreadable::Leftover));
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(record)
    }
}

impl<'b> Records<'b> {
    #[inline]
    fn read(&mut self) -> Result<Record<'b>, Unreadable> {
        let length = length(varint::read_i32(&mut self.rest)?)?;
        let mut body = take(&mut self.rest, length)?;
        // Attributes, of which no version has any.
        take(&mut body, 1)?;
        let timestamp_delta = varint::read_i64(&mut body)?;
        let delta = varint::read_i32(&mut body)?;
        if delta <= self.last_delta || delta > self.header.last_offset_delta {
            return Err(Unreadable::Offset);
        }
        self.last_delta = delta;
        let key = optional(&mut body)?;
        let value = optional(&mut body)?;
        let header_count = varint::read_i32(&mut body)?;
        let headers = body;
        for _ in 0..self::length(header_count)? {
            read_header(&mut body)?;
        }
        if !body.is_empty() {
            return Err(Unreadable::Leftover);
        }
        let timestamp_ms = if self.header.is_log_append_time() {
            self.header.max_timestamp_ms
        } else {
            self.header.first_timestamp_ms.saturating_add(timestamp_delta)
        };
        Ok(Record {
            offset: self.header.base_offset.saturating_add(i64::from(delta)),
            timestamp_ms: (timestamp_ms >= 0).then_some(timestamp_ms),
            key,
            value,
            headers,
            header_count,
        })
    }
}

/// A batch that is read in parts, one record at a time.
#[derive(Debug)]
pub struct Walk {
    body: Body,
    /// Of the first byte of it that was not read.
    at: usize,
    left: i32,
    last_delta: i32,
    header: Header,
}

/// The records of a batch as bytes.
#[derive(Debug)]
enum Body {
    /// A part of the answer that the batch came in.
    Plain(Bytes),
    /// What was compressed.
    Inflated(Vec<u8>),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Plain(bytes) => bytes,
            Body::Inflated(bytes) => bytes,
        }
    }
}

impl Walk {
    /// The next record; behind an error there is nothing more.
    #[inline]
    pub fn read_next(&mut self) -> Option<Result<Record<'_>, Unreadable>> {
        let bytes = self.body.bytes();
        let rest = bytes.get(self.at..).unwrap_or_default();
        let mut records = Records { rest, left: self.left, last_delta: self.last_delta, header: self.header };
        let found = records.next();
        (self.at, self.left, self.last_delta) = (bytes.len() - records.rest.len(), records.left, records.last_delta);
        found
    }

    /// Whether all of it was read.
    pub fn is_read(&self) -> bool {
        self.left == 0 && self.at >= self.body.bytes().len()
    }

    /// Bytes that it takes beside the batch: of records that were compressed.
    pub fn inflated_bytes(&self) -> usize {
        match &self.body {
            Body::Plain(_) => 0,
            Body::Inflated(bytes) => bytes.len(),
        }
    }
}

#[inline]
fn read_header<'b>(body: &mut &'b [u8]) -> Result<(&'b [u8], Option<&'b [u8]>), Unreadable> {
    let name = length(varint::read_i32(body)?)?;
    let name = take(body, name)?;
    Ok((name, optional(body)?))
}

/// Bytes behind their length, of which -1 means none.
#[inline]
fn optional<'b>(body: &mut &'b [u8]) -> Result<Option<&'b [u8]>, Unreadable> {
    match varint::read_i32(body)? {
        -1 => Ok(None),
        bytes => length(bytes).and_then(|bytes| take(body, bytes)).map(Some),
    }
}

#[inline]
fn length(value: i32) -> Result<usize, Unreadable> {
    usize::try_from(value).map_err(|_| Unreadable::NegativeLength)
}

#[inline]
fn take<'b>(rest: &mut &'b [u8], bytes: usize) -> Result<&'b [u8], Unreadable> {
    let (taken, after) = rest.split_at_checked(bytes).ok_or(Unreadable::Cut)?;
    *rest = after;
    Ok(taken)
}
