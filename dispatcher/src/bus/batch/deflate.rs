//! Compressing the records of a batch. Owns the codecs' contexts, reused from batch to batch. Writes what stock readers
//! take: LZ4 frames of independent blocks, snappy in xerial's frame, one gzip member, one zstd frame.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::Codec;
use super::codec::XERIAL_MAGIC;

/// Bytes in a block of xerial's frame, as its own writer cuts them.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Version, and the oldest one that can read it.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Compresses in one way.
pub(super) struct Deflater {
    codec: Codec,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("codec", &self.codec).finish()
    }
}

impl Deflater {
    pub(super) fn new(codec: Codec) -> Deflater {
        Deflater { codec, snappy: snap::raw::Encoder::new(), zstd: None }
    }

    /// How it compresses.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends `records`, compressed. `None` if that cannot be done, which leaves anything behind what `out` had.
    pub(super) fn deflate(&mut self, records: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self.codec {
            Codec::None => out.extend_from_slice(records),
            Codec::Gzip => {
                let mut context = GzEncoder::new(out, Compression::default());
                context.write_all(records).ok()?;
                context.finish().ok()?;
            }
            Codec::Snappy => {
                out.extend_from_slice(&XERIAL_MAGIC);
                out.extend_from_slice(&XERIAL_VERSIONS);
                for block in records.chunks(XERIAL_BLOCK_BYTES) {
                    let length_at = out.len();
                    let at = length_at + 4;
                    out.resize(at + snap::raw::max_compress_len(block.len()), 0);
                    let bytes = self.snappy.compress(block, &mut out[at..]).ok()?;
                    out.truncate(at + bytes);
                    out[length_at..at].copy_from_slice(&u32::try_from(bytes).ok()?.to_be_bytes());
                }
            }
            Codec::Lz4 => {
                let form = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
                let mut context = FrameEncoder::with_frame_info(form, out);
                context.write_all(records).ok()?;
                context.finish().ok()?;
            }
            Codec::Zstd => {
                let context = match &mut self.zstd {
                    Some(context) => context,
                    none => none.insert(zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).ok()?),
                };
                out.extend_from_slice(&context.compress(records).ok()?);
            }
        }
        Some(())
    }
}
