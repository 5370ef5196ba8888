//! Inflating the records of a batch. Owns the codecs' contexts and the memory for what they give, reused from batch to
//! batch up to a bound. Never gives more than its limit, however much the bytes would make: a context stops one byte
//! behind it. The libraries work on a producer's bytes, so a panic of theirs costs that batch alone.

use std::io::Read;

use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use flate2::bufread::GzDecoder;
use halley_service::panics::contain;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name, get_frame_content_size};

use super::codec::XERIAL_MAGIC;
use super::{Codec, ReadLimits, Unreadable};

/// Output grows by at least this much.
const STEP_BYTES: usize = 64 * 1024;
/// Bytes of xerial's header: its magic, a version, and the oldest version that can read it.
const XERIAL_HEADER_BYTES: usize = 16;
/// Snappy makes at most 64 bytes of 3; what says that it has more than this many times its own length lies.
const SNAPPY_RATIO_MAX: usize = 32;
/// What zstd says of a window beyond its limit.
const ZSTD_WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

/// Gives the records of compressed batches.
pub(super) struct Inflater {
    limits: ReadLimits,
    out: Vec<u8>,
    gzip: Option<GzDecoder<Reader<Bytes>>>,
    snappy: snap::raw::Decoder,
    zstd: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("limits", &self.limits).field("held_bytes", &self.held_bytes()).finish()
    }
}

impl Inflater {
    pub(super) fn new(limits: ReadLimits) -> Inflater {
        Inflater { limits, out: Vec::new(), gzip: None, snappy: snap::raw::Decoder::new(), zstd: None }
    }

    /// Bytes of memory held now, as far as they are not of a fixed size.
    pub(super) fn held_bytes(&self) -> usize {
        self.out.capacity() + self.zstd.as_ref().map_or(0, DCtx::sizeof)
    }

    /// Gives memory back that is beyond what may be kept.
    pub(super) fn trim(&mut self) {
        self.out.clear();
        self.out.shrink_to(self.limits.kept_bytes_max);
        if self.zstd.as_ref().is_some_and(|context| context.sizeof() > self.limits.kept_bytes_max) {
            self.zstd = None;
        }
    }

    /// What was inflated last, without a copy; to be put back.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Memory that was taken is used again, up to what may be kept.
    pub(super) fn put_back(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() > self.out.capacity() {
            self.out = bytes;
        }
        self.trim();
    }

    /// What `compressed` holds.
    pub(super) fn inflate(&mut self, codec: Codec, compressed: &Bytes) -> Result<&[u8], Unreadable> {
        self.trim();
        let done = contain(codec.library(), || match codec {
            Codec::None => {
                self.out.extend_from_slice(compressed);
                Ok(())
            }
            Codec::Gzip => self.gzip(compressed),
            Codec::Snappy => self.snappy(compressed),
            Codec::Lz4 => self.lz4(compressed),
            Codec::Zstd => self.zstd(compressed),
        });
        let done = done.unwrap_or_else(|_| {
            // Whatever state they are in.
            (self.gzip, self.zstd) = (None, None);
            Err(Unreadable::Inflate(codec))
        });
        done.map(|()| self.out.as_slice())
    }

    /// One member after the other, as `gzip` itself reads them.
    fn gzip(&mut self, compressed: &Bytes) -> Result<(), Unreadable> {
        let mut rest = compressed.clone();
        loop {
            let context = match &mut self.gzip {
                Some(context) => {
                    context.reset(rest.reader());
                    context
                }
                none => none.insert(GzDecoder::new(rest.reader())),
            };
            let done = read_all(context, &mut self.out, self.limits.inflated_bytes_max, Codec::Gzip);
            // The context keeps no memory of the answer.
            rest = std::mem::replace(context.get_mut(), Bytes::new().reader()).into_inner();
            done?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Raw, or in xerial's frame: a header, then raw blocks, each behind its length.
    fn snappy(&mut self, compressed: &[u8]) -> Result<(), Unreadable> {
        if !compressed.starts_with(&XERIAL_MAGIC) {
            return self.snappy_block(compressed);
        }
        let mut rest = compressed.get(XERIAL_HEADER_BYTES..).ok_or(Unreadable::Inflate(Codec::Snappy))?;
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>().ok_or(Unreadable::Inflate(Codec::Snappy))?;
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (block, after) = after.split_at_checked(length).ok_or(Unreadable::Inflate(Codec::Snappy))?;
            self.snappy_block(block)?;
            rest = after;
        }
        Ok(())
    }

    fn snappy_block(&mut self, block: &[u8]) -> Result<(), Unreadable> {
        const DAMAGED: Unreadable = Unreadable::Inflate(Codec::Snappy);
        let bytes = snap::raw::decompress_len(block).map_err(|_| DAMAGED)?;
        if bytes > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(DAMAGED);
        }
        let bytes_max = self.limits.inflated_bytes_max;
        if bytes > bytes_max - self.out.len() {
            return Err(Unreadable::Bomb { codec: Codec::Snappy, bytes_max });
        }
        let at = self.out.len();
        self.out.resize(at + bytes, 0);
        let written = self.snappy.decompress(block, &mut self.out[at..]).map_err(|_| DAMAGED)?;
        if written == bytes { Ok(()) } else { Err(DAMAGED) }
    }

    /// One frame. A frame that is cut off gives less than it should, which the records then show.
    fn lz4(&mut self, compressed: &[u8]) -> Result<(), Unreadable> {
        // Its decoder cannot be given other bytes once it has seen some.
        let mut context = lz4_flex::frame::FrameDecoder::new(compressed);
        read_all(&mut context, &mut self.out, self.limits.inflated_bytes_max, Codec::Lz4)
    }

    fn zstd(&mut self, compressed: &[u8]) -> Result<(), Unreadable> {
        const DAMAGED: Unreadable = Unreadable::Inflate(Codec::Zstd);
        let bytes_max = self.limits.inflated_bytes_max;
        let bomb = Unreadable::Bomb { codec: Codec::Zstd, bytes_max };
        if get_frame_content_size(compressed).is_ok_and(|bytes| bytes > u64::try_from(bytes_max).ok()) {
            return Err(bomb);
        }
        let context = match &mut self.zstd {
            Some(context) => context,
            none => {
                let mut context = DCtx::try_create().ok_or(DAMAGED)?;
                // A window is allocated as the frame says it, however little comes: at most what may be given. 8 MiB
                // every reader should take (RFC 8878, section 3.1.1.1.2), 128 MiB Kafka's own does.
                let window_log = bytes_max.max(1).ilog2().clamp(23, 27);
                context.set_parameter(DParameter::WindowLogMax(window_log)).map_err(|_| DAMAGED)?;
                none.insert(context)
            }
        };
        context.reset(ResetDirective::SessionOnly).map_err(|_| DAMAGED)?;
        let mut input = InBuffer::around(compressed);
        loop {
            let (read, written) = (input.pos(), self.out.len());
            let step = STEP_BYTES.max(written).min(bytes_max + 1 - written);
            self.out.reserve_exact(step);
            let mut output = OutBuffer::around_pos(&mut self.out, written);
            let left = context
                .decompress_stream(&mut output, &mut input)
                .map_err(|code| if get_error_name(code) == ZSTD_WINDOW_TOO_LARGE { bomb } else { DAMAGED })?;
            if self.out.len() > bytes_max {
                return Err(bomb);
            }
            if left == 0 && input.pos() == compressed.len() {
                return Ok(());
            }
            if (input.pos(), self.out.len()) == (read, written) {
                return Err(DAMAGED);
            }
        }
    }
}

/// Everything that `context` gives, behind what is in `out`.
fn read_all(context: &mut impl Read, out: &mut Vec<u8>, bytes_max: usize, codec: Codec) -> Result<(), Unreadable> {
    let wanted = u64::try_from(bytes_max - out.len()).unwrap_or(u64::MAX).saturating_add(1);
    context.take(wanted).read_to_end(out).map_err(|_| Unreadable::Inflate(codec))?;
    if out.len() > bytes_max { Err(Unreadable::Bomb { codec, bytes_max }) } else { Ok(()) }
}
